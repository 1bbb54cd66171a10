//! The thread that owns the routing table.
//!
//! ```text
//!  peer tasks ── batch per read of a socket ──▶ queue of RIB_QUEUE ──▶ thread "rib": Rib::apply, Rib::collect in slices
//!      ▲                                              ▲                   │
//!      └── counts of paths (watch, latest wins) ◀─────┼───────────────────┤
//!                        questions (oneshot) ─────────┘                   └─▶ watches (watch, latest wins)
//! ```
//!
//! BMP stations are told in the same order ([`taps`]).
//!
//! A peer's task takes a place in the queue before it reads its socket, so that a peer that sends faster than the table
//! takes is held up by TCP, and nothing else of its session is.

mod taps;

use std::{collections::HashMap, io, sync::Arc, time::Instant};

use proxima_bgp_rib::{BestPathRules, Change, Counts, PathSource, PeerId, Rib, Stale, Unusable, Watch};
use proxima_bgp_session::{Marks, RibChange};
use proxima_types::{Family, Prefix};
use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot, watch,
};

use taps::Taps;
pub(crate) use taps::{Figures, Monitored, Record, SessionEnd, StationId, TAP_QUEUE};

/// Batches and questions that may wait; a batch is what one read of a socket brought, at most.
pub(crate) const RIB_QUEUE: usize = 32;
/// Prefixes looked at between two requests while removed paths are cleared away.
const SLICE: usize = 4096;

/// What the thread is asked for.
pub(crate) enum Request {
    Batch(Batch),
    Ask(Box<dyn FnOnce(&mut Rib) + Send>),
    Watch(Watch, watch::Sender<Option<Change>>),
    /// A BMP station begins to listen.
    Tap(StationId, mpsc::Sender<Record>),
    /// It asks for the next part of the table, or for figures.
    TapPage(StationId, Option<Prefix>),
    TapFigures(StationId),
}

impl Request {
    /// A question, and where its answer comes.
    fn ask<T: Send + 'static>(
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (answer, answered) = oneshot::channel();
        let ask = move |rib: &mut Rib| {
            answer.send(question(rib)).ok(); // the asker may be gone
        };
        (Self::Ask(Box::new(ask)), answered)
    }
}

/// What happened to the routes of a peer, in order.
pub(crate) struct Batch {
    pub(crate) peer: PeerId,
    pub(crate) changes: Vec<Entry>,
    pub(crate) counts: watch::Sender<PeerCounts>,
}

/// One change.
pub(crate) enum Entry {
    Up {
        session: u64,
        source: PathSource,
        monitored: Arc<Monitored>,
    },
    Down {
        at: Instant,
        end: SessionEnd,
    },
    /// The most fresh paths of each family that are taken in.
    Limit(Option<u32>),
    Change {
        at: Instant,
        change: RibChange,
    },
}

/// How many paths the table holds of a peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PeerCounts {
    /// As of which of the peer's sessions.
    pub(crate) session: u64,
    /// In the order of [`Family::ALL`].
    pub(crate) families: [Counts; 2],
}

/// The way to the thread. It ends when the last of these is gone.
#[derive(Debug, Clone)]
pub(crate) struct RibQueue {
    requests: mpsc::Sender<Request>,
}

/// A place in the queue.
pub(crate) type Place = mpsc::OwnedPermit<Request>;

impl RibQueue {
    /// Starts the thread.
    pub(crate) fn start(rules: BestPathRules) -> io::Result<Self> {
        let (requests, queue) = mpsc::channel(RIB_QUEUE);
        std::thread::Builder::new().name("rib".to_owned()).spawn(move || {
            let (taps, watches) = (Taps::default(), HashMap::new());
            Thread { rib: Rib::new(rules), taps, watches, garbage: false }.run(queue);
        })?;
        Ok(Self { requests })
    }

    /// A place, if there is one.
    pub(crate) fn try_place(&self) -> Option<Place> {
        self.requests.clone().try_reserve_owned().ok()
    }

    /// A place, in the order of asking; None when the thread is gone.
    pub(crate) async fn place(self) -> Option<Place> {
        self.requests.reserve_owned().await.ok()
    }

    /// Asks the table; None when the thread is gone.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> Option<T> {
        let (ask, answered) = Request::ask(question);
        self.requests.send(ask).await.ok()?;
        answered.await.ok()
    }

    /// Asks the table from a thread that may wait; None when the table's thread is gone.
    pub(crate) fn ask_blocking<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Rib) -> T + Send + 'static,
    ) -> Option<T> {
        let (ask, answered) = Request::ask(question);
        self.requests.blocking_send(ask).ok()?;
        answered.blocking_recv().ok()
    }

    /// Hands in a request; None when the thread is gone.
    pub(crate) async fn request(&self, request: Request) -> Option<()> {
        self.requests.send(request).await.ok()
    }

    /// Watches the table. The watch ends when its receiver is gone.
    pub(crate) async fn watch(&self, what: Watch) -> Option<watch::Receiver<Option<Change>>> {
        let (sender, receiver) = watch::channel(None);
        self.requests.send(Request::Watch(what, sender)).await.ok()?;
        Some(receiver)
    }
}

struct Thread {
    rib: Rib,
    taps: Taps,
    watches: HashMap<Watch, Vec<watch::Sender<Option<Change>>>>,
    /// Whether removed paths are still to be cleared away.
    garbage: bool,
}

impl Thread {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        loop {
            let request = if self.garbage {
                match queue.try_recv() {
                    Ok(request) => Some(request),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                }
            } else {
                match queue.blocking_recv() {
                    Some(request) => Some(request),
                    None => return,
                }
            };
            match request {
                Some(Request::Batch(batch)) => self.batch(batch),
                Some(Request::Ask(question)) => question(&mut self.rib),
                Some(Request::Watch(what, sender)) => self.watch(what, sender),
                Some(Request::Tap(station, records)) => self.taps.open(station, records),
                Some(Request::TapPage(station, after)) => self.taps.page(&self.rib, station, after),
                Some(Request::TapFigures(station)) => self.taps.figures(&self.rib, station),
                None => {}
            }
            if self.garbage {
                self.garbage = self.rib.collect(SLICE);
            }
            self.tell();
        }
    }

    fn batch(&mut self, batch: Batch) {
        let Batch { peer, changes, counts } = batch;
        let mut session = counts.borrow().session;
        for entry in changes {
            match entry {
                Entry::Up { session: new, source, monitored } => {
                    session = new;
                    self.rib.peer_up(peer, source);
                    self.taps.up(monitored);
                }
                Entry::Limit(most) => self.rib.limit(peer, most),
                Entry::Down { at, end } => self.taps.down(peer, at, end),
                Entry::Change { at, change } => self.change(at, peer, change),
            }
        }
        let families = Family::ALL.map(|family| self.rib.counts(peer, family));
        let now = PeerCounts { session, families };
        counts.send_if_modified(|counts| std::mem::replace(counts, now) != now);
    }

    fn change(&mut self, at: Instant, peer: PeerId, change: RibChange) {
        match change {
            RibChange::PeerUp(_) => {}
            RibChange::EndOfRib(family) => self.taps.end_of_rib(peer, at, family),
            RibChange::Update(received) => {
                self.taps.update(peer, at, &received);
                match self.rib.apply(at, peer, received.update, unusable(received.marks)) {
                    Ok(applied) => self.taps.applied(peer, applied),
                    Err(error) => tracing::error!(%error, "BGP: an UPDATE was not taken into the table"),
                }
            }
            RibChange::MarkStale(family) => self.rib.mark_stale(peer, family, Stale::Restart),
            RibChange::BeginRefresh(family) => self.rib.mark_stale(peer, family, Stale::Refresh),
            RibChange::SweepStale(family) => {
                self.taps.losing(&self.rib, (peer, family), at, true);
                self.garbage |= self.rib.sweep_stale(peer, family) > 0;
            }
            RibChange::DropFamily(family) => {
                self.taps.losing(&self.rib, (peer, family), at, false);
                self.garbage |= self.rib.drop_family(peer, family) > 0;
            }
            RibChange::DropAll => self.garbage |= self.rib.drop_peer(peer) > 0,
        }
    }

    fn watch(&mut self, what: Watch, sender: watch::Sender<Option<Change>>) {
        self.watches.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        self.rib.unwatch(what);
        self.rib.watch(what);
        self.watches.entry(what).or_default().push(sender);
    }

    fn tell(&mut self) {
        while let Some(change) = self.rib.poll_change() {
            let Some(senders) = self.watches.get_mut(&change.watch) else { continue };
            senders.retain(|sender| !sender.is_closed());
            if senders.is_empty() {
                self.watches.remove(&change.watch);
                self.rib.unwatch(change.watch);
                continue;
            }
            for sender in senders {
                sender.send_replace(Some(change.clone()));
            }
        }
    }
}

/// Why routes with these marks are not used; the worst is told.
fn unusable(Marks { loops, leak }: Marks) -> Option<Unusable> {
    if loops.as_path {
        Some(Unusable::AsLoop)
    } else if loops.by_reflection() {
        Some(Unusable::ReflectionLoop)
    } else {
        leak.then_some(Unusable::Leak)
    }
}

#[cfg(test)]
mod tests {
    use proxima_bgp_wire::Loops;

    use super::*;

    #[test]
    fn routes_with_marks_are_not_used_and_the_worst_is_told() {
        let loops = |as_path, originator_id, cluster_list| Loops { as_path, originator_id, cluster_list };
        for (loops, leak, expected) in [
            (Loops::default(), false, None),
            (Loops::default(), true, Some(Unusable::Leak)),
            (loops(false, true, false), false, Some(Unusable::ReflectionLoop)),
            (loops(false, false, true), true, Some(Unusable::ReflectionLoop)),
            (loops(true, true, true), true, Some(Unusable::AsLoop)),
        ] {
            let marks = Marks { loops, leak };
            assert_eq!(unusable(marks), expected, "{marks:?}");
            assert_eq!(marks.eligible(), expected.is_none());
        }
    }
}
