//! What befalls the daemon, as a whole and in parts.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use proxima_api::EventKind;

use super::{
    case::{Case, GIVE_UP},
    stall::Stall,
};
use crate::{
    error::{Error, Result},
    observe::bgp::Message,
    world::App,
};

/// The kernel closes a dead process's sockets, and the router drops what came by them.
const BY_THE_KERNEL: Duration = Duration::from_millis(100);
/// A silent worker is noticed after one second, looked for ten times a second.
const BY_MISSED_BEATS: Duration = Duration::from_millis(1200);
/// The hold time that both ends have.
const HOLD_TIME: Duration = Duration::from_secs(9);
/// The control thread has stood still for so long when the process ends itself, and a look more.
const BY_THE_PULSE: Duration = Duration::from_secs(11);
/// The same for a worker, with the time that an orderly end gives it.
const BY_THE_WATCHDOG: Duration = Duration::from_secs(34);

/// The name of the control thread, which is the process's first, and of one of the workers.
const CONTROL: &str = "proximad";
const WORKER: &str = "worker-0";

/// 12: the router drops the route at once; a new daemon announces it only once it knows its apps.
pub(super) async fn killed(case: &mut Case<'_>) -> Result<()> {
    let killed = case.region.pop.kill(Signal::SIGKILL)?;
    left(case, killed, BY_THE_KERNEL).await;
    ended(case, killed, BY_THE_KERNEL).await?;
    begin_anew(case).await
}

/// 13: a PoP of which a part of the clients gets no answer is withdrawn; a worker that does not recover ends the process.
pub(super) async fn worker_stuck(case: &mut Case<'_>) -> Result<()> {
    let _stall = stall(case, WORKER).await?;
    let stuck = Instant::now();
    let deadline = stuck + GIVE_UP;
    let missed = |kind: &EventKind| matches!(kind, EventKind::WorkerStalled { .. }).then_some(());
    let (noticed, withdrawn) =
        tokio::join!(case.seat.events.first(stuck, deadline, missed), case.withdrawn_on_wire(stuck));
    case.within("missed beats noticed", stuck, noticed.map(|(at, ())| at), BY_MISSED_BEATS);
    case.both_within("withdrawal on the wire", stuck, withdrawn, BY_MISSED_BEATS);
    left(case, stuck, BY_MISSED_BEATS + BY_THE_KERNEL).await;
    ended(case, stuck, BY_THE_WATCHDOG).await?;
    begin_anew(case).await
}

/// 14: nobody sends KEEPALIVEs any more, so the hold time ends the route; then the process ends itself.
pub(super) async fn control_stuck(case: &mut Case<'_>) -> Result<()> {
    let _stall = stall(case, CONTROL).await?;
    let stuck = Instant::now();
    left(case, stuck, HOLD_TIME + BY_THE_KERNEL).await;
    ended(case, stuck, BY_THE_PULSE).await?;
    begin_anew(case).await
}

async fn stall(case: &Case<'_>, thread: &str) -> Result<Stall> {
    let pop = &case.region.pop;
    let pid = pop.pid().ok_or_else(|| Error::Spec(format!("no daemon runs on {}", pop.host.name)))?;
    let log = case.scene.world.options().work_dir.join("logs").join("stall.log");
    Stall::begin(&pop.host.ns, pid, thread, &log).await
}

async fn left(case: &mut Case<'_>, since: Instant, limit: Duration) {
    let (fib_left, elsewhere) = case.left_fib(since).await;
    case.both_within("gone from the FIB", since, fib_left, limit);
    case.within("first success elsewhere", since, elsewhere, limit + Duration::from_secs(1));
}

/// That the process has ended, or ends by itself.
async fn ended(case: &mut Case<'_>, since: Instant, limit: Duration) -> Result<()> {
    let pop = &case.region.pop;
    let status = pop.wait_ended(GIVE_UP).await;
    let at = status.map(|_| Instant::now());
    case.within("process ended", since, at, limit);
    match status {
        Some(_) => Ok(()),
        None => {
            Err(Error::Late { within: GIVE_UP, missing: format!("the daemon's end\n{}", pop.log_tail()) })
        }
    }
}

/// Starts the daemon as its supervisor would. It announces nothing before it knows its apps.
async fn begin_anew(case: &mut Case<'_>) -> Result<()> {
    let started = Instant::now();
    case.region.pop.start()?;
    let deadline = started + GIVE_UP;
    let apps = case.region.apps.iter().map(App::name);
    let wire = &case.seat.wire;
    let (verdicts, announced) = tokio::join!(
        case.seat.events.first_verdicts(apps, started, deadline),
        wire.first_update(started, deadline, |update| !update.announced.is_empty()),
    );
    case.figure("first verdicts of the new daemon", started, verdicts);
    case.figure("its first announcement", started, announced);
    let order = verdicts.zip(announced);
    case.claim(
        order.is_some_and(|(verdicts, announced)| verdicts <= announced),
        "announced only after the verdicts",
    );
    let opened = announced.is_some_and(|at| wire.sent(started, at, |message| *message == Message::Open) > 0);
    case.claim(opened, "its OPEN was seen before");
    case.back(started).await
}
