//! Handing a speaker over: all stand still, then the successor has it or it goes on.

use tokio::sync::oneshot;

use super::SpeakerHandle;
use crate::{
    carried,
    detach::{Detached, HandOver, Handed},
    peer::Command,
};

impl SpeakerHandle {
    /// Has every session stand still and hands out what a successor needs to go on without the peers noticing:
    /// [`Speaker::start_with`](crate::Speaker::start_with). What becomes of this speaker is up to [`HandOver`].
    ///
    /// Commands wait meanwhile. Connections that peers make stay in the queues of the listening sockets, which the successor
    /// has too. A session that is not established is none of a successor's: its connections close without a word when there
    /// is one.
    pub async fn hand_over(&self) -> HandOver {
        let (still, ports) = self.inner.roster.stand_still();
        let mut answers = Vec::new();
        for port in ports {
            let (answer, answered) = oneshot::channel();
            port.commands.send(Command::HandOver(answer, still.end())).await.ok(); // its task has ended already
            answers.push((port.name, answered));
        }
        let (down, listeners) = (self.inner.roster.ranges_down(), self.inner.roster.duplicate_listeners());
        let mut detached = Detached { peers: Vec::new(), down, listeners };
        let mut questions = Vec::new();
        for (name, answered) in answers {
            let Handed { session, routes, down } = answered.await.unwrap_or_default();
            if let Some(session) = session {
                detached.peers.push(session);
                questions.push(routes);
            }
            detached.down.extend(down.map(|reason| (name, reason)));
        }
        let carried = self.rib().ask(move |rib| carried::routes(rib, &questions)).await.unwrap_or_default();
        for (peer, routes) in detached.peers.iter_mut().zip(carried) {
            peer.session.received = routes;
        }
        HandOver { detached, speaker: self.clone(), still }
    }

    /// Ends every task without a word.
    pub(crate) async fn end_as_taken(&self) {
        self.inner.roster.end().await;
        self.inner.listeners.lock().await.shutdown().await;
        self.inner.watchers.lock().await.end().await;
    }
}
