//! Handing a speaker over: all stand still, then the successor has it or it goes on.

use std::time::{Duration, Instant};

use tokio::{sync::oneshot, time::timeout_at};

use super::SpeakerHandle;
use crate::{
    HandOverError, carried,
    detach::{Detached, HandOver, Handed},
    peer::Command,
};

/// How long all of it may take.
const ANSWERS: Duration = Duration::from_secs(1);
/// How much of that the table may take to say what it has of the sessions.
const TABLE: Duration = Duration::from_millis(500);

impl SpeakerHandle {
    /// Has every session stand still and hands out what a successor needs to go on without the peers noticing:
    /// [`Speaker::start_with`](crate::Speaker::start_with). What becomes of this speaker is up to [`HandOver`].
    ///
    /// Commands wait meanwhile. Connections that peers make stay in the queues of the listening sockets, which the successor
    /// has too. A session that is not established is none of a successor's: its connections close without a word when there
    /// is one.
    ///
    /// Takes a second at most: routes that the table does not tell within that, or within half a second, are the successor's to
    /// ask for.
    ///
    /// # Errors
    /// When a task has not stood still within a second, or sessions do already; all goes on then.
    pub async fn hand_over(&self) -> Result<HandOver, HandOverError> {
        let until = Instant::now() + ANSWERS;
        let (still, ports) = self.inner.roster.stand_still().ok_or(HandOverError::UnderWay)?;
        let mut answers = Vec::new();
        for port in ports {
            let (answer, answered) = oneshot::channel();
            let order = port.commands.send(Command::HandOver(answer, still.end()));
            match timeout_at(until.into(), order).await {
                // A task that has ended has nothing to hand over.
                Ok(Ok(()) | Err(_)) => answers.push((port.name, answered)),
                Err(_) => return Err(HandOverError::Busy(port.name)),
            }
        }
        let (down, listeners) = (self.inner.roster.ranges_down(), self.inner.roster.duplicate_listeners());
        let started = Some(self.inner.roster.started());
        let mut detached = Detached { peers: Vec::new(), down, listeners, started };
        let mut questions = Vec::new();
        for (name, answered) in answers {
            let answered = timeout_at(until.into(), answered).await.map_err(|_| HandOverError::Busy(name))?;
            let Handed { session, routes, down } = answered.unwrap_or_default();
            if let Some(session) = session {
                detached.peers.push(session);
                questions.push(routes);
            }
            detached.down.extend(down);
        }
        let told = self.rib().ask(move |rib| carried::routes(rib, &questions));
        let until = until.min(Instant::now() + TABLE);
        if let Ok(Some(told)) = timeout_at(until.into(), told).await {
            for (peer, routes) in detached.peers.iter_mut().zip(told) {
                peer.session.received = routes;
            }
        }
        Ok(HandOver { detached, speaker: self.clone(), still })
    }

    /// Ends every task without a word.
    pub(crate) async fn end_as_taken(&self) {
        self.inner.roster.end().await;
        self.inner.listeners.lock().await.shutdown().await;
        self.inner.watchers.lock().await.end().await;
    }
}
