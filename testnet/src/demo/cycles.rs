//! What is done to the world, and what is measured of it.
//!
//! ```text
//! warm-up ─▶ steady ─▶ ┌ kill apps ─▶ outage ─▶ restore ─▶ settle ┐ ─▶ ┌ kill daemon ─▶ outage ─▶ restart ─▶ settle ┐
//!                      └──────────────── × N ────────────────────┘    └──────────────────── × N ──────────────────┘
//! ```

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proxima_types::ReachState;
use tokio::time::{sleep, sleep_until};

use super::{FAILING, screen::Screen, stage::Stage};
use crate::{
    error::{Error, Result},
    load::{Kind, Outcome, outcome},
    observe::bgp::Message,
    world::App,
};

const WARM_UP: Duration = Duration::from_secs(2);
/// How long a region stays without apps.
const APP_OUTAGE: Duration = Duration::from_secs(4);
/// How long a PoP stays without daemon.
const DAEMON_OUTAGE: Duration = Duration::from_secs(2);
/// After the routes are back: longer than a token stream, so that none spans two kills.
const SETTLE: Duration = Duration::from_millis(2500);
/// How long to wait for connections that stay with another PoP to be given up by their clients.
const CLIENTS_BACK_LIMIT: Duration = Duration::from_secs(8);
/// A region has its clients back when it serves this many of the last so many answers.
const BACK: (usize, usize) = (90, 100);
/// What has not happened by then counts as not happened.
const REACTION_LIMIT: Duration = Duration::from_secs(3);
const RETURN_LIMIT: Duration = Duration::from_secs(20);

/// Everything that was done and measured.
#[derive(Debug)]
pub(super) struct Run {
    /// Time of steady health in which no UPDATE may be sent.
    pub(super) steady: Steady,
    pub(super) app_kills: Vec<AppKill>,
    pub(super) daemon_kills: Vec<DaemonKill>,
}

/// A time and the UPDATEs each PoP sent in it.
#[derive(Debug)]
pub(super) struct Steady {
    pub(super) from: Instant,
    pub(super) until: Instant,
    pub(super) updates: Vec<(String, usize)>,
    /// KEEPALIVEs each PoP sent meanwhile: the capture saw what there was to see.
    pub(super) keepalives: Vec<(String, usize)>,
}

/// All apps of a region killed and restored.
#[derive(Debug, Clone)]
pub(super) struct AppKill {
    pub(super) killed: Instant,
    /// First verdict that an app of the region is down.
    pub(super) detected: Option<Instant>,
    /// The group's transition to withdrawn.
    pub(super) decided: Option<Instant>,
    /// The withdrawal on the wire, IPv4 and IPv6.
    pub(super) withdrawn: [Option<Instant>; 2],
    /// The router's kernel no longer sends to the PoP, IPv4 and IPv6.
    pub(super) fib_left: [Option<Instant>; 2],
    /// The first answer from another region to a client of this one.
    pub(super) served_elsewhere: Option<Instant>,
    /// The apps were started again.
    pub(super) restored: Instant,
    pub(super) announced: [Option<Instant>; 2],
    pub(super) fib_back: [Option<Instant>; 2],
    /// The region serves its clients again, nearly all of them.
    pub(super) clients_back: Option<Instant>,
    /// The end of what belongs to this kill.
    pub(super) settled: Instant,
}

/// A daemon killed and restarted.
#[derive(Debug, Clone)]
pub(super) struct DaemonKill {
    pub(super) killed: Instant,
    pub(super) fib_left: [Option<Instant>; 2],
    pub(super) served_elsewhere: Option<Instant>,
    pub(super) restarted: Instant,
    /// When each gating backend of the region had its first verdict: the last of them.
    pub(super) first_verdicts: Option<Instant>,
    /// The new daemon's OPEN was seen before its first announcement.
    pub(super) opened: bool,
    /// First UPDATE that announces anything.
    pub(super) first_announcement: Option<Instant>,
    pub(super) fib_back: [Option<Instant>; 2],
    pub(super) clients_back: Option<Instant>,
    pub(super) settled: Instant,
}

/// Performs the whole demo.
pub(super) async fn perform(stage: &mut Stage, screen: &Screen, kills: u32, steady: Duration) -> Result<Run> {
    screen.headline("warming up");
    sleep(WARM_UP).await;
    check_load(stage)?;
    let steady = stay_steady(stage, screen, steady).await;
    let (mut app_kills, mut daemon_kills) = (Vec::new(), Vec::new());
    for number in 1..=kills {
        screen.step(&format!("{FAILING} apps, kill {number} of {kills}"));
        app_kills.push(kill_apps(stage, screen).await?);
    }
    for number in 1..=kills {
        screen.step(&format!("{FAILING} daemon, kill {number} of {kills}"));
        daemon_kills.push(kill_daemon(stage, screen).await?);
    }
    screen.step("done");
    Ok(Run { steady, app_kills, daemon_kills })
}

/// The clients must be served before anything is killed, or the demo would show nothing.
fn check_load(stage: &Stage) -> Result<()> {
    let (served, failed) = stage.outcomes().read(0, |all| {
        let work = all.iter().filter(|outcome| outcome.kind == Kind::Work);
        let (served, failed): (Vec<&Outcome>, Vec<&Outcome>) = work.partition(|outcome| outcome.succeeded());
        (served.len(), failed.first().map(|outcome| (failed.len(), outcome.result.clone())))
    });
    match failed {
        _ if served == 0 => Err(Error::Claim("no request was served before anything was killed".to_owned())),
        Some((count, first)) => Err(Error::Claim(format!(
            "{count} requests failed before anything was killed ({served} were served); the first: {first:?}"
        ))),
        None => Ok(()),
    }
}

async fn stay_steady(stage: &Stage, screen: &Screen, length: Duration) -> Steady {
    screen.headline(&format!("steady health for {} s", length.as_secs()));
    let from = Instant::now();
    sleep(length).await;
    let until = Instant::now();
    let sent = |wanted: fn(&Message) -> bool| -> Vec<_> {
        let wires = stage.wires().iter();
        wires.map(|(region, wire)| (region.clone(), wire.sent(from, until, wanted))).collect()
    };
    let updates = sent(|message| matches!(message, Message::Update(_)));
    let keepalives = sent(|message| matches!(message, Message::Keepalive));
    let sum: usize = updates.iter().map(|(_, count)| count).sum();
    screen.say(&format!("{} s of steady health: {sum} UPDATEs from the PoPs", length.as_secs()));
    Steady { from, until, updates, keepalives }
}

async fn kill_apps(stage: &Stage, screen: &Screen) -> Result<AppKill> {
    let region = stage.failing()?;
    let (wire, fib, [v4, v6]) = (stage.wire()?, stage.fib(), stage.prefixes());
    let seen = stage.outcomes().len();
    let killed = region.kill_apps()?;
    screen.mark(killed, &format!("every app of {FAILING} is killed (SIGKILL)"));
    let deadline = killed + REACTION_LIMIT;
    let (detected, decided, withdrawn_v4, withdrawn_v6, left_v4, left_v6, served_elsewhere) = tokio::join!(
        detected(stage, killed, deadline),
        decided(stage, killed, deadline),
        wire.withdrawn(v4, killed, deadline),
        wire.withdrawn(v6, killed, deadline),
        fib.left_pop(v4, killed, deadline),
        fib.left_pop(v6, killed, deadline),
        served_elsewhere(stage, seen, killed, deadline),
    );
    screen.reactions(
        killed,
        &[
            ("detected by the standing connection", detected),
            ("decided: withdraw", decided),
            ("IPv4 withdrawal on the wire", withdrawn_v4),
            ("IPv6 withdrawal on the wire", withdrawn_v6),
            ("IPv4 gone from the router's FIB", left_v4),
            ("IPv6 gone from the router's FIB", left_v6),
            ("first answer from another region", served_elsewhere),
        ],
    );
    sleep_until((killed + APP_OUTAGE).into()).await;
    let restored = Instant::now();
    screen.mark(restored, &format!("the apps of {FAILING} are started again"));
    region.start_apps().await?;
    let deadline = restored + RETURN_LIMIT;
    let (announced_v4, announced_v6, back_v4, back_v6) = tokio::join!(
        wire.announced(v4, restored, deadline),
        wire.announced(v6, restored, deadline),
        fib.reached_pop(v4, restored, deadline),
        fib.reached_pop(v6, restored, deadline),
    );
    screen.reactions(
        restored,
        &[
            ("IPv4 announced again", announced_v4),
            ("IPv6 announced again", announced_v6),
            ("IPv4 back in the router's FIB", back_v4),
            ("IPv6 back in the router's FIB", back_v6),
        ],
    );
    let clients_back = settle(stage, screen, restored).await;
    Ok(AppKill {
        killed,
        detected,
        decided,
        withdrawn: [withdrawn_v4, withdrawn_v6],
        fib_left: [left_v4, left_v6],
        served_elsewhere,
        restored,
        announced: [announced_v4, announced_v6],
        fib_back: [back_v4, back_v6],
        clients_back,
        settled: Instant::now(),
    })
}

async fn kill_daemon(stage: &Stage, screen: &Screen) -> Result<DaemonKill> {
    let region = stage.failing()?;
    let (wire, fib, [v4, v6]) = (stage.wire()?, stage.fib(), stage.prefixes());
    let seen = stage.outcomes().len();
    let killed = region.pop.kill(Signal::SIGKILL)?;
    screen.mark(killed, &format!("the daemon of {FAILING} is killed (SIGKILL)"));
    let deadline = killed + REACTION_LIMIT;
    let (left_v4, left_v6, served_elsewhere) = tokio::join!(
        fib.left_pop(v4, killed, deadline),
        fib.left_pop(v6, killed, deadline),
        served_elsewhere(stage, seen, killed, deadline),
    );
    screen.reactions(
        killed,
        &[
            ("IPv4 gone from the router's FIB", left_v4),
            ("IPv6 gone from the router's FIB", left_v6),
            ("first answer from another region", served_elsewhere),
        ],
    );
    region.pop.wait_ended(REACTION_LIMIT).await;
    sleep_until((killed + DAEMON_OUTAGE).into()).await;
    let restarted = Instant::now();
    screen.mark(restarted, &format!("the daemon of {FAILING} is started again"));
    region.pop.start()?;
    let deadline = restarted + RETURN_LIMIT;
    let (first_verdicts, first_announcement, back_v4, back_v6) = tokio::join!(
        first_verdicts(stage, restarted, deadline),
        wire.first_update(restarted, deadline, |update| !update.announced.is_empty()),
        fib.reached_pop(v4, restarted, deadline),
        fib.reached_pop(v6, restarted, deadline),
    );
    screen.reactions(
        restarted,
        &[
            ("first verdicts on its apps", first_verdicts),
            ("first announcement on the wire", first_announcement),
            ("IPv4 back in the router's FIB", back_v4),
            ("IPv6 back in the router's FIB", back_v6),
        ],
    );
    region.pop.check()?;
    let opened = first_announcement
        .is_some_and(|at| wire.sent(restarted, at, |message| matches!(message, Message::Open)) > 0);
    let clients_back = settle(stage, screen, restarted).await;
    Ok(DaemonKill {
        killed,
        fib_left: [left_v4, left_v6],
        served_elsewhere,
        restarted,
        first_verdicts,
        opened,
        first_announcement,
        fib_back: [back_v4, back_v6],
        clients_back,
        settled: Instant::now(),
    })
}

/// Waits until all is as before the kill; returns when the region served its clients again.
async fn settle(stage: &Stage, screen: &Screen, since: Instant) -> Option<Instant> {
    let from = stage.outcomes().len();
    sleep(SETTLE).await;
    let deadline = Instant::now() + CLIENTS_BACK_LIMIT;
    let back = stage.outcomes().wait(from, deadline, clients_back()).await;
    screen.reactions(since, &[("9 of 10 clients served in their region again", back)]);
    back
}

/// Looks for when the failing region served most of its clients' latest requests. Each look goes on where the one before
/// ended.
fn clients_back() -> impl FnMut(&[Outcome]) -> Option<Instant> {
    let (most, of) = BACK;
    let (mut read, mut latest) = (0, VecDeque::with_capacity(of));
    move |outcomes| {
        let new = &outcomes[read..];
        read = outcomes.len();
        let of_region = |outcome: &&Outcome| outcome.kind == Kind::Work && &*outcome.region == FAILING;
        new.iter().filter(of_region).find_map(|outcome| {
            if latest.len() == of {
                latest.pop_front();
            }
            latest.push_back(outcome.served.as_ref().is_some_and(|by| &*by.region == FAILING));
            let at_home = latest.iter().filter(|at_home| **at_home).count();
            (at_home >= most).then_some(outcome.done)
        })
    }
}

async fn detected(stage: &Stage, since: Instant, deadline: Instant) -> Option<Instant> {
    stage.events().down(FAILING, since, deadline).await.map(|(at, _)| at)
}

async fn decided(stage: &Stage, since: Instant, deadline: Instant) -> Option<Instant> {
    let left = stage.events().transition(stage.group(), ReachState::Withdrawn, since, deadline);
    left.await.map(|(at, _)| at)
}

async fn first_verdicts(stage: &Stage, since: Instant, deadline: Instant) -> Option<Instant> {
    let apps = stage.failing().ok()?.apps.iter().map(App::name);
    stage.events().first_verdicts(apps, since, deadline).await
}

async fn served_elsewhere(stage: &Stage, from: usize, since: Instant, deadline: Instant) -> Option<Instant> {
    outcome::first_elsewhere(&stage.outcomes(), FAILING, from, since, deadline).await
}
