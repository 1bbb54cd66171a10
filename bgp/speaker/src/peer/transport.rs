//! Attempts, accepted connections, reading and writing.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    pin::Pin,
    time::{Duration, Instant},
};

use proxima_bgp_session::{ConnectionId, Input};
use tokio::net::TcpStream;

use super::{Peer, WATERMARK};
use crate::{
    PeerConfig, Remote, SpeakerEvent,
    connection::{Connection, Read},
    discovery::Discovery,
    socket,
};

/// Closed connections whose last words may be under way at once; beyond that, what can't be written now is dropped.
const MAX_LINGERING: usize = 16;

/// How long an attempt waits for the router at the end of a link to show itself.
const DISCOVERY_PATIENCE: Duration = Duration::from_secs(2);

/// An attempt under way.
pub(super) struct Attempt {
    id: ConnectionId,
    pub(super) outcome: Pin<Box<dyn Future<Output = Result<TcpStream, String>> + Send>>,
}

impl Peer {
    pub(super) fn connect(&mut self, id: ConnectionId) {
        let (config, internal) = (self.config.clone(), self.common.internal(&self.config));
        let found = self.discovery.as_ref().map(Discovery::found);
        let outcome = Box::pin(async move {
            let remote = match found {
                Some(mut found) => {
                    let found = tokio::time::timeout(
                        DISCOVERY_PATIENCE,
                        found.wait_for(|neighbour| neighbour.at.is_some()),
                    )
                    .await;
                    found.ok().and_then(Result::ok).and_then(|found| found.at).ok_or_else(|| {
                        format!(
                            "no router has shown itself on {} yet: check the link, and that the other side sends router \
                             advertisements (FRR: `neighbor IFACE interface`)",
                            config.remote
                        )
                    })?
                }
                None => destination(&config)?,
            };
            socket::connect(config, internal, remote).await
        });
        self.attempt = Some(Attempt { id, outcome });
    }

    pub(super) fn attempt_ended(&mut self, outcome: Result<TcpStream, String>) {
        let Some(Attempt { id, .. }) = self.attempt.take() else { return };
        let outcome = outcome.map(|stream| Connection::new(id, stream)).and_then(|connection| {
            let local = self.local_end(&connection).ok_or("the connection broke at once")?;
            Ok((connection, local))
        });
        let input = match outcome {
            Ok((connection, local)) => {
                self.connections.push(connection);
                Input::Connected { connection: id, local }
            }
            Err(error) => Input::ConnectFailed { connection: id, error },
        };
        self.handle(input);
    }

    pub(super) fn accepted(&mut self, stream: TcpStream) {
        let internal = self.common.internal(&self.config);
        if let Err(error) = socket::set_up_accepted(&stream, &self.config, internal) {
            tracing::debug!(peer = %self.config.name, %error, "a connection broke before it was set up");
            return;
        }
        let connection = Connection::new(self.session.next_connection(), stream);
        let Some(local) = self.local_end(&connection) else { return };
        let id = connection.id;
        self.connections.push(connection);
        self.handle(Input::Accepted { connection: id, local });
    }

    /// None when it is broken already.
    fn local_end(&self, connection: &Connection) -> Option<proxima_bgp_session::Local> {
        let (local, remote) = (connection.local?.ip(), connection.remote?.ip().to_canonical());
        Some(socket::local_end(local, remote, self.config.distance, self.common.internal(&self.config)))
    }

    /// Takes one chunk from each connection, as far as the RIB has room for it; `anyway` even without, within limits.
    pub(super) fn read(&mut self, anyway: bool) {
        let established = self.session.established();
        for at in 0..self.connections.len() {
            let connection = &self.connections[at];
            let with_routes = Some(connection.id) == established;
            let room = !with_routes || self.routes.reserve();
            let may = room || (anyway && self.routes.overdraw(0));
            if !may {
                continue;
            }
            let input = match connection.read(&mut self.buffer) {
                Read::Bytes(bytes) => {
                    if !room {
                        self.routes.overdraw(bytes.len());
                    }
                    Input::Received { connection: connection.id, bytes }
                }
                Read::Ended(error) => Input::Closed { connection: connection.id, error },
                Read::Nothing => continue,
            };
            self.session.handle(Instant::now(), input);
        }
    }

    pub(super) fn close(&mut self, id: ConnectionId) {
        self.attempt.take_if(|attempt| attempt.id == id);
        if let Some(at) = self.connections.iter().position(|connection| connection.id == id) {
            let mut connection = self.connections.swap_remove(at);
            if self.lingering.len() < MAX_LINGERING {
                self.lingering.spawn(connection.linger());
            } else {
                connection.flush(|_| {}).ok(); // it is closed either way
            }
        }
    }

    pub(super) fn make_updates(&mut self) {
        let Some(established) = self.session.established() else { return };
        let Some(connection) = self.connections.iter_mut().find(|c| c.id == established) else { return };
        while connection.backlog() < WATERMARK
            && let Some(batch) = self.session.poll_update()
        {
            connection.queue_update(&batch.bytes, batch.content);
        }
    }

    /// Writes on every connection; whether anything came of it.
    pub(super) fn write(&mut self) -> bool {
        let mut moved = Vec::new();
        let mut broken = Vec::new();
        for connection in &mut self.connections {
            let (events, peer) = (&self.ports.events, &self.config.name);
            let written = connection.flush(|content| {
                let at = Instant::now();
                events.send(SpeakerEvent::UpdateSent { peer: peer.clone(), content, at });
            });
            match written {
                Ok(0) => {}
                Ok(_) => moved.push(connection.id),
                Err(error) => broken.push((connection.id, error.to_string())),
            }
        }
        let anything = !moved.is_empty() || !broken.is_empty();
        for connection in moved {
            self.handle(Input::Written { connection });
        }
        for (connection, error) in broken {
            self.handle(Input::Closed { connection, error });
        }
        anything
    }
}

/// The configured address, in the scope of its interface where it needs one.
fn destination(config: &PeerConfig) -> Result<SocketAddr, String> {
    match &config.remote {
        Remote::Address { address: IpAddr::V6(address), interface: Some(interface) }
            if address.is_unicast_link_local() =>
        {
            let scope = socket::interface_index(interface).ok_or_else(|| {
                format!("there is no interface {interface}; correct `interface`, or add it")
            })?;
            Ok(SocketAddrV6::new(*address, config.port, 0, scope).into())
        }
        Remote::Address { address, .. } => Ok(SocketAddr::new(*address, config.port)),
        Remote::Range { .. } | Remote::Interface { .. } => Err("its address is not known".to_owned()),
    }
}
