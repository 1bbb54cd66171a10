//! An app that flaps, and how many UPDATEs that makes: this daemon next to ExaBGP's healthcheck and BIRD with a script, in the same minute.
//!
//! ```text
//!  router (BIRD) ── proxima ────────┐
//!  router (BIRD) ── ExaBGP ─────────┤ app, killed and started again and again
//!  router (BIRD) ── ExaBGP, quick ──┤
//!  router (BIRD) ── BIRD, script ───┘
//! ```
//!
//! UPDATEs are counted on the wire, routes in the routers' kernels. ExaBGP's healthcheck looks every five seconds by itself and
//! so misses most of what happens; told to look ten times a second and to believe what it sees, it is about as quick as this
//! daemon is.

mod subject;

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proxima_types::Prefix;
use serde::Serialize;

use self::subject::Subject;
use crate::{
    error::{Error, Result},
    figures::{proximad, write_json},
    link::{End, veth},
    netns::NetNs,
    observe::{
        FibWatch, WireWatch,
        bgp::Message,
        fib::{Change, Points},
        wire::Seen,
    },
    process::Process,
    router::{Make, Peering, Router, Site},
    sandbox::Sandbox,
    wait::wait_until,
};

const PREFIX: &str = "203.0.113.0/24";
const ROUTER_AS: u32 = 65000;
const POP_AS: u32 = 64512;
const APP_PORT: u16 = 8080;
/// The least time withdrawn that this daemon is configured with: its default. At most one UPDATE in each is claimed.
const HOLD_DOWN: Duration = Duration::from_secs(10);
/// Until every subject has announced the prefix for the first time.
const START_LIMIT: Duration = Duration::from_mins(2);
/// For half a flap: down, and up again.
const HALF: Duration = Duration::from_millis(500);
/// What the last flap brings about is there by then.
const AFTERMATH: Duration = Duration::from_secs(2);

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often the app is killed and started again, once a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    flaps: u32,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the flaps made one subject do.
#[derive(Debug, Serialize)]
struct Figure {
    subject: Subject,
    updates: usize,
    /// Of those, such that withdraw.
    withdrawals: usize,
    /// Changes of the route in the router's kernel.
    route_changes: usize,
    /// The share of the time in which the router sent to the PoP.
    announced: f64,
}

/// A subject on its host, with a router of its own.
struct Running {
    subject: Subject,
    wire: WireWatch,
    fib: FibWatch,
    router: Box<dyn Router>,
    program: Process,
}

/// Measures, prints, and judges.
///
/// # Errors
/// When a program is missing, ends, or does not announce the prefix to begin with.
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<ExitCode> {
    let daemon = proximad(options.proximad.as_deref())?;
    let app_host = NetNs::create("app")?;
    let mut running = Vec::new();
    for (place, subject) in (1..).zip(Subject::ALL) {
        running.push(Running::start(subject, place, &app_host, &daemon, sandbox.dir()).await?);
    }
    let mut app = start_app(&app_host, sandbox.dir())?;
    for subject in &running {
        subject.wait_announced().await?;
    }
    let begun = Instant::now();
    let mut halves = tokio::time::interval(HALF);
    for _ in 0..options.flaps {
        halves.tick().await;
        app.signal(Signal::SIGKILL)?;
        halves.tick().await;
        app = start_app(&app_host, sandbox.dir())?;
    }
    halves.tick().await;
    let ended = Instant::now();
    tokio::time::sleep(AFTERMATH).await;
    let until = Instant::now();
    running.iter().try_for_each(Running::check)?;
    let figures: Vec<Figure> = running.iter().map(|subject| subject.figure(begun, until)).collect();
    print(&figures, options.flaps, ended - begun);
    if let Some(path) = &options.json {
        write_json(&figures, path)?;
    }
    let most = (until - begun).as_secs().div_ceil(HOLD_DOWN.as_secs());
    let ours = figures.iter().filter(|figure| figure.subject == Subject::Proxima);
    let holds = ours.map(|figure| figure.updates as u64).all(|updates| updates <= most);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
fn print(figures: &[Figure], flaps: u32, lasted: Duration) {
    println!("{flaps} flaps of the app in {:.0} s", lasted.as_secs_f64());
    println!("{:<58} UPDATEs  withdrawals  route changes  announced", "");
    for figure in figures {
        println!(
            "{:<58} {:>7}  {:>11}  {:>13}  {:>7.0} %",
            figure.subject.about(),
            figure.updates,
            figure.withdrawals,
            figure.route_changes,
            figure.announced * 100.0
        );
    }
}

fn start_app(host: &NetNs, dir: &Path) -> Result<Process> {
    let this = std::env::current_exe().map_err(Error::io("finding this program"))?;
    let mut command = Command::new(this);
    command
        .args(["app", "--region", "here", "--name", "app"])
        .args(["--listen", &format!("[::]:{APP_PORT}")]);
    Process::start(host, "app", command, &dir.join("app.log"))
}

fn prefix() -> Prefix {
    PREFIX.parse().expect("a constant")
}

impl Running {
    /// A router, a PoP host and the links between them and the app.
    async fn start(subject: Subject, place: u8, app: &NetNs, daemon: &Path, dir: &Path) -> Result<Self> {
        let v4 = |link: u8, end: u8| Ipv4Addr::new(10, 95, link + place, end);
        let v6 = |end: u16| Ipv6Addr::new(0xfd00, 0x95, place.into(), 0, 0, 0, 0, end);
        let [host, pop] = [NetNs::create(&format!("router{place}"))?, NetNs::create(&format!("pop{place}"))?];
        let (router_end, pop_end) = ((v4(0, 1), v6(1)), (v4(0, 2), v6(2)));
        let both = |end: (Ipv4Addr, Ipv6Addr)| vec![(end.0.into(), 24), (end.1.into(), 64)];
        veth(
            &End { ns: &host, interface: "pop", addresses: both(router_end) },
            &End { ns: &pop, interface: "router", addresses: both(pop_end) },
        )?;
        let (near, far) = (v4(100, 1), v4(100, 2));
        veth(
            &End { ns: &pop, interface: "app", addresses: vec![(near.into(), 24)] },
            &End { ns: app, interface: &format!("pop{place}"), addresses: vec![(far.into(), 24)] },
        )?;
        let wire = WireWatch::start(&host, "pop", vec![pop_end.0.into(), pop_end.1.into()])?;
        let fib = FibWatch::start(&host, "pop").await?;
        let dir = dir.join(format!("f{place}"));
        let mut router = Make::Bird.at(Site { ns: host, dir: dir.join("router") })?;
        router.start(&Peering {
            hold_time: 90,
            ..Peering::new(ROUTER_AS, POP_AS, router_end, pop_end.0.into())
        })?;
        let ends = subject::Ends { router: router_end.0, pop: pop_end.0, to_app: near, app: far };
        let program = subject.start(&pop, &ends, daemon, &dir)?;
        Ok(Self { subject, wire, fib, router, program })
    }

    async fn wait_announced(&self) -> Result<()> {
        wait_until(START_LIMIT, || {
            self.check()?;
            Ok(if self.fib.points(prefix()) == Points::ToPop {
                String::new()
            } else {
                format!("{} to announce {PREFIX}\n{}", self.subject.about(), self.program.log_tail())
            })
        })
        .await
    }

    fn check(&self) -> Result<()> {
        self.program.check()?;
        self.router.check()
    }

    fn figure(&self, begun: Instant, until: Instant) -> Figure {
        let updates = self.wire.updates(begun, until);
        let withdraws =
            |seen: &&Seen| matches!(&seen.message, Message::Update(update) if !update.withdrawn.is_empty());
        let (route_changes, announced) =
            self.fib.changes().read(0, |changes| presence(changes, begun, until));
        Figure {
            subject: self.subject,
            withdrawals: updates.iter().filter(withdraws).count(),
            updates: updates.len(),
            route_changes,
            announced,
        }
    }
}

/// How often the route came or went from `begun` until `until`, and the share of that time in which it was there. It is
/// there to begin with.
fn presence(changes: &[Change], begun: Instant, until: Instant) -> (usize, f64) {
    let (mut there, mut last, mut times, mut present) = (true, begun, 0, Duration::ZERO);
    let within = |change: &&Change| change.prefix == prefix() && (begun..until).contains(&change.at);
    for change in changes.iter().filter(within) {
        if there {
            present += change.at - last;
        }
        let now_there = change.to == Points::ToPop;
        times += usize::from(now_there != there);
        (there, last) = (now_there, change.at);
    }
    if there {
        present += until - last;
    }
    (times, present.as_secs_f64() / (until - begun).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_was_away_for_a_quarter_was_there_for_the_rest() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let change = |seconds, to| Change { at: at(seconds), prefix: prefix(), to };
        let changes = [
            change(10, Points::Nowhere),
            change(20, Points::ToPop),
            change(21, Points::ToPop),
            change(35, Points::Nowhere),
            change(50, Points::ToPop),
        ];
        let (times, share) = presence(&changes, begun, at(40));
        assert_eq!(times, 3);
        assert!((share - 25.0 / 40.0).abs() < 1e-9, "{share}");
        assert_eq!(presence(&[], begun, at(40)), (0, 1.0));
    }
}
