//! Buffers for bytes on their way, and the pool that keeps them warm.
//!
//! A connection holds buffers only while bytes are under way: ten thousand idle ones cost no buffer at all, and those of slow clients and
//! of streams that trickle stay small.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// How much larger a room is made that was too small.
const GROWTH: usize = 4;

/// A room that is filled behind and consumed in front. It is made larger, up to a limit, when a read has filled it: more comes than fits.
#[derive(Debug)]
pub(crate) struct Buffer {
    room: Box<[u8]>,
    start: usize,
    end: usize,
    limit: usize,
    /// The last read took all the room there was.
    is_outgrown: bool,
}

impl Buffer {
    /// Of `room` octets at first, which must not be none, and `limit` in the end.
    pub(crate) fn new(room: usize, limit: usize) -> Self {
        debug_assert!(room > 0 && room <= limit);
        Self { room: vec![0; room].into_boxed_slice(), start: 0, end: 0, limit, is_outgrown: false }
    }

    /// The bytes not yet consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether nothing more fits, however large the room is made.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == self.limit
    }

    /// Whether the last read took all the room there was, so that more may be there.
    pub(crate) fn was_filled(&self) -> bool {
        self.is_outgrown
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            self.clear();
        }
    }

    pub(crate) fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    /// Reads once from `stream` into the room left, which must not be none. Returns how many bytes, 0 at the end
    /// of the stream.
    pub(crate) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        debug_assert!(!self.is_full());
        if self.is_outgrown && self.room.len() < self.limit {
            self.grow();
        } else if self.end == self.room.len() {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // `poll_read` and not `try_read`: a short read tells tokio that the socket is empty, which saves the
        // next poll a system call.
        let mut into = ReadBuf::new(&mut self.room[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        self.end += count;
        self.is_outgrown = self.end == self.room.len();
        Poll::Ready(Ok(count))
    }

    #[cold]
    fn grow(&mut self) {
        let mut room = vec![0; (self.room.len() * GROWTH).min(self.limit)].into_boxed_slice();
        let held = self.end - self.start;
        room[..held].copy_from_slice(self.bytes());
        (self.room, self.start, self.end, self.is_outgrown) = (room, 0, held, false);
    }
}

/// A free list of things that are costly to make.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    free: RefCell<Vec<T>>,
    limit: usize,
}

impl<T> Pool<T> {
    /// A pool that keeps `limit` of them at most.
    pub(crate) fn new(limit: usize) -> Self {
        Self { free: RefCell::default(), limit }
    }

    pub(crate) fn take(&self) -> Option<T> {
        self.free.borrow_mut().pop()
    }

    pub(crate) fn put(&self, item: T) {
        let mut free = self.free.borrow_mut();
        if free.len() < self.limit {
            free.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, mut from: &[u8]) -> usize {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(Ok(count)) = buffer.poll_fill(&mut from, &mut cx) else {
            panic!("a slice is always ready")
        };
        count
    }

    #[test]
    fn a_room_grows_when_a_read_has_filled_it_and_keeps_what_is_in_it() {
        let mut buffer = Buffer::new(4, 20);
        assert_eq!(fill(&mut buffer, b"abc"), 3);
        assert_eq!(fill(&mut buffer, b"defg"), 1);
        buffer.consume(2);
        assert_eq!(fill(&mut buffer, &[b'x'; 99]), 14, "of 16, without what is held");
        assert_eq!(&buffer.bytes()[..4], b"cdxx");
        assert!(!buffer.is_full());
        assert_eq!(fill(&mut buffer, &[b'y'; 99]), 4, "of 20 at most");
        assert!(buffer.is_full());
        buffer.consume(20);
        assert_eq!(fill(&mut buffer, &[b'z'; 99]), 20);
    }

    #[test]
    fn a_room_that_is_consumed_in_time_stays_as_it_is() {
        let mut buffer = Buffer::new(4, 16);
        for _ in 0..10 {
            assert_eq!(fill(&mut buffer, b"abc"), 3);
            buffer.consume(3);
        }
        assert_eq!(fill(&mut buffer, b"abcdef"), 4);
    }
}
