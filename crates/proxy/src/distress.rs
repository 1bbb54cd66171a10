//! A word to the control thread at once when a backend refuses or cuts real traffic.
//!
//! ```text
//! worker: attempt fails ─▶ counted ─▶ not told of this backend just now? ─▶ try_send ─▶ bounded channel ─▶ control thread
//! ```
//!
//! Nothing of it lies in the way of a request that succeeds. A worker tells of a backend once in two beats of its timer;
//! when the channel is full, or nobody reads it, the word is dropped: the counters tell the same a little later.

use std::{cell::Cell, rc::Rc};

use proxima_health::Passive;
use proxima_types::BackendId;
use tokio::sync::mpsc;

use crate::{
    stats::Reason,
    timer::{BEAT, Deadline, Timers},
};

/// A backend has just refused, reset or cut a connection of real traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distress {
    /// The backend.
    pub backend: BackendId,
    /// What was met: one connection.
    pub seen: Passive,
}

/// How a worker tells.
#[derive(Debug)]
pub(crate) struct Teller {
    channel: Option<mpsc::Sender<Distress>>,
    timers: Rc<Timers>,
}

/// Until when nothing more is told of a backend.
#[derive(Debug)]
pub(crate) struct Quiet(Cell<Deadline>);

impl Default for Quiet {
    fn default() -> Self {
        Self(Cell::new(Deadline::PAST))
    }
}

impl Teller {
    pub(crate) fn new(channel: Option<mpsc::Sender<Distress>>, timers: Rc<Timers>) -> Rc<Self> {
        Rc::new(Self { channel, timers })
    }

    /// Tells that an attempt on `backend` failed for `reason`, if that is a reason to look at once.
    pub(crate) fn tell(&self, backend: &BackendId, reason: Reason, quiet: &Quiet) {
        let (Some(channel), Some(seen)) = (&self.channel, lost(reason)) else { return };
        if self.timers.is_past(quiet.0.get()) {
            quiet.0.set(self.timers.deadline(BEAT));
            // See above for a channel that is full.
            channel.try_send(Distress { backend: backend.clone(), seen }).ok();
        }
    }
}

fn lost(reason: Reason) -> Option<Passive> {
    match reason {
        Reason::Connect => Some(Passive::CONNECT_ERROR),
        Reason::Closed | Reason::Broken => Some(Passive::RESET),
        // The backend may close what rests, and a lost packet is no lost connection.
        Reason::Stale
        | Reason::ConnectTimeout
        // A connect would not show it.
        | Reason::Tls
        | Reason::Refused
        | Reason::Upgrade
        | Reason::FirstByte
        | Reason::Malformed
        | Reason::Idle
        | Reason::Total => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_backend_is_told_of_once_in_two_beats_and_others_all_the_same() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let (sender, mut told) = mpsc::channel(16);
        let teller = Teller::new(Some(sender), timers.clone());
        let ids: [BackendId; 2] = ["app/a", "app/b"].map(|id| id.parse().unwrap());
        let quiet: [Quiet; 2] = Default::default();
        for (beat, expected) in [(0, 2), (1, 0), (2, 2), (3, 0), (4, 2)] {
            timers.beat(start + BEAT * beat);
            for _ in 0..100 {
                for (id, quiet) in ids.iter().zip(&quiet) {
                    teller.tell(id, Reason::Connect, quiet);
                    teller.tell(id, Reason::ConnectTimeout, quiet);
                }
            }
            let words: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
            assert_eq!(words.len(), expected, "beat {beat}");
            assert!(words.iter().all(|word| word.seen == Passive::CONNECT_ERROR));
        }
    }

    #[test]
    fn a_full_channel_drops_words_and_stops_nobody() {
        let timers = Timers::new(Instant::now());
        let (sender, mut told) = mpsc::channel(1);
        let teller = Teller::new(Some(sender), timers.clone());
        for n in 0..10 {
            let id: BackendId = format!("app/{n}").parse().unwrap();
            teller.tell(&id, Reason::Closed, &Quiet::default());
        }
        assert_eq!(told.try_recv().unwrap().seen, Passive::RESET);
        assert!(told.try_recv().is_err());
        timers.beat(Instant::now() + Duration::from_secs(1));
    }
}
