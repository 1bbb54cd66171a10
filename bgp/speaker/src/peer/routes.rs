//! What goes to the RIB, and when reading has to wait for it.
//!
//! Before an established connection is read there has to be a place in the RIB's queue for what it brings. While there is
//! none, its bytes stay in the kernel and TCP holds the peer up. Nothing else waits: other connections are read,
//! KEEPALIVEs and withdrawals are written; and before a timer expires one more chunk is read all the same, so that a peer
//! that has spoken is not taken for silent.

use std::{future::pending, pin::Pin, sync::Arc, time::Instant};

use proxima_bgp_rib::{PathSource, PeerId};
use proxima_bgp_session::RibChange;
use tokio::sync::watch;

use crate::rib::{Batch, Entry, Monitored, PeerCounts, Place, Request, RibQueue, SessionEnd};

/// The most octets that are read without a place in the queue.
const OVERDRAFT: usize = 1 << 20;

/// What the RIB has to say.
pub(super) enum News {
    /// There is a place after waiting for one; None when the RIB is gone.
    Place(Option<Place>),
    /// It has counted anew.
    Counts,
}

/// The peer's way to the RIB.
pub(super) struct Routes {
    peer: PeerId,
    rib: RibQueue,
    /// Not handed over yet.
    changes: Vec<Entry>,
    place: Option<Place>,
    /// Set while the queue is full.
    waiting: Option<Pin<Box<dyn Future<Output = Option<Place>> + Send>>>,
    /// Octets read without a place since the last hand-over.
    overdrawn: usize,
    /// Which of the peer's sessions this is.
    session: u64,
    counts: watch::Sender<PeerCounts>,
    counted: watch::Receiver<PeerCounts>,
}

impl Routes {
    pub(super) fn new(peer: PeerId, rib: RibQueue) -> Self {
        let (counts, counted) = watch::channel(PeerCounts::default());
        Self {
            peer,
            rib,
            changes: Vec::new(),
            place: None,
            waiting: None,
            overdrawn: 0,
            session: 0,
            counts,
            counted,
        }
    }

    /// A session begins.
    pub(super) fn up(&mut self, source: PathSource, monitored: Monitored) {
        self.session += 1;
        let monitored = Arc::new(monitored);
        self.changes.push(Entry::Up { session: self.session, source, monitored });
    }

    /// At most so many fresh paths of each family are taken in, from the next change on.
    pub(super) fn limit(&mut self, most: Option<u32>) {
        self.changes.push(Entry::Limit(most));
    }

    /// It has ended.
    pub(super) fn down(&mut self, at: Instant, end: SessionEnd) {
        self.changes.push(Entry::Down { at, end });
    }

    pub(super) fn peer(&self) -> PeerId {
        self.peer
    }

    pub(super) fn push(&mut self, at: Instant, change: RibChange) {
        self.changes.push(Entry::Change { at, change });
    }

    /// Whether the established connection may be looked at.
    pub(super) fn may_read(&self) -> bool {
        self.waiting.is_none()
    }

    /// Sees to it that there is a place for what a read brings; false when reading has to wait.
    pub(super) fn reserve(&mut self) -> bool {
        if self.place.is_none() && self.waiting.is_none() {
            self.place = self.rib.try_place();
            if self.place.is_none() {
                self.wait();
            }
        }
        self.place.is_some()
    }

    /// Whether a chunk may be read without a place, to see that the peer lives.
    pub(super) fn overdraw(&mut self, octets: usize) -> bool {
        self.overdrawn += octets;
        self.overdrawn <= OVERDRAFT
    }

    fn wait(&mut self) {
        self.waiting = Some(Box::pin(self.rib.clone().place()));
    }

    /// Hands over what there is, as soon as there is a place; a place that is not needed goes back.
    pub(super) fn hand_over(&mut self) {
        if self.changes.is_empty() {
            self.place = None;
        } else if self.reserve()
            && let Some(place) = self.place.take()
        {
            self.overdrawn = 0;
            place.send(Request::Batch(self.batch()));
        }
    }

    fn batch(&mut self) -> Batch {
        let (peer, changes) = (self.peer, std::mem::take(&mut self.changes));
        Batch { peer, changes, counts: self.counts.clone() }
    }

    /// The next thing the RIB has to say. Cancel-safe.
    pub(super) async fn news(&mut self) -> News {
        let Self { waiting, counted, .. } = self;
        let place = async {
            match waiting.as_mut() {
                Some(place) => place.await,
                None => pending().await,
            }
        };
        let counted = async {
            if counted.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = counted => News::Counts,
            place = place => {
                self.waiting = None;
                News::Place(place)
            }
        }
    }

    pub(super) fn take_place(&mut self, place: Option<Place>) {
        self.place = place;
    }

    /// What the RIB has counted of this session.
    pub(super) fn counts(&mut self) -> Option<PeerCounts> {
        let counts = *self.counted.borrow_and_update();
        (counts.session == self.session).then_some(counts)
    }

    /// Whether something is still to be handed over.
    pub(super) fn pending(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether the RIB holds nothing of the peer, and nothing is on its way there.
    pub(super) fn none_held(&self) -> bool {
        self.changes.is_empty() && self.counted.borrow().families.iter().all(|counts| counts.paths == 0)
    }

    /// Everything of the peer goes.
    pub(super) async fn farewell(mut self) {
        self.push(Instant::now(), RibChange::DropAll);
        let place = match (self.place.take(), self.waiting.take()) {
            (Some(place), _) => Some(place),
            (None, Some(waiting)) => waiting.await,
            (None, None) => self.rib.clone().place().await,
        };
        if let Some(place) = place {
            place.send(Request::Batch(self.batch()));
        }
    }
}
