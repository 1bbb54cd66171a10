//! Thousands of HTTP probes a second from one thread: what they cost, and how late they are.
//!
//! ```text
//! this process: prober ──HTTP, one connection per target──▶ this program again: an app at thousands of loopback addresses
//!   CPU, memory                                               from one probe of a target to the next, less the interval
//! ```
//!
//! `cargo bench -p proxima-probe --bench load -- TARGETS SECONDS`. Probes have no jitter here, so that whatever lies between
//! two of them beyond the interval is lateness: of timers, of the prober, of the network and of the app that takes the time.
//! They spread over the interval while it warms up. Prints one figure a line, its name first.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement: it fails by panic and measures by the clock"
)]

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
    time::{Duration, Instant},
};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
    time::TimeValLike,
};
use proxima_health::Percent;
use proxima_probe::{ProbeKind, ProbeTarget, Prober};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    task::{LocalSet, spawn_local},
};

/// Set in the environment of this program when it is to be the app.
const APP: &str = "PROXIMA_PROBE_BENCH_APP";
const INTERVAL: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_secs(15);

fn main() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    if std::env::var_os(APP).is_some() {
        LocalSet::new().block_on(&runtime, app());
        return;
    }
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let (targets, seconds) = (numbers.next().unwrap_or(10_000), numbers.next().unwrap_or(20));
    assert!(hard > 2 * u64::from(targets), "{targets} targets need more open files than {hard}");
    runtime.block_on(measure(targets, Duration::from_secs(seconds.into())));
}

/// Probes for so long, and prints what that came to.
async fn measure(targets: u32, time: Duration) {
    let mut app = App::start();
    let all = (0..targets).map(|n| target(n, app.port)).collect();
    let (_prober, mut events) = Prober::start(all, 1);
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    tokio::time::sleep(WARM_UP).await;
    app.say("begin");
    let (cpu, began) = (cpu(), Instant::now());
    tokio::time::sleep(time).await;
    let (cpu, took) = (self::cpu().saturating_sub(cpu), began.elapsed());
    println!("cpu-percent {:.1}", 100.0 * cpu.as_secs_f64() / took.as_secs_f64());
    println!("memory-mb {:.0}", peak_memory_mb());
    let count = app.say("report");
    let probes: f64 = count.trim().parse().unwrap();
    println!("probes-per-second {:.0}", probes / took.as_secs_f64());
    for _ in 0..3 {
        print!("{}", app.line());
    }
}

fn target(n: u32, port: u16) -> ProbeTarget {
    let kind = ProbeKind::Http(Http {
        path: "/healthz".to_owned(),
        host: None,
        version: HttpVersion::Http1,
        tls: None,
        expect: Expect { status: Statuses::ok(), body: None, header: None },
    });
    let backend = format!("app/{n}").parse().unwrap();
    ProbeTarget {
        jitter: Percent::ZERO,
        timeout: Duration::from_millis(500),
        rise: NonZeroU16::new(2).unwrap(),
        fall: NonZeroU16::new(3).unwrap(),
        ..ProbeTarget::new(backend, address(n, port), kind, INTERVAL)
    }
}

/// The address of a target: 127.1.0.0 and up.
fn address(n: u32, port: u16) -> SocketAddr {
    (Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + n), port).into()
}

fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}

fn peak_memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

/// The app as a process; ends with this.
struct App {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl App {
    fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(APP, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut app = Self { child, input, output: BufReader::new(output), port: 0 };
        app.port = app.line().trim().parse().unwrap();
        app
    }

    /// Tells it something; what it answers.
    fn say(&mut self, word: &str) -> String {
        writeln!(self.input, "{word}").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the app has seen.
#[derive(Default)]
struct Seen {
    /// When each target was last probed.
    last: Vec<Option<Instant>>,
    /// By how much probes came later than the interval after the one before, in microseconds.
    late: Vec<u32>,
}

impl Seen {
    fn probe(&mut self, n: usize) {
        let now = Instant::now();
        if n >= self.last.len() {
            self.last.resize(n + 1, None);
        }
        if let Some(last) = self.last[n].replace(now) {
            let late = (now - last).saturating_sub(INTERVAL);
            self.late.push(u32::try_from(late.as_micros()).unwrap_or(u32::MAX));
        }
    }

    /// The figures, one a line.
    fn report(&mut self) -> String {
        self.late.sort_unstable();
        let at = |share: f64| {
            let index = ((self.late.len() as f64 * share) as usize).min(self.late.len() - 1);
            f64::from(self.late[index]) / 1000.0
        };
        let (median, p99, most) = (at(0.5), at(0.99), at(1.0));
        format!(
            "{}\nlate-median-ms {median:.2}\nlate-p99-ms {p99:.2}\nlate-most-ms {most:.2}\n",
            self.late.len()
        )
    }
}

/// Serves all targets, and answers `begin` and `report` on standard input.
async fn app() {
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    let seen = Rc::new(RefCell::new(Seen::default()));
    let watched = Rc::clone(&seen);
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            spawn_local(serve(stream, Rc::clone(&watched)));
        }
    });
    let (sender, mut lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            sender.blocking_send(line).unwrap();
        }
    });
    while let Some(line) = lines.recv().await {
        if line == "begin" {
            seen.borrow_mut().late.clear();
            println!("begun");
        } else {
            print!("{}", seen.borrow_mut().report());
        }
        std::io::stdout().flush().unwrap();
    }
}

async fn serve(mut stream: TcpStream, seen: Rc<RefCell<Seen>>) {
    let SocketAddr::V4(local) = stream.local_addr().unwrap() else { return };
    let n = u32::from(*local.ip()) - u32::from(Ipv4Addr::new(127, 1, 0, 0));
    let mut request = [0; 512];
    // A probe sends one request and waits: what comes at once is one.
    while let Ok(1..) = stream.read(&mut request).await {
        seen.borrow_mut().probe(n as usize);
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}
