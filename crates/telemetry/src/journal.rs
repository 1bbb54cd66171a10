//! The event journal: the last events in a ring, numbered from 1 without gaps.
//!
//! Publishing never waits for readers: a follower reads from the ring at its own pace, and one that falls behind the ring's
//! length is told how many events it missed.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use proxima_api::{Event, EventKind, Events, Severity, Timestamp};
use tokio::sync::watch;

use crate::metrics::{self, table};

/// The last events.
pub struct EventJournal {
    ring: Mutex<Ring>,
    progress: watch::Sender<Progress>,
}

struct Ring {
    kept: VecDeque<Arc<Event>>,
    capacity: usize,
    newest: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    newest: u64,
    closed: bool,
}

/// What a follower reads next.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// An event.
    Event(Arc<Event>),
    /// It was too slow: so many events are gone.
    Lost(u64),
}

impl EventJournal {
    /// A journal that keeps the last `capacity` events, at least one.
    pub fn new(capacity: usize) -> Arc<Self> {
        let capacity = capacity.max(1);
        Arc::new(Self {
            ring: Mutex::new(Ring { kept: VecDeque::with_capacity(capacity), capacity, newest: 0 }),
            progress: watch::Sender::new(Progress { newest: 0, closed: false }),
        })
    }

    /// Records what happens now, logs and counts it.
    pub fn publish(&self, kind: EventKind) -> Arc<Event> {
        self.record(kind, Duration::ZERO)
    }

    /// Records what happened at `at`, for those who noticed before they could tell.
    pub fn publish_at(&self, kind: EventKind, at: Instant) -> Arc<Event> {
        self.record(kind, Instant::now().saturating_duration_since(at))
    }

    fn record(&self, kind: EventKind, ago: Duration) -> Arc<Event> {
        let event = {
            let mut ring = self.ring();
            ring.newest += 1;
            let event = Arc::new(Event {
                seq: ring.newest,
                at: Timestamp::from_unix_micros(unix_micros(ago)),
                mono_ns: monotonic_ns(ago),
                kind,
            });
            if ring.kept.len() == ring.capacity {
                ring.kept.pop_front();
            }
            ring.kept.push_back(Arc::clone(&event));
            event
        };
        // Two publishers may pass here in either order; followers read the ring, this only wakes them.
        self.progress.send_modify(|progress| progress.newest = progress.newest.max(event.seq));
        metrics::count_event(&event.kind);
        log_event(&event);
        event
    }

    /// The newest event's number; 0 before the first.
    pub fn newest(&self) -> u64 {
        self.ring().newest
    }

    /// The events after number `seq` that are kept. A number beyond the newest event was another process's: it counts as 0.
    pub fn since(&self, seq: u64) -> Events {
        let ring = self.ring();
        let seq = ring.start(seq);
        let lost = ring.oldest().saturating_sub(seq + 1);
        let skip = usize::try_from((seq + 1).saturating_sub(ring.oldest())).unwrap_or(usize::MAX);
        let kept: Vec<Arc<Event>> = ring.kept.iter().skip(skip).cloned().collect();
        drop(ring);
        Events { lost, events: kept.iter().map(|event| Event::clone(event)).collect() }
    }

    /// Reads on from number `seq`, as [`Self::since`] does, and then what happens.
    pub fn follow(self: &Arc<Self>, seq: u64) -> Follower {
        Follower {
            cursor: self.ring().start(seq),
            progress: self.progress.subscribe(),
            journal: Arc::clone(self),
        }
    }

    /// Nothing more is to be published: followers end once they have read what there is.
    pub fn close(&self) {
        self.progress.send_modify(|progress| progress.closed = true);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// The oldest kept event's number; one beyond the newest when none is kept.
    fn oldest(&self) -> u64 {
        self.newest + 1 - self.kept.len() as u64
    }

    fn start(&self, seq: u64) -> u64 {
        if seq > self.newest { 0 } else { seq }
    }

    fn after(&self, seq: u64) -> Option<Followed> {
        let missed = self.oldest().saturating_sub(seq + 1);
        if missed > 0 {
            return Some(Followed::Lost(missed));
        }
        let index = usize::try_from(seq + 1 - self.oldest()).ok()?;
        self.kept.get(index).cloned().map(Followed::Event)
    }
}

/// Reads a journal at its own pace.
pub struct Follower {
    journal: Arc<EventJournal>,
    cursor: u64,
    progress: watch::Receiver<Progress>,
}

impl Follower {
    /// The next event, or how many were missed; none once the journal is closed and read. Cancel-safe.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            let progress = *self.progress.borrow_and_update();
            if let Some(followed) = self.try_next() {
                return Some(followed);
            }
            if progress.closed || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next event, or how many were missed; none when there is nothing yet.
    pub fn try_next(&mut self) -> Option<Followed> {
        let followed = self.journal.ring().after(self.cursor)?;
        match &followed {
            Followed::Event(event) => self.cursor = event.seq,
            Followed::Lost(missed) => {
                self.cursor += missed;
                table::EVENTS_LOST.add(&[], *missed);
            }
        }
        Some(followed)
    }
}

fn log_event(event: &Event) {
    let Event { seq, kind, .. } = event;
    let name = kind.name();
    match kind.severity() {
        Severity::Info => tracing::info!(target: "proxima::event", seq, kind = name, "{kind}"),
        Severity::Warning => tracing::warn!(target: "proxima::event", seq, kind = name, "{kind}"),
        Severity::Error => tracing::error!(target: "proxima::event", seq, kind = name, "{kind}"),
    }
}

fn unix_micros(ago: Duration) -> i64 {
    let ago = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    jiff::Timestamp::now().as_microsecond().saturating_sub(ago)
}

fn monotonic_ns(ago: Duration) -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has CLOCK_MONOTONIC");
    let now = Duration::from(now).saturating_sub(ago);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &Events) -> Vec<u64> {
        events.events.iter().map(|event| event.seq).collect()
    }

    fn publish(journal: &EventJournal, count: u32) {
        for _ in 0..count {
            journal.publish(EventKind::Undrain);
        }
    }

    #[test]
    fn events_are_numbered_from_one_and_the_last_are_kept() {
        let journal = EventJournal::new(3);
        assert_eq!(journal.since(0), Events { lost: 0, events: vec![] });
        publish(&journal, 2);
        assert_eq!((numbers(&journal.since(0)), journal.since(0).lost), (vec![1, 2], 0));
        publish(&journal, 3);
        for (since, kept, lost) in [
            (0, vec![3, 4, 5], 2),
            (1, vec![3, 4, 5], 1),
            (2, vec![3, 4, 5], 0),
            (4, vec![5], 0),
            (5, vec![], 0),
            (6, vec![3, 4, 5], 2),
        ] {
            let events = journal.since(since);
            assert_eq!((numbers(&events), events.lost), (kept, lost), "since {since}");
        }
        assert_eq!(journal.newest(), 5);
    }

    #[test]
    fn an_event_told_late_bears_the_time_it_happened() {
        let journal = EventJournal::new(8);
        let before = monotonic_ns(Duration::ZERO);
        let now = journal.publish(EventKind::Undrain);
        let late = journal
            .publish_at(EventKind::Undrain, Instant::now().checked_sub(Duration::from_secs(5)).unwrap());
        let after = monotonic_ns(Duration::ZERO);
        assert!((before..=after).contains(&now.mono_ns));
        assert!((before - 5_000_000_000..=after - 5_000_000_000).contains(&late.mono_ns));
        assert!(late.at < now.at && late.seq > now.seq);
    }

    #[tokio::test]
    async fn a_follower_reads_what_is_kept_then_what_happens_then_the_end() {
        let journal = EventJournal::new(8);
        publish(&journal, 2);
        let mut follower = journal.follow(1);
        let seq = |followed: Option<Followed>| match followed {
            Some(Followed::Event(event)) => Some(event.seq),
            other => panic!("{other:?}"),
        };
        assert_eq!(seq(follower.next().await), Some(2));
        assert_eq!(follower.try_next(), None);
        let waiting = tokio::spawn(async move {
            let followed = follower.next().await;
            (followed, follower)
        });
        tokio::task::yield_now().await;
        publish(&journal, 2);
        let (followed, mut follower) = waiting.await.unwrap();
        assert_eq!(seq(followed), Some(3));
        journal.close();
        assert_eq!(seq(follower.next().await), Some(4));
        assert_eq!(follower.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_its_loss_and_delays_nobody() {
        let journal = EventJournal::new(4);
        let mut follower = journal.follow(0);
        publish(&journal, 10);
        assert_eq!(follower.next().await, Some(Followed::Lost(6)));
        let mut read = Vec::new();
        while let Some(Followed::Event(event)) = follower.try_next() {
            read.push(event.seq);
        }
        assert_eq!(read, [7, 8, 9, 10]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn publishers_on_many_threads_leave_no_gap() {
        let journal = EventJournal::new(10_000);
        let mut follower = journal.follow(0);
        let publishers: Vec<_> = (0..4)
            .map(|_| {
                let journal = Arc::clone(&journal);
                std::thread::spawn(move || publish(&journal, 500))
            })
            .collect();
        for expected in 1..=2000 {
            match follower.next().await {
                Some(Followed::Event(event)) => assert_eq!(event.seq, expected),
                other => panic!("{other:?}"),
            }
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
    }
}
