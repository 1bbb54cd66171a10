//! One request: which backend, which attempt, and what when it fails.
//!
//! A failed attempt is followed by one on the next candidate inside the fence if nothing went to the client yet and
//!
//! | the attempt failed | the request is | budget |
//! |---|---|---|
//! | at connecting | any: the backend has seen nothing of it | not needed |
//! | on a kept-alive connection that turned out to be closed | as below; tried once more on the same backend | not needed |
//! | before the response's head was whole | idempotent, or no byte of it was sent; its body still at hand | spent |
//!
//! In all other cases the client gets 502 or 504, or, in the middle of a response, a reset.

use std::{
    future::poll_fn,
    rc::Rc,
    task::Poll,
    time::{Duration, Instant},
};

use proxima_balance::Tried;
use proxima_http1::{Body, Fault, Framing, Method, match_path, write_request};

use super::{Answer, Connection, End, Scratch, Turn, flow::Flow};
use crate::{
    backend::{Backend, is_quiet_in_kernel},
    stats::{Reason, Unserved},
    stream::Stream,
    timer::Deadline,
    view::UpstreamView,
};

/// Why an attempt ended without a whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The backend's doing.
    Upstream(Reason),
    /// The client closed its connection.
    ClientGone,
    /// The client's body is malformed.
    ClientFault(Fault),
    /// The client does not send or read on.
    ClientSlow,
}

/// Serves the request whose head of `length` bytes lies parsed in `scratch`.
pub(super) async fn run(connection: &mut Connection, scratch: &mut Scratch, length: usize) -> Turn {
    let worker = connection.worker.clone();
    connection.counters.requests.add(1);
    worker.retries.earn();
    let head = &scratch.request_head;
    let bytes = scratch.input.bytes();
    let to_head = head.method() == Method::Head;
    let keep = head.keeps_alive() && head.framing() == Framing::None;
    let path = match match_path(head.path(bytes)) {
        Ok(path) => path,
        Err(fault) => return connection.refuse(scratch, fault).await,
    };
    let service = worker.service(connection.listener);
    let Some(service) = service else {
        connection.counters.unserved(Unserved::NoBackends);
        let answer = Answer::unserved("this service is not configured".into());
        return reject(connection, scratch, length, &answer, keep, to_head).await;
    };
    let Some(upstream) = service.route(head, bytes, &path).cloned() else {
        connection.counters.unrouted.add(1);
        return reject(connection, scratch, length, &Answer::unrouted(), keep, to_head).await;
    };
    if upstream.levels.is_empty() {
        let (kind, why) = upstream.unserved();
        connection.counters.unserved(kind);
        return reject(connection, scratch, length, &Answer::unserved(why), keep, to_head).await;
    }
    scratch.request.clear();
    write_request(&mut scratch.request, head, bytes, &connection.hop);
    let mut body = Body::new(head.framing(), true);
    scratch.input.consume(length);
    if let Err(fault) = take_along(&mut body, scratch) {
        return connection.refuse(scratch, fault).await;
    }
    let deadlines = Deadlines {
        total: upstream.timeouts.total.map_or(Deadline::NEVER, |total| worker.timers.deadline(total)),
        first_byte: upstream.timeouts.first_byte,
        idle: upstream.timeouts.idle,
    };
    let flow = Flow::new(connection, scratch, body, deadlines);
    Exchange { flow, upstream, begun: Instant::now() }.run().await
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

#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) total: Deadline,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
}

struct Exchange<'a> {
    flow: Flow<'a>,
    upstream: Rc<UpstreamView>,
    begun: Instant,
}

impl Exchange<'_> {
    async fn run(mut self) -> Turn {
        let mut tried = Tried::new();
        let mut failed = Reason::Connect;
        while let Some(index) = self.upstream.pick(&tried) {
            if !tried.is_empty() {
                if !self.may_go_on(failed) {
                    break;
                }
                self.flow.connection.counters.failover(failed);
            }
            let backend = self.upstream.backends[index].clone();
            let pending = backend.begin();
            let result = self.attempt(&backend, index).await;
            drop(pending);
            failed = match result {
                Ok(turn) => return turn,
                Err(Stop::Upstream(reason)) => reason,
                Err(stop) => return self.end_for_client(stop).await,
            };
            backend.failed(failed);
            tracing::debug!(backend = %backend.id, reason = failed.name(), "attempt failed");
            tried.add(index);
        }
        self.give_up(failed).await
    }

    /// One candidate: over a connection at rest if there is one, else, or if that was closed, over a new one.
    async fn attempt(&mut self, backend: &Rc<Backend>, index: usize) -> Result<Turn, Stop> {
        while let Some(stream) = backend.reuse() {
            if !self.is_idempotent() && !is_quiet_in_kernel(stream.tcp()) {
                continue;
            }
            backend.counters.reuses.add(1);
            match self.over(stream, backend, index).await {
                Err(Stop::Upstream(Reason::Closed)) if self.may_be_sent_again() && !self.flow.has_reply() => {
                    backend.counters.failure(Reason::Stale);
                    break;
                }
                result => return result,
            }
        }
        let stream = self.connect(backend).await?;
        self.over(stream, backend, index).await
    }

    async fn connect(&mut self, backend: &Backend) -> Result<Stream, Stop> {
        self.flow.arm(self.upstream.timeouts.connect);
        self.flow.connection.worker.make_room();
        let mut connecting = std::pin::pin!(backend.connect());
        poll_fn(|cx| {
            if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(Stop::Upstream));
            }
            self.flow.poll_stop(cx, Reason::ConnectTimeout).map(Err)
        })
        .await
    }

    /// The exchange over one connection.
    async fn over(&mut self, mut stream: Stream, backend: &Rc<Backend>, index: usize) -> Result<Turn, Stop> {
        self.flow.begin();
        let length = poll_fn(|cx| self.flow.poll_head(cx, &mut stream)).await?;
        let first_byte = self.begun.elapsed();
        let keep = self.flow.begin_response(length);
        self.upstream.answered(index, self.flow.scratch.response_head.status(), first_byte);
        poll_fn(|cx| self.flow.poll_relay(cx, &mut stream)).await?;
        if self.flow.leaves_clean() {
            backend.rest(stream, &self.flow.connection.worker.timers);
        }
        Ok(match (keep, self.flow.is_uploaded() && self.flow.scratch.input.is_empty()) {
            (true, _) => Turn::Next,
            (false, true) => Turn::End(End::Close),
            (false, false) => Turn::End(End::Linger),
        })
    }

    fn is_idempotent(&self) -> bool {
        self.flow.scratch.request_head.method().is_idempotent()
    }

    /// Whether nothing can go wrong if a backend gets the request though another one may have got it.
    fn may_be_sent_again(&self) -> bool {
        self.flow.is_replayable() && (self.is_idempotent() || self.flow.has_sent_nothing())
    }

    fn may_go_on(&self, reason: Reason) -> bool {
        match reason {
            Reason::Connect | Reason::ConnectTimeout | Reason::Tls => !self.flow.is_past_total(),
            Reason::Closed | Reason::FirstByte if self.may_be_sent_again() => {
                let affordable = self.flow.connection.worker.retries.spend();
                if !affordable {
                    self.flow.connection.counters.budget_exhausted.add(1);
                }
                affordable
            }
            _ => false,
        }
    }

    /// No attempt is left: an error for the client, or, when its response has begun, a reset.
    async fn give_up(self, reason: Reason) -> Turn {
        let keep = self.flow.may_keep_client();
        let Flow { connection, scratch, committed, .. } = self.flow;
        connection.counters.failure(reason);
        if committed {
            connection.counters.cut.add(1);
            return Turn::End(End::Reset);
        }
        let to_head = scratch.request_head.method() == Method::Head;
        connection.answer(scratch, &Answer::failure(reason), keep, to_head).await
    }

    /// The client ended the exchange, by leaving or by what it sent.
    async fn end_for_client(self, stop: Stop) -> Turn {
        let Flow { connection, scratch, committed, .. } = self.flow;
        match stop {
            Stop::ClientFault(fault) if !committed => connection.refuse(scratch, fault).await,
            Stop::ClientFault(fault) => {
                connection.counters.refused(fault);
                Turn::End(End::Reset)
            }
            Stop::ClientSlow => {
                connection.counters.slow_clients.add(1);
                if committed {
                    return Turn::End(End::Reset);
                }
                connection.answer(scratch, &Answer::slow_client(), false, false).await
            }
            Stop::ClientGone | Stop::Upstream(_) => {
                connection.counters.cancelled.add(1);
                Turn::End(End::Close)
            }
        }
    }
}
