//! A connection that is looked at while HTTP/2 is spoken over it.
//!
//! `h2` answers for much of the protocol by itself: it refuses malformed messages, resets streams, says GOAWAY. What it
//! refuses is counted, and what a client asks too much of is noticed, by the frames that pass by.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use proxima_http1::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    budget::Budget,
    frames::{Frame, Frames, kind},
};
use crate::{
    stats::{Misuse, ServiceCounters},
    timer::{Deadline, Timers},
};

/// What has passed on one connection.
pub(super) struct Tally {
    counters: Arc<ServiceCounters>,
    timers: Rc<Timers>,
    received: RefCell<Frames>,
    sent: RefCell<Frames>,
    budget: RefCell<Budget>,
    next_second: Cell<Deadline>,
    excess: Cell<Option<Misuse>>,
    /// Streams whose requests were accepted, until either side has ended them.
    accepted: RefCell<Vec<u32>>,
    /// The last stream that `h2` answered by itself.
    answered_alone: Cell<u32>,
    /// Resets to come that are counted already.
    own_resets: Cell<u32>,
}

impl Tally {
    pub(super) fn new(counters: Arc<ServiceCounters>, timers: Rc<Timers>) -> Rc<Self> {
        let next_second = Cell::new(timers.deadline(std::time::Duration::from_secs(1)));
        Rc::new(Self {
            counters,
            timers,
            received: RefCell::new(Frames::of_client()),
            sent: RefCell::default(),
            budget: RefCell::new(Budget::new()),
            next_second,
            excess: Cell::new(None),
            accepted: RefCell::default(),
            answered_alone: Cell::new(0),
            own_resets: Cell::new(0),
        })
    }

    /// What the client has gone beyond, if anything.
    pub(super) fn excess(&self) -> Option<Misuse> {
        self.excess.get()
    }

    /// Whether the client has begun a head and not ended it.
    pub(super) fn is_within_head(&self) -> bool {
        self.received.borrow().is_within_head()
    }

    /// The request of `stream` has come to us.
    pub(super) fn accept(&self, stream: u32) {
        self.accepted.borrow_mut().push(stream);
    }

    fn forget(&self, stream: u32) {
        let mut accepted = self.accepted.borrow_mut();
        if let Some(at) = accepted.iter().position(|known| *known == stream) {
            accepted.swap_remove(at);
        }
    }

    /// The next reset is no refusal that `h2` came to by itself.
    pub(super) fn expect_own_reset(&self) {
        self.own_resets.set(self.own_resets.get() + 1);
    }

    fn note_received(&self, bytes: &[u8]) {
        self.counters.bytes_in.add(bytes.len() as u64);
        let mut budget = self.budget.borrow_mut();
        if self.timers.is_past(self.next_second.get()) {
            self.next_second.set(self.timers.deadline(std::time::Duration::from_secs(1)));
            budget.next_second();
        }
        self.received.borrow_mut().see(bytes, |frame| {
            if let Err(misuse) = budget.received(&frame) {
                self.note_excess(misuse);
            }
            if frame.kind == kind::RST_STREAM {
                self.forget(frame.stream);
            }
        });
    }

    fn note_sent(&self, bytes: &[u8]) {
        self.counters.bytes_out.add(bytes.len() as u64);
        self.sent.borrow_mut().see(bytes, |frame| {
            if let Err(misuse) = self.budget.borrow_mut().sent(&frame) {
                self.note_excess(misuse);
            }
            self.count(&frame);
        });
    }

    fn note_excess(&self, misuse: Misuse) {
        if self.excess.get().is_none() {
            self.excess.set(Some(misuse));
            self.counters.misused(misuse);
        }
    }

    /// Counts what is refused with this frame of ours.
    fn count(&self, frame: &Frame) {
        if frame.kind == kind::HEADERS && !self.accepted.borrow().contains(&frame.stream) {
            // The one answer that `h2` gives: 431 to a list of fields that is too long.
            self.answered_alone.set(frame.stream);
            self.counters.refused(Fault::HeadTooLong);
        }
        if frame.kind == kind::RST_STREAM || frame.ends_stream() {
            self.forget(frame.stream);
        }
        let Some(misuse) = frame.code.and_then(misuse) else { return };
        match frame.kind {
            kind::RST_STREAM if self.own_resets.get() > 0 => self.own_resets.set(self.own_resets.get() - 1),
            kind::RST_STREAM if frame.stream == self.answered_alone.get() => {}
            kind::GOAWAY if misuse == Misuse::Excess && self.excess.get().is_some() => {}
            _ => self.counters.misused(misuse),
        }
    }
}

/// What an error code of ours says of the client (RFC 9113 §7).
fn misuse(code: u32) -> Option<Misuse> {
    match code {
        1 => Some(Misuse::Protocol),
        3 => Some(Misuse::FlowControl),
        5 => Some(Misuse::StreamClosed),
        6 => Some(Misuse::FrameSize),
        7 => Some(Misuse::Concurrency),
        9 => Some(Misuse::Compression),
        11 => Some(Misuse::Excess),
        _ => None,
    }
}

/// The connection as `h2` gets it. It is shared, so that something is left to say good-bye with when `h2` is done.
pub(super) struct Tap<S> {
    stream: Rc<RefCell<S>>,
    /// Read before HTTP/2 was known to be spoken.
    read_ahead: Vec<u8>,
    tally: Rc<Tally>,
}

impl<S> Tap<S> {
    pub(super) fn new(stream: Rc<RefCell<S>>, read_ahead: Vec<u8>, tally: Rc<Tally>) -> Self {
        Self { stream, read_ahead, tally }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if self.read_ahead.is_empty() {
            ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, into))?;
        } else {
            let count = self.read_ahead.len().min(into.remaining());
            into.put_slice(&self.read_ahead[..count]);
            self.read_ahead.drain(..count);
        }
        self.tally.note_received(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes))?;
        self.tally.note_sent(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, pieces))?;
        let mut left = count;
        for piece in pieces {
            let seen = piece.len().min(left);
            self.tally.note_sent(&piece[..seen]);
            left -= seen;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}
