//! A backend as one worker knows it: its connections at rest, and how busy it is.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use proxima_balance::Candidate;
use proxima_types::BackendId;
use tokio::{io::ReadBuf, net::TcpStream};

use crate::{
    close::Closing,
    descriptors::{Descriptors, Lease},
    distress::{Quiet, Teller},
    multiplexed::{Http2Link, Http3Link, Multiplexed},
    stats::{BackendCounters, Reason},
    stream::Stream,
    timer::{Deadline, Timers},
    tls::TlsToBackend,
};

/// How long a connection to a backend may rest before it is closed.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// From one word in the log about what a backend lacks to the next.
const TOLD_EVERY: Duration = Duration::from_secs(30);
/// How many may rest.
const MAX_IDLE: usize = 512;

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) address: SocketAddr,
    pub(crate) counters: Arc<BackendCounters>,
    /// `None`: plain text.
    tls: Option<TlsToBackend>,
    told_at: Cell<Option<Instant>>,
    descriptors: Rc<Descriptors>,
    teller: Rc<Teller>,
    quiet: Quiet,
    /// Whether the newest view sends anything there.
    usable: Cell<bool>,
    /// Whether what still runs there has to end.
    cut: Cell<bool>,
    pending: Cell<u32>,
    /// The most recently used last.
    idle: RefCell<Vec<Idle>>,
    pub(crate) http2: Multiplexed<Http2Link>,
    pub(crate) http3: Multiplexed<Http3Link>,
}

#[derive(Debug)]
struct Idle {
    stream: Stream,
    until: Deadline,
    _place: Lease,
}

impl Idle {
    /// Tells the backend that nothing follows, as far as that goes without waiting (RFC 8446 §6.1).
    fn close(mut self) {
        self.stream.end();
    }
}

impl Backend {
    /// Of a candidate, which the fence has let into a level; from nothing else.
    pub(crate) fn new(
        candidate: &Candidate,
        tls: Option<TlsToBackend>,
        counters: Arc<BackendCounters>,
        descriptors: Rc<Descriptors>,
        teller: Rc<Teller>,
    ) -> Self {
        let (id, address) = (candidate.backend.clone(), candidate.address);
        let (quiet, pending, idle) = (Quiet::default(), Cell::new(0), RefCell::default());
        let told_at = Cell::new(None);
        let (http2, http3) = (Multiplexed::default(), Multiplexed::default());
        let (usable, cut) = (Cell::new(true), Cell::new(false));
        Self {
            id,
            address,
            counters,
            tls,
            told_at,
            descriptors,
            teller,
            quiet,
            usable,
            cut,
            pending,
            idle,
            http2,
            http3,
        }
    }

    /// Of what is asked for over its connections.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Nothing rests on a backend that is not usable: no exchange would ever find it.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable.get()
    }

    pub(crate) fn set_usable(&self, usable: bool) {
        self.usable.set(usable);
    }

    /// Ends what runs there, as soon as it is woken.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// How many exchanges and relayed connections this worker has under way on it.
    pub(crate) fn pending(&self) -> u32 {
        self.pending.get()
    }

    /// Counts an attempt as under way until the guard is dropped.
    pub(crate) fn begin(self: &Rc<Self>) -> Pending {
        self.pending.set(self.pending.get() + 1);
        self.counters.pending.add(1);
        self.counters.requests.add(1);
        self.pending_place()
    }

    /// Counts an attempt as under way that has been counted before, and goes on beyond what did so.
    pub(crate) fn go_on(self: &Rc<Self>) -> Pending {
        self.pending.set(self.pending.get() + 1);
        self.counters.pending.add(1);
        self.pending_place()
    }

    fn pending_place(self: &Rc<Self>) -> Pending {
        Pending { _place: self.descriptors.attempt(), backend: self.clone() }
    }

    /// Notes that an attempt has failed. Kept out of the way of those that don't.
    #[cold]
    #[inline(never)]
    pub(crate) fn failed(&self, reason: Reason) {
        self.counters.failure(reason);
        // Of one that is not usable, a probe has found out already; or another one has its name by now.
        if self.is_usable() {
            self.teller.tell(&self.id, reason, &self.quiet);
        }
    }

    /// The connection used last of those at rest. What the kernel is known to have closed, or to hold bytes nobody
    /// asked for on, is dropped.
    pub(crate) fn reuse(&self) -> Option<Stream> {
        let mut idle = self.idle.borrow_mut();
        while let Some(resting) = idle.pop() {
            if is_quiet(&resting.stream) {
                return Some(resting.stream);
            }
            resting.close();
        }
        None
    }

    /// A new connection, ready for a request.
    pub(crate) async fn connect(&self) -> Result<Stream, Reason> {
        let tcp = self.connect_tcp().await.map_err(|_| Reason::Connect)?;
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(tcp)) };
        // Boxed: no exchange in plain text is to be larger for it.
        match Box::pin(tls.connect(tcp)).await {
            Ok(stream) => {
                self.counters.handshake(stream.handshake());
                Ok(Stream::Tls(Box::new(stream)))
            }
            Err(error) => {
                self.tell_of_tls(&error);
                Err(Reason::Tls)
            }
        }
    }

    /// A new QUIC connection.
    pub(crate) async fn connect_quic(&self) -> Result<quinn::Connection, Reason> {
        let connected = match &self.tls {
            Some(tls) => tls.connect_quic(self.address).await,
            None => None,
        };
        // The pool's configuration asks for TLS where it asks for HTTP/3.
        let (connection, handshake) = connected.ok_or(Reason::Tls)?.map_err(|error| {
            if error.is_of_tls() {
                self.tell_of_tls(&error);
                return Reason::Tls;
            }
            tracing::debug!(backend = %self.id, %error, "no QUIC connection");
            Reason::Connect
        })?;
        self.counters.connects.add(1);
        self.counters.handshake(handshake);
        Ok(connection)
    }

    /// Nothing else says why: to clients it is one more failure.
    #[cold]
    fn tell_of_tls(&self, error: &dyn std::error::Error) {
        if self.may_tell() {
            tracing::warn!(backend = %self.id, address = %self.address, %error, "no TLS with the backend");
        }
    }

    /// It was asked for a WebSocket that it does not take.
    #[cold]
    pub(crate) fn tell_of_websockets(&self) {
        if self.may_tell() {
            tracing::warn!(
                backend = %self.id, address = %self.address,
                "the backend takes no WebSockets: it has not said SETTINGS_ENABLE_CONNECT_PROTOCOL = 1"
            );
        }
    }

    fn may_tell(&self) -> bool {
        let now = Instant::now();
        let may_tell = self.told_at.get().is_none_or(|told| now >= told + TOLD_EVERY);
        if may_tell {
            self.told_at.set(Some(now));
        }
        may_tell
    }

    /// A new TCP connection.
    pub(crate) async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        self.counters.connects.add(1);
        Ok(stream)
    }

    /// Lets `stream` rest for the next exchange.
    pub(crate) fn rest(&self, stream: Stream, timers: &Timers) {
        let mut idle = self.idle.borrow_mut();
        if self.is_usable() && idle.len() < MAX_IDLE {
            idle.push(Idle { stream, until: timers.deadline(IDLE), _place: self.descriptors.resting() });
        }
    }

    /// A place in the account of descriptors for a connection that belongs to no exchange alone.
    pub(crate) fn resting_place(&self) -> Lease {
        self.descriptors.resting()
    }

    /// Closes what rested too long or was closed by the backend.
    pub(crate) fn sweep(&self, timers: &Timers) {
        if !self.is_usable() {
            return self.forget_idle();
        }
        let now = timers.deadline(Duration::ZERO);
        let gone = |idle: &mut Idle| idle.until <= now || !is_quiet(&idle.stream);
        self.idle.borrow_mut().extract_if(.., gone).for_each(Idle::close);
        self.http2.sweep(timers);
        self.http3.sweep(timers);
    }

    /// How many connections rest.
    pub(crate) fn resting(&self) -> usize {
        self.idle.borrow().len() + self.http2.resting() + self.http3.resting()
    }

    /// Closes the connection that has rested longest.
    pub(crate) fn forget_oldest(&self) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0).close();
        } else if !self.http2.forget_one() {
            self.http3.forget_one();
        }
    }

    /// Ready when a connection at rest has ended, or brings what nobody asked for.
    pub(crate) fn poll_stirred(&self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle.borrow();
        let mut byte = [0];
        let stirred = |idle: &Idle| idle.stream.tcp().poll_peek(cx, &mut ReadBuf::new(&mut byte)).is_ready();
        if idle.iter().any(stirred) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Closes all connections at rest, and those of HTTP/2 and HTTP/3 with their last stream.
    pub(crate) fn forget_idle(&self) {
        self.idle.borrow_mut().drain(..).for_each(Idle::close);
        self.http2.forget_all();
        self.http3.forget_all();
    }
}

/// Whether nothing has arrived on a connection at rest: no bytes, no end. Asks what the event loop has seen so far,
/// not the kernel.
fn is_quiet(stream: &Stream) -> bool {
    !stream.holds_received()
        && matches!(stream.tcp().poll_read_ready(&mut Context::from_waker(Waker::noop())), Poll::Pending)
}

/// Whether nothing has arrived on a connection at rest, as the kernel has it. Where a wrong guess would cost a request.
pub(crate) fn is_quiet_in_kernel(stream: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let peeked = socket2::SockRef::from(stream).peek(&mut byte);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// An attempt under way on a backend.
#[derive(Debug)]
pub(crate) struct Pending {
    backend: Rc<Backend>,
    _place: Lease,
}

impl Pending {
    /// Whether it has to end.
    pub(crate) fn is_cut(&self) -> bool {
        self.backend.is_cut()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.backend.pending.set(self.backend.pending.get() - 1);
        self.backend.counters.pending.sub(1);
    }
}
