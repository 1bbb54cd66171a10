//! HTTP: connections of clients, exchanges, connections to backends.
//!
//! ```text
//!            ┌─ HTTP/1.1 (here): one task per connection ─┬─ `exchange`, `flow`: bytes and offsets ── HTTP/1.1 backend
//! client ────┤                              `old` ────────┤
//!            ├─ HTTP/2 (`h2`): one task per stream ───────┤
//!            └─ HTTP/3 (`h3`): one task per stream ───────┴─ `relay`: pieces ── `origin`: the backend's side, by version
//! ```
//!
//! Where a request goes, how often it is tried and what a failure means is decided in one place for all (`attempts`), and
//! what a head may hold by the codec of HTTP/1.1 (`translate`). Another version is one more [`relay::Client`] and one more
//! [`origin::Origin`]. What streams of HTTP/2 and HTTP/3 have in common is in `on_stream`, WebSockets between versions in `websocket`.
//!
//! An HTTP/1.1 connection waits for a request without holding a buffer, reads the head, runs the exchange and begins
//! again; pipelined requests are served one after the other. One that begins with the preface of HTTP/2 goes on in that
//! (prior knowledge, RFC 9113 §3.3).

mod answer;
mod attempts;
mod cancels;
mod exchange;
mod flow;
mod h2;
pub(crate) mod h3;
mod linger;
mod old;
mod on_stream;
mod origin;
mod relay;
mod spliced;
mod streams;
mod translate;
mod tunnel;
mod websocket;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use proxima_http1::{Fault, Hop, MAX_HEAD, RequestHead, ResponseHead};
use tokio::io::AsyncWrite;

use self::{
    answer::Answer,
    linger::{LINGER, linger},
    tunnel::Switched,
};
use crate::{
    access::{Access, Tls},
    backend::is_quiet_in_kernel,
    buffer::Buffer,
    close::Guarded,
    descriptors::Lease,
    entry::{Entry, Open},
    stats::{ServiceCounters, Slow},
    stream::Stream,
    timer::{Deadline, Timer},
    tls::H2,
    worker::Worker,
};

/// Room for what comes from a client at first; in the end a whole head has to fit.
const FEW_INPUT: usize = 4 * 1024;
/// Room for what comes from a backend: at first, and in the end.
const FEW_REPLY: usize = 8 * 1024;
const REPLY: usize = 32 * 1024;
/// Room for heads that are written anew, which is made larger where one needs it.
const HEAD: usize = 1024;

/// How long a connection that was made just before a drain may take for its first request.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// How long a connection may have rested that a drain does not end at once, if a successor takes the clients: the next request of
/// one in use may be on its way. So may that of a resting one, but seldom; nginx's `keepalive_min_timeout` is of this kind.
const NEXT_REQUEST: Duration = Duration::from_secs(5);

/// What one exchange works with. Pooled, so that a request allocates nothing.
pub(crate) struct Scratch {
    /// From the client.
    input: Buffer,
    /// From the backend.
    reply: Buffer,
    /// To the backend: the head, and what of the body came along with it.
    request: Vec<u8>,
    /// To the client: the head, and what of the body came along with it.
    response: Vec<u8>,
    request_head: RequestHead,
    response_head: ResponseHead,
    /// The request's line in the access log.
    access: Access,
}

impl Scratch {
    fn new() -> Box<Self> {
        Box::new(Self {
            input: Buffer::new(FEW_INPUT, MAX_HEAD),
            reply: Buffer::new(FEW_REPLY, REPLY),
            request: Vec::with_capacity(HEAD),
            response: Vec::with_capacity(HEAD),
            request_head: RequestHead::default(),
            response_head: ResponseHead::default(),
            access: Access::default(),
        })
    }

    /// For the next exchange.
    fn give_back(mut self: Box<Self>, worker: &Worker) {
        self.input.clear();
        self.reply.clear();
        self.access.write();
        worker.scratch.put(self);
    }
}

/// A client's connection.
struct Connection {
    worker: Rc<Worker>,
    entry: Rc<Entry>,
    counters: Arc<ServiceCounters>,
    client: Guarded<Stream>,
    peer: SocketAddr,
    timer: Timer,
    hop: Hop,
    /// No request has come yet.
    is_fresh: bool,
}

/// What comes after a request.
enum Turn {
    /// The next one.
    Next,
    /// Nothing more.
    End(End),
}

/// How a connection ends.
enum End {
    /// Everything that was sent has been read.
    Close,
    /// The client may still be sending: a close would reset the connection and could destroy our answer.
    Linger,
    /// The client must see that its response is not whole.
    Reset,
    /// The client speaks HTTP/2.
    Http2,
    /// Another protocol is spoken with the backend from now on.
    Switch(Box<Switched>),
}

enum Head {
    /// The preface of HTTP/2.
    Preface,
    Complete(usize),
    Refused(Fault),
    TooSlow,
    Gone,
}

/// Serves the requests of one connection until it ends.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    open: Open,
    entry: Rc<Entry>,
    client: Stream,
    peer: SocketAddr,
) {
    if client.tcp().set_nodelay(true).is_err() {
        return;
    }
    if client.alpn() == Some(H2) {
        let client = Guarded::at_rest(client);
        return serve_http2(worker, open, entry, client, Vec::new(), peer).await;
    }
    let mut connection = Connection::new(worker, entry, client, peer).await;
    let mut scratch = None;
    let end = loop {
        if let Turn::End(end) = connection.turn(&open, &mut scratch).await {
            break end;
        }
    };
    let mut read_ahead = Vec::new();
    if let Some(scratch) = scratch {
        if let End::Http2 = end {
            read_ahead.extend_from_slice(scratch.input.bytes());
        }
        connection.give_back(scratch);
    }
    match end {
        // Boxes, as few connections need that much room.
        End::Switch(switched) => Box::pin(connection.tunnel(*switched)).await,
        End::Http2 => {
            let Connection { worker, entry, client, .. } = connection;
            serve_http2(worker, open, entry, client, read_ahead, peer).await;
        }
        End::Close => {}
        End::Linger => linger(&connection.timer, &mut connection.client).await,
        End::Reset => connection.client.break_off(),
    }
}

/// HTTP/2 tells by itself whether a response is whole. A box, as few connections need that much room.
fn serve_http2(
    worker: Rc<Worker>,
    open: Open,
    entry: Rc<Entry>,
    client: Guarded<Stream>,
    read_ahead: Vec<u8>,
    peer: SocketAddr,
) -> Pin<Box<impl Future<Output = ()>>> {
    let hop = worker.hop(&entry, peer.ip(), client.scheme(), "2", client.certificates());
    let tls = client.handshake().map(Tls::from);
    Box::pin(h2::serve(worker, open, h2::Whose { entry, peer, hop, tls }, client, read_ahead))
}

/// Tells a client that there are too many of them.
pub(crate) async fn turn_away(
    worker: Rc<Worker>,
    _place: Lease,
    entry: Rc<Entry>,
    client: Stream,
    peer: SocketAddr,
) {
    let mut connection = Connection::new(worker, entry, client, peer).await;
    let mut scratch = connection.worker.scratch.take().unwrap_or_else(Scratch::new);
    let turn = connection.shed(&mut scratch).await;
    connection.give_back(scratch);
    if let Turn::End(End::Linger) = turn {
        linger(&connection.timer, &mut connection.client).await;
    }
}

impl Connection {
    async fn new(worker: Rc<Worker>, entry: Rc<Entry>, client: Stream, peer: SocketAddr) -> Self {
        let timer = poll_fn(|cx| Poll::Ready(worker.timers.timer(cx))).await;
        let hop = worker.hop(&entry, peer.ip(), client.scheme(), "1.1", client.certificates());
        let counters = entry.counters.clone();
        let client = Guarded::at_rest(client);
        Self { worker, entry, counters, client, peer, timer, hop, is_fresh: true }
    }

    /// Serves one request. `kept` holds the scratch between two turns only if bytes of the next request are in it.
    async fn turn(&mut self, open: &Open, kept: &mut Option<Box<Scratch>>) -> Turn {
        let scratch = match kept {
            Some(scratch) => scratch,
            None => match self.wait_for_request(open).await {
                Some(scratch) => kept.insert(scratch),
                None => return Turn::End(End::Close),
            },
        };
        let is_first = std::mem::replace(&mut self.is_fresh, false);
        if !open.resume().await {
            self.counters.shed.add(1);
            self.worker.tell_shed(&self.entry);
            return self.shed(scratch).await;
        }
        let head = self.read_head(scratch, is_first).await;
        self.client.begin();
        if !matches!(head, Head::Preface | Head::Gone) {
            scratch.access = self.access();
        }
        let turn = match head {
            Head::Preface => {
                self.client.end();
                return Turn::End(End::Http2);
            }
            Head::Complete(length) => exchange::run(self, scratch, length).await,
            Head::Refused(fault) => self.refuse(scratch, fault).await,
            Head::TooSlow => {
                self.counters.slow_client(Slow::Head);
                scratch.access.end("client-slow", Some(Slow::Head.name()));
                self.answer(scratch, &Answer::slow_client(), false, false).await
            }
            Head::Gone => Turn::End(End::Close),
        };
        self.client.end();
        scratch.access.write();
        if scratch.input.is_empty()
            && let Some(scratch) = kept.take()
        {
            self.give_back(scratch);
        }
        turn
    }

    /// Tells the client that there are too many.
    async fn shed(&mut self, scratch: &mut Scratch) -> Turn {
        scratch.access = self.access();
        scratch.access.end("shed", None);
        let turn = self.answer(scratch, &Answer::overloaded(), false, false).await;
        scratch.access.write();
        turn
    }

    fn give_back(&self, scratch: Box<Scratch>) {
        scratch.give_back(&self.worker);
    }

    /// The line of a request that begins now.
    fn access(&self) -> Access {
        let tls = self.client.handshake().map(Tls::from);
        self.worker.access(&self.entry, self.peer, "HTTP/1.1", tls)
    }

    /// Waits for a request, and reads what there is of it; `None` when the connection is not needed any more, or another needs its
    /// place.
    async fn wait_for_request(&mut self, open: &Open) -> Option<Box<Scratch>> {
        let config = &self.worker.config;
        self.timer.arm_after(if self.is_fresh { config.header_timeout } else { config.keep_alive });
        let next_request = self.worker.timers.deadline(NEXT_REQUEST);
        let mut last_look = false;
        poll_fn(|cx| match self.poll_begin(cx) {
            Poll::Ready(begun) => Poll::Ready(begun),
            Poll::Pending if self.timer.has_expired() => Poll::Ready(None),
            Poll::Pending if open.is_sent_away() && is_quiet_in_kernel(self.client.tcp()) => {
                open.note_evicted();
                Poll::Ready(None)
            }
            // A request may be here already and not yet seen by the event loop.
            Poll::Pending if self.worker.has_to_leave(&self.entry) && !last_look => {
                last_look = true;
                let last_call = self.last_call(next_request);
                self.timer.arm(last_call.max(self.worker.timers.deadline(Duration::ZERO)));
                if self.worker.timers.is_past(last_call) && is_quiet_in_kernel(self.client.tcp()) {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            }
            Poll::Pending => {
                open.rest(cx);
                Poll::Pending
            }
        })
        .await
    }

    /// Reads the beginning of a request. A connection that was just accepted counts as one to be read from, and may have nothing: no
    /// room is held for that.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<Option<Box<Scratch>>> {
        if ready!(self.client.poll_read_ready(cx)).is_err() {
            return Poll::Ready(None);
        }
        let mut scratch = self.worker.scratch.take().unwrap_or_else(Scratch::new);
        let read = scratch.input.poll_fill(&mut *self.client, cx);
        if let Poll::Ready(Ok(count @ 1..)) = read {
            self.counters.bytes_in.add(count as u64);
            return Poll::Ready(Some(scratch));
        }
        self.give_back(scratch);
        read.map(|_| None)
    }

    /// How long a connection that waits for a request when it is to leave still waits; one in use may until `next_request` at most.
    fn last_call(&self, next_request: Deadline) -> Deadline {
        let in_use = if self.worker.is_succeeded() { next_request } else { Deadline::PAST };
        let fresh = if self.is_fresh { self.worker.timers.deadline(FIRST_REQUEST) } else { Deadline::PAST };
        in_use.max(fresh)
    }

    /// Reads until the head is complete. Something of it is there already.
    async fn read_head(&mut self, scratch: &mut Scratch, is_first: bool) -> Head {
        self.timer.arm_after(self.worker.config.header_timeout);
        let mut worth_parsing = true;
        loop {
            let may_be_preface = is_first && self.may_know_http2() && is_preface(scratch.input.bytes());
            if may_be_preface && scratch.input.bytes().len() >= h2::PREFACE.len() {
                return Head::Preface;
            }
            if worth_parsing && !may_be_preface {
                match scratch.request_head.parse(scratch.input.bytes()) {
                    Ok(Some(length)) => return Head::Complete(length),
                    Ok(None) => {}
                    Err(fault) => return Head::Refused(fault),
                }
            }
            let before = scratch.input.bytes().len();
            match poll_fn(|cx| self.poll_read(scratch, cx)).await {
                Ok(0) | Err(_) => return Head::Gone,
                Ok(_) if self.timer.has_expired() => return Head::TooSlow,
                Ok(_) => {}
            }
            // A head that trickles in byte by byte is parsed once per line, not once per byte.
            let more = &scratch.input.bytes()[before..];
            worth_parsing = more.contains(&b'\n') || scratch.input.is_full();
        }
    }

    /// Over TLS the version is agreed on by ALPN, not by prior knowledge (RFC 9113 §3.2).
    fn may_know_http2(&self) -> bool {
        matches!(*self.client, Stream::Plain(_))
    }

    /// Reads once. An expired timer ends the wait like a byte would.
    fn poll_read(&mut self, scratch: &mut Scratch, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match scratch.input.poll_fill(&mut *self.client, cx) {
            Poll::Ready(Ok(count)) => {
                self.counters.bytes_in.add(count as u64);
                Poll::Ready(Ok(count))
            }
            Poll::Pending if self.timer.has_expired() => Poll::Ready(Ok(usize::MAX)),
            other => other,
        }
    }

    /// Whether the client does better with its next request on another connection.
    fn has_to_end(&self) -> bool {
        self.worker.has_to_leave(&self.entry) || self.worker.config.displaced.contains(&self.peer)
    }

    async fn refuse(&mut self, scratch: &mut Scratch, fault: Fault) -> Turn {
        self.counters.refused(fault);
        scratch.access.end("refused", Some(fault.name()));
        tracing::debug!(listener = %self.entry, fault = fault.name(), "request refused");
        self.answer(scratch, &Answer::refusal(fault), false, false).await
    }

    /// Sends an answer of our own. Without `keep` the connection ends after it.
    async fn answer(&mut self, scratch: &mut Scratch, answer: &Answer, keep: bool, to_head: bool) -> Turn {
        self.counters.response(answer.status);
        scratch.access.status(answer.status);
        let keep = keep && !self.has_to_end();
        scratch.response.clear();
        let length =
            answer.write(&mut scratch.response, &self.hop, self.worker.config.pop.as_str(), keep, to_head);
        self.timer.arm_after(LINGER);
        let mut written = 0;
        let sent = poll_fn(|cx| {
            while written < scratch.response.len() {
                match Pin::new(&mut *self.client).poll_write(cx, &scratch.response[written..]) {
                    Poll::Ready(Ok(count)) => written += count,
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending if self.timer.has_expired() => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match Pin::new(&mut *self.client).poll_flush(cx) {
                Poll::Ready(flushed) => Poll::Ready(flushed.is_ok()),
                Poll::Pending if self.timer.has_expired() => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        self.counters.bytes_out.add(written as u64);
        scratch.access.head(length);
        scratch.access.sent(written);
        match (sent, keep) {
            (true, true) => Turn::Next,
            (true, false) => Turn::End(End::Linger),
            (false, _) => Turn::End(End::Close),
        }
    }
}

/// Whether `bytes` are the preface of HTTP/2, as far as they go, and something of it is there.
fn is_preface(bytes: &[u8]) -> bool {
    let length = bytes.len().min(h2::PREFACE.len());
    length > 0 && bytes[..length] == h2::PREFACE[..length]
}
