//! A busy PoP: whether BFD holds while the proxy has every core.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    Peer, STOOD_STILL, Saturate,
    scene::{POP_TO_CLIENT, Scene, prefix, put_first},
};
use crate::{
    error::{Error, Result},
    netns::NetNs,
    observe::fib::{Change, Points},
    process::cpu_time,
    router::Make,
    sandbox::Sandbox,
    witness::{Stall, Witness, longest_within},
};

const INTERVAL_MS: u32 = 10;
/// What lies so long before a failure may be its cause: the detection time, and the packet before it.
const CAUSE: Duration = Duration::from_millis(45);
/// The share of all cores that may be idle in a time that counts as busy.
const IDLE_SHARE: f64 = 0.05;
/// After a failure that it saw itself, a router takes the route away within this time.
const FOLLOWS: Duration = Duration::from_secs(1);

/// What a busy time came to.
#[derive(Debug, Serialize)]
struct Busy {
    router: Peer,
    seconds: u32,
    requests: u64,
    cores: usize,
    /// Cores that everything on this machine used.
    machine_cores: f64,
    /// Cores that were taken away from this machine: what a hypervisor calls stolen.
    stolen_cores: f64,
    idle_cores: f64,
    daemon_cores: f64,
    /// Times a core stood still, real-time threads included, and the longest of them.
    stalls: usize,
    longest_stall_ms: f64,
    /// How often BFD failed just when a core had stood still.
    failures_with_the_machine: usize,
    /// How often it failed when none had.
    failures: usize,
    /// How often the route left the router's kernel without such a failure.
    route_losses: usize,
}

pub(super) async fn run(options: Saturate, sandbox: &Sandbox) -> Result<()> {
    let witness = Witness::start()?;
    let scene = Scene::start(options.router, INTERVAL_MS, &options.common, sandbox.dir()).await?;
    put_first(&["bird", "bfdd", "bgpd", "zebra"])?;
    let from = scene.fib.changes().len();
    let load = Load::start(&scene.client, options.connections);
    let (start, machine, daemon) = (Instant::now(), Ticks::read()?, cpu_time(scene.daemon.pid())?);
    let end = start + Duration::from_secs(options.seconds.into());
    while Instant::now() < end {
        scene.daemon.check()?;
        scene.router.check()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (end, ticks) = (Instant::now(), Ticks::read()?);
    let lasted = (end - start).as_secs_f64();
    let daemon = cpu_time(scene.daemon.pid())?.saturating_sub(daemon);
    let requests = load.stop();

    let stalls: Vec<Stall> = witness.stalls().into_iter().filter(|stall| stall.to > start).collect();
    let failed: Vec<Instant> = scene.failures()?.into_iter().filter(|at| (start..end).contains(at)).collect();
    let by_the_machine =
        |at: &Instant| longest_within(&stalls, at.checked_sub(CAUSE).unwrap_or(*at), *at) >= STOOD_STILL;
    let with_the_machine = failed.iter().filter(|at| by_the_machine(at)).count();
    let lost = |changes: &[Change]| {
        let of_bfd =
            |at: Instant| failed.iter().any(|failed| *failed <= at + FOLLOWS && at <= *failed + FOLLOWS);
        let gone =
            |change: &&Change| change.prefix == prefix() && change.to != Points::ToPop && change.at < end;
        changes.iter().filter(gone).filter(|change| !of_bfd(change.at)).count()
    };
    let busy = Busy {
        router: options.router,
        seconds: options.seconds,
        requests,
        cores: thread::available_parallelism().map_or(1, usize::from),
        machine_cores: ticks.busy.saturating_sub(machine.busy).as_secs_f64() / lasted,
        stolen_cores: ticks.stolen.saturating_sub(machine.stolen).as_secs_f64() / lasted,
        idle_cores: ticks.idle.saturating_sub(machine.idle).as_secs_f64() / lasted,
        daemon_cores: daemon.as_secs_f64() / lasted,
        stalls: stalls.len(),
        longest_stall_ms: longest_within(&stalls, start, end).as_secs_f64() * 1e3,
        failures_with_the_machine: with_the_machine,
        failures: failed.len() - with_the_machine,
        route_losses: scene.fib.changes().read(from, lost),
    };
    busy.print();
    options.common.write(&busy)?;
    busy.judge(&scene)
}

impl Busy {
    #[expect(clippy::print_stdout, reason = "for a person at a terminal")]
    fn print(&self) {
        println!(
            "{} s: of {} cores {:.2} busy ({:.2} of it the daemon), {:.2} stolen, {:.2} idle; {:.0} requests/s",
            self.seconds,
            self.cores,
            self.machine_cores,
            self.daemon_cores,
            self.stolen_cores,
            self.idle_cores,
            self.requests as f64 / f64::from(self.seconds)
        );
        println!(
            "BFD failed {} times; {} more when a core had just stood still, real-time threads and all (it did {} times, {:.0} ms \
             at worst); the route left {}'s kernel {} times for no such reason",
            self.failures,
            self.failures_with_the_machine,
            self.stalls,
            self.longest_stall_ms,
            Make::from(self.router),
            self.route_losses
        );
    }

    fn judge(&self, scene: &Scene) -> Result<()> {
        let late = |missing| Err(Error::Late { within: Duration::from_secs(self.seconds.into()), missing });
        if self.requests == 0 || self.idle_cores > IDLE_SHARE * self.cores as f64 {
            return late(format!(
                "load on every core: {} requests were answered, {:.2} of {} cores were idle",
                self.requests, self.idle_cores, self.cores
            ));
        }
        if self.failures > 0 || self.route_losses > 0 {
            return late(format!(
                "BFD to hold: {} failures, {} losses of the route; the router says:\n{}",
                self.failures,
                self.route_losses,
                scene.router.log()
            ));
        }
        Ok(())
    }
}

/// What the cores have done since the machine started, all together: proc_stat(5).
struct Ticks {
    busy: Duration,
    idle: Duration,
    stolen: Duration,
}

impl Ticks {
    fn read() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").map_err(Error::io("reading /proc/stat"))?;
        let line = text.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
        // In hundredths of a second.
        let sum = |fields: &[usize]| {
            Duration::from_millis(fields.iter().filter_map(|field| ticks.get(*field)).sum::<u64>() * 10)
        };
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        Ok(Self { busy: sum(&[0, 1, 2, 5, 6]), idle: sum(&[3, 4]), stolen: sum(&[7]) })
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
