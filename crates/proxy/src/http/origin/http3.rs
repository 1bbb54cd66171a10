//! One request on an HTTP/3 connection that others share: a stream of its own (RFC 9114 §4.1).

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use proxima_http1::{Fault, Framing, Method};
use proxima_http3::{Code, Event, Wrong as WrongHere, response_text, write_request, write_websocket_request};

use super::{Follows, Incoming, Multiplexing, Origin, Unbegun, Written, Wrong};
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
    head: Written,
    place: Place<Http3Link>,
}

impl Multiplexing for Http3 {
    type Link = Http3Link;

    fn begin(
        place: Place<Http3Link>,
        (mut sending, receiving): (Sending, Receiving),
        request: &[u8],
        backend: &Backend,
        follows: Follows,
    ) -> Result<Self, Unbegun> {
        let number = sending.number();
        let last = follows.is_nothing();
        let head = Written::new(follows);
        let mut frame = Vec::with_capacity(request.len());
        let is_written = if head.websocket.is_some() {
            write_websocket_request(&mut frame, request, backend.scheme(), backend.address)
        } else {
            write_request(&mut frame, request, backend.scheme(), backend.address)
        };
        if !is_written {
            return Err(Unbegun::Fault(Fault::RequestLine));
        }
        sending.head(frame, last);
        let (is_broken, has_begun, is_whole) = (false, false, false);
        Ok(Self { number, sending, receiving, is_broken, has_begun, is_whole, head, place })
    }

    fn is_reused(&self) -> bool {
        self.place.is_used
    }

    fn note_silent(&self) {
        self.place.note_silent();
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
        self.head.text.clear();
        let written = response_text(&mut self.head.text, &section);
        written.map_err(|wrong| self.wrong(wrong.into()))?;
        let parsed = self.head.parse(&mut scratch.response_head, method);
        parsed.map_err(|fault| self.wrong(fault.into()))?;
        if scratch.response_head.is_interim() {
            self.receiving.expect_head();
            return Poll::Ready(Ok(Incoming::Head { last: false }));
        }
        self.has_begun = true;
        self.place.note_answered();
        self.place.link().forget(self.number);
        if scratch.response_head.switches() {
            self.receiving.begin_tunnel();
        }
        let framing = scratch.response_head.framing();
        self.receiving.left = if let Framing::Length(length) = framing { Some(length) } else { None };
        // Something follows an agreement, if only its end.
        self.is_whole =
            !scratch.response_head.switches() && (framing == Framing::None || self.is_at_end(cx)?);
        Poll::Ready(Ok(Incoming::Head { last: self.is_whole }))
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
            // The others on the connection are not to blame.
            Broken::Wrong(WrongHere::Stream(code @ Code::ExcessiveLoad)) => {
                self.receiving.stop(code);
                self.sending.reset(code);
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

    fn is_broken(&self) -> bool {
        self.is_broken
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
        &self.head.text
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
