//! An exchange between any client and any backend: what the byte path of HTTP/1.1 (`exchange`, `flow`) does for one pair
//! of versions, for all others.
//!
//! ```text
//! Client::poll_body ──▶ pieces ──▶ Origin::send, poll_flush        h2 and h3 clients; h1 client of an h2 or h3 backend
//! Client::begin, data, trailers ◀── pieces ◀── Origin::poll_response        h1, h2 and h3 backends
//! ```
//!
//! Both ways run at once in one task. A piece is taken from one side only when the other has room for it, so a slow side
//! slows the other, and one exchange holds two pieces at most. Heads are text of HTTP/1.1 in between (`translate`).

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_http1::{Fault, Framing, ResponseHead};

use super::{
    Scratch,
    attempts::{self, Deadlines, OverHttp1, Sending, Stop},
    origin::{Http1, Http2, Http3, Incoming, Multiplexing, Origin, Unbegun, Wrong},
};
use crate::{
    UpstreamProtocol,
    backend::Backend,
    multiplexed::{Link, Multiplexed, Place},
    stats::{Reason, ServiceCounters},
    stream::Stream,
    timer::Timer,
    view::UpstreamView,
    worker::Worker,
};

/// How much of a request's body is kept, so that it can be sent to another backend.
const REPLAY: usize = 16 * 1024;

/// A piece of a request's body.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// Content; `last` when nothing follows.
    Data { bytes: Bytes, last: bool },
    /// The checked trailer section, with its final empty line. Nothing follows.
    Trailers(Bytes),
    /// Nothing follows.
    End,
}

impl Piece {
    pub(super) fn is_last(&self) -> bool {
        !matches!(self, Self::Data { last: false, .. })
    }

    fn len(&self) -> usize {
        match self {
            Self::Data { bytes, .. } | Self::Trailers(bytes) => bytes.len(),
            Self::End => 0,
        }
    }
}

/// The client's side of an exchange.
pub(super) trait Client {
    fn timer(&self) -> &Timer;
    /// The next piece of the request's body.
    fn poll_body(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<Piece, Stop>>;
    /// So many bytes of the body are with the backend.
    fn passed_on(&mut self, count: usize);
    /// Ready when what was handed over is on its way, and there is room for more.
    fn poll_ready(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), Stop>>;
    /// A response's head, parsed from `text`; an interim one if it says so. `last`: nothing follows it.
    fn begin(&mut self, head: &ResponseHead, text: &[u8], out: &mut Vec<u8>, last: bool) -> Result<(), Stop>;
    /// Content, when [`Client::poll_ready`] was ready.
    fn data(&mut self, out: &mut Vec<u8>, bytes: Bytes, last: bool);
    /// The end of a response, with its trailer section unless that is empty.
    fn end(&mut self, out: &mut Vec<u8>, trailers: &[u8]) -> Result<(), Stop>;
    /// Ready when the client has left.
    fn poll_gone(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()>;
}

/// One exchange. The request's head is parsed in `scratch`, and written for the backend in its `request`.
pub(super) struct Relay<'a, C> {
    client: &'a mut C,
    scratch: &'a mut Scratch,
    worker: Rc<Worker>,
    counters: &'a ServiceCounters,
    upstream: Rc<UpstreamView>,
    deadlines: Deadlines,
    begun: Instant,
    up: Upload,
    /// Bytes of a response went to the client: the exchange can't begin again.
    pub(super) committed: bool,
    attempt: Attempt,
    /// Bytes of the response that are not known to be with the client.
    unreleased: usize,
    /// The end of the response is with the client.
    ended: bool,
    /// The client is what is waited for.
    awaits_client: bool,
}

/// From the client to the backend.
#[derive(Default)]
struct Upload {
    /// The body so far, to be sent again; as long as it is not `streamed`.
    kept: Vec<Piece>,
    kept_length: usize,
    /// How many of them this attempt has sent.
    next: usize,
    /// The body went beyond what is kept: the request can't be sent again.
    streamed: bool,
    stage: Stage,
    /// Bytes of the body that are not known to be with the backend.
    unreleased: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// More of the body is to come.
    #[default]
    Taking,
    /// The origin has all of it.
    Taken,
    /// Everything is sent.
    Done,
}

/// What the present attempt, or the last one, has come to.
#[derive(Default)]
struct Attempt {
    /// Something was sent.
    sent: bool,
    /// Something came from the backend.
    replied: bool,
}

impl<'a, C: Client> Relay<'a, C> {
    pub(super) fn new(
        client: &'a mut C,
        scratch: &'a mut Scratch,
        worker: Rc<Worker>,
        counters: &'a ServiceCounters,
        upstream: Rc<UpstreamView>,
    ) -> Self {
        let deadlines = Deadlines::begin(&worker, &upstream);
        Self {
            client,
            scratch,
            worker,
            counters,
            upstream,
            deadlines,
            begun: Instant::now(),
            up: Upload::default(),
            committed: false,
            attempt: Attempt::default(),
            unreleased: 0,
            ended: false,
            awaits_client: false,
        }
    }

    /// Runs the exchange to its end.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        let upstream = self.upstream.clone();
        attempts::run(self, &upstream).await
    }

    /// One attempt, over `origin`.
    async fn pass(&mut self, origin: &mut impl Origin, index: usize) -> Result<(), Stop> {
        self.up.next = 0;
        let has_body = self.scratch.request_head.framing() != Framing::None || self.asks_websocket();
        self.up.stage = if has_body { Stage::Taking } else { Stage::Taken };
        self.attempt = Attempt::default();
        self.scratch.reply.clear();
        self.arm(self.deadlines.idle);
        let passed = async {
            poll_fn(|cx| self.poll_head(cx, origin)).await?;
            let status = self.scratch.response_head.status();
            self.upstream.answered(index, status, self.begun.elapsed());
            poll_fn(|cx| self.poll_relay(cx, origin)).await
        }
        .await;
        self.attempt.sent = origin.has_sent();
        passed
    }

    /// Sends the request, and reads until the final response has begun.
    fn poll_head(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        loop {
            self.awaits_client = false;
            if let Poll::Ready(result) = self.poll_upload(cx, origin) {
                result?;
            }
            // An interim response may wait to be passed on.
            if let Poll::Ready(result) = self.client.poll_ready(cx, self.scratch) {
                result?;
                let method = self.scratch.request_head.method();
                if let Poll::Ready(incoming) = origin.poll_response(cx, self.scratch, method) {
                    self.attempt.replied |= incoming.is_ok();
                    match incoming.map_err(|wrong| self.stop(wrong, Reason::Closed))? {
                        Incoming::Head { last } => {
                            if self.begin(origin, last)? {
                                return Poll::Ready(Ok(()));
                            }
                        }
                        // An origin gives a head first.
                        _ => return Poll::Ready(Err(self.malformed(Fault::StatusLine))),
                    }
                    continue;
                }
            } else {
                self.awaits_client = true;
            }
            let reason = if self.up.stage == Stage::Done { Reason::FirstByte } else { Reason::Idle };
            return self.poll_stop(cx, reason).map(Err);
        }
    }

    /// Hands a head to the client. Whether it is the final one.
    fn begin(&mut self, origin: &mut impl Origin, last: bool) -> Result<bool, Stop> {
        let Scratch { response_head, response, reply, .. } = &mut *self.scratch;
        self.client.begin(response_head, origin.head(reply), response, last)?;
        self.counters.response(response_head.status());
        origin.consume_head(reply);
        self.committed = true;
        self.ended = last;
        self.arm(self.deadlines.idle);
        Ok(!self.scratch.response_head.is_interim())
    }

    /// Passes the response on to its end.
    fn poll_relay(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        self.awaits_client = false;
        if let Poll::Ready(result) = self.poll_download(cx, origin) {
            return Poll::Ready(result);
        }
        if let Poll::Ready(result) = self.poll_upload(cx, origin) {
            result?;
        }
        self.poll_stop(cx, Reason::Idle).map(Err)
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        let method = self.scratch.request_head.method();
        loop {
            if let Poll::Ready(result) = self.client.poll_ready(cx, self.scratch) {
                result?;
            } else {
                self.awaits_client = true;
                return Poll::Pending;
            }
            if self.unreleased > 0 {
                origin.passed_on(std::mem::take(&mut self.unreleased));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(incoming) = origin.poll_response(cx, self.scratch, method) else {
                return Poll::Pending;
            };
            let response = &mut self.scratch.response;
            match incoming {
                Ok(Incoming::Data { bytes, last }) => {
                    self.unreleased = bytes.len();
                    self.client.data(response, bytes, last);
                    self.ended = last;
                    self.arm(self.deadlines.idle);
                }
                Ok(Incoming::End { trailers }) => {
                    self.client.end(response, &trailers)?;
                    self.ended = true;
                }
                Ok(Incoming::Head { .. }) => {
                    return Poll::Ready(Err(self.malformed(Fault::StatusLine)));
                }
                Err(wrong) => return Poll::Ready(Err(self.stop(wrong, Reason::Broken))),
            }
        }
    }

    /// Sends the request on as far as it has come. Ready once, when all of it is sent.
    fn poll_upload(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        if self.up.stage == Stage::Done {
            return Poll::Pending;
        }
        loop {
            let mut awaits_piece = false;
            while self.up.stage == Stage::Taking && !awaits_piece && origin.has_room() {
                match self.poll_piece(cx)? {
                    Poll::Ready(piece) => {
                        if piece.is_last() {
                            self.up.stage = Stage::Taken;
                        }
                        origin.send(piece);
                    }
                    Poll::Pending => awaits_piece = true,
                }
            }
            if origin.poll_flush(cx).is_pending() {
                return Poll::Pending;
            }
            if self.up.unreleased > 0 {
                self.client.passed_on(std::mem::take(&mut self.up.unreleased));
                self.arm(self.deadlines.idle);
            }
            if self.up.stage == Stage::Taken {
                self.up.stage = Stage::Done;
                if !self.attempt.replied {
                    self.arm(self.deadlines.first_byte);
                }
                return Poll::Ready(Ok(()));
            }
            if awaits_piece || !origin.has_room() {
                self.awaits_client |= awaits_piece;
                return Poll::Pending;
            }
        }
    }

    /// The next piece of the body: one that an earlier attempt took, or a new one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Result<Poll<Piece>, Stop> {
        if let Some(piece) = self.up.kept.get(self.up.next) {
            self.up.next += 1;
            return Ok(Poll::Ready(piece.clone()));
        }
        let piece = match self.client.poll_body(cx, self.scratch) {
            Poll::Ready(piece) => piece?,
            Poll::Pending => return Ok(Poll::Pending),
        };
        if let Piece::Data { bytes, .. } = &piece {
            self.up.unreleased += bytes.len();
        }
        self.keep(&piece);
        self.arm(self.deadlines.idle);
        Ok(Poll::Ready(piece))
    }

    fn keep(&mut self, piece: &Piece) {
        self.up.kept_length += piece.len();
        if self.committed || self.up.kept_length > REPLAY {
            self.up.streamed = true;
            self.up.kept = Vec::new();
            self.up.next = 0;
        } else if !self.up.streamed {
            self.up.kept.push(piece.clone());
            self.up.next += 1;
        }
    }

    /// What the client sends is for a WebSocket, if the backend agrees to one.
    fn asks_websocket(&self) -> bool {
        self.upstream.protocol == UpstreamProtocol::Http1 && self.scratch.request_head.is_websocket()
    }

    /// One candidate whose connections are shared. When it says that it did nothing with the request, or a connection that had
    /// been of use before turns out to be closed, it is tried once more, which is over another connection.
    async fn over_shared<O: Multiplexing>(
        &mut self,
        connect: Duration,
        backend: &Rc<Backend>,
        index: usize,
    ) -> Result<(), Stop> {
        let mut is_first = true;
        loop {
            let (place, stream) = self.place::<O::Link>(connect, backend).await?;
            let has_body = self.scratch.request_head.framing() != Framing::None;
            let (result, was_reused) =
                match O::begin(place, stream, &self.scratch.request, backend, !has_body) {
                    Ok(mut origin) => {
                        if origin.is_reused() {
                            backend.counters.reuses.add(1);
                        }
                        (self.pass(&mut origin, index).await, origin.is_reused())
                    }
                    Err(Unbegun::Fault(fault)) => return Err(Stop::ClientFault(fault)),
                    Err(Unbegun::Refused) => (Err(Stop::Upstream(Reason::Refused)), true),
                };
            let again = match result {
                Err(Stop::Upstream(Reason::Refused)) => self.is_replayable() && attempts::affords_retry(self),
                Err(Stop::Upstream(Reason::Closed)) if was_reused => {
                    self.may_be_sent_again() && !self.attempt.replied
                }
                _ => false,
            };
            if !(again && std::mem::take(&mut is_first)) {
                return result;
            }
            let counted =
                if result == Err(Stop::Upstream(Reason::Closed)) { Reason::Stale } else { Reason::Refused };
            backend.counters.failure(counted);
        }
    }

    /// A place on a connection to `backend`.
    async fn place<L: Link>(
        &mut self,
        connect: Duration,
        backend: &Rc<Backend>,
    ) -> Result<(Place<L>, L::Stream), Stop> {
        self.arm(connect);
        self.worker.make_room();
        let timers = self.worker.timers.clone();
        let mut placing = std::pin::pin!(Multiplexed::<L>::place(backend, &timers, connect));
        poll_fn(|cx| {
            if let Poll::Ready(result) = placing.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(Stop::Upstream));
            }
            self.poll_stop(cx, Reason::ConnectTimeout).map(Err)
        })
        .await
    }

    fn stop(&self, wrong: Wrong, reason: Reason) -> Stop {
        match wrong {
            Wrong::Gone => Stop::Upstream(reason),
            Wrong::Unprocessed => Stop::Upstream(Reason::Refused),
            Wrong::Malformed(fault) => self.malformed(fault),
        }
    }

    fn malformed(&self, fault: Fault) -> Stop {
        self.counters.malformed(fault);
        Stop::Upstream(Reason::Malformed)
    }
}

impl<C: Client> Sending for Relay<'_, C> {
    type Done = ();

    fn worker(&self) -> &Worker {
        &self.worker
    }

    fn counters(&self) -> &ServiceCounters {
        self.counters
    }

    fn is_idempotent(&self) -> bool {
        self.scratch.request_head.method().is_idempotent()
    }

    fn is_replayable(&self) -> bool {
        !self.up.streamed && !self.committed
    }

    fn has_sent_nothing(&self) -> bool {
        !self.attempt.sent
    }

    fn has_reply(&self) -> bool {
        self.attempt.replied
    }

    fn is_past_total(&self) -> bool {
        self.client.timer().is_past(self.deadlines.total)
    }

    fn arm(&self, after: Duration) {
        self.client.timer().arm(self.worker.timers.deadline(after).min(self.deadlines.total));
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Stop> {
        if self.client.poll_gone(cx, self.scratch).is_ready() {
            return Poll::Ready(Stop::ClientGone);
        }
        if !self.client.timer().has_expired() {
            return Poll::Pending;
        }
        Poll::Ready(match () {
            () if self.is_past_total() => Stop::Upstream(Reason::Total),
            () if self.awaits_client => Stop::ClientSlow,
            () => Stop::Upstream(reason),
        })
    }

    async fn attempt(&mut self, backend: &Rc<Backend>, index: usize) -> Result<(), Stop> {
        let connect = self.upstream.timeouts.connect;
        self.awaits_client = false;
        match self.upstream.protocol {
            UpstreamProtocol::Http1 => attempts::over_http1(self, connect, backend, index).await,
            UpstreamProtocol::Http2 => self.over_shared::<Http2>(connect, backend, index).await,
            UpstreamProtocol::Http3 => self.over_shared::<Http3>(connect, backend, index).await,
        }
    }
}

impl<C: Client> OverHttp1 for Relay<'_, C> {
    async fn over(&mut self, stream: Stream, backend: &Rc<Backend>, index: usize) -> Result<(), Stop> {
        let head = &self.scratch.request_head;
        let mut origin = Http1::new(stream, &self.scratch.request, head.framing(), self.asks_websocket());
        self.pass(&mut origin, index).await?;
        if self.up.stage == Stage::Done && !self.worker.is_draining() {
            origin.rest(self.scratch, backend, &self.worker.timers);
        }
        Ok(())
    }
}
