//! A message on its way over a stream, towards either side (RFC 9114 §4.1).

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use proxima_http1::{Fault, check_trailers};
use proxima_http3::{Code, Event, Frames, Wrong, data_header, trailer_text, write_trailers};
use quinn::{ReadError, RecvStream, SendStream, VarInt};

use super::IntoVarInt;
use crate::{http::relay::Piece, stats::ServiceCounters};

/// What is read at once, and passed on as one piece.
const PIECE: usize = 16 * 1024;

/// A message that comes.
#[derive(Debug)]
pub(crate) struct Receiving {
    stream: RecvStream,
    frames: Frames,
    /// Read, and not yet taken apart.
    chunk: Bytes,
    /// Taken apart, and not yet asked for.
    ahead: Option<Next>,
    /// What has to come of the content, if the head said how long it is.
    pub(in crate::http) left: Option<u64>,
    /// Of the client that it comes from, if it does.
    counters: Option<Arc<ServiceCounters>>,
}

/// What a stream goes on with.
#[derive(Debug)]
pub(in crate::http) enum Next {
    Event(Event),
    End,
}

/// Why it does not.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) enum Broken {
    Wrong(Wrong),
    /// The other side has reset it, with this code.
    Reset(u64),
    /// The connection is gone.
    Lost,
}

impl From<Wrong> for Broken {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Wrong(Wrong::Message(fault))
    }
}

impl Receiving {
    /// A request.
    pub(in crate::http) fn request(stream: RecvStream, counters: Arc<ServiceCounters>) -> Self {
        let counters = Some(counters);
        Self { stream, frames: Frames::default(), chunk: Bytes::new(), ahead: None, left: None, counters }
    }

    /// A response.
    pub(crate) fn response(stream: RecvStream) -> Self {
        let frames = Frames::of_response();
        Self { stream, frames, chunk: Bytes::new(), ahead: None, left: None, counters: None }
    }

    /// The head that came last was that of an interim response.
    pub(in crate::http) fn expect_head(&mut self) {
        self.frames.expect_head();
    }

    /// What follows is a tunnel.
    pub(in crate::http) fn begin_tunnel(&mut self) {
        self.frames.begin_tunnel();
    }

    pub(in crate::http) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Broken>> {
        if let Some(next) = self.ahead.take() {
            return Poll::Ready(Ok(next));
        }
        loop {
            if let Some(event) = self.frames.take(&mut self.chunk)? {
                return Poll::Ready(Ok(Next::Event(event)));
            }
            match ready!(pin!(self.stream.read_chunk(PIECE, true)).poll(cx)) {
                Ok(Some(chunk)) => {
                    if let Some(counters) = &self.counters {
                        counters.bytes_in.add(chunk.bytes.len() as u64);
                    }
                    self.chunk = chunk.bytes;
                }
                Ok(None) => {
                    self.frames.end()?;
                    return Poll::Ready(Ok(Next::End));
                }
                Err(ReadError::Reset(code)) => return Poll::Ready(Err(Broken::Reset(code.into_inner()))),
                Err(_) => return Poll::Ready(Err(Broken::Lost)),
            }
        }
    }

    /// Looks at what comes next without taking it. Pending if nothing is there yet.
    pub(in crate::http) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Next, Broken>> {
        let next = ready!(self.poll_next(cx))?;
        Poll::Ready(Ok(self.ahead.insert(next)))
    }

    /// What comes after the head.
    pub(in crate::http) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, Broken>> {
        Poll::Ready(Ok(match ready!(self.poll_next(cx))? {
            Next::Event(Event::Data(bytes)) => {
                self.note_content(bytes.len())?;
                let last = match self.poll_ahead(cx) {
                    Poll::Ready(next) => matches!(next?, Next::End),
                    Poll::Pending => false,
                };
                if last {
                    self.check_end()?;
                }
                Piece::Data { bytes, last }
            }
            Next::Event(Event::Section(section)) => {
                self.check_end()?;
                let mut text = Vec::new();
                trailer_text(&mut text, &section)?;
                check_trailers(&text)?;
                Piece::Trailers(text.into())
            }
            Next::End => {
                self.check_end()?;
                Piece::End
            }
        }))
    }

    /// RFC 9114 §4.1.2: content is as long as the head said.
    fn note_content(&mut self, count: usize) -> Result<(), Fault> {
        match &mut self.left {
            None => Ok(()),
            Some(left) => {
                *left = left.checked_sub(count as u64).ok_or(Fault::LengthMismatch)?;
                Ok(())
            }
        }
    }

    pub(in crate::http) fn check_end(&self) -> Result<(), Fault> {
        if self.left.is_some_and(|left| left > 0) { Err(Fault::LengthMismatch) } else { Ok(()) }
    }

    /// What is left of it is not wanted.
    pub(in crate::http) fn stop(&mut self, code: Code) {
        // It fails where nothing is left.
        let _ = self.stream.stop(code.into_varint());
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        // As it is, unless it was said why: dropped, a stream of QUIC is stopped with 0, which is no code of HTTP/3.
        self.stop(Code::RequestCancelled);
    }
}

/// A message that goes. Dropped before its end, it is reset: never a clean end for one that is not whole.
pub(crate) struct Sending {
    stream: SendStream,
    /// Wait for the other side's window.
    pieces: Vec<Bytes>,
    /// Nothing follows them.
    ends: bool,
    /// It is ended, or reset.
    is_done: bool,
    /// The wait for the other side to want no more; made when first asked for.
    stopped: Option<Stopping>,
    /// Of the client that it goes to, if it does.
    counters: Option<Arc<ServiceCounters>>,
    /// What a reset says that comes about by dropping.
    dropped: Code,
}

enum Stopping {
    Waiting(Pin<Box<dyn Future<Output = ()>>>),
    Done,
}

impl Sending {
    /// A response.
    pub(in crate::http) fn response(stream: SendStream, counters: Arc<ServiceCounters>) -> Self {
        Self::new(stream, Some(counters), Code::InternalError)
    }

    /// A request.
    pub(crate) fn request(stream: SendStream) -> Self {
        Self::new(stream, None, Code::RequestCancelled)
    }

    fn new(stream: SendStream, counters: Option<Arc<ServiceCounters>>, dropped: Code) -> Self {
        Self { stream, pieces: Vec::new(), ends: false, is_done: false, stopped: None, counters, dropped }
    }

    /// The stream's number.
    pub(in crate::http) fn number(&self) -> u64 {
        VarInt::from(self.stream.id()).into_inner()
    }

    /// A HEADERS frame; `last` when nothing follows.
    pub(in crate::http) fn head(&mut self, frame: Vec<u8>, last: bool) {
        self.pieces.push(frame.into());
        self.ends = last;
    }

    /// Content.
    pub(in crate::http) fn data(&mut self, bytes: Bytes, last: bool) {
        if !bytes.is_empty() {
            let mut header = Vec::with_capacity(9);
            data_header(&mut header, bytes.len());
            self.pieces.extend([header.into(), bytes]);
        }
        self.ends = last;
    }

    /// The end, with the trailer section unless that is empty.
    pub(in crate::http) fn end(&mut self, trailers: &[u8]) {
        if !trailers.is_empty() {
            let mut frame = Vec::new();
            write_trailers(&mut frame, trailers);
            self.pieces.push(frame.into());
        }
        self.ends = true;
    }

    pub(in crate::http) fn has_room(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(in crate::http) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Ready when all of it is sent, or the other side takes no more.
    pub(in crate::http) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        while !self.pieces.is_empty() {
            let Ok(written) = ready!(pin!(self.stream.write_chunks(&mut self.pieces)).poll(cx)) else {
                return Poll::Ready(Err(Stopped));
            };
            if let Some(counters) = &self.counters {
                counters.bytes_out.add(written.bytes as u64);
            }
            self.pieces.drain(..written.chunks);
        }
        if self.ends && !self.is_done {
            self.is_done = true;
            if self.stream.finish().is_err() {
                return Poll::Ready(Err(Stopped));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the other side has acknowledged all that was sent, or never will.
    pub(in crate::http) fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_done { self.poll_stopped(cx) } else { Poll::Ready(()) }
    }

    /// Ready, now and ever after, when the other side takes no more, or has all.
    pub(in crate::http) fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let stream = &self.stream;
        let stopped = self.stopped.get_or_insert_with(|| {
            let stopped = stream.stopped();
            Stopping::Waiting(Box::pin(async move { drop(stopped.await) }))
        });
        if let Stopping::Waiting(stopping) = stopped {
            ready!(stopping.as_mut().poll(cx));
            *stopped = Stopping::Done;
        }
        Poll::Ready(())
    }

    pub(in crate::http) fn reset(&mut self, code: Code) {
        if !std::mem::replace(&mut self.is_done, true) {
            // It fails only on a stream that is closed.
            let _ = self.stream.reset(code.into_varint());
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.reset(self.dropped);
    }
}

/// The other side takes no more, or the connection is gone.
#[derive(Debug)]
pub(in crate::http) struct Stopped;
