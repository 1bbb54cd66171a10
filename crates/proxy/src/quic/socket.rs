//! A worker's socket: what is another worker's goes to that one, and what others have for this one comes with it.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Endpoint, Runtime, TokioRuntime, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::sync::mpsc;

use super::{
    ConnectionIds, Crypto, Gate, Limits, endpoint_config,
    ids::{ConnectionIdsError, Owner},
    route::keep_own,
    server_config,
};
use crate::{
    listener::{self, BindError},
    stats::{Counter, QuicStats},
};

/// Runs of datagrams that wait for a worker; more are dropped.
const QUEUE: usize = 1024;
/// How often a socket is read in a row when it has nothing but what is others'.
const ROUNDS: usize = 4;

/// What was done with datagrams, by one worker at one listener.
#[derive(Debug, Default)]
pub struct Counters {
    /// Runs of datagrams handed to the worker that owns the connection.
    pub(super) forwarded: Counter,
    /// Runs that worker had no room for.
    pub(super) dropped: Counter,
    /// Runs that belong to another host or PoP.
    pub(super) elsewhere: Counter,
    /// Clients that were told to show that their address is theirs.
    pub(super) retries: Counter,
    /// First packets dropped for too many handshakes.
    pub(super) crowded: Counter,
    /// Handshakes that failed.
    pub(super) failed: Counter,
}

impl Counters {
    /// As they are now, added to `sum`.
    pub fn add_to(&self, sum: &mut QuicStats) {
        sum.forwarded += self.forwarded.read();
        sum.dropped += self.dropped.read();
        sum.elsewhere += self.elsewhere.read();
        sum.retries += self.retries.read();
        sum.crowded += self.crowded.read();
        sum.failed += self.failed.read();
    }
}

/// A run of datagrams on its way to its worker.
#[derive(Debug)]
struct Run {
    meta: RecvMeta,
    octets: Box<[u8]>,
}

/// A worker's part of a listener, before its thread has taken it.
#[derive(Debug)]
pub struct Port {
    socket: UdpSocket,
    ids: Arc<ConnectionIds>,
    worker: u16,
    /// To every worker's queue, by their numbers.
    queues: Arc<[mpsc::Sender<Run>]>,
    queue: mpsc::Receiver<Run>,
    counters: Arc<Counters>,
}

/// Why a listener for QUIC can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No connection IDs for so many workers.
    #[error(transparent)]
    Ids(#[from] ConnectionIdsError),
}

/// A part of a listener on `address` for each of `workers`. Port 0 lets the kernel choose one for all of them.
pub fn bind(
    address: SocketAddr,
    workers: usize,
    ids: &Arc<ConnectionIds>,
) -> Result<(SocketAddr, Vec<Port>), PortError> {
    let numbers = 0..ConnectionIds::check_workers(workers)?;
    let (address, sockets) = listener::bind_udp(address, workers)?;
    let (senders, queues): (Vec<_>, Vec<_>) = numbers.clone().map(|_| mpsc::channel(QUEUE)).unzip();
    let senders: Arc<[_]> = senders.into();
    let ports = sockets
        .into_iter()
        .zip(queues)
        .zip(numbers)
        .map(|((socket, queue), worker)| Port {
            socket,
            ids: Arc::clone(ids),
            worker,
            queues: Arc::clone(&senders),
            queue,
            counters: Arc::default(),
        })
        .collect();
    Ok((address, ports))
}

impl Port {
    /// What becomes of its datagrams.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Takes clients from now on; to be called on the worker's thread, within its runtime.
    ///
    /// # Errors
    /// When the event loop does not take the socket.
    pub fn open(self, limits: Limits) -> io::Result<Gate> {
        let Self { socket, ids, worker, queues, queue, counters } = self;
        let runtime = Arc::new(TokioRuntime);
        let config = endpoint_config(&ids, worker);
        let routed = Arc::new(Routed {
            socket: runtime.wrap_udp_socket(socket)?,
            ids,
            worker,
            queues,
            queue: Mutex::new(queue),
            counters: counters.clone(),
        });
        let server = server_config(&Crypto::of_nobody().map_err(io::Error::other)?, limits);
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server.clone()), routed, runtime)?;
        Ok(Gate::new(endpoint, server, limits, counters))
    }
}

/// The socket as its endpoint sees it.
#[derive(Debug)]
struct Routed {
    socket: Arc<dyn AsyncUdpSocket>,
    ids: Arc<ConnectionIds>,
    worker: u16,
    queues: Arc<[mpsc::Sender<Run>]>,
    /// Taken by the endpoint's task alone; the lock is what `AsyncUdpSocket` asks for.
    queue: Mutex<mpsc::Receiver<Run>>,
    counters: Arc<Counters>,
}

impl Routed {
    /// Fills buffers with what other workers have for this one.
    fn take_queued(&self, cx: &mut Context<'_>, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = 0;
        while taken < bufs.len()
            && let Poll::Ready(Some(run)) = queue.poll_recv(cx)
        {
            // It came in a buffer of the same size.
            let Some(room) = bufs[taken].get_mut(..run.octets.len()) else { continue };
            room.copy_from_slice(&run.octets);
            meta[taken] = run.meta;
            taken += 1;
        }
        taken
    }

    /// Hands on what is others' of the first `count` buffers. How many buffers still hold something.
    fn sort(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta], count: usize) -> usize {
        let mut left = 0;
        for index in 0..count {
            let received = meta[index];
            let kept = keep_own(
                &mut bufs[index][..received.len],
                received.stride,
                |datagram| match self.ids.owner(datagram, self.worker, self.queues.len() as u16) {
                    Owner::Here => None,
                    owner => Some(owner),
                },
                |owner, run| self.hand_on(owner, received, run),
            );
            meta[index].len = kept;
            if kept > 0 {
                bufs.swap(left, index);
                meta.swap(left, index);
                left += 1;
            }
        }
        left
    }

    fn hand_on(&self, owner: Owner, meta: RecvMeta, run: &[u8]) {
        let Owner::Worker(worker) = owner else { return self.counters.elsewhere.add(1) };
        let run = Run { meta: RecvMeta { len: run.len(), ..meta }, octets: run.into() };
        match self.queues[usize::from(worker)].try_send(run) {
            Ok(()) => self.counters.forwarded.add(1),
            Err(_) => self.counters.dropped.add(1),
        }
    }
}

impl AsyncUdpSocket for Routed {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        // Half of the buffers at most: neither side starves the other.
        let half = bufs.len() / 2;
        let queued = self.take_queued(cx, &mut bufs[..half], &mut meta[..half]);
        let (bufs, meta) = (&mut bufs[queued..], &mut meta[queued..]);
        for _ in 0..ROUNDS {
            let left = match self.socket.poll_recv(cx, bufs, meta) {
                Poll::Ready(Ok(count)) => self.sort(bufs, meta, count),
                Poll::Ready(Err(error)) if queued == 0 => return Poll::Ready(Err(error)),
                Poll::Pending if queued == 0 => return Poll::Pending,
                // An error that lasts comes again.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Ready(Ok(queued)),
            };
            if queued + left > 0 {
                return Poll::Ready(Ok(queued + left));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}
