//! One request on an HTTP/3 connection that others share: a stream of its own (RFC 9114 §4.1).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use proxima_http1::{Fault, Framing, Method};
use proxima_http3::{Code, Event, MAX_TEXT, Wrong as WrongHere, response_text, write_request};
use quinn::{RecvStream, SendStream, VarInt};

use super::{Incoming, Multiplexing, Origin, Unbegun, Wrong};
use crate::{
    backend::Backend,
    buffer::Buffer,
    http::{
        Scratch,
        h3::{Broken, Next, Receiving, Sending},
        relay::Piece,
    },
    multiplexed::{Http3Link, Place},
};

/// Dropped before the response is whole, it tells the backend that nobody wants it any more.
pub(in crate::http) struct Http3 {
    /// The stream's number.
    number: u64,
    sending: Sending,
    receiving: Receiving,
    /// The backend takes no more of the request.
    is_broken: bool,
    /// The final head has come.
    has_begun: bool,
    /// The response is whole.
    is_whole: bool,
    /// The text of the head that came last.
    head: Vec<u8>,
    place: Place<Http3Link>,
}

impl Multiplexing for Http3 {
    type Link = Http3Link;

    fn begin(
        place: Place<Http3Link>,
        (send, receive): (SendStream, RecvStream),
        request: &[u8],
        backend: &Backend,
        last: bool,
    ) -> Result<Self, Unbegun> {
        let number = u64::from(VarInt::from(send.id()));
        let (mut sending, receiving) = (Sending::request(send), Receiving::response(receive));
        let mut frame = Vec::with_capacity(request.len());
        if !write_request(&mut frame, request, backend.scheme(), backend.address) {
            return Err(Unbegun::Fault(Fault::RequestLine));
        }
        sending.head(frame, last);
        let (is_broken, has_begun, is_whole) = (false, false, false);
        Ok(Self { number, sending, receiving, is_broken, has_begun, is_whole, head: Vec::new(), place })
    }

    fn is_reused(&self) -> bool {
        self.place.is_used
    }
}

impl Http3 {
    fn poll_next_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>> {
        let next = match self.receiving.poll_next(cx) {
            Poll::Ready(next) => next.map_err(|broken| self.wrong(broken))?,
            Poll::Pending => {
                ready!(self.place.link().poll_excluded(self.number, cx));
                return Poll::Ready(Err(Wrong::Unprocessed));
            }
        };
        // The frames are in order, and begin with a head.
        let Next::Event(Event::Section(section)) = next else { return Poll::Ready(Err(Wrong::Gone)) };
        self.read_head(scratch, &section, method).map_err(|wrong| self.wrong(wrong.into()))?;
        if scratch.response_head.is_interim() {
            self.receiving.expect_head();
            return Poll::Ready(Ok(Incoming::Head { last: false }));
        }
        self.has_begun = true;
        self.place.link().forget(self.number);
        let framing = scratch.response_head.framing();
        self.receiving.left = if let Framing::Length(length) = framing { Some(length) } else { None };
        self.is_whole = framing == Framing::None || self.is_at_end(cx)?;
        Poll::Ready(Ok(Incoming::Head { last: self.is_whole }))
    }

    /// Writes the head down as HTTP/1.1 has it, and parses it.
    fn read_head(&mut self, scratch: &mut Scratch, section: &[u8], method: Method) -> Result<(), WrongHere> {
        self.head.clear();
        response_text(&mut self.head, section)?;
        let parsed = scratch.response_head.parse_within(&self.head, method, MAX_TEXT)?;
        (parsed == Some(self.head.len())).then_some(()).ok_or(Fault::FieldLine.into())
    }

    /// Whether the end has come behind the head.
    fn is_at_end(&mut self, cx: &mut Context<'_>) -> Result<bool, Wrong> {
        let is_end = match self.receiving.poll_ahead(cx) {
            Poll::Ready(next) => next.map(|next| matches!(next, Next::End)),
            Poll::Pending => Ok(false),
        };
        if is_end.map_err(|broken| self.wrong(broken))? {
            self.receiving.check_end().map_err(|fault| self.wrong(fault.into()))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// What the end of the stream means, and what is done about it.
    fn wrong(&mut self, broken: Broken) -> Wrong {
        match broken {
            // RFC 9114 §4.1.1.
            Broken::Reset(code) if code == u64::from(Code::RequestRejected.value()) && !self.has_begun => {
                self.place.note_refused();
                Wrong::Unprocessed
            }
            Broken::Wrong(WrongHere::Message(fault)) => {
                self.receiving.stop(Code::MessageError);
                self.sending.reset(Code::MessageError);
                Wrong::Malformed(fault)
            }
            Broken::Wrong(WrongHere::Connection(code)) => {
                self.place.link().fail(code);
                Wrong::Malformed(Fault::FieldLine)
            }
            // It has ended before the head.
            Broken::Wrong(WrongHere::Stream(_)) | Broken::Reset(_) | Broken::Lost => Wrong::Gone,
        }
    }
}

impl Origin for Http3 {
    fn has_room(&self) -> bool {
        !self.is_broken && self.sending.has_room()
    }

    fn send(&mut self, piece: Piece) {
        match piece {
            Piece::Data { bytes, last } => self.sending.data(bytes, last),
            Piece::Trailers(section) => self.sending.end(&section),
            Piece::End => self.sending.end(&[]),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_broken {
            self.is_broken = ready!(self.sending.poll_flush(cx)).is_err();
        }
        if self.is_broken { Poll::Pending } else { Poll::Ready(()) }
    }

    fn has_sent(&self) -> bool {
        true
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>> {
        if !self.has_begun {
            return self.poll_next_head(cx, scratch, method);
        }
        let piece = ready!(self.receiving.poll_piece(cx)).map_err(|broken| self.wrong(broken))?;
        self.is_whole = piece.is_last();
        Poll::Ready(Ok(match piece {
            Piece::Data { bytes, last } => Incoming::Data { bytes, last },
            Piece::Trailers(trailers) => Incoming::End { trailers },
            Piece::End => Incoming::End { trailers: Bytes::new() },
        }))
    }

    fn head<'a>(&'a self, _reply: &'a Buffer) -> &'a [u8] {
        &self.head
    }

    fn consume_head(&mut self, _reply: &mut Buffer) {}

    /// What was read is what opens the backend's window.
    fn passed_on(&mut self, _count: usize) {}
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.place.link().forget(self.number);
        self.receiving.stop(if self.is_whole { Code::NoError } else { Code::RequestCancelled });
    }
}
