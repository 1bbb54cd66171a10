//! Relayed TCP connections.
//!
//! One task per connection drives both directions. A direction ends by itself: its end of stream goes on as one
//! (half-close), and the connection closes when both have ended. A reset, on either side, goes on as a reset; so does the
//! end of the data plane.

mod splice;

use std::{
    cell::{RefCell, RefMut},
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use proxima_balance::Tried;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

pub(crate) use self::splice::Pipe;
use crate::{
    access::Access,
    backend::{Backend, Pending},
    close::Guarded,
    entry::{Entry, Open},
    stats::{Counter, Reason, ServiceCounters, Unserved},
    timer::Timer,
    view::{ServiceView, UpstreamView},
    worker::Worker,
};

/// Bytes of a direction after which it may go on by `splice(2)`. Before, the pipe costs more than the copy.
const SPLICE_AFTER: u64 = 64 * 1024;
/// It does so when this much arrives at once: a pipe costs small messages more than it saves them.
const BULK: usize = 16 * 1024;
/// And goes back to copying when no more than this does.
const SMALL: usize = 4 * 1024;
const ROOM: usize = 64 * 1024;

/// Where the bytes of all relayed connections of a worker pass through. What can't be written on at once moves out of
/// it before another connection's turn, so one is enough.
pub(crate) struct Passage(RefCell<Box<[u8]>>);

impl Passage {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; ROOM].into_boxed_slice()))
    }

    /// The room, for as long as nothing is waited for.
    pub(crate) fn room(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.borrow_mut()
    }
}

/// Relays one connection until it ends.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    _open: Open,
    entry: Rc<Entry>,
    client: TcpStream,
    peer: SocketAddr,
) {
    let mut client = Guarded::under_way(client);
    let counters = entry.counters.clone();
    let mut access = worker.access(&entry, peer, "tcp", None);
    let service = worker.service(&entry);
    let Some(ServiceView::Tcp(upstream)) = service.as_deref() else {
        counters.unserved(Unserved::NoBackends);
        return access.end("unserved", Some(Unserved::NoBackends.name()));
    };
    if upstream.levels.is_empty() {
        let (kind, why) = upstream.unserved();
        counters.unserved(kind);
        access.end("unserved", Some(kind.name()));
        tracing::debug!(%peer, %why, "connection refused");
        return;
    }
    let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
    let upstream = upstream.clone();
    let (backend, stream, pending) = match connect(&worker, &entry, &upstream, &timer, &mut access).await {
        Ok(connected) => connected,
        Err(reason) => {
            counters.failure(reason);
            return access.end("upstream", Some(reason.name()));
        }
    };
    let mut stream = Guarded::under_way(stream);
    let idle = upstream.timeouts.idle;
    let relayed = {
        let mut relaying =
            pin!(relay(&worker, &counters, &mut client, &mut stream, timer, idle, &mut access));
        poll_fn(|cx| match relaying.as_mut().poll(cx) {
            Poll::Pending if pending.is_cut() => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            polled => polled,
        })
        .await
    };
    match relayed {
        Ok(()) => access.done(),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            backend.counters.failure(Reason::Idle);
            counters.failure(Reason::Idle);
            access.end("silent", Some(Reason::Idle.name()));
        }
        Err(_) => access.end("broken", None),
    }
}

/// Relays between two connections until both directions have ended, one is broken, or nothing moves for `idle`.
pub(crate) async fn relay(
    worker: &Worker,
    counters: &ServiceCounters,
    client: &mut Guarded,
    stream: &mut Guarded,
    timer: Timer,
    idle: Duration,
    access: &mut Access,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (up, down) = (Direction::new(&counters.bytes_in), Direction::new(&counters.bytes_out));
    let mut relay = Relay { worker, client, stream, up, down, timer, idle };
    relay.timer.arm_after(idle);
    let relayed = poll_fn(|cx| relay.poll(cx)).await;
    if relayed.is_ok() {
        relay.client.end();
        relay.stream.end();
    }
    relay.give_back();
    access.received(usize::try_from(relay.up.moved).unwrap_or(usize::MAX));
    access.sent(usize::try_from(relay.down.moved).unwrap_or(usize::MAX));
    relayed
}

/// A connection to the first candidate that takes one.
async fn connect(
    worker: &Worker,
    entry: &Entry,
    upstream: &UpstreamView,
    timer: &Timer,
    access: &mut Access,
) -> Result<(Rc<Backend>, TcpStream, Pending), Reason> {
    let mut tried = Tried::new();
    let mut failed = None;
    while let Some(index) = upstream.pick(&tried) {
        if let Some(reason) = failed {
            entry.counters.failover(reason);
        }
        access.attempt(upstream.candidate(index));
        let backend = upstream.backends[index].clone();
        let pending = backend.begin();
        timer.arm_after(upstream.timeouts.connect);
        worker.make_room();
        let mut connecting = pin!(backend.connect_tcp());
        let connected = poll_fn(|cx| match connecting.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(result.map_err(|_| Reason::Connect)),
            Poll::Pending if timer.has_expired() => Poll::Ready(Err(Reason::ConnectTimeout)),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match connected {
            Ok(stream) => {
                backend.counters.answers.add(1);
                return Ok((backend.clone(), stream, pending));
            }
            Err(reason) => {
                backend.failed(reason);
                failed = Some(reason);
                tried.add(index);
            }
        }
    }
    Err(failed.unwrap_or(Reason::Connect))
}

struct Relay<'a> {
    worker: &'a Worker,
    client: &'a mut Guarded,
    stream: &'a mut Guarded,
    up: Direction<'a>,
    down: Direction<'a>,
    timer: Timer,
    idle: Duration,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.up.moved + self.down.moved;
        let up = self.up.poll(self.worker, self.client, self.stream, cx)?;
        let down = self.down.poll(self.worker, self.stream, self.client, cx)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if self.up.moved + self.down.moved > before {
            self.timer.arm_after(self.idle);
        } else if self.timer.has_expired() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }

    fn give_back(&mut self) {
        self.up.shift_down(self.worker);
        self.down.shift_down(self.worker);
    }
}

/// One way of a relayed connection.
struct Direction<'a> {
    gear: Gear,
    /// Read, and not yet written.
    held: Vec<u8>,
    /// How much of `held` is written.
    written: usize,
    moved: u64,
    counter: &'a Counter,
    /// The source has ended.
    ended: bool,
    /// The destination has been told.
    closed: bool,
    may_splice: bool,
    /// How much the source gave last time.
    last: usize,
}

enum Gear {
    Copy,
    /// `filled` bytes are in the pipe.
    Splice {
        pipe: Pipe,
        filled: usize,
    },
}

impl<'a> Direction<'a> {
    fn new(counter: &'a Counter) -> Self {
        Self {
            gear: Gear::Copy,
            held: Vec::new(),
            written: 0,
            moved: 0,
            counter,
            ended: false,
            closed: false,
            may_splice: true,
            last: 0,
        }
    }

    /// Moves what can be moved; ready when the direction has ended and its destination knows.
    fn poll(
        &mut self,
        worker: &Worker,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if let Gear::Splice { .. } = self.gear {
                ready!(self.poll_splice(from, to, cx))?;
            } else {
                ready!(self.poll_copy(worker, from, to, cx))?;
            }
            let is_idle_pipe = matches!(self.gear, Gear::Splice { filled: 0, .. });
            if self.ended {
                // What the source sent before its end is out: `ended` is the last thing a gear reports.
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
            } else if is_idle_pipe && self.last <= SMALL {
                self.shift_down(worker);
            } else if self.may_splice
                && self.moved >= SPLICE_AFTER
                && self.last >= BULK
                && matches!(self.gear, Gear::Copy)
            {
                self.shift_up(worker);
            }
        }
    }

    /// One read and its write. Returns with nothing held.
    fn poll_copy(
        &mut self,
        worker: &Worker,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            let mut room = worker.passage.0.borrow_mut();
            let mut into = ReadBuf::new(&mut room);
            ready!(Pin::new(from).poll_read(cx, &mut into))?;
            let bytes = into.filled();
            self.last = bytes.len();
            if bytes.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            let count = match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(count) => count,
                Poll::Pending => 0,
            };
            self.held.extend_from_slice(&bytes[count..]);
            self.note(count);
        }
        while self.written < self.held.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.written..]))?;
            self.written += count;
            self.note(count);
        }
        // Room that was needed once is not kept for the life of the connection.
        self.held = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn shift_up(&mut self, worker: &Worker) {
        match worker.pipe() {
            Ok(Some(pipe)) => self.gear = Gear::Splice { pipe, filled: 0 },
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "no pipe to splice through; copying on");
                self.may_splice = false;
            }
        }
    }

    /// Back to copying. A pipe with bytes in it, which only a broken connection leaves, is closed.
    fn shift_down(&mut self, worker: &Worker) {
        if let Gear::Splice { pipe, filled: 0 } = std::mem::replace(&mut self.gear, Gear::Copy) {
            worker.give_back(pipe);
        }
    }

    /// Fills the pipe once or empties it as far as it goes. Returns with the pipe empty, or just filled.
    fn poll_splice(
        &mut self,
        from: &mut TcpStream,
        to: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Gear::Splice { pipe, filled } = &mut self.gear else { return Poll::Ready(Ok(())) };
        if *filled == 0 {
            let count = ready!(pipe.poll_fill(from, cx))?;
            *filled = count;
            self.last = count;
            self.ended = count == 0;
        } else {
            let count = ready!(pipe.poll_empty(to, *filled, cx))?;
            *filled -= count;
            self.note(count);
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, count: usize) {
        self.moved += count as u64;
        self.counter.add(count as u64);
    }
}
