//! Listeners that stop accepting at a stroke: what comes from then on is another process's, which has the same socket.

use std::{future::pending, io};

use axum::serve::Listener;
use tokio::sync::watch;

/// A listener that accepts until `ending` turns true; not one connection after that, whether or not its task has run since.
#[derive(Debug)]
pub(crate) struct Accepting<L> {
    listener: L,
    ending: watch::Receiver<bool>,
}

impl<L> Accepting<L> {
    pub(crate) fn until(ending: watch::Receiver<bool>, listener: L) -> Self {
        Self { listener, ending }
    }
}

impl<L: Listener> Listener for Accepting<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        tokio::select! {
            biased;
            () = ended(self.ending.clone()) => pending().await,
            accepted = self.listener.accept() => accepted,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Returns when `ending` has turned true, or nobody can turn it any more.
pub(crate) async fn ended(mut ending: watch::Receiver<bool>) {
    ending.wait_for(|ending| *ending).await.ok();
}
