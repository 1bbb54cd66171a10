//! What a speaker tells while it runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use proxima_bgp_session::{Cause, Problem, RoutesReceived, State, UpdateContent};
use proxima_types::PeerName;
use tokio::sync::mpsc::{self, error::TrySendError};

/// How many events wait for their reader; more are dropped, which is logged the first time.
pub const EVENT_QUEUE: usize = 1024;

/// Something happened on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// The state changed.
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
    /// UPDATEs were handed to the kernel in full.
    UpdateSent {
        /// The peer.
        peer: PeerName,
        /// What they say.
        content: UpdateContent,
        /// When the write returned.
        at: Instant,
    },
    /// An UPDATE of the peer was taken in.
    RoutesReceived {
        /// The peer.
        peer: PeerName,
        /// What it did.
        routes: RoutesReceived,
        /// When.
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

/// Where events go. Never waits.
#[derive(Debug, Clone)]
pub(crate) struct EventSink {
    sender: mpsc::Sender<SpeakerEvent>,
    overflowed: Arc<AtomicBool>,
}

impl EventSink {
    pub(crate) fn new() -> (Self, mpsc::Receiver<SpeakerEvent>) {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE);
        (Self { sender, overflowed: Arc::default() }, receiver)
    }

    pub(crate) fn send(&self, event: SpeakerEvent) {
        // A closed queue is no loss: its reader is gone and asks for nothing.
        if let Err(TrySendError::Full(_)) = self.sender.try_send(event)
            && !self.overflowed.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "BGP: {EVENT_QUEUE} events wait to be read, further ones are dropped and not told again; sessions and \
                 routes are not affected, what is recorded of them has gaps"
            );
        }
    }
}
