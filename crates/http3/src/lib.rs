//! The HTTP/3 codec (RFC 9114, RFC 9204) of a proxy, towards clients and towards servers: bytes in, bytes out, no I/O.
//!
//! ```text
//! stream octets ── Frames::take ─────────────────────────▶ field sections, content      RFC 9114 §4.1, §7
//! section ──────── RequestText, response_text ───────────▶ head as HTTP/1.1 writes it   §4.2, §4.3, QPACK
//! head of HTTP/1.1 ── write_response, write_request ──▶ HEADERS frame
//! control stream ─── Control::take ──────────────────▶ nothing, or what is wrong with it
//! ```
//!
//! A head becomes text of HTTP/1.1 because that is what the rest of the proxy works on; there is no header map in between.
//!
//! QPACK is used without its dynamic table, in both directions: no message waits for another stream (RFC 9204 §2.1.2), and a
//! peer can't have us keep anything. Everything that is kept is bounded: a field section by its limit, what must be skipped
//! by a credit.

mod code;
mod control;
mod fields;
mod frames;
mod qpack;
mod request;
mod response;
mod varint;
mod write_request;

pub use crate::{
    code::Code,
    control::{Control, GOAWAY_MAX, StreamKind, control_stream, goaway, server_control_stream},
    frames::{Event, Frames, data_header},
    qpack::{DecoderStream, EncoderStream},
    request::{Content, RequestText, trailer_text},
    response::{response_text, write_connected, write_response, write_trailers},
    varint::{put_varint, take_varint},
    write_request::{write_request, write_websocket_request},
};

/// The longest field section, as its fields are counted: name, value and 32 for each (RFC 9114 §4.2.2).
pub const MAX_SECTION: usize = 64 * 1024;
/// The longest text that such a section becomes: each field grows by less than it counts for, and the framing is added.
pub const MAX_TEXT: usize = MAX_SECTION + 1024;

/// Why a stream, or its whole connection, can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The connection has to be closed with this code (RFC 9114 §8).
    #[error("the connection ends with {0:?}")]
    Connection(Code),
    /// The stream has to be reset with this code.
    #[error("the stream ends with {0:?}")]
    Stream(Code),
    /// The message is well framed, and refused.
    #[error(transparent)]
    Message(#[from] proxima_http1::Fault),
}
