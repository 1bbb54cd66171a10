//! What befalls the machine.

use std::{
    hint::spin_loop,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use proxima_api::{BfdState, EventKind, SessionState};

use super::case::Case;
use crate::{
    bfd::put_first,
    error::{Error, Result},
    observe::{WireWatch, bgp::Message, wire::Seen},
    witness::{Witness, longest_within},
};

/// Busy threads for each core.
const PER_CORE: usize = 2;
/// Longer than the hold time.
const BUSY_FOR: Duration = Duration::from_secs(12);
/// From one KEEPALIVE to the next: a third of the hold time.
const KEEPALIVE: Duration = Duration::from_secs(3);
/// How late one may be.
const LATE: Duration = Duration::from_millis(500);
/// What lies so long before a failure may be its cause: the detection time of BFD, and the packet before it.
const CAUSE: Duration = Duration::from_millis(600);

/// From so long on, a machine that stands still may itself be why BFD failed.
const STOOD_STILL: Duration = Duration::from_millis(100);

/// 36: everybody is slower, but no BGP session and no BFD session of any PoP is lost.
///
/// Routers have hosts of their own, and what runs here does not delay them: they go first where that is permitted. There a
/// witness also tells when the machine itself stood still.
pub(super) async fn cores_taken(case: &mut Case<'_>) -> Result<()> {
    let witness = Witness::start().ok();
    if let Err(error) = put_first(&["bird"]) {
        case.because(format!("routers share the cores: {error}"));
    }
    let begun = Instant::now();
    let hogs = Hogs::start()?;
    tokio::time::sleep(BUSY_FOR).await;
    drop(hogs);
    let end = Instant::now();
    let stalls = witness.map(|witness| witness.stalls()).unwrap_or_default();
    let scene = case.scene;
    for region in scene.world.regions() {
        let (name, seat) = (&region.name, scene.seat(&region.name)?);
        let lost = seat.events.between(begun, end, lost);
        let by_the_machine =
            |at: Instant| longest_within(&stalls, at.checked_sub(CAUSE).unwrap_or(at), at) >= STOOD_STILL;
        for (at, what) in &lost {
            let why = if by_the_machine(*at) { ", the machine had stood still" } else { "" };
            case.because(format!("{name}: {what}{why}"));
        }
        let failures = lost.iter().filter(|(at, _)| !by_the_machine(*at)).count();
        case.claim(failures == 0, format!("BGP and BFD hold in {name} ({failures} failures)"));
        let pop = region.pop.host.addresses;
        let (from, gap) = longest_gap(&seat.wire, pop.v4.into(), begun, end);
        let what = format!("longest time between KEEPALIVEs in {name}");
        case.within(what, from, Some(from + gap), KEEPALIVE + LATE);
    }
    case.back(end).await
}

/// The end of a session that stood, in words.
fn lost(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::BfdState { from: BfdState::Up, .. }
        | EventKind::PeerState { from: SessionState::Established, .. } => Some(kind.to_string()),
        _ => None,
    }
}

/// The longest time without a KEEPALIVE of the PoP, and when it began.
fn longest_gap(wire: &WireWatch, pop: IpAddr, from: Instant, until: Instant) -> (Instant, Duration) {
    let sent = |seen: &&Seen| {
        seen.from() == pop && seen.message == Message::Keepalive && (from..until).contains(&seen.at)
    };
    let times: Vec<Instant> =
        wire.seen().read(0, |seen| seen.iter().filter(sent).map(|seen| seen.at).collect());
    let starts = std::iter::once(from).chain(times.iter().copied());
    let ends = times.iter().copied().chain([until]);
    starts.zip(ends).map(|(a, b)| (a, b - a)).max_by_key(|(_, gap)| *gap).unwrap_or((from, until - from))
}

/// Threads that take every core until they are dropped.
struct Hogs {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Hogs {
    fn start() -> Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut hogs = Self { over: Arc::default(), threads: Vec::new() };
        for _ in 0..cores * PER_CORE {
            let over = Arc::clone(&hogs.over);
            let hog = thread::Builder::new().name("hog".to_owned()).spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
            hogs.threads.push(hog.map_err(Error::io("starting a busy thread"))?);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok(); // it has nothing to tell
        }
    }
}
