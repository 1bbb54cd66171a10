//! What happens next: events by time, those of one time in the order they were made.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::clock::Nanos;

/// Something that happens. Small and without owned parts: what it is about is looked up when it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A timer of a BGP session may be due.
    SessionTimer(u8),
    /// A request to connect arrives.
    Syn(u32),
    /// The answer to one arrives.
    SynAck(u32),
    /// A refusal arrives.
    Refused(u32),
    /// The next segment of a connection arrives at this side.
    Segment { connection: u32, towards: u8 },
    /// BFD on this side of a link changes its mind.
    Bfd { link: u8, side: u8, up: bool },
    /// A probe may be due.
    TrackerTimer(u8),
    /// A probe ends.
    ProbeEnds { tracker: u8, run: u32 },
    /// A confirming connect ends.
    ConfirmEnds { tracker: u8, run: u32 },
    /// A standing connection ends.
    StandingEnds { tracker: u8, run: u32 },
    /// A timer of the announcement core may be due.
    AnnouncerTimer(u8),
    /// The oldest sighting on the way from one PoP's routers arrives at another PoP.
    Sighting { of: u8, at: u8 },
    /// The PoP hears what its routers know.
    View(u8),
    /// Routers that can't reach each other give up their session.
    Parted { of: u8, at: u8, cut: u16 },
    /// The next step of a stop.
    StopStep { pop: u8, life: u16 },
    /// A daemon starts.
    Starts { pop: u8, life: u16 },
    /// The control loop of a daemon turns, and looks at what it looks at from time to time.
    Turn { pop: u8, life: u16 },
    /// The thread that watches a stuck control thread looks.
    Watchdog { pop: u8, life: u16 },
    /// A daemon is told what the operator or its own tasks want of it, or no longer want.
    Told { pop: u8, fault: u16, begins: bool },
    /// A busy host has time for the next of what waits.
    Late(u8),
    /// A fault begins.
    FaultBegins(u16),
    /// A fault is over.
    FaultEnds(u16),
    /// An app that flaps changes.
    FlapTurns(u16),
    /// Time goes on for the invariants.
    Check,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Nanos,
    number: u32,
    event: Event,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Everything that is still to happen.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    number: u32,
}

impl Queue {
    pub(crate) fn clear(&mut self) {
        self.heap.clear();
        self.number = 0;
    }

    pub(crate) fn push(&mut self, at: Nanos, event: Event) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at, number: self.number, event }));
    }

    pub(crate) fn pop(&mut self) -> Option<(Nanos, Event)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_time_happen_in_the_order_they_were_made() {
        let mut queue = Queue::default();
        for (at, pop) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            queue.push(at, Event::View(pop));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let expected = [(3, 2), (3, 4), (5, 1), (5, 3)].map(|(at, pop)| (at, Event::View(pop)));
        assert_eq!(order, expected);
    }

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Entry>() <= 24, "{}", size_of::<Entry>());
    }
}
