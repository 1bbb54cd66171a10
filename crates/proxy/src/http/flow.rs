//! The bytes of one exchange: request to the backend, response to the client, both driven by one task.
//!
//! ```text
//! client ──▶ input ──▶ request (head and first bytes of the body), then straight from input ──▶ backend
//! client ◀── response (head and first bytes of the body), then straight from reply ◀── reply ◀── backend
//! ```
//!
//! What of a long body need not be looked at passes by the buffers (`spliced`).
//!
//! Each read is passed on before the next one: nothing waits for a buffer to fill. While there is nothing to read
//! from the client for the exchange itself, its socket is watched all the same, so that the backend's connection
//! closes with the client's. A client that ends its side of the connection counts as gone, even if it might still
//! read: for all a proxy can see it has left, and a model that goes on generating for nobody is the dearer mistake.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use proxima_http1::{Body, ConnectionOption, Fault, Framing, Version, write_response};
use tokio::io::AsyncWrite;

use super::{
    Connection, Scratch,
    attempts::{Deadlines, Stop},
    tunnel::Switched,
};
use crate::{
    backend::Pending,
    buffer::Buffer,
    pace::{Length, Pace},
    splice::Gear,
    stats::{Reason, Slow},
    stream::Stream,
};

pub(super) struct Flow<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) scratch: &'a mut Scratch,
    pub(super) deadlines: Deadlines,
    pub(super) up: Upload,
    pub(super) down: Download,
    pub(super) pace: Pace,
    /// Bytes of a response went to the client: the exchange can't begin again.
    pub(super) committed: bool,
}

/// From the client to the backend.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) gear: Gear,
    /// How much of `request` this attempt has sent.
    sent: usize,
    window: Window,
    /// The body went beyond what `request` holds: the request can't be sent again.
    pub(super) streamed: bool,
    /// What was written waits in the backend's connection until that takes it.
    flushing: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Body,
    /// The trailers of a streamed body stand in `request`.
    Trailers,
    Done,
    /// The backend does not take more. It may have answered all the same.
    Broken,
}

/// From the backend to the client.
pub(super) struct Download {
    pub(super) body: Body,
    pub(super) gear: Gear,
    /// How much of `response` was written.
    written: usize,
    window: Window,
    trailers: bool,
    /// Something came from the backend on this attempt.
    replied: bool,
}

/// What of a buffer's front is being written, and what is left out behind it.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    forward: usize,
    drop: usize,
}

impl Window {
    /// Looks at the next bytes of `buffer`, which must not be empty.
    fn open(body: &mut Body, buffer: &mut Buffer) -> Result<Self, Fault> {
        let stretch = body.stretch(buffer.bytes())?;
        buffer.consume(stretch.skip);
        let mut window = Self { forward: stretch.forward, drop: stretch.drop };
        window.advance(buffer, 0);
        Ok(window)
    }

    fn advance(&mut self, buffer: &mut Buffer, count: usize) {
        self.forward -= count;
        buffer.consume(count);
        if self.forward == 0 {
            buffer.consume(std::mem::take(&mut self.drop));
        }
    }
}

impl Download {
    fn new() -> Self {
        Self {
            body: Body::new(Framing::None, true),
            gear: Gear::default(),
            written: 0,
            window: Window::default(),
            trailers: false,
            replied: false,
        }
    }
}

impl<'a> Flow<'a> {
    pub(super) fn new(
        connection: &'a mut Connection,
        scratch: &'a mut Scratch,
        body: Body,
        deadlines: Deadlines,
    ) -> Self {
        let mut gear = Gear::default();
        gear.copied(scratch.input.was_filled());
        let up = Upload {
            body,
            gear,
            sent: 0,
            window: Window::default(),
            streamed: false,
            flushing: false,
            stage: Stage::Body,
        };
        let pace = Pace::new(connection.worker.body_rate(), length(scratch.request_head.framing(), &up.body));
        Self { connection, scratch, deadlines, up, down: Download::new(), pace, committed: false }
    }

    /// Begins an attempt.
    pub(super) fn begin(&mut self) {
        self.up.sent = 0;
        self.up.stage = Stage::Body;
        self.up.flushing = false;
        self.down = Download::new();
        self.scratch.reply.clear();
        self.scratch.response.clear();
        self.arm(self.deadlines.idle);
    }

    /// Sets the deadline, or that of the whole exchange if it is sooner.
    pub(super) fn arm(&self, after: Duration) {
        let deadline = self.connection.worker.timers.deadline(after);
        self.connection.timer.arm(deadline.min(self.deadlines.total));
    }

    /// The connections as they are behind a response that switches protocols.
    pub(super) fn switch(&mut self, stream: Stream, pending: Pending) -> Switched {
        let Deadlines { total, idle, .. } = self.deadlines;
        let (up, down) = (self.scratch.input.bytes().to_vec(), self.scratch.reply.bytes().to_vec());
        self.scratch.input.clear();
        let access = std::mem::take(&mut self.scratch.access);
        Switched { stream, up, down, idle, total, access, pending }
    }

    pub(super) fn is_past_total(&self) -> bool {
        self.connection.timer.is_past(self.deadlines.total)
    }

    /// The request as a whole can still be sent to another backend.
    pub(super) fn is_replayable(&self) -> bool {
        !self.up.streamed && !self.committed
    }

    pub(super) fn has_sent_nothing(&self) -> bool {
        self.up.sent == 0
    }

    pub(super) fn has_reply(&self) -> bool {
        self.down.replied
    }

    pub(super) fn is_uploaded(&self) -> bool {
        self.up.stage == Stage::Done
    }

    /// Whether the client's next bytes are its next request.
    pub(super) fn may_keep_client(&self) -> bool {
        let whole = self.up.body.is_complete() && self.up.window.forward == 0 && self.up.gear.held() == 0;
        whole && self.scratch.request_head.keeps_alive()
    }

    /// Whether the backend's connection is as good as new after the exchange.
    pub(super) fn leaves_clean(&self) -> bool {
        self.is_uploaded()
            && self.scratch.reply.is_empty()
            && self.scratch.response_head.keeps_alive()
            && !self.connection.worker.is_draining()
    }

    /// Sends the request and reads until the head of the final response is there; its length.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
    ) -> Poll<Result<usize, Stop>> {
        loop {
            if !self.is_uploaded()
                && let Poll::Ready(result) = self.poll_upload(cx, stream)
            {
                result?;
                self.arm(self.deadlines.first_byte);
            }
            // An interim response may wait to be passed on.
            if let Poll::Ready(result) = self.poll_flush(cx) {
                result?;
                match self.scratch.reply.poll_fill(stream, cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stop::Upstream(Reason::Closed))),
                    Poll::Ready(Ok(_)) => {
                        self.down.replied = true;
                        if let Some(length) = self.parse_reply()? {
                            return Poll::Ready(Ok(length));
                        }
                        continue;
                    }
                    Poll::Pending => {}
                }
            }
            let reason = if self.is_uploaded() { Reason::FirstByte } else { Reason::Idle };
            return self.poll_stop(cx, reason).map(Err);
        }
    }

    /// Parses what came from the backend. Interim responses go to clients that know them (RFC 9110 §15.2).
    fn parse_reply(&mut self) -> Result<Option<usize>, Stop> {
        let method = self.scratch.request_head.method();
        loop {
            let Scratch { reply, response, response_head, request_head, access, .. } = &mut *self.scratch;
            let parsed = match reply.bytes() {
                [] => Ok(None),
                bytes if request_head.is_websocket() => response_head.parse_switching(bytes),
                bytes => response_head.parse(bytes, method),
            };
            let length = match parsed {
                Ok(Some(length)) => length,
                Ok(None) => return Ok(None),
                Err(fault) => return Err(self.malformed(fault)),
            };
            if !response_head.is_interim() {
                return Ok(Some(length));
            }
            if request_head.version() == Version::Http11 {
                let (omit, before) = (ConnectionOption::Omit, response.len());
                write_response(response, response_head, reply.bytes(), &self.connection.hop, omit, true);
                access.head(response.len() - before);
                self.connection.counters.response(response_head.status());
            }
            reply.consume(length);
        }
    }

    /// Turns the final response's head of `length` bytes into the client's. Whether the client's connection goes on.
    pub(super) fn begin_response(&mut self, length: usize) -> bool {
        let is_uploaded = self.is_uploaded();
        let Scratch { reply, response, response_head, request_head, access, .. } = &mut *self.scratch;
        let framing = response_head.framing();
        let is_old = request_head.version() == Version::Http10;
        let ends_by_close = framing == Framing::UntilClose || (framing == Framing::Chunked && is_old);
        let keep =
            request_head.keeps_alive() && is_uploaded && !ends_by_close && !self.connection.has_to_end();
        let option = match (keep, is_old) {
            (true, false) => ConnectionOption::Omit,
            (true, true) => ConnectionOption::KeepAlive,
            (false, _) => ConnectionOption::Close,
        };
        let before = response.len();
        write_response(response, response_head, reply.bytes(), &self.connection.hop, option, !is_old);
        access.head(response.len() - before);
        reply.consume(length);
        self.connection.counters.response(response_head.status());
        self.down.body = Body::new(framing, !is_old);
        self.down.gear.copied(self.scratch.reply.was_filled());
        self.pace.answered();
        self.arm(self.deadlines.idle);
        keep
    }

    /// Passes the response on to its end.
    pub(super) fn poll_relay(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Stop>> {
        if let Poll::Ready(result) = self.poll_download(cx, stream) {
            return Poll::Ready(result);
        }
        if !self.is_uploaded()
            && let Poll::Ready(result) = self.poll_upload(cx, stream)
        {
            result?;
        }
        self.poll_stop(cx, Reason::Idle).map(Err)
    }

    fn poll_download(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Stop>> {
        loop {
            self.gather()?;
            if let Poll::Ready(result) = self.poll_flush(cx) {
                result?;
            } else {
                return Poll::Pending;
            }
            if self.down.window.forward > 0 {
                let bytes = &self.scratch.reply.bytes()[..self.down.window.forward];
                match Pin::new(&mut *self.connection.client).poll_write(cx, bytes) {
                    Poll::Ready(Ok(count)) => {
                        self.wrote(count);
                        self.down.window.advance(&mut self.scratch.reply, count);
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            if self.down.gear.held() > 0 {
                ready!(self.poll_empty_down(cx))?;
                continue;
            }
            // Nothing more is read for a client that does not take what there is.
            if let Poll::Ready(result) = self.poll_send(cx) {
                result?;
            } else {
                return Poll::Pending;
            }
            if self.down.body.is_complete() {
                self.finish_down(stream);
                if std::mem::replace(&mut self.down.trailers, true) || self.down.body.trailers().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.scratch.response.extend_from_slice(self.down.body.trailers());
                continue;
            }
            if !self.scratch.reply.is_empty() {
                let window = Window::open(&mut self.down.body, &mut self.scratch.reply);
                self.down.window = window.map_err(|fault| self.malformed(fault))?;
                continue;
            }
            if ready!(self.poll_fill_down(cx, stream))? {
                continue;
            }
            match self.scratch.reply.poll_fill(stream, cx) {
                Poll::Ready(Ok(0)) if self.down.body.close() => {}
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stop::Upstream(Reason::Broken))),
                Poll::Ready(Ok(_)) => {
                    self.down.gear.copied(self.scratch.reply.was_filled());
                    self.arm(self.deadlines.idle);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Lets what of the body came with the head travel with it, in one write.
    fn gather(&mut self) -> Result<(), Stop> {
        let Scratch { reply, response, .. } = &mut *self.scratch;
        if self.down.written > 0 || response.is_empty() {
            return Ok(());
        }
        while !reply.is_empty() && !self.down.body.is_complete() {
            match self.down.body.stretch(reply.bytes()) {
                Ok(stretch) => {
                    response.extend_from_slice(stretch.forwarded(reply.bytes()));
                    reply.consume(stretch.length());
                }
                Err(fault) => return Err(self.malformed(fault)),
            }
        }
        if self.down.body.is_complete() && !std::mem::replace(&mut self.down.trailers, true) {
            response.extend_from_slice(self.down.body.trailers());
        }
        Ok(())
    }

    /// Writes `response` to the client.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        while self.down.written < self.scratch.response.len() {
            let bytes = &self.scratch.response[self.down.written..];
            match Pin::new(&mut *self.connection.client).poll_write(cx, bytes) {
                Poll::Ready(Ok(count)) => {
                    self.down.written += count;
                    self.wrote(count);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.scratch.response.clear();
        self.down.written = 0;
        self.poll_send(cx)
    }

    /// Sends the client what its connection still holds of what was written.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        let polled = Pin::new(&mut *self.connection.client).poll_flush(cx);
        polled.map_err(|_| Stop::ClientGone)
    }

    pub(super) fn wrote(&mut self, count: usize) {
        self.committed = true;
        self.connection.counters.bytes_out.add(count as u64);
        self.scratch.access.sent(count);
        self.pace.taken(count, &self.connection.worker.timers);
        self.arm(self.deadlines.idle);
    }

    /// Sends the request on as far as it has come. Pending for good once the backend takes no more.
    fn poll_upload(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Stop>> {
        while self.up.stage != Stage::Broken {
            if !ready!(self.poll_send_up(cx, stream)) {
                self.up.stage = Stage::Broken;
                break;
            }
            let Scratch { input, request, .. } = &mut *self.scratch;
            let up = &mut self.up;
            if up.body.is_complete() {
                // The trailers of a body that was not streamed stand in `request` with it.
                if up.streamed && up.stage == Stage::Body && !up.body.trailers().is_empty() {
                    request.clear();
                    request.extend_from_slice(up.body.trailers());
                    up.sent = 0;
                    up.stage = Stage::Trailers;
                    continue;
                }
                up.stage = Stage::Done;
                self.finish_up();
                return Poll::Ready(Ok(()));
            }
            if input.is_empty() {
                if ready!(self.poll_fill_up(cx, stream))? {
                    continue;
                }
                match poll_read(self.connection, &mut self.scratch.input, cx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Stop::ClientGone)),
                    Poll::Ready(Ok(count)) => {
                        self.up.gear.copied(self.scratch.input.was_filled());
                        self.pace.sent(count, &self.connection.worker.timers);
                        self.arm(self.deadlines.idle);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Scratch { input, access, .. } = &mut *self.scratch;
            self.up.streamed = true;
            self.up.window = Window::open(&mut self.up.body, input).map_err(Stop::ClientFault)?;
            access.received(self.up.window.forward);
        }
        Poll::Pending
    }

    /// Sends the backend what there is for it, wherever that lies. Whether it takes it.
    fn poll_send_up(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<bool> {
        let Self { scratch, up, .. } = self;
        let Scratch { input, request, .. } = &mut **scratch;
        loop {
            let head_left = &request[up.sent..];
            let bytes = if head_left.is_empty() { &input.bytes()[..up.window.forward] } else { head_left };
            if bytes.is_empty() {
                break;
            }
            match ready!(Pin::new(&mut *stream).poll_write(cx, bytes)) {
                Ok(count) if head_left.is_empty() => up.window.advance(input, count),
                Ok(count) => up.sent += count,
                Err(_) => return Poll::Ready(false),
            }
        }
        if self.up.gear.held() > 0 && !ready!(self.poll_empty_up(cx, stream)) {
            return Poll::Ready(false);
        }
        let flushed = Pin::new(stream).poll_flush(cx);
        self.up.flushing = flushed.is_pending();
        flushed.map(|flushed| flushed.is_ok())
    }

    /// Ready when the exchange is to stop though nothing has happened on it: the client left, or the deadline passed,
    /// which is the backend's fault for `reason` unless the client is what was waited for.
    pub(super) fn poll_stop(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Stop> {
        let uploading = matches!(self.up.stage, Stage::Body | Stage::Trailers);
        let awaits_body = uploading
            && self.up.sent == self.scratch.request.len()
            && self.up.window.forward == 0
            && self.up.gear.held() == 0
            && !self.up.flushing;
        // Where the body is awaited, `poll_upload` watches the client.
        while !awaits_body && !self.scratch.input.is_full() {
            match poll_read(self.connection, &mut self.scratch.input, cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Stop::ClientGone),
                Poll::Ready(Ok(count)) => self.pace.sent(count, &self.connection.worker.timers),
                Poll::Pending => break,
            }
        }
        if self.pace.is_kept()
            && let Some(slow) = self.check_pace(cx, awaits_body)
        {
            return Poll::Ready(Stop::ClientSlow(slow));
        }
        if !self.connection.timer.has_expired() {
            return Poll::Pending;
        }
        Poll::Ready(match () {
            () if self.is_past_total() => Stop::Upstream(Reason::Total),
            () if awaits_body || self.awaits_reader() => Stop::ClientSlow(Slow::Idle),
            () => Stop::Upstream(reason),
        })
    }

    /// Whether the client has not taken what there is for it.
    fn awaits_reader(&self) -> bool {
        self.down.written < self.scratch.response.len()
            || self.down.window.forward > 0
            || self.down.gear.held() > 0
            || self.connection.client.holds_unsent()
    }

    /// Few requests have a body: kept out of the way of the others.
    #[cold]
    #[inline(never)]
    fn check_pace(&mut self, cx: &Context<'_>, awaits_body: bool) -> Option<Slow> {
        // Until there is a word of the backend (100 Continue), a client that asked for it may wait with its body.
        let may_wait = self.scratch.request_head.expects_continue() && !self.down.replied;
        let (sends, takes) = (awaits_body && !may_wait, self.awaits_reader());
        self.pace.check(&self.connection.worker.timers, cx, sends, takes)
    }

    fn malformed(&self, fault: Fault) -> Stop {
        self.connection.counters.malformed(fault);
        Stop::Upstream(Reason::Malformed)
    }
}

/// What is known of a body, of which more than what came with the head is to come.
fn length(framing: Framing, body: &Body) -> Length {
    match framing {
        _ if body.is_complete() => Length::None,
        Framing::Length(_) => Length::Known,
        _ => Length::Unknown,
    }
}

/// Reads once from the client.
fn poll_read(
    connection: &mut Connection,
    input: &mut Buffer,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let polled = input.poll_fill(&mut *connection.client, cx);
    if let Poll::Ready(Ok(count)) = polled {
        connection.counters.bytes_in.add(count as u64);
    }
    polled
}
