//! A worker's socket: what is another worker's goes to that one, and what others have for this one comes with it. So with
//! processes before this one.

use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    lane::{LaneEnd, LaneStart, Receiving, Sent},
    route::keep_own,
    server_config,
};
use crate::{
    listener::{self, BindError},
    stats::{Counter, QuicStats},
};

/// Runs of datagrams that wait for a worker; more are dropped.
const QUEUE: usize = 1024;
/// Lanes that wait for a worker, of which the last one counts: one that has not looked for so many successors is stuck.
const HEIRS: usize = 4;
/// How often a socket is read in a row when it has nothing but what is others'.
const ROUNDS: usize = 4;

/// What was done with datagrams, by one worker at one listener.
#[derive(Debug, Default)]
pub struct Counters {
    /// Runs of datagrams handed to the worker that owns the connection, of this process or one before it.
    pub(super) forwarded: Counter,
    /// Runs it had no room for.
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
    predecessors: Vec<Predecessor>,
    heir: Option<mpsc::Receiver<LaneEnd>>,
    succession: Arc<Succession>,
    counters: Arc<Counters>,
}

/// The same worker of a process before this one.
#[derive(Debug)]
pub(crate) struct Predecessor {
    pub(crate) generation: u8,
    pub(crate) lane: LaneStart,
}

/// How far it has come that another process reads a port's socket.
#[derive(Debug, Default)]
pub(super) struct Succession {
    /// It may, without a word to us yet.
    is_promised: AtomicBool,
    /// It does.
    has_begun: AtomicBool,
}

impl Succession {
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }
}

/// By which a port is told that another process reads its socket from now on.
#[derive(Debug)]
pub(crate) struct Heir {
    tell: mpsc::Sender<LaneEnd>,
    succession: Arc<Succession>,
}

impl Heir {
    /// From now on another process may begin, which this one hears of later.
    pub(crate) fn promise(&self) {
        self.succession.is_promised.store(true, Ordering::Relaxed);
    }

    /// The other process begins; what it has for this one comes by `lane`, until that ends.
    pub(crate) fn begin(&self, lane: LaneEnd) {
        self.succession.has_begun.store(true, Ordering::Relaxed);
        // Fails for a port that is closed, or whose worker is stuck, which ends the process.
        let _ = self.tell.try_send(lane);
    }
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
    ConnectionIds::check_workers(workers)?;
    let (address, sockets) = listener::bind_udp(address, workers)?;
    Ok((address, ports(sockets, ids)?))
}

/// The parts of a listener that has these sockets, one for each worker.
pub(crate) fn ports(
    sockets: Vec<UdpSocket>,
    ids: &Arc<ConnectionIds>,
) -> Result<Vec<Port>, ConnectionIdsError> {
    let numbers = 0..ConnectionIds::check_workers(sockets.len())?;
    let (senders, queues): (Vec<_>, Vec<_>) = numbers.clone().map(|_| mpsc::channel(QUEUE)).unzip();
    let senders: Arc<[_]> = senders.into();
    let parts = sockets.into_iter().zip(queues).zip(numbers);
    let port = |((socket, queue), worker)| Port {
        socket,
        ids: Arc::clone(ids),
        worker,
        queues: Arc::clone(&senders),
        queue,
        predecessors: Vec::new(),
        heir: None,
        succession: Arc::default(),
        counters: Arc::default(),
    };
    Ok(parts.map(port).collect())
}

impl Port {
    /// What becomes of its datagrams.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Hands datagrams of its connections to `predecessor`.
    pub(crate) fn succeed(&mut self, predecessor: Predecessor) {
        self.predecessors.push(predecessor);
    }

    /// By which it is told that it is succeeded itself.
    pub(crate) fn heir(&mut self) -> Heir {
        let (tell, heir) = mpsc::channel(HEIRS);
        self.heir = Some(heir);
        Heir { tell, succession: Arc::clone(&self.succession) }
    }

    /// Takes clients from now on; to be called on the worker's thread, within its runtime.
    ///
    /// # Errors
    /// When the event loop does not take the socket.
    pub fn open(self, limits: Limits) -> io::Result<Gate> {
        let Self { socket, ids, worker, queues, queue, predecessors, heir, succession, counters } = self;
        let runtime = Arc::new(TokioRuntime);
        let config = endpoint_config(&ids, worker);
        let inbox = Inbox { queue, heir, lane: None, predecessors };
        let routed = Arc::new(Routed {
            socket: runtime.wrap_udp_socket(socket)?,
            ids,
            worker,
            queues,
            inbox: Mutex::new(inbox),
            succession: Arc::clone(&succession),
            counters: counters.clone(),
        });
        let server = server_config(&Crypto::of_nobody().map_err(io::Error::other)?, limits);
        let endpoint = Endpoint::new_with_abstract_socket(config, Some(server.clone()), routed, runtime)?;
        Ok(Gate::new(endpoint, server, limits, counters, succession))
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
    inbox: Mutex<Inbox>,
    succession: Arc<Succession>,
    counters: Arc<Counters>,
}

/// Where datagrams come from besides the socket, and what is not this worker's goes.
#[derive(Debug)]
struct Inbox {
    /// What other workers have for this one.
    queue: mpsc::Receiver<Run>,
    /// When another process begins to read the socket. `None`: never.
    heir: Option<mpsc::Receiver<LaneEnd>>,
    /// While it does.
    lane: Option<Receiving>,
    predecessors: Vec<Predecessor>,
}

impl Inbox {
    /// Fills buffers with what other workers have for this one.
    fn take_queued(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> usize {
        let mut taken = 0;
        while taken < bufs.len()
            && let Poll::Ready(Some(run)) = self.queue.poll_recv(cx)
        {
            // It came in a buffer of the same size.
            let Some(room) = bufs[taken].get_mut(..run.octets.len()) else { continue };
            room.copy_from_slice(&run.octets);
            meta[taken] = run.meta;
            taken += 1;
        }
        taken
    }

    /// Goes over to the lane when a successor begins, and says so, as the end of the lane before may just have said the contrary.
    fn poll_heir(&mut self, succession: &Succession, cx: &mut Context<'_>) {
        while let Some(heir) = &mut self.heir
            && let Poll::Ready(begun) = heir.poll_recv(cx)
        {
            let Some(lane) = begun else {
                // The place is given up, and nobody will succeed there.
                self.heir = None;
                return;
            };
            match Receiving::new(lane) {
                Ok(lane) => {
                    self.lane = Some(lane);
                    succession.has_begun.store(true, Ordering::Relaxed);
                }
                Err(error) => {
                    tracing::error!(%error, "the event loop does not take what a successor hands back");
                }
            }
        }
    }

    fn has(&self, generation: u8) -> bool {
        self.predecessors.iter().any(|predecessor| predecessor.generation == generation)
    }
}

impl Routed {
    /// What comes from outside: by the socket, or by the lane of who reads it.
    fn poll_outside(
        &self,
        inbox: &mut Inbox,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if let Some(lane) = &inbox.lane {
            match lane.poll_recv(cx, bufs, meta) {
                Poll::Ready(Some(count)) => return Poll::Ready(Ok(count)),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    inbox.lane = None;
                    self.succession.is_promised.store(false, Ordering::Relaxed);
                    self.succession.has_begun.store(false, Ordering::Relaxed);
                }
            }
        }
        self.socket.poll_recv(cx, bufs, meta)
    }

    /// Whose `datagram` is, if not this worker's. What was for a process that has ended is: the endpoint says so.
    fn stranger(&self, inbox: &Inbox, datagram: &[u8]) -> Option<Owner> {
        match self.ids.owner(datagram, self.worker, self.queues.len() as u16) {
            Owner::Here => None,
            Owner::Process(generation) if self.is_successor(generation) => Some(Owner::Elsewhere),
            Owner::Process(generation) => inbox.has(generation).then_some(Owner::Process(generation)),
            owner => Some(owner),
        }
    }

    /// Whether that is who may read the socket by now. What is read here while both do is lost, and not to be answered with a reset.
    fn is_successor(&self, generation: u8) -> bool {
        self.succession.is_promised.load(Ordering::Relaxed) && generation == self.ids.successor()
    }

    /// Hands on what is others' of the first `count` buffers. How many buffers still hold something.
    fn sort(
        &self,
        inbox: &mut Inbox,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
        count: usize,
    ) -> usize {
        let mut left = 0;
        for index in 0..count {
            let received = meta[index];
            let mut ended = None;
            let kept = keep_own(
                &mut bufs[index][..received.len],
                received.stride,
                |datagram| self.stranger(inbox, datagram),
                |owner, run| {
                    if let Err(Ended(generation)) = self.hand_on(inbox, owner, received, run) {
                        ended = Some(generation);
                    }
                },
            );
            if let Some(ended) = ended {
                inbox.predecessors.retain(|predecessor| predecessor.generation != ended);
            }
            meta[index].len = kept;
            if kept > 0 {
                bufs.swap(left, index);
                meta.swap(left, index);
                left += 1;
            }
        }
        left
    }

    fn hand_on(&self, inbox: &Inbox, owner: Owner, meta: RecvMeta, run: &[u8]) -> Result<(), Ended> {
        let meta = RecvMeta { len: run.len(), ..meta };
        let sent = match owner {
            Owner::Worker(worker) => {
                let run = Run { meta, octets: run.into() };
                self.queues[usize::from(worker)].try_send(run).map_or(Sent::Full, |()| Sent::Done)
            }
            Owner::Process(generation) => {
                let predecessor = inbox.predecessors.iter().find(|it| it.generation == generation);
                match predecessor.map(|predecessor| predecessor.lane.send(&meta, run)) {
                    None | Some(Sent::Gone) => return Err(Ended(generation)),
                    Some(sent) => sent,
                }
            }
            Owner::Here | Owner::Elsewhere => {
                self.counters.elsewhere.add(1);
                return Ok(());
            }
        };
        match sent {
            Sent::Done => self.counters.forwarded.add(1),
            Sent::Full | Sent::Gone => self.counters.dropped.add(1),
        }
        Ok(())
    }
}

/// The process of this generation has ended. What was for it is lost, as if the link had lost it; the next is answered here.
struct Ended(u8);

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
        let mut inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.poll_heir(&self.succession, cx);
        // Half of the buffers at most: neither side starves the other.
        let half = bufs.len() / 2;
        let queued = inbox.take_queued(cx, &mut bufs[..half], &mut meta[..half]);
        let (bufs, meta) = (&mut bufs[queued..], &mut meta[queued..]);
        for _ in 0..ROUNDS {
            let left = match self.poll_outside(&mut inbox, cx, bufs, meta) {
                Poll::Ready(Ok(count)) => self.sort(&mut inbox, bufs, meta, count),
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
