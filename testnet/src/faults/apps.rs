//! What befalls app servers, and the way to them.

use std::{
    fs,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proxima_api::{EventKind, ProbeFailure, VerdictReason};
use proxima_types::{Health, ReachState};

use super::case::{Case, GIVE_UP, Limits};
use crate::{
    error::{Error, Result},
    link::{Direction, Shape},
    world::{Region, plan, spec::ProbeSpec},
};

/// A killed app is noticed by the end of its standing connection.
const BY_HARD_EVIDENCE: Duration = Duration::from_millis(20);
/// The share of packets lost, and for how long.
const LOSS: f64 = 0.2;
const LOSSY_FOR: Duration = Duration::from_secs(15);

/// How an app is wrong in its answers to probes.
#[derive(Debug, Clone, Copy)]
enum Wrong {
    Status500,
    Body,
    TooLate,
}

impl Wrong {
    const ALL: [Self; 3] = [Self::Status500, Self::Body, Self::TooLate];

    fn switch(self) -> &'static str {
        match self {
            Self::Status500 => r#"{"health": "fail"}"#,
            Self::Body => r#"{"health": "wrong"}"#,
            Self::TooLate => r#"{"health": "slow", "slow-ms": 5000}"#,
        }
    }

    /// Whether a verdict is for this.
    fn is_why(self, reason: &VerdictReason) -> bool {
        match self {
            Self::Status500 => {
                matches!(reason, VerdictReason::Fall { last: ProbeFailure::Status { status: 500, .. }, .. })
            }
            Self::Body => {
                matches!(reason, VerdictReason::Fall { last: ProbeFailure::Unfit { .. }, .. })
            }
            Self::TooLate => is_timeout(reason),
        }
    }
}

/// 1: the others serve at once, and nothing is told to anybody: three of four are enough.
pub(super) async fn one_killed(case: &mut Case<'_>) -> Result<()> {
    let [victim, other, ..] = &case.region.apps[..] else { return Err(too_few(case.region)) };
    case.kills([victim]);
    let killed = victim.kill()?;
    let (down, served) = tokio::join!(
        case.seat.events.down(&case.region.name, killed, killed + GIVE_UP),
        case.served_by(other, killed)
    );
    case.detected(killed, down.as_ref(), BY_HARD_EVIDENCE);
    case.within("first success of another app", killed, served, Duration::from_secs(1));
    victim.start().await?;
    case.back(Instant::now()).await?;
    let updates = case.updates(killed, |_| true);
    case.claim(updates == 0, format!("no UPDATE is sent ({updates})"));
    Ok(())
}

/// 2: the region is withdrawn at once, and its clients are served elsewhere.
pub(super) async fn all_killed(case: &mut Case<'_>) -> Result<()> {
    case.kills(&case.region.apps);
    let killed = case.region.kill_apps()?;
    let left = case.withdrawn(killed).await;
    case.judge_leaving(killed, &left, &Limits::after(BY_HARD_EVIDENCE, "withdrawal on the wire"));
    let hard = matches!(left.detected, Some((_, VerdictReason::Hard { .. })));
    case.claim(hard, "by hard evidence");
    case.region.start_apps().await?;
    case.back(Instant::now()).await
}

/// 3: the same, but it takes the probes' timeouts to know.
pub(super) async fn all_silent(case: &mut Case<'_>) -> Result<()> {
    let stopped = Instant::now();
    for app in &case.region.apps {
        app.signal(Signal::SIGSTOP)?;
    }
    let left = case.withdrawn(stopped).await;
    case.judge_leaving(stopped, &left, &Limits::after(by_timeouts(case), "withdrawal on the wire"));
    let timeout = left.detected.as_ref().is_some_and(|(_, reason)| is_timeout(reason));
    case.claim(timeout, "by the probes' timeouts");
    for app in &case.region.apps {
        app.signal(Signal::SIGCONT)?;
    }
    case.back(Instant::now()).await
}

/// 4: half of the region serves, and it becomes less attractive, as configured.
pub(super) async fn wrong_answers(case: &mut Case<'_>) -> Result<()> {
    let Some(victims) = case.region.apps.get(..2) else { return Err(too_few(case.region)) };
    for wrong in Wrong::ALL {
        let switched = Instant::now();
        victims.iter().try_for_each(|app| app.switch(wrong.switch()))?;
        let left = case.de_preferred(switched).await;
        case.judge_leaving(switched, &left, &Limits::after(by_timeouts(case), "de-preference on the wire"));
        let so = left.detected.as_ref().is_some_and(|(_, reason)| wrong.is_why(reason));
        case.claim(so, format!("for what the probes met: {wrong:?}"));
        victims.iter().try_for_each(|app| app.switch(r#"{"health": "ok"}"#))?;
        let mended = Instant::now();
        announced(case, mended).await;
        case.back(mended).await?;
    }
    never_withdrawn(case, case.begun());
    Ok(())
}

/// 6: what is lost now and then changes no verdict, and no UPDATE is sent.
pub(super) async fn lossy_lines(case: &mut Case<'_>) -> Result<()> {
    let lines = || case.region.apps.iter().filter_map(|app| app.line.as_ref());
    let lost = || lines().map(|line| line.counters(Direction::Forth).lost).sum::<u64>();
    let (before, begun) = (lost(), Instant::now());
    let lossy = Shape::delay(Duration::ZERO).with_loss(LOSS);
    lines().try_for_each(|line| line.set_shape(Direction::Forth, lossy))?;
    let update = case.seat.wire.first_update(begun, begun + LOSSY_FOR, |_| true).await;
    lines().try_for_each(|line| line.set_shape(Direction::Forth, Shape::delay(Duration::ZERO)))?;
    let lost = lost() - before;
    case.because(format!("{lost} packets lost in {} s", LOSSY_FOR.as_secs()));
    case.claim(lost > 0, "packets were lost");
    case.claim(update.is_none(), "no UPDATE is sent");
    let here = &case.region.name;
    let down = case.seat.events.count(begun, Instant::now(), |kind| {
        matches!(kind, EventKind::BackendVerdict { region, to: Health::Down, .. } if region.as_str() == here)
    });
    case.claim(down == 0, format!("no app of the region is taken for down ({down} times)"));
    case.back(Instant::now()).await
}

/// 7: nothing is known of the apps any more, and the region is withdrawn as configured, with the reason in the log. Requests
/// that still come are served.
pub(super) async fn probes_cut(case: &mut Case<'_>) -> Result<()> {
    // The first octets of a probe's request, `GET /healthz`, in the segment's payload.
    let rules = format!(
        "table inet cut {{ chain input {{ type filter hook input priority 0; \
         tcp dport {} @ih,0,96 0x474554202f6865616c74687a drop; }}; }}",
        plan::APP_HTTP_PORT
    );
    let said_before = log(case)?.len();
    let cut = Instant::now();
    for app in &case.region.apps {
        app.host.ns.nft(&rules)?;
    }
    let left = case.withdrawn(cut).await;
    case.judge_leaving(cut, &left, &Limits::after(by_timeouts(case), "withdrawal on the wire"));
    let timeout = left.detected.as_ref().is_some_and(|(_, reason)| is_timeout(reason));
    case.claim(timeout, "by the probes' timeouts");
    let said = log(case)?.split_off(said_before);
    let reason = left.detected.map_or_else(|| "nothing".to_owned(), |(_, reason)| reason.to_string());
    case.claim(said.contains(&reason), format!("logged: {reason}"));
    for app in &case.region.apps {
        app.host.ns.nft("delete table inet cut")?;
    }
    case.back(Instant::now()).await
}

/// Waits until the group is announced as usual.
async fn announced(case: &mut Case<'_>, since: Instant) {
    let (events, group) = (&case.seat.events, case.scene.group());
    let again = events.transition(group, ReachState::Announced, since, since + GIVE_UP).await;
    case.claim(again.is_some(), "announced as before once that is over");
}

fn never_withdrawn(case: &mut Case<'_>, since: Instant) {
    let withdrawals = case.updates(since, |update| !update.withdrawn.is_empty());
    case.claim(withdrawals == 0, format!("nothing is withdrawn ({withdrawals} UPDATEs)"));
}

/// `fall` probes in a row without an answer: each begins up to a tenth late, and the last one has its whole timeout.
fn by_timeouts(case: &Case<'_>) -> Duration {
    let spec = case.scene.world.spec().regions.iter().find(|region| region.name == case.region.name);
    let probe = spec.map_or_else(ProbeSpec::default, |region| region.probe);
    probe.interval.mul_f64(1.1) * u32::from(probe.fall) + probe.timeout
}

fn is_timeout(reason: &VerdictReason) -> bool {
    matches!(reason, VerdictReason::Fall { last: ProbeFailure::Timeout { .. }, .. })
}

/// Everything the region's daemon has logged.
fn log(case: &Case<'_>) -> Result<String> {
    let path = case.region.pop.log();
    fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))
}

fn too_few(region: &Region) -> Error {
    Error::Spec(format!("region {} has too few apps for this fault", region.name))
}
