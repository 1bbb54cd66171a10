//! The task of one listening socket: hands each connection to the peer it comes from.
//!
//! Who is not configured is told so (Cease 6/5, RFC 4486 §4) and closed. That costs a source little and us less: at
//! most [`MAX_REJECTING`] such connections live at once, the rest are dropped without a word, and the log says it
//! once per [`LOG_INTERVAL`].

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use proxima_bgp_wire::{ErrorCode, Message, Negotiated, Notification};
use proxima_types::PeerName;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};

use crate::connection::linger;

/// Rejected connections that may be open at once.
const MAX_REJECTING: usize = 16;
/// The least time between two log lines about rejected connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The wait after the kernel could not give us a connection, for want of file descriptors above all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which task takes the connections of which source.
pub(crate) type PeersByAddress = HashMap<IpAddr, (PeerName, mpsc::Sender<TcpStream>)>;

pub(crate) async fn run(listener: TcpListener, peers: Arc<PeersByAddress>) {
    let rejecting = Arc::new(Semaphore::new(MAX_REJECTING));
    let mut log = RateLimited::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match peers.get(&from.ip().to_canonical()) {
                Some((name, peer)) => {
                    if peer.try_send(stream).is_err() {
                        log.warn(
                            Instant::now(),
                            &format!("too many connections at once from peer {name}; closed one"),
                        );
                    }
                }
                None => reject(stream, from, &rejecting, &mut log),
            },
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                log.warn(Instant::now(), &format!("cannot accept connections: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn reject(stream: TcpStream, from: SocketAddr, rejecting: &Arc<Semaphore>, log: &mut RateLimited) {
    log.warn(
        Instant::now(),
        &format!("rejected a connection from {from}: not a configured peer; add it to [[bgp.peers]] if it should be"),
    );
    let Ok(permit) = rejecting.clone().try_acquire_owned() else { return };
    tokio::spawn(async move {
        linger(stream, &connection_rejected()).await;
        drop(permit);
    });
}

fn connection_rejected() -> BytesMut {
    let mut bytes = BytesMut::new();
    Message::Notification(Notification::new(ErrorCode::CONNECTION_REJECTED, []))
        .encode(Negotiated::default(), &mut bytes)
        .expect("a NOTIFICATION without data always fits");
    bytes
}

/// The connection was gone before we took it; the next may be well.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// A log line at most every so often, with how many were left out.
#[derive(Debug, Default)]
struct RateLimited {
    last: Option<Instant>,
    left_out: u64,
}

impl RateLimited {
    fn warn(&mut self, now: Instant, line: &str) {
        if self.last.is_some_and(|last| now < last + LOG_INTERVAL) {
            self.left_out += 1;
            return;
        }
        self.last = Some(now);
        match std::mem::take(&mut self.left_out) {
            0 => tracing::warn!("BGP: {line}"),
            left_out => tracing::warn!("BGP: {line} ({left_out} more like it)"),
        }
    }
}
