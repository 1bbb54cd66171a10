//! One attempt of an exchange, over a connection of the backend's version.

use std::{
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use proxima_http1::Framing;

use super::{Awaits, Client, Relay, Stage};
use crate::{
    UpstreamProtocol,
    access::Access,
    backend::Backend,
    http::{
        attempts::{self, OverHttp1, Sending, Stop},
        origin::{Follows, Http1, Http2, Http3, Multiplexing, Unbegun},
        websocket::Handshake,
    },
    multiplexed::{Link, Multiplexed, Place},
    stats::{Reason, ServiceCounters, Slow},
    stream::Stream,
    worker::Worker,
};

impl<C: Client> Relay<'_, C> {
    /// What follows the head on a stream of its own.
    fn follows(&self) -> Result<Follows, Stop> {
        Ok(match self.scratch.request_head.framing() {
            Framing::None if self.asks_websocket() => {
                let handshake = Handshake::asked_for(&self.scratch.request).map_err(Stop::ClientFault)?;
                Follows::WebSocket(handshake)
            }
            Framing::None => Follows::Nothing,
            _ => Follows::Body,
        })
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
            self.begin_attempt();
            let follows = self.follows()?;
            let (place, stream) = self.place::<O::Link>(connect, backend).await?;
            let (result, was_reused) = match O::begin(place, stream, &self.scratch.request, backend, follows)
            {
                Ok(mut origin) => {
                    if origin.is_reused() {
                        backend.counters.reuses.add(1);
                    }
                    let result = self.pass(&mut origin, index).await;
                    if result == Err(Stop::Upstream(Reason::FirstByte)) {
                        origin.note_silent();
                    }
                    (result, origin.is_reused())
                }
                Err(Unbegun::Fault(fault)) => return Err(Stop::ClientFault(fault)),
                Err(Unbegun::Refused) => (Err(Stop::Upstream(Reason::Refused)), true),
            };
            let again = std::mem::take(&mut is_first)
                && match result {
                    Err(Stop::Upstream(Reason::Refused)) => {
                        self.is_replayable() && attempts::affords_retry(self)
                    }
                    Err(Stop::Upstream(Reason::Closed)) if was_reused => {
                        self.may_be_sent_again() && !self.attempt.replied
                    }
                    _ => false,
                };
            if !again {
                return result;
            }
            let counted =
                if result == Err(Stop::Upstream(Reason::Closed)) { Reason::Stale } else { Reason::Refused };
            backend.counters.failure(counted);
        }
    }

    /// A place on a connection to `backend`, which takes WebSockets if one is asked for.
    async fn place<L: Link>(
        &mut self,
        connect: Duration,
        backend: &Rc<Backend>,
    ) -> Result<(Place<L>, L::Stream), Stop> {
        self.arm(connect);
        self.worker.make_room();
        let timers = self.worker.timers.clone();
        let asks = self.asks_websocket();
        let mut placing = pin!(async {
            let placed = Multiplexed::<L>::place(backend, &timers, connect, asks).await;
            if matches!(placed, Err(Reason::Upgrade)) {
                backend.tell_of_websockets();
            }
            placed
        });
        poll_fn(|cx| {
            if let Poll::Ready(result) = placing.as_mut().poll(cx) {
                return Poll::Ready(result.map_err(Stop::Upstream));
            }
            self.poll_stop(cx, Reason::ConnectTimeout).map(Err)
        })
        .await
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

    fn access(&mut self) -> &mut Access {
        &mut self.scratch.access
    }

    fn is_idempotent(&self) -> bool {
        self.scratch.request_head.method().is_idempotent()
    }

    fn is_replayable(&self) -> bool {
        self.up.replay.is_whole() && !self.committed
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

    fn begin_attempt(&mut self) {
        self.up.replay.rewind();
        self.up.stage = match self.scratch.request_head.framing() {
            Framing::None if self.asks_websocket() => Stage::Asking,
            Framing::None => Stage::Taken,
            _ => Stage::Taking,
        };
        (self.attempt, self.awaits) = Default::default();
        self.is_tunnel = false;
        self.scratch.reply.clear();
    }

    fn arm(&self, after: Duration) {
        self.client.timer().arm(self.worker.timers.deadline(after).min(self.deadlines.total));
    }

    fn poll_stop(&mut self, cx: &mut Context<'_>, reason: Reason) -> Poll<Stop> {
        if self.client.poll_gone(cx, self.scratch).is_ready() {
            return Poll::Ready(Stop::ClientGone);
        }
        if self.pace.is_kept()
            && let Some(slow) = self.check_pace(cx)
        {
            return Poll::Ready(Stop::ClientSlow(slow));
        }
        if !self.client.timer().has_expired() {
            return Poll::Pending;
        }
        Poll::Ready(match () {
            () if self.is_tunnel && self.is_past_total() => Stop::Silent(Reason::Total),
            () if self.is_tunnel => Stop::Silent(Reason::Idle),
            () if self.is_past_total() => Stop::Upstream(Reason::Total),
            () if self.awaits.piece || self.awaits.reader => Stop::ClientSlow(Slow::Idle),
            () => Stop::Upstream(reason),
        })
    }

    async fn attempt(&mut self, backend: &Rc<Backend>, index: usize) -> Result<(), Stop> {
        let connect = self.upstream.timeouts.connect;
        self.awaits = Awaits::default();
        match self.upstream.protocol {
            UpstreamProtocol::Http1 => attempts::over_http1(self, connect, backend, index).await,
            UpstreamProtocol::Http2 => self.over_shared::<Http2>(connect, backend, index).await,
            UpstreamProtocol::Http3 => self.over_shared::<Http3>(connect, backend, index).await,
        }
    }
}

impl<C: Client> OverHttp1 for Relay<'_, C> {
    async fn over(&mut self, mut stream: Stream, backend: &Rc<Backend>, index: usize) -> Result<(), Stop> {
        let head = &self.scratch.request_head;
        let mut origin =
            Http1::new(&mut stream, &self.scratch.request, head.framing(), self.asks_websocket());
        self.pass(&mut origin, index).await?;
        // Nothing followed what was asked, and was not agreed to.
        let is_sent = matches!(self.up.stage, Stage::Asked | Stage::Done);
        if is_sent && origin.leaves_clean(self.scratch) && !self.worker.is_draining() {
            drop(origin);
            backend.rest(stream, &self.worker.timers);
        }
        Ok(())
    }
}
