//! What follows a switch of protocols (RFC 9110 §7.8): bytes, both ways, until both sides have ended.
//!
//! An end of one side goes on as one (half-close). A side that breaks breaks the other; so does a time without a byte
//! either way. A tunnel at rest holds no buffer.

use std::{future::poll_fn, task::Poll, time::Duration};

use super::Connection;
use crate::{
    access::Access,
    backend::Pending,
    close::Guarded,
    direction::{Both, Direction},
    stats::Reason,
    stream::Stream,
    timer::Deadline,
};

/// A connection to a backend on which another protocol is spoken from now on, and what was read already.
pub(super) struct Switched {
    pub(super) stream: Stream,
    /// Of the client.
    pub(super) up: Vec<u8>,
    /// Of the backend.
    pub(super) down: Vec<u8>,
    pub(super) idle: Duration,
    pub(super) total: Deadline,
    /// The line in the access log, which is written when the tunnel ends.
    pub(super) access: Access,
    /// To the balancing, the exchange lasts as long as the tunnel.
    pub(super) pending: Pending,
}

/// How a tunnel has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    /// Both sides have ended.
    Whole,
    /// One side broke.
    Broken,
    /// Nothing moved for too long.
    Silent,
}

impl Connection {
    /// Passes on what follows the head of a response that switches protocols, which has gone to the client.
    pub(super) async fn tunnel(&mut self, switched: Switched) {
        let Switched { stream, up, down, idle, total, mut access, pending } = switched;
        let mut stream = Guarded::under_way(stream);
        self.client.begin();
        let (counters, worker) = (self.counters.clone(), self.worker.clone());
        let up = Direction::beginning_with(up, &counters.bytes_in, true);
        let down = Direction::beginning_with(down, &counters.bytes_out, false);
        let mut both = Both::new(&worker, &mut access, up, down);
        let arm = |connection: &Self| connection.timer.arm(worker.timers.deadline(idle).min(total));
        arm(self);
        let end = poll_fn(|cx| {
            let before = both.moved();
            match both.poll(&mut self.client, &mut stream, cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Tunnel::Whole),
                Poll::Ready(Err(_)) => return Poll::Ready(Tunnel::Broken),
                Poll::Pending if pending.is_cut() => return Poll::Ready(Tunnel::Broken),
                Poll::Pending => {}
            }
            if both.moved() > before {
                arm(self);
            } else if self.timer.has_expired() {
                return Poll::Ready(Tunnel::Silent);
            }
            Poll::Pending
        })
        .await;
        drop(both);
        let reason = match end {
            Tunnel::Whole => {
                self.client.end();
                stream.end();
                return access.done();
            }
            Tunnel::Broken => return access.end("broken", None),
            Tunnel::Silent if self.timer.is_past(total) => Reason::Total,
            Tunnel::Silent => Reason::Idle,
        };
        self.counters.tunnel_failure(reason);
        access.end("silent", Some(reason.name()));
    }
}
