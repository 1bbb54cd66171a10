//! An exchange of an HTTP/1.1 client with an HTTP/1.1 backend: bytes and offsets all the way (`flow`).

use std::{
    future::poll_fn,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use proxima_http1::{Body, Fault, Framing, Method, write_request};

use super::{
    Answer, Connection, End, Scratch, Turn,
    attempts::{self, Deadlines, OverHttp1, Refusal, Sending, Stop, Verdict, conclude},
    flow::Flow,
    old,
};
use crate::{
    UpstreamProtocol,
    access::Access,
    backend::Backend,
    stats::{Reason, ServiceCounters},
    stream::Stream,
    view::UpstreamView,
    worker::Worker,
};

/// Serves the request whose head of `length` bytes lies parsed in `scratch`.
pub(super) async fn run(connection: &mut Connection, scratch: &mut Scratch, length: usize) -> Turn {
    let worker = connection.worker.clone();
    connection.counters.requests.add(1);
    if connection.entry.is_for_clients() {
        worker.retries.earn();
    }
    let head = &scratch.request_head;
    let bytes = scratch.input.bytes();
    let to_head = head.method() == Method::Head;
    let keep = head.keeps_alive() && head.framing() == Framing::None;
    let upstream = match attempts::admit(&worker, &connection.entry, head, bytes, &mut scratch.access) {
        Ok(upstream) => upstream,
        Err(Refusal::Fault(fault)) => return connection.refuse(scratch, fault).await,
        Err(Refusal::Answer(answer)) => {
            return reject(connection, scratch, length, &answer, keep, to_head).await;
        }
    };
    scratch.request.clear();
    write_request(&mut scratch.request, head, bytes, &connection.hop);
    let head_length = scratch.request.len();
    let mut body = Body::new(head.framing(), true);
    scratch.input.consume(length);
    if upstream.protocol != UpstreamProtocol::Http1 {
        // A box, so that the fast path's task is no larger for it.
        return Box::pin(old::run(connection, scratch, upstream)).await;
    }
    if let Err(fault) = take_along(&mut body, scratch) {
        return connection.refuse(scratch, fault).await;
    }
    scratch.access.received(scratch.request.len() - head_length);
    let deadlines = Deadlines::begin(&worker, &upstream);
    let flow = Flow::new(connection, scratch, body, deadlines);
    let mut exchange = Exchange { flow, upstream: upstream.clone(), begun: Instant::now() };
    let result = attempts::run(&mut exchange, &upstream).await;
    exchange.flow.give_back();
    match result {
        Ok(turn) => turn,
        Err(stop) => exchange.end(stop).await,
    }
}

/// Answers before anything was tried. A body is not waited for.
async fn reject(
    connection: &mut Connection,
    scratch: &mut Scratch,
    length: usize,
    answer: &Answer,
    keep: bool,
    to_head: bool,
) -> Turn {
    scratch.input.consume(length);
    connection.answer(scratch, answer, keep, to_head).await
}

/// Appends what of the body came along with the head.
fn take_along(body: &mut Body, scratch: &mut Scratch) -> Result<(), Fault> {
    while !body.is_complete() && !scratch.input.is_empty() {
        let stretch = body.stretch(scratch.input.bytes())?;
        scratch.request.extend_from_slice(stretch.forwarded(scratch.input.bytes()));
        scratch.input.consume(stretch.length());
    }
    scratch.request.extend_from_slice(body.trailers());
    Ok(())
}

struct Exchange<'a> {
    flow: Flow<'a>,
    upstream: Rc<UpstreamView>,
    begun: Instant,
}

impl Sending for Exchange<'_> {
    type Done = Turn;

    fn worker(&self) -> &Worker {
        &self.flow.connection.worker
    }

    fn counters(&self) -> &ServiceCounters {
        &self.flow.connection.counters
    }

    fn access(&mut self) -> &mut Access {
        &mut self.flow.scratch.access
    }

    fn is_idempotent(&self) -> bool {
        self.flow.scratch.request_head.method().is_idempotent()
    }

    fn is_replayable(&self) -> bool {
        self.flow.is_replayable()
    }

    fn has_sent_nothing(&self) -> bool {
        self.flow.has_sent_nothing()
    }

    fn has_reply(&self) -> bool {
        self.flow.has_reply()
    }

    fn is_past_total(&self) -> bool {
        self.flow.is_past_total()
    }

    fn begin_attempt(&mut self) {
        self.flow.begin();
    }

    fn arm(&self, after: Duration) {
        self.flow.arm(after);
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Stop> {
        self.flow.poll_stop(cx, reason)
    }

    async fn attempt(&mut self, backend: &Rc<Backend>, index: usize) -> Result<Turn, Stop> {
        let connect = self.upstream.timeouts.connect;
        attempts::over_http1(self, connect, backend, index).await
    }
}

impl OverHttp1 for Exchange<'_> {
    async fn over(&mut self, mut stream: Stream, backend: &Rc<Backend>, index: usize) -> Result<Turn, Stop> {
        let length = poll_fn(|cx| self.flow.poll_head(cx, &mut stream)).await?;
        let first_byte = self.begun.elapsed();
        let keep = self.flow.begin_response(length);
        let status = self.flow.scratch.response_head.status();
        self.upstream.answered(index, status, first_byte);
        self.flow.scratch.access.answered(status, first_byte);
        poll_fn(|cx| self.flow.poll_relay(cx, &mut stream)).await?;
        if self.flow.scratch.response_head.switches() {
            let switched = self.flow.switch(stream, backend.go_on());
            return Ok(Turn::End(End::Switch(Box::new(switched))));
        }
        self.upstream.ended(index, self.begun.elapsed());
        self.flow.scratch.access.done();
        if self.flow.leaves_clean() {
            backend.rest(stream, &self.flow.connection.worker.timers);
        }
        Ok(match (keep, self.flow.is_uploaded() && self.flow.scratch.input.is_empty()) {
            (true, _) => Turn::Next,
            (false, true) => Turn::End(End::Close),
            (false, false) => Turn::End(End::Linger),
        })
    }
}

impl Exchange<'_> {
    /// No whole response came: an error for the client, or, when one has begun, a reset.
    async fn end(self, stop: Stop) -> Turn {
        let keep = matches!(stop, Stop::Upstream(_)) && self.flow.may_keep_client();
        let Flow { connection, scratch, committed, .. } = self.flow;
        match conclude(stop, committed, false, &connection.counters, &mut scratch.access) {
            Verdict::Answer(answer) => {
                let to_head = scratch.request_head.method() == Method::Head;
                connection.answer(scratch, &answer, keep, to_head).await
            }
            Verdict::Reset => Turn::End(End::Reset),
            Verdict::Gone => Turn::End(End::Close),
        }
    }
}
