//! What a speaker tells while it runs, and the queue to its reader.
//!
//! The queue never waits and never loses where a session stands: once [`EVENT_QUEUE`] events wait, UPDATEs and problems
//! are dropped, and a change of state takes the place of the one before it of the same peer. What is left is bounded by
//! the number of peers.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use proxima_bgp_session::{Cause, Problem, State, UpdateContent};
use proxima_types::PeerName;
use tokio::sync::Notify;

/// How many events wait for their reader before those that can be done without are dropped.
pub const EVENT_QUEUE: usize = 1024;

/// Something happened on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// The state changed. When the reader was slow, several changes may be one here: from the first state to the last one,
    /// with the last one's cause.
    StateChanged {
        /// The peer.
        peer: PeerName,
        /// From this state.
        from: State,
        /// To this state.
        to: State,
        /// Because of this.
        cause: Cause,
        /// When.
        at: Instant,
    },
    /// A session was established, between these ends: what BFD has to watch from now on. Comes after its `StateChanged`.
    Connected {
        /// The peer.
        peer: PeerName,
        /// Our end of the connection.
        local: SocketAddr,
        /// The peer's end.
        remote: SocketAddr,
        /// The interface the peer is bound to, by configuration.
        interface: Option<String>,
        /// When.
        at: Instant,
    },
    /// UPDATEs were handed to the kernel in full.
    UpdateSent {
        /// The peer.
        peer: PeerName,
        /// What they say.
        content: UpdateContent,
        /// When the write returned.
        at: Instant,
    },
    /// Something the operator should know, the session goes on.
    Problem {
        /// The peer.
        peer: PeerName,
        /// What is wrong.
        problem: Problem,
        /// When.
        at: Instant,
    },
}

impl SpeakerEvent {
    /// The peer it is about.
    pub fn peer(&self) -> &PeerName {
        match self {
            Self::StateChanged { peer, .. }
            | Self::Connected { peer, .. }
            | Self::UpdateSent { peer, .. }
            | Self::Problem { peer, .. } => peer,
        }
    }
}

/// The reader's end.
#[derive(Debug)]
pub struct SpeakerEvents {
    queue: Arc<Queue>,
}

impl SpeakerEvents {
    /// The next event; None when the speaker is gone and all has been read. Cancel-safe.
    pub async fn recv(&mut self) -> Option<SpeakerEvent> {
        loop {
            let news = self.queue.news.notified();
            {
                let mut waiting = self.queue.lock();
                if let Some(event) = waiting.events.pop_front() {
                    return Some(event);
                }
                if waiting.closed {
                    return None;
                }
            }
            news.await;
        }
    }

    /// The next event that is already there.
    pub fn try_recv(&mut self) -> Option<SpeakerEvent> {
        self.queue.lock().events.pop_front()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.queue.lock().events.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where events go. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct EventSink {
    sender: Arc<Sender>,
}

#[derive(Debug)]
struct Sender {
    queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<SpeakerEvent>,
    overflowed: bool,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Each step leaves a whole queue behind.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventSink {
    pub(crate) fn new() -> (Self, SpeakerEvents) {
        let queue = Arc::<Queue>::default();
        (Self { sender: Arc::new(Sender { queue: queue.clone() }) }, SpeakerEvents { queue })
    }

    pub(crate) fn send(&self, event: SpeakerEvent) {
        let queue = &self.sender.queue;
        let first_loss = queue.lock().push(event);
        queue.news.notify_one();
        if first_loss {
            tracing::warn!(
                "BGP: {EVENT_QUEUE} events wait to be read, further UPDATEs and problems are dropped and not told again; \
                 sessions and routes are not affected, what is recorded of them has gaps"
            );
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.news.notify_one();
    }
}

impl Waiting {
    /// Whether an event was dropped for the first time.
    fn push(&mut self, event: SpeakerEvent) -> bool {
        if self.events.len() < EVENT_QUEUE {
            self.events.push_back(event);
            return false;
        }
        match event {
            SpeakerEvent::UpdateSent { .. } | SpeakerEvent::Problem { .. } => {
                return !std::mem::replace(&mut self.overflowed, true);
            }
            SpeakerEvent::StateChanged { .. } => self.state_changed(event),
            SpeakerEvent::Connected { .. } => {
                let peer = event.peer().clone();
                self.events
                    .retain(|old| !matches!(old, SpeakerEvent::Connected { peer: old, .. } if *old == peer));
                self.events.push_back(event);
            }
        }
        false
    }

    /// One change out of this one and the one that still waits; nothing at all when they lead back to where the reader
    /// believes the session to be.
    fn state_changed(&mut self, mut event: SpeakerEvent) {
        let about = |old: &SpeakerEvent| {
            matches!((old, &event), (SpeakerEvent::StateChanged { peer: old, .. },
                SpeakerEvent::StateChanged { peer: new, .. }) if old == new)
        };
        let earliest = self.events.iter().find(|old| about(old)).cloned();
        self.events.retain(|old| !about(old));
        let SpeakerEvent::StateChanged { peer, from, to, .. } = &mut event else { return };
        if let Some(SpeakerEvent::StateChanged { from: first, .. }) = earliest {
            *from = first;
        }
        if *to != State::Established {
            let gone = |old: &SpeakerEvent| matches!(old, SpeakerEvent::Connected { peer: old, .. } if *old == *peer);
            self.events.retain(|old| !gone(old));
        }
        // A session that was lost and came back unread is told all the same: much may have happened to its routes.
        if from != to || *to == State::Established {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PeerName {
        text.parse().unwrap()
    }

    fn change(peer: &str, from: State, to: State) -> SpeakerEvent {
        SpeakerEvent::StateChanged {
            peer: name(peer),
            from,
            to,
            cause: Cause::RetryTimerExpired,
            at: Instant::now(),
        }
    }

    fn update(peer: &str) -> SpeakerEvent {
        let content = UpdateContent::EndOfRib(proxima_types::Family::Ipv4);
        SpeakerEvent::UpdateSent { peer: name(peer), content, at: Instant::now() }
    }

    fn states(events: &mut SpeakerEvents) -> Vec<(String, State, State)> {
        std::iter::from_fn(|| events.try_recv())
            .filter_map(|event| match event {
                SpeakerEvent::StateChanged { peer, from, to, .. } => Some((peer.to_string(), from, to)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_sleeping_reader_still_learns_where_every_session_stands() {
        let (sink, mut events) = EventSink::new();
        for _ in 0..EVENT_QUEUE {
            sink.send(update("a"));
        }
        sink.send(change("a", State::OpenConfirm, State::Established));
        sink.send(change("b", State::Idle, State::Connect));
        for _ in 0..500 {
            sink.send(change("a", State::Established, State::Idle));
            sink.send(change("a", State::Idle, State::Connect));
            sink.send(update("a"));
        }
        assert_eq!(events.len(), EVENT_QUEUE + 2, "bounded by the number of peers");
        let expected = [
            ("b".to_owned(), State::Idle, State::Connect),
            ("a".to_owned(), State::OpenConfirm, State::Connect),
        ];
        assert_eq!(states(&mut events), expected);
    }

    #[test]
    fn peers_that_came_and_went_unread_leave_nothing_behind() {
        let (sink, mut events) = EventSink::new();
        for _ in 0..EVENT_QUEUE {
            sink.send(update("a"));
        }
        for peer in 0..100 {
            let peer = format!("p{peer}");
            sink.send(change(&peer, State::Idle, State::OpenSent));
            sink.send(change(&peer, State::OpenSent, State::Idle));
        }
        assert_eq!(events.len(), EVENT_QUEUE);
        assert_eq!(states(&mut events), []);
    }

    #[tokio::test]
    async fn the_reader_is_told_when_the_speaker_is_gone() {
        let (sink, mut events) = EventSink::new();
        let other = sink.clone();
        sink.send(update("a"));
        drop((sink, other));
        assert!(events.recv().await.is_some());
        assert_eq!(events.recv().await, None);
    }
}
