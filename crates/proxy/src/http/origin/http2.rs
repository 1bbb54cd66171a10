//! One request on an HTTP/2 connection that others share.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::response::Parts;
use proxima_http1::{Fault, Framing, Method};

use super::{Follows, Incoming, Multiplexing, Origin, Unbegun, Written, Wrong};
use crate::{
    backend::Backend,
    buffer::Buffer,
    http::{Scratch, relay::Piece, translate},
    multiplexed::{Http2Link, Place},
};

pub(in crate::http) struct Http2 {
    response: ResponseFuture,
    sending: SendStream<Bytes>,
    /// Since the final head has come.
    body: Option<RecvStream>,
    /// Waits for the backend's window.
    held: Bytes,
    /// What is held is the end of the request.
    last: bool,
    is_broken: bool,
    head: Written,
    /// What is to come of a body whose length is known.
    left: Option<u64>,
    place: Place<Http2Link>,
}

impl Multiplexing for Http2 {
    type Link = Http2Link;

    fn begin(
        place: Place<Http2Link>,
        mut stream: SendRequest<Bytes>,
        request: &[u8],
        backend: &Backend,
        follows: Follows,
    ) -> Result<Self, Unbegun> {
        let request = translate::request(request, backend.scheme(), backend.address);
        let mut request = request.map_err(Unbegun::Fault)?;
        let last = follows.is_nothing();
        let head = Written::new(follows);
        if head.websocket.is_some() {
            translate::into_connect(&mut request);
        }
        let (response, sending) = stream.send_request(request, last).map_err(|_| Unbegun::Refused)?;
        Ok(Self {
            response,
            sending,
            body: None,
            held: Bytes::new(),
            last: false,
            is_broken: false,
            head,
            left: None,
            place,
        })
    }

    fn is_reused(&self) -> bool {
        self.place.is_used
    }

    fn note_silent(&self) {
        self.place.note_silent();
    }
}

impl Http2 {
    fn poll_next_head(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>> {
        let interim = ready!(self.response.poll_informational(cx));
        if let Some(interim) = interim {
            let (parts, ()) = interim.map_err(|error| self.wrong(&error))?.into_parts();
            self.read_head(scratch, &parts, method)?;
            return Poll::Ready(Ok(Incoming::Head { last: false }));
        }
        let response = ready!(std::pin::pin!(&mut self.response).poll(cx));
        let (parts, body) = response.map_err(|error| self.wrong(&error))?.into_parts();
        self.read_head(scratch, &parts, method)?;
        self.place.note_answered();
        let framing = scratch.response_head.framing();
        // Something follows an agreement, if only its end.
        let last = !scratch.response_head.switches() && (body.is_end_stream() || framing == Framing::None);
        self.body = Some(body);
        self.left = if let Framing::Length(length) = framing { Some(length) } else { None };
        Poll::Ready(Ok(Incoming::Head { last }))
    }

    fn read_head(&mut self, scratch: &mut Scratch, parts: &Parts, method: Method) -> Result<(), Wrong> {
        self.head.text.clear();
        translate::response_text(&mut self.head.text, parts);
        self.head.parse(&mut scratch.response_head, method).map_err(Wrong::Malformed)
    }

    /// What the end of the stream means. Before a response has begun, REFUSED_STREAM and a GOAWAY that leaves the stream
    /// out say that nothing was done with the request (RFC 9113 §8.7).
    fn wrong(&self, error: &h2::Error) -> Wrong {
        let is_refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
        if self.body.is_none() && error.is_remote() && (is_refused || error.is_go_away()) {
            if is_refused {
                self.place.note_refused();
            }
            return Wrong::Unprocessed;
        }
        if error.is_library() { Wrong::Malformed(Fault::FieldLine) } else { Wrong::Gone }
    }
}

/// RFC 9113 §8.1: a whole response may be followed by a reset that only says to stop sending. `left` of it is to come.
fn is_end(error: &h2::Error, left: Option<u64>) -> bool {
    error.is_reset() && error.reason() == Some(Reason::NO_ERROR) && left.is_none_or(|left| left == 0)
}

impl Origin for Http2 {
    fn has_room(&self) -> bool {
        !self.is_broken && self.held.is_empty()
    }

    fn send(&mut self, piece: Piece) {
        let sent = match piece {
            Piece::Data { bytes, last } if !bytes.is_empty() => {
                self.held = bytes;
                self.last = last;
                Ok(())
            }
            Piece::Data { last: false, .. } => Ok(()),
            Piece::Data { .. } | Piece::End => self.sending.send_data(Bytes::new(), true),
            Piece::Trailers(section) => match translate::fields(&section) {
                Ok(trailers) => self.sending.send_trailers(trailers),
                // What HTTP/2 can't carry was refused when the section came.
                Err(_) => self.sending.send_data(Bytes::new(), true),
            },
        };
        self.is_broken |= sent.is_err();
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.held.is_empty() && !self.is_broken {
            self.sending.reserve_capacity(self.held.len());
            let mut room = self.sending.capacity();
            if room == 0 {
                let Some(Ok(more)) = ready!(self.sending.poll_capacity(cx)) else {
                    self.is_broken = true;
                    break;
                };
                room = more;
            }
            let piece = self.held.split_to(room.min(self.held.len()));
            let ends = self.held.is_empty() && self.last;
            if !piece.is_empty() {
                self.is_broken |= self.sending.send_data(piece, ends).is_err();
            }
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
        let Some(body) = &mut self.body else { return self.poll_next_head(cx, scratch, method) };
        loop {
            match ready!(body.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    let last = body.is_end_stream();
                    self.left = self.left.map(|left| left.saturating_sub(bytes.len() as u64));
                    if last || !bytes.is_empty() {
                        return Poll::Ready(Ok(Incoming::Data { bytes, last }));
                    }
                }
                Some(Err(error)) if is_end(&error, self.left) => {
                    return Poll::Ready(Ok(Incoming::End { trailers: Bytes::new() }));
                }
                Some(Err(error)) => return Poll::Ready(Err(self.wrong(&error))),
                None => break,
            }
        }
        let trailers = match ready!(body.poll_trailers(cx)) {
            Ok(Some(trailers)) => translate::trailer_text(&trailers).map_err(Wrong::Malformed)?,
            Ok(None) => Vec::new(),
            Err(error) if is_end(&error, self.left) => Vec::new(),
            Err(error) => return Poll::Ready(Err(self.wrong(&error))),
        };
        Poll::Ready(Ok(Incoming::End { trailers: trailers.into() }))
    }

    fn head<'a>(&'a self, _reply: &'a Buffer) -> &'a [u8] {
        &self.head.text
    }

    fn consume_head(&mut self, _reply: &mut Buffer) {}

    fn passed_on(&mut self, count: usize) {
        if let Some(body) = &mut self.body {
            // It fails only for more than was received.
            let _ = body.flow_control().release_capacity(count);
        }
    }
}
