//! Buffers for bytes on their way, and the pool that keeps them warm.
//!
//! A connection holds buffers only while bytes are under way: ten thousand idle ones cost no buffer at all.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, ReadBuf};

/// A fixed room that is filled behind and consumed in front.
#[derive(Debug)]
pub(crate) struct Buffer {
    room: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { room: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    /// The bytes not yet consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == self.room.len()
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
        if self.end == self.room.len() {
            self.room.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // `poll_read` and not `try_read`: a short read tells tokio that the socket is empty, which saves the
        // next poll a system call.
        let mut into = ReadBuf::new(&mut self.room[self.end..]);
        ready!(Pin::new(stream).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
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
