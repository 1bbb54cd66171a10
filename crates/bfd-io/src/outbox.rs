//! Events on their way to a reader that may be slow.
//!
//! The channel is bounded. When it is full, each session keeps at most two events until there is room: its last failure
//! and its last change after that. So none of what matters is lost, and the thread never waits.

use std::{collections::VecDeque, sync::Arc};

use proxima_bfd::Meaning;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::settings::BfdEvent;

/// What is not told yet, of one session.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    failure: Option<BfdEvent>,
    last: Option<BfdEvent>,
}

impl Untold {
    pub(crate) fn add(&mut self, event: BfdEvent) {
        if event.meaning() == Meaning::Failed {
            self.failure = Some(event);
            self.last = None;
        } else {
            self.last = Some(event);
        }
    }

    /// The next to be told.
    pub(crate) fn take(&mut self) -> Option<BfdEvent> {
        self.failure.take().or_else(|| self.last.take())
    }
}

/// A session whose events wait for room.
#[derive(Debug)]
struct Waiting {
    name: Arc<str>,
    untold: Untold,
}

/// The sending end.
#[derive(Debug)]
pub(crate) struct Outbox {
    sender: mpsc::Sender<BfdEvent>,
    waiting: VecDeque<Waiting>,
}

impl Outbox {
    pub(crate) fn new(sender: mpsc::Sender<BfdEvent>) -> Self {
        Self { sender, waiting: VecDeque::new() }
    }

    /// Tells `event`, now or when there is room.
    pub(crate) fn tell(&mut self, event: BfdEvent) {
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.name == event.name) {
            waiting.untold.add(event);
        } else if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
            let mut waiting = Waiting { name: event.name.clone(), untold: Untold::default() };
            waiting.untold.add(event);
            self.waiting.push_back(waiting);
        }
    }

    /// Whether some event waits for room.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Tells what waits, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(waiting) = self.waiting.front_mut() {
            while let Some(event) = waiting.untold.take() {
                if let Err(TrySendError::Full(event)) = self.sender.try_send(event) {
                    match event.meaning() {
                        Meaning::Failed => waiting.untold.failure = Some(event),
                        _ => waiting.untold.last = Some(event),
                    }
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }

    /// Forgets what waits of a session that was removed.
    pub(crate) fn forget(&mut self, name: &str) {
        self.waiting.retain(|waiting| &*waiting.name != name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proxima_bfd::{
        Cause, Change, Diagnostic,
        State::{self, Down, Init, Up},
    };

    use super::*;

    fn event(name: &str, from: State, to: State, cause: Cause) -> BfdEvent {
        let change = Change {
            from,
            to,
            cause,
            diagnostic: Diagnostic::None,
            remote_diagnostic: Diagnostic::None,
            remote_independent: false,
        };
        BfdEvent { name: name.into(), at: Instant::now(), change }
    }

    #[test]
    fn a_slow_reader_is_told_every_failure_and_the_last_state_in_order() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.tell(event("a", Init, Up, Cause::Handshake));
        for _ in 0..3 {
            for name in ["a", "b"] {
                outbox.tell(event(name, Up, Down, Cause::DetectionTimeExpired));
                outbox.tell(event(name, Down, Init, Cause::Handshake));
                outbox.tell(event(name, Init, Up, Cause::Handshake));
            }
        }
        let mut told = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            told.push((event.name.to_string(), event.change.to));
            outbox.flush();
        }
        let expected = [("a", Up), ("a", Down), ("a", Up), ("b", Down), ("b", Up)];
        assert_eq!(told, expected.map(|(name, state)| (name.to_owned(), state)));
        assert!(!outbox.is_waiting());
    }

    #[test]
    fn a_removed_session_is_not_told_of_any_more() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.tell(event("a", Init, Up, Cause::Handshake));
        outbox.tell(event("b", Init, Up, Cause::Handshake));
        outbox.forget("b");
        assert_eq!(&*receiver.try_recv().unwrap().name, "a");
        outbox.flush();
        assert!(receiver.try_recv().is_err());
    }

    #[test]
    fn without_a_reader_nothing_piles_up() {
        let (sender, receiver) = mpsc::channel(1);
        drop(receiver);
        let mut outbox = Outbox::new(sender);
        outbox.tell(event("a", Init, Up, Cause::Handshake));
        assert!(!outbox.is_waiting());
    }
}
