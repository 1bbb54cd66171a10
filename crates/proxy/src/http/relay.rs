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
//!
//! A WebSocket (`websocket`) that the backend agrees to makes the exchange a tunnel, as `tunnel` is for one pair of versions: it goes on
//! until both sides have ended. Nothing is taken from the client before the agreement.

mod attempt;
mod replay;

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use proxima_http1::{Fault, Framing, ResponseHead};

use self::replay::Replay;
use super::{
    Scratch,
    attempts::{self, Deadlines, Sending, Stop},
    origin::{Incoming, Origin, Wrong},
    websocket::Handshake,
};
use crate::{
    pace::{Length, Pace},
    stats::{Reason, ServiceCounters, Slow},
    timer::Timer,
    view::UpstreamView,
    worker::Worker,
};

/// A piece of a request's body.
#[derive(Debug)]
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
    /// What it asks for a WebSocket with, where its version of HTTP does so without a key.
    fn handshake(&self) -> Option<&Handshake> {
        None
    }
    /// The next piece of the request's body.
    fn poll_body(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<Piece, Stop>>;
    /// So many bytes of the body are with the backend.
    fn passed_on(&mut self, count: usize);
    /// Ready when what was handed over is on its way, and there is room for more.
    fn poll_ready(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), Stop>>;
    /// Whether interim responses are for it (RFC 9110 §15.2).
    fn takes_interim(&self) -> bool {
        true
    }
    /// A response's head, parsed from `text`; an interim one if it says so, or the agreement to a WebSocket. `last`: nothing follows it.
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
    pace: Pace,
    /// Bytes of the response that are not known to be with the client.
    unreleased: usize,
    /// The end of the response is with the client.
    ended: bool,
    /// The backend has agreed to a WebSocket.
    pub(super) is_tunnel: bool,
    awaits: Awaits,
}

/// What of the client is waited for.
#[derive(Debug, Clone, Copy, Default)]
struct Awaits {
    /// More of the request's body.
    piece: bool,
    /// That it takes what there is for it.
    reader: bool,
}

/// From the client to the backend.
#[derive(Default)]
struct Upload {
    /// The body so far, to be sent again.
    replay: Replay,
    stage: Stage,
    /// Bytes of the body that are not known to be with the backend.
    unreleased: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// A WebSocket is asked for: the head is being sent, and what follows it is not for the backend yet.
    Asking,
    /// It is sent.
    Asked,
    /// More of the body, or of the tunnel, is to come.
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
        let length = match scratch.request_head.framing() {
            // A WebSocket comes when there is something to say.
            Framing::None => Length::None,
            Framing::Length(_) => Length::Known,
            Framing::Chunked | Framing::UntilClose => Length::Unknown,
        };
        let pace = Pace::new(worker.body_rate(), length);
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
            pace,
            unreleased: 0,
            ended: false,
            is_tunnel: false,
            awaits: Awaits::default(),
        }
    }

    /// Runs the exchange to its end.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        let upstream = self.upstream.clone();
        attempts::run(self, &upstream).await
    }

    /// One attempt, over `origin`.
    async fn pass(&mut self, origin: &mut impl Origin, index: usize) -> Result<(), Stop> {
        self.arm(self.deadlines.idle);
        let passed = async {
            poll_fn(|cx| self.poll_head(cx, origin)).await?;
            let status = self.scratch.response_head.status();
            let first_byte = self.begun.elapsed();
            self.upstream.answered(index, status, first_byte);
            self.scratch.access.answered(status, first_byte);
            poll_fn(|cx| self.poll_relay(cx, origin)).await?;
            if !self.is_tunnel {
                self.upstream.ended(index, self.begun.elapsed());
            }
            Ok(())
        }
        .await;
        self.attempt.sent = origin.has_sent();
        passed
    }

    /// Sends the request, and reads until the final response has begun.
    fn poll_head(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        loop {
            self.awaits = Awaits::default();
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
                self.awaits.reader = true;
            }
            let is_sent = matches!(self.up.stage, Stage::Asked | Stage::Done);
            let reason = if is_sent { Reason::FirstByte } else { Reason::Idle };
            return self.poll_stop(cx, reason).map(Err);
        }
    }

    /// Hands a head to the client. Whether it is the final one.
    fn begin(&mut self, origin: &mut impl Origin, last: bool) -> Result<bool, Stop> {
        let Scratch { response_head, response, reply, .. } = &mut *self.scratch;
        if response_head.is_interim() && !self.client.takes_interim() {
            origin.consume_head(reply);
            self.arm(self.deadlines.idle);
            return Ok(false);
        }
        let text = origin.head(reply);
        if response_head.switches() {
            if self.client.handshake().is_some_and(|handshake| !handshake.is_answered_by(text)) {
                return Err(self.malformed(Fault::Upgrade));
            }
            self.is_tunnel = true;
            self.pace.lift();
            self.up.stage = Stage::Taking;
        } else if self.client.handshake().is_some() && matches!(response_head.status(), 200..300) {
            // To extended CONNECT it would be the agreement (RFC 8441 §5).
            return Err(Stop::Upstream(Reason::Upgrade));
        }
        self.client.begin(response_head, text, response, last)?;
        self.counters.response(response_head.status());
        origin.consume_head(reply);
        self.committed = true;
        self.ended = last;
        self.arm(self.deadlines.idle);
        let is_final = !self.scratch.response_head.is_interim();
        if is_final {
            self.pace.answered();
        }
        Ok(is_final)
    }

    /// Passes the response on to its end; a tunnel, to both of its ends.
    fn poll_relay(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        self.awaits = Awaits::default();
        let is_whole = self.poll_download(cx, origin)?.is_ready();
        if is_whole && !self.is_tunnel {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = self.poll_upload(cx, origin) {
            result?;
        }
        // A backend that has ended its side may have left: what it takes no more is not missed.
        if is_whole && (self.up.stage == Stage::Done || origin.is_broken()) {
            return Poll::Ready(Ok(()));
        }
        // What it said before it broke is the client's, as long as that has not taken it.
        if self.is_tunnel && origin.is_broken() && !self.awaits.reader {
            return Poll::Ready(Err(Stop::Upstream(Reason::Broken)));
        }
        self.poll_stop(cx, Reason::Idle).map(Err)
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, origin: &mut impl Origin) -> Poll<Result<(), Stop>> {
        let method = self.scratch.request_head.method();
        loop {
            if let Poll::Ready(result) = self.client.poll_ready(cx, self.scratch) {
                result?;
            } else {
                self.awaits.reader = true;
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
            match incoming {
                Ok(Incoming::Data { bytes, last }) => {
                    self.unreleased = bytes.len();
                    self.pace.taken(bytes.len(), &self.worker.timers);
                    self.scratch.access.sent(bytes.len());
                    self.client.data(&mut self.scratch.response, bytes, last);
                    self.ended = last;
                    self.arm(self.deadlines.idle);
                }
                // RFC 9113 §8.5: a tunnel has none.
                Ok(Incoming::End { trailers }) if self.is_tunnel && !trailers.is_empty() => {
                    return Poll::Ready(Err(self.malformed(Fault::Trailer)));
                }
                Ok(Incoming::End { trailers }) => {
                    self.client.end(&mut self.scratch.response, &trailers)?;
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
        match self.up.stage {
            Stage::Taking | Stage::Taken => {}
            Stage::Asked | Stage::Done => return Poll::Pending,
            Stage::Asking => {
                ready!(origin.poll_flush(cx));
                self.up.stage = Stage::Asked;
                self.arm(self.deadlines.first_byte);
                return Poll::Ready(Ok(()));
            }
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
                self.awaits.piece = awaits_piece;
                return Poll::Pending;
            }
        }
    }

    /// The next piece of the body: one that an earlier attempt took, or a new one.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Result<Poll<Piece>, Stop> {
        if let Some(piece) = self.up.replay.next() {
            return Ok(Poll::Ready(piece));
        }
        let piece = match self.client.poll_body(cx, self.scratch) {
            Poll::Ready(piece) => piece?,
            Poll::Pending => return Ok(Poll::Pending),
        };
        if self.is_tunnel && matches!(piece, Piece::Trailers(_)) {
            return Err(Stop::ClientFault(Fault::Trailer));
        }
        if let Piece::Data { bytes, .. } = &piece {
            self.up.unreleased += bytes.len();
            self.pace.sent(bytes.len(), &self.worker.timers);
            self.scratch.access.received(bytes.len());
        }
        if self.committed {
            self.up.replay.drop_all();
        } else {
            self.up.replay.keep(&piece);
        }
        self.arm(self.deadlines.idle);
        Ok(Poll::Ready(piece))
    }

    /// What the client sends is for a WebSocket, if the backend agrees to one.
    fn asks_websocket(&self) -> bool {
        self.scratch.request_head.is_websocket()
    }

    fn check_pace(&mut self, cx: &Context<'_>) -> Option<Slow> {
        // Until there is a word of the backend (100 Continue), a client that asked for it may wait with its body.
        let may_wait = self.scratch.request_head.expects_continue() && !self.attempt.replied;
        let sends = self.awaits.piece && !may_wait;
        self.pace.check(&self.worker.timers, cx, sends, self.awaits.reader)
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
