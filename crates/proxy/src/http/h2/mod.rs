//! HTTP/2 connections of clients (RFC 9113), by `h2`.
//!
//! ```text
//! connection task: handshake ─▶ accept ─▶ one task per stream (`stream`, `relay`): its request, its backend
//!   └─ frames, windows, GOAWAY; deadlines of heads and of rest; the budget of what brings nothing forward (`tap`)
//! ```
//!
//! All of them are tasks of the connection's worker. A stream's task ends with its exchange; the connection's task goes
//! on until what the streams have handed to `h2` is written.
//!
//! A connection's window is as large as those of all its streams together: a stream whose backend is slow keeps nobody
//! else from sending. What a client may have us hold is so bounded by its streams and their windows.

mod block;
mod budget;
mod frames;
mod stream;
mod tap;

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Connection, SendResponse},
};
use http::Request;
use proxima_http1::Hop;
use tokio::io::{AsyncRead, AsyncWrite};

pub(super) use self::frames::PREFACE;
use self::tap::{Tally, Tap};
use super::{
    linger::{LINGER, linger},
    streams::Streams,
    translate::MAX_LIST,
};
use crate::{
    access::Tls,
    backend::is_quiet_in_kernel,
    close::Guarded,
    entry::{Entry, Open},
    stats::{ServiceCounters, Slow},
    stream::Stream,
    timer::{Deadline, Timer},
    worker::Worker,
};

/// Streams a client may have open at once.
const STREAMS: u32 = 128;
/// What it may send on one of them beyond what was passed on.
const WINDOW: u32 = 64 * 1024;
/// What may wait in `h2` to be written, of one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// What the tasks of one connection share.
struct Link {
    worker: Rc<Worker>,
    entry: Rc<Entry>,
    counters: Arc<ServiceCounters>,
    hop: Hop,
    tally: Rc<Tally>,
    streams: Rc<Streams>,
    open: Open,
    peer: SocketAddr,
    tls: Option<Tls>,
}

/// Whose a connection is.
pub(crate) struct Whose {
    pub(crate) entry: Rc<Entry>,
    pub(crate) peer: SocketAddr,
    pub(crate) hop: Hop,
    pub(crate) tls: Option<Tls>,
}

/// Serves the requests of one connection until it ends. `stream` is the client's, after TLS if there is any; `read_ahead`
/// was read from it before HTTP/2 was known to be spoken.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    open: Open,
    whose: Whose,
    stream: Guarded<Stream>,
    read_ahead: Vec<u8>,
) {
    let Whose { entry, peer, hop, tls } = whose;
    let counters = entry.counters.clone();
    let tally = Tally::new(counters.clone(), worker.timers.clone());
    let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
    let streams = Streams::new(counters.clone());
    let link = Rc::new(Link { worker, entry, counters, hop, tally, streams, open, peer, tls });
    let stream = Rc::new(RefCell::new(stream));
    let tap = Tap::new(stream.clone(), read_ahead, link.tally.clone());
    if let Some(connection) = handshake(&link, &timer, tap).await {
        Driver::new(link.clone(), &timer, stream.clone(), connection).run().await;
    }
    // The tap, and whoever drove the connection, have gone.
    if let Some(stream) = Rc::into_inner(stream)
        && !link.open.is_sent_away()
    {
        linger(&timer, &mut stream.into_inner()).await;
    }
}

async fn handshake<S>(link: &Link, timer: &Timer, tap: Tap<S>) -> Option<Connection<Tap<S>, Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * STREAMS)
        .max_header_list_size(MAX_LIST as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol();
    timer.arm_after(link.worker.config.header_timeout);
    let mut shaking = pin!(builder.handshake(tap));
    let shaken = poll_fn(|cx| match shaking.as_mut().poll(cx) {
        Poll::Pending if timer.has_expired() => Poll::Ready(None),
        polled => polled.map(Some),
    })
    .await;
    if shaken.is_none() {
        link.counters.slow_client(Slow::Head);
    }
    shaken?.ok()
}

/// Why the timer of a connection runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It does not: streams are open.
    Busy,
    /// No stream is open, but not everything that they have handed to `h2` is written.
    Writing {
        /// Octets that had been written when the timer was set.
        written: u64,
    },
    /// No stream is open.
    Resting,
    /// A head has begun.
    WithinHead,
    /// GOAWAY was sent and no stream is open: nothing but the end is to come.
    Ending,
}

struct Driver<'a> {
    link: Rc<Link>,
    timer: &'a Timer,
    /// What the connection reads from and writes to.
    stream: Rc<RefCell<Guarded<Stream>>>,
    connection: Connection<Tap<Guarded<Stream>>, Bytes>,
    state: State,
    /// When the connection has rested long enough, if it does.
    rest_until: Deadline,
    /// GOAWAY is on its way.
    leaving: bool,
    /// For having gone too far.
    calmed: bool,
    /// Told that it ends at once, as others need its place.
    sent_away: bool,
}

impl<'a> Driver<'a> {
    fn new(
        link: Rc<Link>,
        timer: &'a Timer,
        stream: Rc<RefCell<Guarded<Stream>>>,
        connection: Connection<Tap<Guarded<Stream>>, Bytes>,
    ) -> Self {
        let (state, rest_until) = (State::Busy, Deadline::NEVER);
        let (leaving, calmed, sent_away) = (false, false, false);
        let mut driver =
            Self { link, timer, stream, connection, state, rest_until, leaving, calmed, sent_away };
        driver.enter(State::Resting);
        driver
    }

    async fn run(mut self) {
        while let Some((request, respond)) = poll_fn(|cx| self.poll(cx)).await {
            self.start(request, respond);
        }
    }

    /// The next request; `None` at the end of the connection.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        self.link.streams.register(cx);
        if self.has_to_end() || (self.link.open.is_sent_away() && self.link.streams.are_active()) {
            self.leave();
        }
        loop {
            let accepted = pin!(self.connection.accept()).poll(cx);
            if self.link.tally.excess().is_some() && !std::mem::replace(&mut self.calmed, true) {
                tracing::debug!(peer = %self.link.peer, "client told to calm down");
                self.connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            match accepted {
                // Requests that came with what was too much are not served.
                Poll::Ready(Some(Ok(_))) if self.calmed => {}
                Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        self.watch();
        if self.state == State::Resting {
            if self.is_dismissed(cx) {
                return Poll::Ready(None);
            }
            self.link.open.rest(cx);
        }
        if !self.timer.has_expired() {
            return Poll::Pending;
        }
        match self.state {
            State::Resting => {
                self.leave();
                self.enter(State::Ending);
                // Polled once more, so that GOAWAY goes out.
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::WithinHead => {
                self.link.counters.slow_client(Slow::Head);
                Poll::Ready(None)
            }
            State::Writing { .. } | State::Ending => Poll::Ready(None),
            State::Busy => Poll::Pending,
        }
    }

    /// Whether others have its place, and it was told so.
    fn is_dismissed(&mut self, cx: &Context<'_>) -> bool {
        // A request may be here already and not yet seen by the event loop.
        if !self.link.open.is_sent_away() || !is_quiet_in_kernel(self.stream.borrow().tcp()) {
            return false;
        }
        if !std::mem::replace(&mut self.sent_away, true) {
            self.link.open.note_evicted();
            self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            // Polled once more, so that GOAWAY goes out, as far as its socket takes it.
            cx.waker().wake_by_ref();
            return false;
        }
        true
    }

    /// Sets the deadline that fits what the connection does now, when that has changed.
    fn watch(&mut self) {
        let state = match () {
            () if self.link.tally.is_within_head() => State::WithinHead,
            () if self.link.streams.are_active() => State::Busy,
            () if !self.calmed && !self.link.tally.has_written_all() => {
                State::Writing { written: self.link.tally.written() }
            }
            () if self.leaving || self.calmed => State::Ending,
            () => State::Resting,
        };
        if state != self.state {
            self.enter(state);
        }
    }

    fn enter(&mut self, state: State) {
        if matches!(self.state, State::Busy | State::Writing { .. }) {
            self.rest_until = self.link.worker.timers.deadline(self.link.worker.config.keep_alive);
        }
        self.state = state;
        let config = &self.link.worker.config;
        match state {
            State::Busy => self.timer.arm(Deadline::NEVER),
            // For as long as the client takes something.
            State::Writing { .. } => self.timer.arm_after(config.keep_alive),
            State::Resting => self.timer.arm(self.rest_until),
            State::WithinHead => self.timer.arm_after(config.header_timeout),
            State::Ending => self.timer.arm_after(LINGER),
        }
    }

    /// Says GOAWAY, once; the streams go on to their ends.
    fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            self.connection.graceful_shutdown();
        }
    }

    /// Whether the client does better with its next request on another connection.
    fn has_to_end(&self) -> bool {
        let worker = &self.link.worker;
        worker.has_to_leave(&self.link.entry)
            || (self.link.streams.are_active() && worker.config.displaced.contains(&self.link.peer))
    }

    fn start(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.link.open.begin();
        let active = self.link.streams.begin();
        self.link.tally.accept(respond.stream_id().as_u32());
        let link = self.link.clone();
        // Boxed, since a task is copied as a whole when it is made and when it has ended: this one is of kilobytes.
        tokio::task::spawn_local(Box::pin(async move {
            let _active = active;
            stream::serve(link, request, respond).await;
        }));
    }
}
