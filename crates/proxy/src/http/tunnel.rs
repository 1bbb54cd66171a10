//! What follows a switch of protocols (RFC 9110 §7.8): bytes, both ways, until both sides have ended.
//!
//! An end of one side goes on as one (half-close). A side that breaks breaks the other; so does a time without a byte
//! either way. A tunnel at rest holds no buffer.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use crate::{
    access::Access,
    backend::Pending,
    close::Guarded,
    stats::{Counter, Reason},
    stream::Stream,
    tcp::Passage,
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

/// One way.
struct Way<'a> {
    /// Read, and not yet written.
    held: Vec<u8>,
    /// How much of it is written.
    written: usize,
    moved: u64,
    counter: &'a Counter,
    /// Of what is held, so many bytes are counted already.
    counted: usize,
    /// Something was written and may wait in the connection.
    dirty: bool,
    /// The source has ended.
    ended: bool,
    /// The destination knows.
    closed: bool,
}

impl<'a> Way<'a> {
    /// `counted`: what is held was counted when it was read.
    fn new(held: Vec<u8>, counter: &'a Counter, counted: bool) -> Self {
        let counted = if counted { held.len() } else { 0 };
        Self { held, written: 0, moved: 0, counter, counted, dirty: false, ended: false, closed: false }
    }

    /// Moves what can be moved; ready when the way has ended and its destination knows.
    fn poll<S, D>(
        &mut self,
        from: &mut S,
        to: &mut D,
        passage: &Passage,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        while !self.closed {
            ready!(self.poll_flush(to, cx))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                continue;
            }
            let mut room = passage.room();
            let mut into = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut into))?;
            let bytes = into.filled();
            self.ended = bytes.is_empty();
            if !self.ended {
                let written = Pin::new(&mut *to).poll_write(cx, bytes)?;
                let count = if let Poll::Ready(count) = written { count } else { 0 };
                self.held.extend_from_slice(&bytes[count..]);
                self.note(count);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is held, and has the connection send it.
    fn poll_flush<D: AsyncWrite + Unpin>(
        &mut self,
        to: &mut D,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.written..]))?;
            self.written += count;
            self.note(count);
        }
        self.held = Vec::new();
        self.written = 0;
        if self.dirty {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn note(&mut self, count: usize) {
        self.dirty = true;
        self.moved += count as u64;
        let counted = self.counted.min(count);
        self.counted -= counted;
        self.counter.add((count - counted) as u64);
    }
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
        let mut up = Way::new(up, &counters.bytes_in, true);
        let mut down = Way::new(down, &counters.bytes_out, false);
        let arm = |connection: &Self| connection.timer.arm(worker.timers.deadline(idle).min(total));
        arm(self);
        let end = poll_fn(|cx| {
            let before = up.moved + down.moved;
            let polled_up = up.poll(&mut *self.client, &mut *stream, &worker.passage, cx);
            let polled_down = down.poll(&mut *stream, &mut *self.client, &worker.passage, cx);
            match (polled_up, polled_down) {
                (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(Tunnel::Broken),
                (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Tunnel::Whole),
                _ if pending.is_cut() => return Poll::Ready(Tunnel::Broken),
                _ => {}
            }
            if up.moved + down.moved > before {
                arm(self);
            } else if self.timer.has_expired() {
                return Poll::Ready(Tunnel::Silent);
            }
            Poll::Pending
        })
        .await;
        access.received(usize::try_from(up.moved).unwrap_or(usize::MAX));
        access.sent(usize::try_from(down.moved).unwrap_or(usize::MAX));
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
