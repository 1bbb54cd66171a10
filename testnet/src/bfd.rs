//! BFD between the daemon and a router: how fast a frozen PoP leaves the FIB, and that a busy one stays.
//!
//! ```text
//!  freeze     router ──── pop        SIGSTOP of all that runs on the PoP; until the route is gone from the router's kernel
//!  saturate   router ──── pop ──── clients and app       both cores busy with the proxy; neither end may see a failure
//! ```

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use clap::{Subcommand, ValueEnum};
use nix::sys::signal::Signal;
use proxima_types::Prefix;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    figures::{median, proximad, write_json},
    link::{End, veth},
    netns::NetNs,
    observe::fib::{FibWatch, Points},
    process::{Process, cpu_time},
    router::{self, Make, Peering, Router, Site},
    sandbox::Sandbox,
    wait::wait_until,
    world::pop::ask,
};

const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 97, 0, 1), Ipv6Addr::new(0xfd00, 0x97, 0, 0, 0, 0, 0, 1));
const POP: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 97, 0, 2), Ipv6Addr::new(0xfd00, 0x97, 0, 0, 0, 0, 0, 2));
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 1);
const POP_TO_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 2);
const ROUTER_AS: u32 = 65000;
const POP_AS: u32 = 64512;
const PREFIX: &str = "203.0.113.0/24";
const START_LIMIT: Duration = Duration::from_mins(1);
/// A route that is still there after this time was not taken away by BFD.
const GIVE_UP: Duration = Duration::from_secs(20);
/// What we claim of a frozen PoP, the worst of the runs.
const FREEZE_LIMIT: Duration = Duration::from_millis(300);

/// The share of all cores that has to be in use for a time to count as busy.
const BUSY_SHARE: f64 = 0.95;

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Measurement {
    /// Freeze the PoP again and again: time until its route is gone from the router's kernel, with BFD at 50 ms × 3.
    Freeze(Freeze),
    /// Keep both cores busy with the proxy: BFD at 10 ms × 3 must not fail.
    Saturate(Saturate),
}

/// Options of [`Measurement::Freeze`].
#[derive(Debug, Clone, clap::Args)]
pub struct Freeze {
    /// Freezes per router.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// The routers.
    #[arg(long, value_delimiter = ',', default_value = "bird,frr")]
    routers: Vec<Peer>,
    #[command(flatten)]
    common: Common,
}

/// Options of [`Measurement::Saturate`].
#[derive(Debug, Clone, clap::Args)]
pub struct Saturate {
    /// How long.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The router.
    #[arg(long, default_value = "bird")]
    router: Peer,
    /// Keep-alive connections that ask as fast as they are answered.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, clap::Args)]
struct Common {
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A router with BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// BIRD 2.
    Bird,
    /// FRR.
    Frr,
}

impl From<Peer> for Make {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Bird => Self::Bird,
            Peer::Frr => Self::Frr,
        }
    }
}

/// Measures; an error when the claim does not hold.
pub async fn run(measurement: Measurement, sandbox: &Sandbox) -> Result<()> {
    match measurement {
        Measurement::Freeze(options) => freeze(options, sandbox).await,
        Measurement::Saturate(options) => saturate(options, sandbox).await,
    }
}

/// The freezes of one router, in milliseconds from the signal until the route was gone.
#[derive(Debug, Serialize)]
struct Freezes {
    router: Peer,
    gone_ms: Vec<f64>,
    median_ms: f64,
    worst_ms: f64,
    limit_ms: f64,
    holds: bool,
}

#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
async fn freeze(options: Freeze, sandbox: &Sandbox) -> Result<()> {
    let mut outcomes = Vec::new();
    for (number, router) in options.routers.into_iter().enumerate() {
        let scene =
            Scene::start(router, 50, &options.common, &sandbox.dir().join(format!("f{number}"))).await?;
        put_first(&["bird", "bfdd", "bgpd", "zebra"])?;
        let mut gone_ms = Vec::new();
        for _ in 0..options.runs {
            gone_ms.push(scene.freeze_once().await?.as_secs_f64() * 1e3);
        }
        let median_ms = median(gone_ms.iter().copied()).unwrap_or_default();
        let worst_ms = gone_ms.iter().copied().fold(0.0, f64::max);
        let limit_ms = FREEZE_LIMIT.as_secs_f64() * 1e3;
        let holds = worst_ms <= limit_ms;
        println!(
            "{:<6} {} freezes: gone from the FIB after {median_ms:.0} ms (median), {worst_ms:.0} ms (worst); limit {limit_ms:.0}: {}",
            Make::from(router),
            gone_ms.len(),
            if holds { "holds" } else { "DOES NOT HOLD" }
        );
        outcomes.push(Freezes { router, gone_ms, median_ms, worst_ms, limit_ms, holds });
    }
    options.common.write(&outcomes)?;
    match outcomes.iter().find(|outcome| !outcome.holds) {
        None => Ok(()),
        Some(late) => Err(Error::Late {
            within: FREEZE_LIMIT,
            missing: format!("{} to forget a frozen PoP: {:.0} ms", Make::from(late.router), late.worst_ms),
        }),
    }
}

/// What a busy time came to.
#[derive(Debug, Serialize)]
struct Busy {
    router: Peer,
    seconds: u32,
    requests: u64,
    /// Cores in use by everything on this machine, of those there are.
    machine_cores: f64,
    cores: usize,
    /// Cores the daemon used.
    daemon_cores: f64,
    /// How often the daemon saw the session fail.
    daemon_downs: u64,
    /// How often the route left the router's kernel.
    route_losses: usize,
}

#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
async fn saturate(options: Saturate, sandbox: &Sandbox) -> Result<()> {
    let scene = Scene::start(options.router, 10, &options.common, sandbox.dir()).await?;
    put_first(&["bird", "bfdd"])?;
    let flaps_before = scene.flaps()?;
    let from = scene.fib.changes().len();
    let load = Load::start(&scene.client, options.connections);
    let (start, machine, daemon) = (Instant::now(), machine_busy()?, cpu_time(scene.daemon.pid())?);
    let end = start + Duration::from_secs(options.seconds.into());
    while Instant::now() < end {
        scene.daemon.check()?;
        scene.router.check()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let lasted = start.elapsed().as_secs_f64();
    let machine_cores = (machine_busy()?.saturating_sub(machine)).as_secs_f64() / lasted;
    let daemon_cores = cpu_time(scene.daemon.pid())?.saturating_sub(daemon).as_secs_f64() / lasted;
    let requests = load.stop();
    let prefix = prefix();
    let lost = |changes: &[crate::observe::fib::Change]| {
        changes.iter().filter(|change| change.prefix == prefix && change.to != Points::ToPop).count()
    };
    let busy = Busy {
        router: options.router,
        seconds: options.seconds,
        requests,
        machine_cores,
        cores: thread::available_parallelism().map_or(1, usize::from),
        daemon_cores,
        daemon_downs: scene.flaps()? - flaps_before,
        route_losses: scene.fib.changes().read(from, lost),
    };
    println!(
        "{} s with {:.2} of {} cores busy ({:.2} of it the daemon), {:.0} requests/s: the daemon saw BFD fail {} times, the route \
         left {}'s kernel {} times",
        busy.seconds,
        busy.machine_cores,
        busy.cores,
        busy.daemon_cores,
        requests as f64 / lasted,
        busy.daemon_downs,
        Make::from(busy.router),
        busy.route_losses
    );
    options.common.write(&busy)?;
    if requests == 0 || busy.machine_cores < BUSY_SHARE * busy.cores as f64 {
        let missing = format!(
            "load on every core: {requests} requests were answered, {:.2} of {} cores were busy",
            busy.machine_cores, busy.cores
        );
        return Err(Error::Late { within: Duration::from_secs(options.seconds.into()), missing });
    }
    if busy.daemon_downs > 0 || busy.route_losses > 0 {
        return Err(Error::Late {
            within: Duration::from_secs(options.seconds.into()),
            missing: format!(
                "BFD to hold: {} failures, {} losses of the route; the router says:\n{}",
                busy.daemon_downs,
                busy.route_losses,
                scene.router.log()
            ),
        });
    }
    Ok(())
}

impl Common {
    fn write(&self, figures: &impl Serialize) -> Result<()> {
        self.json.as_deref().map_or(Ok(()), |path| write_json(figures, path))
    }
}

/// A PoP and its router, with BFD between them, and the route in the router's kernel.
struct Scene {
    fib: FibWatch,
    router: Box<dyn Router>,
    daemon: Process,
    app: Process,
    socket: PathBuf,
    client: NetNs,
}

impl Scene {
    async fn start(peer: Peer, interval_ms: u32, common: &Common, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let [host, pop, client] = [NetNs::create("router")?, NetNs::create("pop")?, NetNs::create("client")?];
        veth(
            &End {
                ns: &host,
                interface: "pop",
                addresses: vec![(ROUTER.0.into(), 24), (ROUTER.1.into(), 64)],
            },
            &End { ns: &pop, interface: "router", addresses: vec![(POP.0.into(), 24), (POP.1.into(), 64)] },
        )?;
        veth(
            &End { ns: &pop, interface: "client", addresses: vec![(POP_TO_CLIENT.into(), 24)] },
            &End { ns: &client, interface: "pop", addresses: vec![(CLIENT.into(), 24)] },
        )?;
        let fib = FibWatch::start(&host, "pop").await?;
        let mut router = Make::from(peer).at(Site { ns: host, dir: dir.join("router") })?;
        let bfd = Some(router::Bfd { interval_ms, multiplier: 3 });
        router.start(&Peering {
            hold_time: 90,
            bfd,
            ..Peering::new(ROUTER_AS, POP_AS, ROUTER, POP.0.into())
        })?;

        let this = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut app = Command::new(this);
        app.args(["app", "--region", "here", "--name", "app"]);
        let app = Process::start(&client, "app", app, &dir.join("app.log"))?;

        let (config, socket) = (dir.join("proximad.toml"), dir.join("admin.sock"));
        fs::write(&config, proximad_toml(&socket, interval_ms))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        let mut command = Command::new(proximad(common.proximad.as_deref())?);
        command.arg("--config").arg(&config);
        let daemon = Process::start(&pop, "proximad", command, &dir.join("proximad.log"))?;
        let scene = Self { fib, router, daemon, app, socket, client };
        scene.wait_until_up().await?;
        Ok(scene)
    }

    async fn wait_until_up(&self) -> Result<()> {
        wait_until(START_LIMIT, || {
            self.daemon.check()?;
            self.router.check()?;
            self.app.check()?;
            if self.fib.points(prefix()) != Points::ToPop {
                return Ok(format!(
                    "the route in the router's kernel; the router says:\n{}",
                    self.router.log()
                ));
            }
            if !self.bfd_is_up() {
                return Ok(format!("BFD up; the daemon says:\n{}", self.daemon.log_tail()));
            }
            Ok(String::new())
        })
        .await
    }

    /// Freezes the PoP, waits until its route is gone, and lets it go on.
    async fn freeze_once(&self) -> Result<Duration> {
        self.app.signal(Signal::SIGSTOP)?;
        let frozen = self.daemon.signal(Signal::SIGSTOP)?;
        let gone = self.fib.left_pop(prefix(), frozen, frozen + GIVE_UP).await;
        self.daemon.signal(Signal::SIGCONT)?;
        self.app.signal(Signal::SIGCONT)?;
        let Some(gone) = gone else {
            let missing = format!("the route to go; the router says:\n{}", self.router.log());
            return Err(Error::Late { within: GIVE_UP, missing });
        };
        self.wait_until_up().await?;
        Ok(gone - frozen)
    }

    fn bfd(&self) -> Option<serde_json::Value> {
        let answer = ask(&self.socket, "/v1/bfd").ok()?;
        let all: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        all.pointer("/sessions/0").cloned()
    }

    fn bfd_is_up(&self) -> bool {
        self.bfd().is_some_and(|session| session["state"] == "up")
    }

    fn flaps(&self) -> Result<u64> {
        let flaps = self.bfd().and_then(|session| session["flaps"].as_u64());
        flaps.ok_or_else(|| Error::Spec("the daemon tells nothing of its BFD session".to_owned()))
    }
}

/// Clients that ask as fast as they are answered.
struct Load {
    over: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(client: &NetNs, connections: u32) -> Self {
        let (over, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..connections)
            .map(|_| {
                let (ns, over, requests) = (client.clone(), over.clone(), requests.clone());
                thread::spawn(move || {
                    // A connection that ends is made again; what counts is how many requests were answered.
                    let _ = ns.run(|| {
                        while !over.load(Ordering::Relaxed) {
                            let _ = ask_again_and_again(&over, &requests);
                        }
                    });
                })
            })
            .collect();
        Self { over, requests, clients }
    }

    fn stop(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().ok(); // it has nothing to tell
        }
        self.requests.load(Ordering::Relaxed)
    }
}

fn ask_again_and_again(over: &AtomicBool, requests: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(SocketAddr::from((POP_TO_CLIENT, 8080)))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        stream.write_all(b"GET /work HTTP/1.1\r\nhost: app\r\n\r\n")?;
        if stream.read(&mut answer)? == 0 {
            return Ok(());
        }
        requests.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Gives programs of the sandbox real-time priority: a router has a host of its own, where our load does not delay it.
fn put_first(names: &[&str]) -> Result<()> {
    let processes = fs::read_dir("/proc").map_err(Error::io("reading /proc"))?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let named = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.contains(&name.trim())
    };
    for pid in pids.filter(named) {
        let doing = format!("giving process {pid} real-time priority");
        let status = Command::new("chrt").args(["--fifo", "--all-tasks", "--pid", "50", &pid]).status();
        if !status.map_err(Error::io(doing.clone()))?.success() {
            return Err(Error::Sandbox { reason: doing, remedy: "run as root".to_owned() });
        }
    }
    Ok(())
}

/// The time all cores together have worked since the machine started: proc_stat(5), in hundredths of a second.
fn machine_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").map_err(Error::io("reading /proc/stat"))?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, idle, iowait, irq, softirq; guests are in user already.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|field| ticks.get(*field)).sum();
    Ok(Duration::from_millis(busy * 10))
}

fn prefix() -> Prefix {
    PREFIX.parse().expect("a constant")
}

fn proximad_toml(socket: &Path, interval_ms: u32) -> String {
    format!(
        r#"[pop]
name = "pop"
region = "here"
router-id = "{pop}"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = {POP_AS}
hold-time = "90s"
connect-retry = "10ms"
listen = ["{pop}:179"]
[[bgp.peers]]
name = "router"
address = "{router}"
remote-as = {ROUTER_AS}
families = ["ipv4", "ipv6"]
next-hop-ipv6 = "{pop6}"
bfd = {{ interval = "{interval_ms}ms", multiplier = 3 }}
[announce.web]
prefixes = ["{PREFIX}"]
services = ["web"]
when-down = "stay"
vip = "none"
[services.web]
listen = ["{POP_TO_CLIENT}:8080"]
protocol = "http"
[[services.web.routes]]
pool = "app"
[pools.app]
probe = {{ tcp = true }}
[[pools.app.backends]]
name = "app"
region = "here"
address = "{CLIENT}:8080"
[admin]
socket = "{socket}"
"#,
        pop = POP.0,
        pop6 = POP.1,
        router = ROUTER.0,
        socket = socket.display()
    )
}
