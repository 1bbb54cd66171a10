//! Which clients get a handshake, and until when.

use std::{cell::Cell, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use quinn::{Connecting, Connection, ConnectionError, Endpoint, ServerConfig, VarInt};

use super::{Counters, Crypto, Limits, socket::Succession};

/// An endpoint's entrance.
#[derive(Debug)]
pub struct Gate {
    endpoint: Endpoint,
    server: ServerConfig,
    /// What `server` was made of last, so that it is made anew only after a change.
    current: Option<(Crypto, Arc<ServerConfig>)>,
    limits: Limits,
    counters: Arc<Counters>,
    /// Whether another process takes new clients.
    succession: Arc<Succession>,
    /// Handshakes with clients whose address may be forged.
    unvalidated: Rc<Cell<usize>>,
    handshakes: Rc<Cell<usize>>,
}

/// A client whose first packet has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newcomer {
    /// Where it says it is.
    pub address: SocketAddr,
    /// It has answered from there (RFC 9000 §8.1).
    pub is_validated: bool,
    /// Another process takes new clients by now, but this one came before or answers to us: if it is refused, nobody serves it.
    pub is_left: bool,
}

/// What is done with a newcomer.
#[derive(Debug)]
pub enum Admission<T> {
    /// It gets a handshake, by this TLS.
    Taken(Crypto, T),
    /// It is to come again and show that its address is its own (Retry); one that has is refused.
    Later,
    /// It is told so (CONNECTION_REFUSED).
    Refused,
}

/// Counts one while it lives.
#[derive(Debug)]
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    connecting: Connecting,
    counters: Arc<Counters>,
    _counted: Counted,
    _unvalidated: Option<Counted>,
}

impl Gate {
    pub(super) fn new(
        endpoint: Endpoint,
        server: ServerConfig,
        limits: Limits,
        counters: Arc<Counters>,
        succession: Arc<Succession>,
    ) -> Self {
        let (unvalidated, handshakes) = Default::default();
        Self { endpoint, server, current: None, limits, counters, succession, unvalidated, handshakes }
    }

    /// The endpoint, to close it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next client that gets a handshake, with the TLS that `admit` gives for it and whatever else. `None` when the endpoint is closed.
    pub async fn next<T>(
        &mut self,
        mut admit: impl FnMut(Newcomer) -> Admission<T>,
    ) -> Option<(Handshake, T)> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if self.handshakes.get() >= self.limits.handshakes {
                self.counters.crowded.add(1);
                incoming.ignore();
                continue;
            }
            let is_validated = incoming.remote_address_validated();
            if !is_validated && self.unvalidated.get() >= self.limits.retry_above {
                self.counters.retries.add(1);
                // It fails only for a client that has followed a Retry, whose address is validated.
                let _ = incoming.retry();
                continue;
            }
            let (address, is_left) = (incoming.remote_address(), self.succession.has_begun());
            let newcomer = Newcomer { address, is_validated, is_left };
            let (crypto, admitted) = match admit(newcomer) {
                Admission::Taken(crypto, admitted) => (crypto, admitted),
                Admission::Later if !is_validated => {
                    self.counters.retries.add(1);
                    let _ = incoming.retry();
                    continue;
                }
                Admission::Later | Admission::Refused => {
                    incoming.refuse();
                    continue;
                }
            };
            match incoming.accept_with(self.config(crypto)) {
                Ok(connecting) => {
                    let handshake = Handshake {
                        connecting,
                        counters: self.counters.clone(),
                        _counted: Counted::new(&self.handshakes),
                        _unvalidated: (!is_validated).then(|| Counted::new(&self.unvalidated)),
                    };
                    return Some((handshake, admitted));
                }
                Err(error) => {
                    self.counters.failed.add(1);
                    tracing::debug!(%error, "QUIC client's first packet is no good");
                }
            }
        }
    }

    fn config(&mut self, crypto: Crypto) -> Arc<ServerConfig> {
        match &self.current {
            Some((of, config)) if Arc::ptr_eq(&of.0, &crypto.0) => config.clone(),
            _ => {
                let mut server = self.server.clone();
                server.crypto = crypto.0.clone();
                let server = Arc::new(server);
                self.current = Some((crypto, server.clone()));
                server
            }
        }
    }
}

impl Handshake {
    /// The connection, if the handshake ends before `deadline` does.
    ///
    /// # Errors
    /// Why there is none; the client has been told where that could be.
    pub async fn finish(self, deadline: impl Future<Output = ()>) -> Result<Connection, ConnectionError> {
        let finished = tokio::select! {
            biased;
            finished = self.connecting => finished,
            // Dropped, it is closed.
            () = deadline => Err(ConnectionError::TimedOut),
        };
        if finished.is_err() {
            self.counters.failed.add(1);
        }
        finished
    }
}

impl Gate {
    /// Tells every client that the connection is over, and waits until that is sent, or for `patience`.
    pub async fn close(self, code: u32, patience: Duration) {
        self.endpoint.close(VarInt::from_u32(code), b"");
        let _ = tokio::time::timeout(patience, self.endpoint.wait_idle()).await;
    }
}
