//! The driver of the [catchment core](proxima_catchment): one thread that owns
//!
//! - a TUN device `proxima0`, through which the kernel and the core exchange packets ([`tunnel`]);
//! - an `nft` process whose tables divert the right packets into it ([`filter`]);
//! - a UDP socket to the other PoPs;
//! - a netlink socket that asks the kernel for connections ([`sockets`]).
//!
//! It has a thread of its own so that a takeover of many flows delays neither BGP nor requests. Everything it
//! sets up in the kernel belongs to a file descriptor of this process or of its `nft` child, so that all of it
//! vanishes with the process, however it ends.
#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the core")]

mod filter;
mod sockets;
mod tunnel;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub use proxima_catchment::Stats;
use proxima_catchment::{Catchment, Input, Key, Limits, Message, Output, Segment};
use proxima_types::Prefix;
use tokio::{net::UdpSocket, sync::oneshot};

pub use crate::filter::FilterError;
use crate::{filter::Filter, sockets::Connections, tunnel::Tunnel};

/// Is told which clients other PoPs carry packets of to this one, in batches and more than once.
pub type OnDisplaced = Box<dyn FnMut(Instant, &[SocketAddr]) + Send>;

/// What the driver needs to know.
#[derive(Debug, Clone)]
pub struct CatchmentConfig {
    /// The UDP address other PoPs reach this one at.
    pub listen: SocketAddr,
    /// The other PoPs' addresses.
    pub peers: Vec<SocketAddr>,
    /// The secret all PoPs share.
    pub key: Key,
    /// The anycast prefixes whose flows are handed over.
    pub vips: Vec<Prefix>,
    /// How long a reset waits for the other PoPs' answers.
    pub answer_within: Duration,
}

/// Why it did not start. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The UDP socket.
    #[error("catchment: cannot listen on {address}/udp: {error}")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
    /// The TUN device.
    #[error(
        "catchment: cannot make the TUN device {device}: {error}; it needs /dev/net/tun and CAP_NET_ADMIN"
    )]
    Tunnel {
        /// The device's name.
        device: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The packet filter.
    #[error("catchment: {0}")]
    Filter(#[from] FilterError),
    /// Raw or netlink sockets, or the thread.
    #[error("catchment: {what}: {error}; raw sockets need CAP_NET_RAW")]
    Socket {
        /// Which.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

/// A running driver. Dropping it ends the hand-over and undoes what was set up.
#[derive(Debug)]
pub struct CatchmentHandle {
    counters: Counters,
    thread: Option<(oneshot::Sender<()>, thread::JoinHandle<()>)>,
}

impl CatchmentHandle {
    /// What to read the counts with.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }
}

/// Reads the core's counts; they stay as they were when the driver has ended.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<Stats>>);

impl Counters {
    /// Counts since the start.
    pub fn read(&self) -> Stats {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, stats: Stats) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

impl Drop for CatchmentHandle {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("the catchment thread had panicked");
            }
        }
    }
}

/// Sets everything up and starts the thread, in the calling thread's network namespace.
///
/// # Errors
/// When a device, filter, or socket can't be had; each names the remedy.
pub fn start(config: CatchmentConfig, on_displaced: OnDisplaced) -> Result<CatchmentHandle, StartError> {
    let counters = Counters::default();
    let (started_tx, started_rx) = std::sync::mpsc::sync_channel(1);
    let (stop_tx, stop_rx) = oneshot::channel();
    let shared = counters.clone();
    let body = move || {
        let set_up = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| StartError::Socket { what: "runtime", error })
            .and_then(|runtime| {
                Ok((runtime.block_on(Driver::set_up(config, on_displaced, shared))?, runtime))
            });
        match set_up {
            Ok((driver, runtime)) => {
                let _ = started_tx.send(Ok(()));
                runtime.block_on(driver.run(stop_rx));
            }
            Err(error) => {
                let _ = started_tx.send(Err(error));
            }
        }
    };
    let thread = thread::Builder::new()
        .name("catchment".to_owned())
        .spawn(body)
        .map_err(|error| StartError::Socket { what: "thread", error })?;
    let ended = || StartError::Socket { what: "thread", error: io::Error::other("it ended while starting") };
    started_rx.recv().unwrap_or_else(|_| Err(ended()))?;
    Ok(CatchmentHandle { counters, thread: Some((stop_tx, thread)) })
}

struct Driver {
    core: Catchment,
    key: Key,
    peers: Vec<SocketAddr>,
    udp: UdpSocket,
    tunnel: Tunnel,
    filter: Filter,
    connections: Connections,
    /// Clients whose packets came by another PoP since the last flush.
    displaced: Vec<SocketAddr>,
    on_displaced: OnDisplaced,
    counters: Counters,
}

/// The largest IP packet, and room for a message's frame.
const BUFFER: usize = 65_535 + 64;
/// How many packets are taken in a row before the other sources have their turn.
const BURST: usize = 64;

impl Driver {
    async fn set_up(
        config: CatchmentConfig,
        on_displaced: OnDisplaced,
        counters: Counters,
    ) -> Result<Self, StartError> {
        let udp = UdpSocket::bind(config.listen)
            .await
            .map_err(|error| StartError::Listen { address: config.listen, error })?;
        let tunnel = Tunnel::open().map_err(|error| StartError::Tunnel { device: tunnel::DEVICE, error })?;
        let connections =
            Connections::open().map_err(|error| StartError::Socket { what: "sock_diag socket", error })?;
        let limits = Limits { answer_within: config.answer_within, ..Limits::default() };
        let filter = Filter::install(&config.vips, limits.diverted_for()).await?;
        let core = Catchment::new(config.vips, config.peers.len(), limits);
        let (key, peers, displaced) = (config.key, config.peers, Vec::new());
        Ok(Self { core, key, peers, udp, tunnel, filter, connections, displaced, on_displaced, counters })
    }

    async fn run(mut self, stop: oneshot::Receiver<()>) {
        self.hand_over(stop).await;
        self.filter.close().await;
    }

    /// Returns when told to stop, or when the device is gone.
    async fn hand_over(&mut self, mut stop: oneshot::Receiver<()>) {
        let mut packet = vec![0; BUFFER];
        let mut datagram = vec![0; BUFFER];
        self.core.handle_timeout(Instant::now());
        self.flush().await;
        loop {
            let timeout = self.core.poll_timeout();
            tokio::select! {
                _ = &mut stop => return,
                received = self.tunnel.receive(&mut packet) => match received {
                    Ok(length) => {
                        self.core.handle(Instant::now(), Input::Packet(&packet[..length]));
                        for _ in 1..BURST {
                            let Ok(length) = self.tunnel.try_receive(&mut packet) else { break };
                            self.core.handle(Instant::now(), Input::Packet(&packet[..length]));
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the TUN device is gone; flows are no longer handed over");
                        return;
                    }
                },
                received = self.udp.recv_from(&mut datagram) => match received {
                    Ok((length, from)) => {
                        self.take(&datagram[..length], from.ip());
                        for _ in 1..BURST {
                            let Ok((length, from)) = self.udp.try_recv_from(&mut datagram) else { break };
                            self.take(&datagram[..length], from.ip());
                        }
                    }
                    Err(error) => tracing::debug!(%error, "an earlier datagram could not be delivered"),
                },
                () = sleep_until(timeout) => self.core.handle_timeout(Instant::now()),
                () = self.filter.work() => {}
            }
            self.flush().await;
            self.counters.write(self.core.stats());
        }
    }

    fn take(&mut self, datagram: &[u8], from: IpAddr) {
        let Some(peer) = self.peers.iter().position(|peer| peer.ip() == from) else {
            tracing::debug!(%from, "a datagram from an address that is no configured PoP");
            return;
        };
        match Message::decode(datagram, &self.key) {
            Ok(message) => {
                if let Message::Carry(packet) = message {
                    self.displaced.extend(Segment::parse(packet).map(|segment| segment.source));
                }
                self.core.handle(Instant::now(), Input::Message(peer, message));
            }
            Err(error) => tracing::debug!(%from, %error, "a datagram was dropped"),
        }
    }

    async fn flush(&mut self) {
        if !self.displaced.is_empty() {
            (self.on_displaced)(Instant::now(), &self.displaced);
            self.displaced.clear();
        }
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Query(peer, flow) => self.send(peer, &Message::Query(flow)).await,
                Output::Answer(peer, flow, owned) => self.send(peer, &Message::Answer { flow, owned }).await,
                Output::Carry(peer, packet) => self.send(peer, &Message::Carry(&packet)).await,
                Output::Beat(peer) => self.send(peer, &Message::Alive).await,
                Output::LookUp(peer, flow) => {
                    let owned = self.connections.has(&flow).unwrap_or_else(|error| {
                        tracing::warn!(%error, %flow, "the kernel could not be asked for a connection");
                        false
                    });
                    self.core.handle(Instant::now(), Input::LookedUp { peer, flow, owned });
                }
                Output::Divert(flow) => {
                    tracing::debug!(%flow, "handed to the PoP that owns it");
                    self.filter.divert(flow);
                }
                Output::Inject(packet) => {
                    if let Err(error) = self.tunnel.inject(&packet).await {
                        tracing::debug!(%error, "a carried packet could not be injected");
                    }
                }
                Output::Release(reset) => {
                    if let Err(error) = self.tunnel.release(&reset) {
                        tracing::debug!(%error, "a reset could not be sent");
                    }
                }
            }
        }
    }

    async fn send(&self, peer: usize, message: &Message<'_>) {
        let to = self.peers[peer];
        if let Err(error) = self.udp.send_to(&message.encode(&self.key), to).await {
            tracing::debug!(%error, %to, "a message could not be sent");
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
