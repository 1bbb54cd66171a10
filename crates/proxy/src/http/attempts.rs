//! What every version of HTTP shares: where a request goes, how often it is tried, and what its client is told when that
//! was to no avail.
//!
//! A failed attempt is followed by one on the next candidate inside the fence if nothing went to the client yet and
//!
//! | the attempt failed | the request is | budget |
//! |---|---|---|
//! | at connecting, or as the backend takes no WebSockets | any: the backend has seen nothing of it | not needed |
//! | on a kept-alive connection that turned out to be closed | as below; tried once more on the same backend | not needed |
//! | since the backend says that it did nothing with it (RFC 9113 §8.7) | any, its body still at hand; once more on the same backend | spent |
//! | before the response's head was whole | idempotent, or no byte of it was sent; its body still at hand | spent |
//!
//! Extended CONNECT for a WebSocket counts as the GET that it is in HTTP/1.1, which is idempotent; CONNECT itself is not (RFC 9110 §9.2.2).
//! Nothing behind the head has gone to any backend by then.
//!
//! In all other cases the client gets 502, 503 or 504, or, in the middle of a response, a reset.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use proxima_balance::Tried;
use proxima_http1::{Fault, RequestHead, match_path};

use super::Answer;
use crate::{
    access::Access,
    backend::{Backend, is_quiet_in_kernel},
    entry::Entry,
    stats::{Reason, ServiceCounters, Slow, Unserved},
    stream::Stream,
    timer::Deadline,
    view::UpstreamView,
    worker::Worker,
};

/// Why an attempt ended without a whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The backend's doing.
    Upstream(Reason),
    /// The client left.
    ClientGone,
    /// The client's body is malformed.
    ClientFault(Fault),
    /// The client does not send or read on, or does so too slowly.
    ClientSlow(Slow),
    /// Nothing has passed through a tunnel for too long, or its time is over. Nobody's doing.
    Silent(Reason),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    pub(super) total: Deadline,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
}

impl Deadlines {
    /// Of an exchange that begins now.
    pub(super) fn begin(worker: &Worker, upstream: &UpstreamView) -> Self {
        let timeouts = &upstream.timeouts;
        Self {
            total: timeouts.total.map_or(Deadline::NEVER, |total| worker.timers.deadline(total)),
            first_byte: timeouts.first_byte,
            idle: timeouts.idle,
        }
    }
}

/// Why a request goes nowhere.
pub(super) enum Refusal {
    /// It is malformed.
    Fault(Fault),
    /// It is good, and counted; or it is an ACME server's, and goes no further.
    Answer(Answer),
}

/// Where the request of `head`, parsed from `bytes`, goes.
pub(super) fn admit(
    worker: &Worker,
    entry: &Entry,
    head: &RequestHead,
    bytes: &[u8],
    access: &mut Access,
) -> Result<Rc<UpstreamView>, Refusal> {
    access.request(head, bytes);
    let counters = &entry.counters;
    let path = match_path(head.path(bytes)).map_err(Refusal::Fault)?;
    let Some(service) = worker.service(entry) else {
        counters.unserved(Unserved::NoBackends);
        access.end("unserved", Some(Unserved::NoBackends.name()));
        return Err(Refusal::Answer(Answer::unserved("this service is not configured".into())));
    };
    // An ACME server asks for no WebSocket, to which 200 might be the agreement.
    if !head.is_websocket()
        && let Some(content) = service.key_authorization(head.method(), &path)
    {
        return Err(Refusal::Answer(Answer::key_authorization(content)));
    }
    let Some(upstream) = service.route(head, bytes, &path) else {
        counters.unrouted.add(1);
        access.end("unrouted", None);
        return Err(Refusal::Answer(Answer::unrouted()));
    };
    access.route(upstream.route);
    if upstream.levels.is_empty() {
        let (kind, why) = upstream.unserved();
        counters.unserved(kind);
        access.end("unserved", Some(kind.name()));
        return Err(Refusal::Answer(Answer::unserved(why)));
    }
    Ok(upstream.clone())
}

/// A request on its way, as the rules above see it.
pub(super) trait Sending {
    /// What a whole response leaves behind.
    type Done;

    fn worker(&self) -> &Worker;
    fn counters(&self) -> &ServiceCounters;
    fn access(&mut self) -> &mut Access;
    fn is_idempotent(&self) -> bool;
    /// The request as a whole can still be sent to another backend.
    fn is_replayable(&self) -> bool;
    /// The last attempt has sent no byte of it.
    fn has_sent_nothing(&self) -> bool;
    /// Something came from the backend on the last attempt.
    fn has_reply(&self) -> bool;
    fn is_past_total(&self) -> bool;
    /// Forgets the attempt before, so that nothing of it is taken for this one's.
    fn begin_attempt(&mut self);
    /// Sets the deadline, or that of the whole exchange if it is sooner.
    fn arm(&self, after: Duration);
    /// Ready when the client left, or the deadline passed, which is the backend's fault for `reason`.
    fn poll_stop(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Stop>;
    /// One attempt, on candidate `index`.
    async fn attempt(&mut self, backend: &Rc<Backend>, index: usize) -> Result<Self::Done, Stop>;

    /// Whether nothing can go wrong if a backend gets the request though another one may have got it.
    fn may_be_sent_again(&self) -> bool {
        self.is_replayable() && (self.is_idempotent() || self.has_sent_nothing())
    }
}

/// An exchange that can go over an HTTP/1.1 connection.
pub(super) trait OverHttp1: Sending {
    async fn over(&mut self, stream: Stream, backend: &Rc<Backend>, index: usize)
    -> Result<Self::Done, Stop>;
}

/// Tries one candidate after the other. [`Stop::Upstream`] is what the last attempt failed for.
pub(super) async fn run<S: Sending>(sending: &mut S, upstream: &UpstreamView) -> Result<S::Done, Stop> {
    let mut tried = Tried::new();
    let mut failed = Reason::Connect;
    while let Some(index) = upstream.pick(&tried) {
        if !tried.is_empty() {
            if !may_go_on(sending, failed) {
                break;
            }
            sending.counters().failover(failed);
        }
        sending.access().attempt(upstream.candidate(index));
        let backend = &upstream.backends[index];
        let pending = backend.begin();
        let result = until_cut(backend, sending.attempt(backend, index)).await;
        drop(pending);
        failed = match result {
            Err(Stop::Upstream(reason)) => reason,
            result => return result,
        };
        backend.failed(failed);
        tracing::debug!(backend = %backend.id, reason = failed.name(), "attempt failed");
        tried.add(index);
    }
    Err(Stop::Upstream(failed))
}

/// The attempt, as long as its backend may be used: one that is gone has its time.
async fn until_cut<T>(backend: &Backend, attempt: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let mut attempt = pin!(attempt);
    poll_fn(|cx| match attempt.as_mut().poll(cx) {
        Poll::Pending if backend.is_cut() => Poll::Ready(Err(Stop::Upstream(Reason::Total))),
        polled => polled,
    })
    .await
}

fn may_go_on(sending: &impl Sending, reason: Reason) -> bool {
    let is_safe = match reason {
        // It was asked, and has answered in earnest.
        Reason::Upgrade if sending.has_reply() => false,
        Reason::Connect | Reason::ConnectTimeout | Reason::Tls | Reason::Upgrade => {
            return !sending.is_past_total();
        }
        Reason::Closed | Reason::FirstByte => sending.may_be_sent_again(),
        Reason::Refused => sending.is_replayable() && !sending.is_past_total(),
        _ => false,
    };
    is_safe && affords_retry(sending)
}

/// Pays for one more attempt, or counts that there was nothing to pay with.
pub(super) fn affords_retry(sending: &impl Sending) -> bool {
    let affordable = sending.worker().retries.spend();
    if !affordable {
        sending.counters().budget_exhausted.add(1);
    }
    affordable
}

/// One candidate: over a connection at rest if there is one, else, or if that was closed, over a new one.
pub(super) async fn over_http1<S: OverHttp1>(
    sending: &mut S,
    connect: Duration,
    backend: &Rc<Backend>,
    index: usize,
) -> Result<S::Done, Stop> {
    while let Some(stream) = backend.reuse() {
        if !sending.is_idempotent() && !is_quiet_in_kernel(stream.tcp()) {
            continue;
        }
        backend.counters.reuses.add(1);
        sending.begin_attempt();
        match sending.over(stream, backend, index).await {
            Err(Stop::Upstream(Reason::Closed)) if sending.may_be_sent_again() && !sending.has_reply() => {
                backend.counters.failure(Reason::Stale);
                break;
            }
            result => return result,
        }
    }
    sending.begin_attempt();
    sending.arm(connect);
    sending.worker().make_room();
    let mut connecting = pin!(backend.connect());
    let stream = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Stop::Upstream));
        }
        sending.poll_stop(cx, Reason::ConnectTimeout).map(Err)
    })
    .await?;
    sending.over(stream, backend, index).await
}

/// What the client of an exchange is told that did not end well.
pub(super) enum Verdict {
    /// Nothing of a response has gone out yet.
    Answer(Answer),
    /// It must see that its response is not whole.
    Reset,
    /// Nobody is there to be told.
    Gone,
}

/// Counts how the exchange ended. `committed`: bytes of a response went to the client. `is_tunnel`: it was the agreement to a
/// WebSocket.
pub(super) fn conclude(
    stop: Stop,
    committed: bool,
    is_tunnel: bool,
    counters: &ServiceCounters,
    access: &mut Access,
) -> Verdict {
    note_stop(stop, access);
    let answer = match stop {
        Stop::Upstream(reason) if committed && is_tunnel => {
            counters.tunnel_failure(reason);
            return Verdict::Reset;
        }
        Stop::Upstream(reason) => {
            counters.failure(reason);
            if committed {
                counters.cut.add(1);
            }
            Answer::failure(reason)
        }
        Stop::ClientFault(fault) => {
            counters.refused(fault);
            tracing::debug!(fault = fault.name(), "request refused");
            Answer::refusal(fault)
        }
        Stop::ClientSlow(slow) => {
            counters.slow_client(slow);
            Answer::slow_client()
        }
        Stop::ClientGone => {
            counters.cancelled.add(1);
            return Verdict::Gone;
        }
        Stop::Silent(reason) => {
            counters.tunnel_failure(reason);
            return Verdict::Reset;
        }
    };
    if committed { Verdict::Reset } else { Verdict::Answer(answer) }
}

fn note_stop(stop: Stop, access: &mut Access) {
    match stop {
        Stop::Upstream(reason) => access.end("upstream", Some(reason.name())),
        Stop::ClientFault(fault) => access.end("refused", Some(fault.name())),
        Stop::ClientSlow(slow) => access.end("client-slow", Some(slow.name())),
        Stop::ClientGone => access.end("client-gone", None),
        Stop::Silent(reason) => access.end("silent", Some(reason.name())),
    }
}
