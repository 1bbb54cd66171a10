//! The backend's side of an exchange, by version.

mod http1;
mod http2;
mod http3;

use std::task::{Context, Poll};

use bytes::Bytes;
use proxima_http1::{Fault, Method, ResponseHead};

pub(super) use self::{http1::Http1, http2::Http2, http3::Http3};
use super::{Scratch, relay::Piece, translate::MAX_TEXT, websocket::Handshake};
use crate::{
    backend::Backend,
    buffer::Buffer,
    multiplexed::{Link, Place},
};

/// What comes from a backend.
pub(super) enum Incoming {
    /// A head, parsed in the scratch; an interim one if it says so. `last`: nothing follows it.
    Head { last: bool },
    /// Content. `last`: nothing follows it.
    Data { bytes: Bytes, last: bool },
    /// Nothing follows. The trailer section, with its final empty line, or nothing.
    End { trailers: Bytes },
}

/// Why nothing more comes.
pub(super) enum Wrong {
    /// The connection, or the stream on it, was closed before the response was whole.
    Gone,
    /// The backend says that it did nothing with the request (RFC 9113 §8.7, RFC 9114 §5.2).
    Unprocessed,
    /// The response is malformed.
    Malformed(Fault),
}

/// One request on a connection to a backend.
pub(super) trait Origin {
    /// Whether another piece may be handed over.
    fn has_room(&self) -> bool;
    /// Takes the next piece of the request's body, or of what is for a WebSocket that the backend has agreed to.
    fn send(&mut self, piece: Piece);
    /// Ready when all that was taken is sent. Pending for good once the backend takes no more.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()>;
    /// Whether the backend takes no more.
    fn is_broken(&self) -> bool;
    /// Whether a byte of the request was sent.
    fn has_sent(&self) -> bool;
    /// What comes next: heads, the last of them the final one, then the body.
    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        method: Method,
    ) -> Poll<Result<Incoming, Wrong>>;
    /// The text of the head that came last; it may lie in front of `reply`.
    fn head<'a>(&'a self, reply: &'a Buffer) -> &'a [u8];
    /// The head is dealt with.
    fn consume_head(&mut self, reply: &mut Buffer);
    /// So many bytes of content are with the client.
    fn passed_on(&mut self, count: usize);
}

/// One request on a connection that others share.
pub(super) trait Multiplexing: Origin + Sized {
    type Link: Link;

    /// Sends the head of a request by `stream`: `request`, which is written for this hop, to `backend`.
    fn begin(
        place: Place<Self::Link>,
        stream: <Self::Link as Link>::Stream,
        request: &[u8],
        backend: &Backend,
        follows: Follows,
    ) -> Result<Self, Unbegun>;

    /// Streams were on the connection before this one.
    fn is_reused(&self) -> bool;

    /// The backend has not answered in time.
    fn note_silent(&self);
}

/// What follows the head of a request.
#[derive(Debug)]
pub(super) enum Follows {
    Nothing,
    Body,
    /// What is for a WebSocket, once the backend has agreed to it: the head becomes extended CONNECT.
    WebSocket(Handshake),
}

impl Follows {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    fn into_handshake(self) -> Option<Handshake> {
        if let Self::WebSocket(handshake) = self { Some(handshake) } else { None }
    }
}

/// Why a request was not sent.
pub(super) enum Unbegun {
    /// It can't be said in this version.
    Fault(Fault),
    /// The connection takes no more: the backend has seen nothing of it.
    Refused,
}

/// The head of a response in HTTP/2 or HTTP/3, written down as HTTP/1.1 has it.
struct Written {
    /// Of the one that came last.
    text: Vec<u8>,
    /// The request asks for a WebSocket.
    websocket: Option<Handshake>,
}

impl Written {
    fn new(follows: Follows) -> Self {
        Self { text: Vec::new(), websocket: follows.into_handshake() }
    }

    /// Parses the text, once it is written. An agreement to a WebSocket (RFC 8441 §5: 2xx) becomes that of HTTP/1.1.
    fn parse(&mut self, head: &mut ResponseHead, method: Method) -> Result<(), Fault> {
        // The text ends with its empty line, and nothing in it may end it before.
        let whole = |length: Option<usize>, text: &[u8]| {
            if length == Some(text.len()) { Ok(()) } else { Err(Fault::FieldLine) }
        };
        whole(head.parse_within(&self.text, method, MAX_TEXT)?, &self.text)?;
        match &self.websocket {
            Some(handshake) if matches!(head.status(), 200..300) => {
                self.text = handshake.agreement(&self.text);
                whole(head.parse_switching_within(&self.text, MAX_TEXT)?, &self.text)
            }
            _ => Ok(()),
        }
    }
}
