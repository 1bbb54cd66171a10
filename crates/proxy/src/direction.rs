//! One way between two connections whose bytes nobody looks at: relayed TCP, and what follows a switch of protocols.

use std::{
    cell::{RefCell, RefMut},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{access::Access, splice::Gear, stats::Counter, stream::Stream, worker::Worker};

/// Bytes of a direction after which it may go on by `splice(2)`. Before, the pipe costs more than the copy.
const SPLICE_AFTER: u64 = 64 * 1024;
/// It does so when this much arrives at once: a pipe costs small messages more than it saves them.
const BULK: usize = 16 * 1024;
const ROOM: usize = 64 * 1024;

/// Where the bytes of all relayed connections of a worker pass through. What can't be written on at once moves out of
/// it before another connection's turn, so one is enough.
pub(crate) struct Passage(RefCell<Box<[u8]>>);

impl Passage {
    pub(crate) fn new() -> Self {
        Self(RefCell::new(vec![0; ROOM].into_boxed_slice()))
    }

    /// The room, for as long as nothing is waited for.
    fn room(&self) -> RefMut<'_, Box<[u8]>> {
        self.0.borrow_mut()
    }
}

/// Both ways between a client and a backend. However it ends, and if it is dropped, the access log is told how much went each way.
pub(crate) struct Both<'a> {
    worker: &'a Worker,
    access: &'a mut Access,
    up: Direction<'a>,
    down: Direction<'a>,
}

impl<'a> Both<'a> {
    /// `up` leads to the backend.
    pub(crate) fn new(
        worker: &'a Worker,
        access: &'a mut Access,
        up: Direction<'a>,
        down: Direction<'a>,
    ) -> Self {
        Self { worker, access, up, down }
    }

    /// Moves what can be moved; ready when both directions have ended, or one is broken.
    pub(crate) fn poll(
        &mut self,
        client: &mut Stream,
        backend: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        // Where one way is broken, the other has moved what it could.
        let up = self.up.poll(self.worker, client, backend, cx);
        let down = self.down.poll(self.worker, backend, client, cx);
        let (up, down) = (up?, down?);
        if up.is_ready() && down.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// How many bytes have reached their destinations.
    pub(crate) fn moved(&self) -> u64 {
        self.up.moved + self.down.moved
    }
}

impl Drop for Both<'_> {
    fn drop(&mut self) {
        self.up.gear.shift_down(&self.worker.pipes);
        self.down.gear.shift_down(&self.worker.pipes);
        self.access.received(usize::try_from(self.up.moved).unwrap_or(usize::MAX));
        self.access.sent(usize::try_from(self.down.moved).unwrap_or(usize::MAX));
    }
}

/// One way, which ends by itself: the end of its source goes on as one (half-close).
pub(crate) struct Direction<'a> {
    gear: Gear,
    /// Copied from the source, and not yet written.
    held: Vec<u8>,
    /// How much of `held` is written.
    written: usize,
    moved: u64,
    counter: &'a Counter,
    /// Of what is to be moved next, so many bytes are counted already.
    counted: usize,
    /// Something was written and may wait in the connection.
    dirty: bool,
    /// The source has ended.
    ended: bool,
    /// The destination has been told.
    closed: bool,
}

impl<'a> Direction<'a> {
    pub(crate) fn new(counter: &'a Counter) -> Self {
        Self::beginning_with(Vec::new(), counter, false)
    }

    /// One of which these bytes were read already, and, if so, counted.
    pub(crate) fn beginning_with(held: Vec<u8>, counter: &'a Counter, are_counted: bool) -> Self {
        let counted = if are_counted { held.len() } else { 0 };
        let gear = Gear::default();
        Self { gear, held, written: 0, moved: 0, counter, counted, dirty: false, ended: false, closed: false }
    }

    /// Moves what can be moved; ready when the direction has ended and its destination knows.
    fn poll(
        &mut self,
        worker: &Worker,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.closed {
            ready!(self.poll_write_out(worker, to, cx))?;
            if self.ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.closed = true;
                continue;
            }
            if let (Some(source), Some(_)) = (from.plain(), to.plain()) {
                self.gear.shift_up(&worker.pipes);
                if ready!(self.gear.poll_fill(&worker.pipes, source, u64::MAX, cx))? > 0 {
                    continue;
                }
            }
            ready!(self.poll_copy(worker, from, to, cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// One read, and as much of its write as goes without waiting.
    fn poll_copy(
        &mut self,
        worker: &Worker,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = worker.passage.room();
        let mut into = ReadBuf::new(&mut room);
        ready!(Pin::new(from).poll_read(cx, &mut into))?;
        let bytes = into.filled();
        self.ended = bytes.is_empty();
        if !self.ended {
            let count = match Pin::new(to).poll_write(cx, bytes)? {
                Poll::Ready(count) => count,
                Poll::Pending => 0,
            };
            self.held.extend_from_slice(&bytes[count..]);
            self.note(count);
            self.gear.copied(self.moved >= SPLICE_AFTER && bytes.len() >= BULK);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what was read, and has the connection send it.
    fn poll_write_out(
        &mut self,
        worker: &Worker,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.written..]))?;
            self.written += count;
            self.note(count);
        }
        // Room that was needed once is not kept for the life of the connection.
        self.held = Vec::new();
        self.written = 0;
        while self.gear.held() > 0
            && let Some(destination) = to.plain()
        {
            let count = ready!(self.gear.poll_empty(&worker.pipes, destination, cx))?;
            self.note(count);
        }
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
