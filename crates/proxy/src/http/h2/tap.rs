//! A connection that is looked at while HTTP/2 is spoken over it.
//!
//! `h2` answers for much of the protocol by itself: it refuses malformed messages, resets streams, says GOAWAY. What it
//! refuses is counted, and what a client asks too much of is noticed, by the frames that pass by.
//!
//! `h2` takes all that has come before it returns, and decodes each head to its end, however long. So it gets what has come in turns, between
//! which others are served (`Turn`), and nothing of what goes too far.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
};

use proxima_http1::Fault;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    block::Block,
    budget::Budget,
    frames::{Frame, Frames, Seen, kind},
};
use crate::{
    stats::{Misuse, ServiceCounters},
    timer::{Deadline, Timers},
};

/// Fields that a head may have, cookies that come in pieces (RFC 9113 §8.2.3) among them. Those that have more than
/// [`proxima_http1::MAX_FIELDS`] without these are refused, too, but politely.
const MAX_FIELDS: u32 = 512;

/// How much `h2` gets to do at once: about 50 µs of it.
#[derive(Debug, Clone, Copy, Default)]
struct Turn(u32);

impl Turn {
    const MOST: u32 = 512;
    /// What frames cost in terms of fields.
    const FRAME: u32 = 8;

    fn is_over(self) -> bool {
        self.0 >= Self::MOST
    }
}

/// What has passed on one connection.
pub(super) struct Tally {
    counters: Arc<ServiceCounters>,
    timers: Rc<Timers>,
    received: RefCell<Frames>,
    /// The last one that the client began.
    block: Cell<Block>,
    turn: Cell<Turn>,
    sent: RefCell<Frames>,
    budget: RefCell<Budget>,
    next_second: Cell<Deadline>,
    excess: Cell<Option<Misuse>>,
    /// Streams whose requests were accepted, until the end of the response has been written or either side has reset them.
    accepted: RefCell<Vec<u32>>,
    /// Streams that were reset before their requests were accepted: 16 at most, since more are too much.
    unseen: RefCell<Vec<u32>>,
    /// The last stream that `h2` answered by itself.
    answered_alone: Cell<u32>,
    /// Streams whose resets, which are to come, are counted already.
    own_resets: RefCell<Vec<u32>>,
    /// Octets that were written.
    written: Cell<u64>,
    /// Nothing of them waits to be sent.
    is_flushed: Cell<bool>,
}

impl Tally {
    pub(super) fn new(counters: Arc<ServiceCounters>, timers: Rc<Timers>) -> Rc<Self> {
        let next_second = Cell::new(timers.deadline(std::time::Duration::from_secs(1)));
        Rc::new(Self {
            counters,
            timers,
            received: RefCell::new(Frames::of_client()),
            block: Cell::default(),
            turn: Cell::default(),
            sent: RefCell::default(),
            budget: RefCell::new(Budget::new()),
            next_second,
            excess: Cell::new(None),
            accepted: RefCell::default(),
            unseen: RefCell::default(),
            answered_alone: Cell::new(0),
            own_resets: RefCell::default(),
            written: Cell::new(0),
            is_flushed: Cell::new(true),
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

    /// Whether all that there was to say to accepted requests is with the kernel, or they were reset.
    pub(super) fn has_written_all(&self) -> bool {
        self.is_flushed.get() && self.accepted.borrow().is_empty() && !self.sent.borrow().is_within_frame()
    }

    /// Octets that were written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }

    /// The request of `stream` has come to us; those of a client come in the order of their streams.
    pub(super) fn accept(&self, stream: u32) {
        let mut unseen = self.unseen.borrow_mut();
        if !unseen.contains(&stream) {
            self.accepted.borrow_mut().push(stream);
        }
        unseen.retain(|reset| *reset > stream);
        self.budget.borrow_mut().accepted(stream);
    }

    /// The reset of `stream`, if there is one, is no refusal that `h2` came to by itself.
    pub(super) fn expect_own_reset(&self, stream: u32) {
        if self.accepted.borrow().contains(&stream) {
            self.own_resets.borrow_mut().push(stream);
        }
    }

    /// Notes what has come, as far as this turn goes: so many octets.
    fn note_received(&self, bytes: &[u8]) -> usize {
        if self.timers.is_past(self.next_second.get()) {
            self.next_second.set(self.timers.deadline(std::time::Duration::from_secs(1)));
            self.budget.borrow_mut().next_second();
        }
        let (mut received, mut rest) = (self.received.borrow_mut(), bytes);
        while !self.turn.get().is_over()
            && self.excess.get().is_none()
            && let Some(seen) = received.next(&mut rest)
        {
            match seen {
                Seen::Frame(frame) => {
                    let afforded = self.budget.borrow_mut().received(&frame);
                    match afforded {
                        Ok(()) => self.note_frame(&frame),
                        Err(misuse) => self.note_excess(misuse),
                    }
                }
                Seen::Fragment(fragment) => self.note_fragment(fragment),
            }
        }
        let count = bytes.len() - rest.len();
        self.counters.bytes_in.add(count as u64);
        count
    }

    fn note_frame(&self, frame: &Frame) {
        match frame.kind {
            kind::HEADERS => self.block.set(Block::default()),
            kind::RST_STREAM => self.note_reset(frame.stream),
            _ => {}
        }
        self.work(Turn::FRAME);
    }

    /// The client resets `stream`.
    fn note_reset(&self, stream: u32) {
        take(&self.own_resets, stream);
        if !take(&self.accepted, stream) && self.budget.borrow().is_unseen(stream) {
            self.unseen.borrow_mut().push(stream);
        }
    }

    fn note_fragment(&self, fragment: &[u8]) {
        let mut block = self.block.get();
        let before = block.fields();
        block.see(fragment);
        self.block.set(block);
        self.work(block.fields() - before);
        if block.fields() > MAX_FIELDS {
            self.note_excess(Misuse::Excess);
        }
    }

    fn work(&self, more: u32) {
        self.turn.set(Turn(self.turn.get().0 + more));
    }

    fn note_sent(&self, bytes: &[u8]) {
        self.counters.bytes_out.add(bytes.len() as u64);
        self.written.set(self.written.get() + bytes.len() as u64);
        self.is_flushed.set(false);
        let (mut sent, mut rest) = (self.sent.borrow_mut(), bytes);
        while let Some(seen) = sent.next(&mut rest) {
            let Seen::Frame(frame) = seen else { continue };
            if let Err(misuse) = self.budget.borrow_mut().sent(&frame) {
                self.note_excess(misuse);
            }
            self.count(&frame);
        }
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
        let is_reset = frame.kind == kind::RST_STREAM;
        if is_reset || frame.ends_stream() {
            take(&self.accepted, frame.stream);
        }
        let is_own = is_reset && take(&self.own_resets, frame.stream);
        let Some(misuse) = frame.code.and_then(misuse) else { return };
        match frame.kind {
            kind::RST_STREAM if is_own => {}
            kind::RST_STREAM if frame.stream == self.answered_alone.get() => {}
            kind::GOAWAY if misuse == Misuse::Excess && self.excess.get().is_some() => {}
            _ => self.counters.misused(misuse),
        }
    }
}

/// Takes a stream out of a list; whether it was there.
fn take(streams: &RefCell<Vec<u32>>, stream: u32) -> bool {
    let mut streams = streams.borrow_mut();
    let at = streams.iter().position(|known| *known == stream);
    at.map(|at| streams.swap_remove(at)).is_some()
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
///
/// After an excess it reads nothing more, and wakes nobody for that: whoever polls `h2` has to look for it.
pub(super) struct Tap<S> {
    stream: Rc<RefCell<S>>,
    /// Read before HTTP/2 was known to be spoken, or beyond a turn.
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
        let Self { stream, read_ahead, tally } = &mut *self;
        if tally.excess().is_some() {
            return Poll::Pending;
        }
        if tally.turn.get().is_over() {
            tally.turn.take();
            // Not woken before the others, and the event loop, have had their turn.
            return pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        let before = into.filled().len();
        if read_ahead.is_empty() {
            let read = Pin::new(&mut *stream.borrow_mut()).poll_read(cx, into);
            if read.is_pending() {
                tally.turn.take();
            }
            ready!(read)?;
            let fresh = &into.filled()[before..];
            let count = tally.note_received(fresh);
            read_ahead.extend_from_slice(&fresh[count..]);
            into.set_filled(before + count);
        } else {
            let count = tally.note_received(&read_ahead[..read_ahead.len().min(into.remaining())]);
            into.put_slice(&read_ahead[..count]);
            read_ahead.drain(..count);
            if read_ahead.is_empty() {
                *read_ahead = Vec::new();
            }
        }
        if tally.excess().is_some() {
            into.set_filled(before);
            return Poll::Pending;
        }
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
        let flushed = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        self.tally.is_flushed.set(flushed.is_ready());
        flushed
    }

    /// The end is said when `h2` is done (`linger`).
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{task::Waker, time::Instant};

    use super::{
        super::frames::{END_STREAM, PREFACE},
        *,
    };

    const END_HEADERS: u8 = 4;

    fn headers(flags: u8, block: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = (block.len() as u32).to_be_bytes();
        [&length[..], &[kind::HEADERS, flags, 0, 0, 0, 1], block].concat()
    }

    fn tap(bytes: &[u8]) -> Tap<&[u8]> {
        let tally = Tally::new(Arc::default(), Timers::new(Instant::now()));
        Tap::new(Rc::new(RefCell::new(bytes)), Vec::new(), tally)
    }

    /// What comes by one read into so much room.
    fn read(tap: &mut Tap<&[u8]>, room: usize) -> Poll<Vec<u8>> {
        let mut room = vec![0; room];
        let mut into = ReadBuf::new(&mut room);
        let read = Pin::new(tap).poll_read(&mut Context::from_waker(Waker::noop()), &mut into);
        let bytes = into.filled().to_vec();
        assert!(read.is_ready() || bytes.is_empty());
        read.map(|read| read.map(|()| bytes).unwrap())
    }

    #[test]
    fn what_comes_at_once_passes_turn_by_turn_and_whole() {
        const FIELDS: u32 = 40;
        let head = headers(END_HEADERS | END_STREAM, &[0x82; FIELDS as usize]);
        let sent = [PREFACE.to_vec(), head.repeat(1000)].concat();
        for room in [32, 1000, 1 << 20] {
            let mut tap = tap(&sent);
            let (mut passed, mut turn) = (Vec::new(), 0);
            loop {
                match read(&mut tap, room) {
                    Poll::Ready(bytes) if bytes.is_empty() => break,
                    Poll::Ready(bytes) => {
                        turn += bytes.len();
                        passed.extend(bytes);
                    }
                    Poll::Pending => {
                        // It ends with what has used it up, and may begin and end within a head.
                        let heads = (Turn::MOST / (FIELDS + Turn::FRAME)) as usize;
                        let bounds = (heads - 1) * head.len()..(heads + 2) * head.len();
                        assert!(bounds.contains(&turn), "{turn} octets by {room}");
                        turn = 0;
                    }
                }
            }
            assert_eq!(passed, sent);
            assert_eq!(tap.tally.excess(), None);
        }
    }

    #[test]
    fn data_passes_without_a_pause() {
        let data = [&[0, 0x40, 0, kind::DATA, 0, 0, 0, 0, 1][..], &[0; 1 << 14]].concat();
        let sent = [PREFACE.to_vec(), data.repeat(50)].concat();
        let mut tap = tap(&sent);
        assert_eq!(read(&mut tap, 1 << 20), Poll::Ready(sent));
    }

    #[test]
    fn a_head_of_too_many_fields_passes_no_further() {
        let most = MAX_FIELDS as usize;
        for (fields, excess) in
            [(most, None), (most + 1, Some(Misuse::Excess)), (10 * most, Some(Misuse::Excess))]
        {
            let sent = [PREFACE.to_vec(), headers(END_HEADERS, &vec![0x82; fields])].concat();
            let (mut tap, mut passed) = (tap(&sent), 0);
            let mut pauses = 0;
            while pauses < 2 && passed < sent.len() {
                match read(&mut tap, 1 << 20) {
                    Poll::Ready(bytes) => (passed, pauses) = (passed + bytes.len(), 0),
                    Poll::Pending => pauses += 1,
                }
            }
            assert_eq!(tap.tally.excess(), excess, "{fields} fields");
            assert!(passed <= PREFACE.len() + 9 + most, "{passed} of {fields} fields");
            assert_eq!(passed == sent.len(), excess.is_none());
        }
    }
}
