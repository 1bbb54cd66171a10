//! What of a long body nobody has to look at: through a pipe, past the buffers of the exchange, where client and backend are both
//! plain TCP.
//!
//! No more than the body has left is asked for, so what follows it stays where it is: the client's next request, or what a
//! backend should not have sent. All else is as for bytes that are copied: who is waited for, what is counted, what a broken
//! connection means.

use std::task::{Context, Poll, ready};

use super::{attempts::Stop, flow::Flow};
use crate::{splice::settle, stats::Reason, stream::Stream};

/// What a body has left must be this much: below, the pipe saves nothing (docs/measurements.md).
const LONG: u64 = 32 * 1024;

impl Flow<'_> {
    /// Lets others have what it has borrowed.
    pub(super) fn give_back(&mut self) {
        self.up.gear.shift_down(&self.connection.worker.pipes);
        self.down.gear.shift_down(&self.connection.worker.pipes);
    }

    /// Takes the next bytes of the response's body from the backend. `false`: they have to be copied.
    pub(super) fn poll_fill_down(
        &mut self,
        cx: &mut Context<'_>,
        stream: &Stream,
    ) -> Poll<Result<bool, Stop>> {
        let left = self.down.body.opaque();
        if left < LONG && !self.down.gear.is_splicing() {
            return Poll::Ready(Ok(false));
        }
        let (Some(from), Some(_)) = (stream.plain(), self.connection.client.plain()) else {
            return Poll::Ready(Ok(false));
        };
        let pipes = &self.connection.worker.pipes;
        self.down.gear.shift_up(pipes);
        match ready!(self.down.gear.poll_fill(pipes, from, left, cx)) {
            Ok(0) => Poll::Ready(Ok(false)),
            Ok(count) => {
                self.down.body.pass(count as u64);
                self.arm(self.deadlines.idle);
                Poll::Ready(Ok(true))
            }
            Err(_) => Poll::Ready(Err(Stop::Upstream(Reason::Broken))),
        }
    }

    /// Lets the client have what was taken for it.
    pub(super) fn poll_empty_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        while self.down.gear.held() > 0
            && let Some(to) = self.connection.client.plain()
        {
            match ready!(self.down.gear.poll_empty(&self.connection.worker.pipes, to, cx)) {
                Ok(count) => self.wrote(count),
                Err(_) => return Poll::Ready(Err(Stop::ClientGone)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The response's body is whole, and with the client. A connection on which more seems to be is not used again.
    pub(super) fn finish_down(&mut self, stream: &Stream) {
        let was_splicing = self.down.gear.finish(&self.connection.worker.pipes);
        if (was_splicing || self.scratch.reply.was_filled())
            && let Some(from) = stream.plain()
        {
            settle(from);
        }
    }

    /// Takes the next bytes of the request's body from the client. `false`: they have to be copied.
    pub(super) fn poll_fill_up(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<Result<bool, Stop>> {
        let left = self.up.body.opaque();
        if left < LONG && !self.up.gear.is_splicing() {
            return Poll::Ready(Ok(false));
        }
        let (Some(from), Some(_)) = (self.connection.client.plain(), stream.plain()) else {
            return Poll::Ready(Ok(false));
        };
        let pipes = &self.connection.worker.pipes;
        self.up.gear.shift_up(pipes);
        match ready!(self.up.gear.poll_fill(pipes, from, left, cx)) {
            Ok(0) => Poll::Ready(Ok(false)),
            Ok(count) => {
                self.up.streamed = true;
                self.up.body.pass(count as u64);
                self.connection.counters.bytes_in.add(count as u64);
                self.scratch.access.received(count);
                self.pace.sent(count, &self.connection.worker.timers);
                self.arm(self.deadlines.idle);
                Poll::Ready(Ok(true))
            }
            Err(_) => Poll::Ready(Err(Stop::ClientGone)),
        }
    }

    /// Lets the backend have what was taken for it. Whether it takes it.
    pub(super) fn poll_empty_up(&mut self, cx: &mut Context<'_>, stream: &Stream) -> Poll<bool> {
        let pipes = &self.connection.worker.pipes;
        while self.up.gear.held() > 0
            && let Some(to) = stream.plain()
        {
            match ready!(self.up.gear.poll_empty(pipes, to, cx)) {
                Ok(_) => self.arm(self.deadlines.idle),
                Err(_) => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    /// The request's body is whole, and with the backend.
    pub(super) fn finish_up(&mut self) {
        if self.up.gear.finish(&self.connection.worker.pipes)
            && let Some(from) = self.connection.client.plain()
        {
            settle(from);
        }
    }
}
