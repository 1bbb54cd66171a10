//! The closing table, and everything as JSON.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{
    FAILING, Options,
    claims::{self, Claim, after, median_and_worst, millis},
    cycles::{AppKill, DaemonKill, Run},
    screen::Style,
    stage::{Border, Ended, Wire},
    traffic::{Requests, Traffic},
};
use crate::{
    error::{Error, Result},
    figures,
};

/// What the demo is run with and on.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Setup {
    #[serde(skip)]
    pub(super) proximad: PathBuf,
    version: &'static str,
    seed: u64,
    kills: u32,
    load: f64,
    slack: u32,
    machine: Machine,
}

#[derive(Debug, Clone, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
    bird: String,
}

/// All figures of a demo.
#[derive(Debug, Serialize)]
pub struct Report {
    #[serde(flatten)]
    setup: Setup,
    failing_region: &'static str,
    took_s: f64,
    holds: bool,
    claims: Vec<Claim>,
    steady: SteadyFigures,
    app_kills: Vec<AppKillFigures>,
    daemon_kills: Vec<DaemonKillFigures>,
    traffic: Traffic,
    fence: FenceFigures,
    wires: Vec<Wire>,
}

#[derive(Debug, Serialize)]
struct SteadyFigures {
    seconds: f64,
    updates_by_pop: Vec<(String, usize)>,
    keepalives_by_pop: Vec<(String, usize)>,
}

/// Times in milliseconds since the kill, or since the restore for what follows it.
#[derive(Debug, Serialize)]
struct AppKillFigures {
    detected: Option<f64>,
    decided: Option<f64>,
    withdrawn_ipv4: Option<f64>,
    withdrawn_ipv6: Option<f64>,
    fib_left_ipv4: Option<f64>,
    fib_left_ipv6: Option<f64>,
    served_elsewhere: Option<f64>,
    restored_announced_ipv4: Option<f64>,
    restored_announced_ipv6: Option<f64>,
    restored_fib_ipv4: Option<f64>,
    restored_fib_ipv6: Option<f64>,
    restored_clients_back: Option<f64>,
}

/// Times in milliseconds since the kill, or since the restart for what follows it.
#[derive(Debug, Serialize)]
struct DaemonKillFigures {
    fib_left_ipv4: Option<f64>,
    fib_left_ipv6: Option<f64>,
    served_elsewhere: Option<f64>,
    restarted_first_verdicts: Option<f64>,
    restarted_first_announcement: Option<f64>,
    restarted_fib_ipv4: Option<f64>,
    restarted_fib_ipv6: Option<f64>,
    restarted_clients_back: Option<f64>,
}

#[derive(Debug, Serialize)]
struct FenceFigures {
    borders: Vec<Border>,
    control: Border,
}

impl Setup {
    /// Looks for what the demo needs, all of it before anything is started.
    pub(super) fn gather(options: &Options) -> Result<Self> {
        let proximad = figures::proximad(options.proximad.as_deref())?;
        if !proximad.is_file() {
            return Err(Error::Missing {
                what: proximad.display().to_string(),
                remedy: "build it with `cargo xtask demo`, or name it with --proximad".to_owned(),
            });
        }
        let bird = version_of("bird", "bird2")?;
        Ok(Self {
            proximad,
            version: env!("CARGO_PKG_VERSION"),
            seed: options.seed,
            kills: options.kills,
            load: options.load,
            slack: options.slack,
            machine: Machine {
                cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                memory_mib: memory_mib(),
                kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
                bird,
            },
        })
    }
}

/// The first line a program says of its version.
fn version_of(program: &str, package: &str) -> Result<String> {
    let output = Command::new(program).arg("--version").output().map_err(|_| Error::Missing {
        what: program.to_owned(),
        remedy: format!("apt-get install {package}; it may live in /usr/sbin, which must be in PATH"),
    })?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned())
}

/// The value of a `name : value` line.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_mib() -> u64 {
    let total = field("/proc/meminfo", "MemTotal");
    let kib = total.and_then(|text| text.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()));
    kib.unwrap_or_default() / 1024
}

impl Report {
    /// Puts all figures together and judges them.
    pub(super) fn new(setup: Setup, run: Run, ended: &Ended, took: Duration) -> Self {
        let traffic = ended.outcomes.read(0, |outcomes| Traffic::new(&run, outcomes));
        let claims = claims::judge(&run, &traffic, ended, setup.load, setup.slack);
        Self {
            setup,
            failing_region: FAILING,
            took_s: took.as_secs_f64(),
            holds: claims.iter().all(|claim| claim.holds),
            claims,
            steady: SteadyFigures {
                seconds: run.steady.until.saturating_duration_since(run.steady.from).as_secs_f64(),
                updates_by_pop: run.steady.updates,
                keepalives_by_pop: run.steady.keepalives,
            },
            app_kills: run.app_kills.iter().map(AppKillFigures::new).collect(),
            daemon_kills: run.daemon_kills.iter().map(DaemonKillFigures::new).collect(),
            traffic,
            fence: FenceFigures { borders: ended.borders.clone(), control: ended.control.clone() },
            wires: ended.wires.clone(),
        }
    }

    /// Whether every claim holds.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// The closing table for a person.
    pub(super) fn text(&self, style: Style) -> String {
        let header = format!("{:<53} {:>9} {:>9}  {:<9}", "claim", "median", "worst", "limit");
        let mut text = format!("\n{}\n", style.bold(&header));
        for claim in &self.claims {
            let verdict = if claim.holds { style.good("holds") } else { style.bad("FAILS") };
            let _ = writeln!(
                text,
                "{:<53} {:>9} {:>9}  {:<9} {verdict}  {}",
                claim.what,
                claim.median.as_deref().unwrap_or(""),
                claim.worst,
                claim.limit,
                style.faint(&claim.note)
            );
        }
        text += "\nAlso seen\n";
        for line in self.also_seen() {
            let _ = writeln!(text, "  {line}");
        }
        let failed = self.claims.iter().filter(|claim| !claim.holds).count();
        let verdict = match failed {
            0 => style.good(&format!("all {} claims hold", self.claims.len())),
            _ => style.bad(&format!("{failed} of {} claims do not hold", self.claims.len())),
        };
        let machine = &self.setup.machine;
        let _ = writeln!(
            text,
            "\n{verdict}; {:.0} s, {} x {}, Linux {}, seed {}",
            self.took_s, machine.cores, machine.cpu, machine.kernel, self.setup.seed
        );
        if self.setup.load < 1.0 {
            let reduced = claims::reduced_load(self.setup.load);
            let _ = writeln!(text, "{}", style.bad(&reduced));
        }
        if self.setup.slack > 1 {
            let slack = format!("the limits of time were multiplied by {}", self.setup.slack);
            let _ = writeln!(text, "{}", style.bad(&slack));
        }
        text
    }

    fn also_seen(&self) -> Vec<String> {
        let column = |name: &str, value: fn(&AppKillFigures) -> Option<f64>| {
            let times =
                self.app_kills.iter().map(|kill| value(kill).map(|ms| Duration::from_secs_f64(ms / 1e3)));
            let (median, worst) = median_and_worst(times);
            format!("apps killed -> {name}: median {}, worst {}", millis(median), millis(worst))
        };
        let streams = &self.traffic.streams;
        let [v4, v6] = &self.traffic.idempotent;
        let mut lines = vec![
            column("detected by the daemon", |kill| kill.detected),
            column("first answer from another region", |kill| kill.served_elsewhere),
            column("announced again, since the restore", |kill| kill.restored_announced_ipv4),
            column("9 of 10 clients back, since the restore", |kill| kill.restored_clients_back),
            format!(
                "requests sent again because a connection died before any answer: {} (IPv4), {} (IPv6)",
                v4.reconnects, v6.reconnects
            ),
            format!(
                "idempotent requests under way when their route moved: {}, all of them counted above",
                v4.moved + v6.moved
            ),
            format!("re-routed in flight: {} streams, {} of them cut", streams.moved, streams.cut_moved),
            format!(
                "streams: {} complete, {} cut with their own app, {} with their own daemon, {} refused before they began{}",
                streams.complete,
                streams.cut_own_app,
                streams.cut_own_daemon,
                streams.not_begun,
                reasons(&streams.not_begun_because)
            ),
        ];
        lines.extend(around_daemon_kills(&self.traffic.idempotent_around_daemon_kills));
        for (region, steady) in &self.traffic.latency_steady {
            let during = self.traffic.latency_during_app_kills.get(region);
            let during = during.map_or_else(String::new, |during| {
                format!(
                    "; around the kills of apps p50 {:.1} ms, p99 {:.1} ms, slowest {:.0} ms",
                    during.p50_ms, during.p99_ms, during.max_ms
                )
            });
            lines.push(format!(
                "latency for clients in {region}: p50 {:.1} ms, p99 {:.1} ms{during}",
                steady.p50_ms, steady.p99_ms
            ));
        }
        lines
    }
}

/// A killed proxy takes what it carries with it; said apart because it is no claim.
fn around_daemon_kills(requests: &[Requests; 2]) -> Option<String> {
    let sent: u64 = requests.iter().map(|family| family.sent).sum();
    let failed: u64 = requests.iter().map(|family| family.failed).sum();
    let reconnects: u64 = requests.iter().map(|family| family.reconnects).sum();
    let mut failures = requests[0].failures.clone();
    for (what, count) in &requests[1].failures {
        *failures.entry(what.clone()).or_default() += count;
    }
    (sent > 0).then(|| {
        format!(
            "idempotent requests around the kills of the daemon: {failed} of {sent} failed{}, {reconnects} sent again",
            reasons(&failures)
        )
    })
}

fn reasons(counts: &std::collections::BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let list: Vec<_> = counts.iter().map(|(what, count)| format!("{count} x {what}")).collect();
    format!(" ({})", list.join(", "))
}

fn ms(from: Instant, to: Option<Instant>) -> Option<f64> {
    after(from, to).map(|time| (time.as_secs_f64() * 1e6).round() / 1e3)
}

impl AppKillFigures {
    fn new(kill: &AppKill) -> Self {
        let (killed, restored) = (kill.killed, kill.restored);
        Self {
            detected: ms(killed, kill.detected),
            decided: ms(killed, kill.decided),
            withdrawn_ipv4: ms(killed, kill.withdrawn[0]),
            withdrawn_ipv6: ms(killed, kill.withdrawn[1]),
            fib_left_ipv4: ms(killed, kill.fib_left[0]),
            fib_left_ipv6: ms(killed, kill.fib_left[1]),
            served_elsewhere: ms(killed, kill.served_elsewhere),
            restored_announced_ipv4: ms(restored, kill.announced[0]),
            restored_announced_ipv6: ms(restored, kill.announced[1]),
            restored_fib_ipv4: ms(restored, kill.fib_back[0]),
            restored_fib_ipv6: ms(restored, kill.fib_back[1]),
            restored_clients_back: ms(restored, kill.clients_back),
        }
    }
}

impl DaemonKillFigures {
    fn new(kill: &DaemonKill) -> Self {
        let (killed, restarted) = (kill.killed, kill.restarted);
        Self {
            fib_left_ipv4: ms(killed, kill.fib_left[0]),
            fib_left_ipv6: ms(killed, kill.fib_left[1]),
            served_elsewhere: ms(killed, kill.served_elsewhere),
            restarted_first_verdicts: ms(restarted, kill.first_verdicts),
            restarted_first_announcement: ms(restarted, kill.first_announcement),
            restarted_fib_ipv4: ms(restarted, kill.fib_back[0]),
            restarted_fib_ipv6: ms(restarted, kill.fib_back[1]),
            restarted_clients_back: ms(restarted, kill.clients_back),
        }
    }
}
