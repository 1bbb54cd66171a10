//! The HTTP/1.1 message codec (RFC 9110, RFC 9112) of a reverse proxy: bytes in, bytes out, no I/O.
//!
//! ```text
//! request bytes ── RequestHead::parse ──▶ offsets ── write_request ──▶ the head for the upstream
//! response bytes ─ ResponseHead::parse ─▶ offsets ── write_response ─▶ the head for the client
//! body bytes ───── Body::stretch ───────▶ which bytes of the slice are passed on as they are
//! ```
//!
//! Heads stay bytes with offsets: there is no header map, and a field the proxy does not touch is copied
//! as it was. Bodies are never copied: the codec only says which stretch of a slice to pass on.
//!
//! What two implementations could read in two ways is refused rather than repaired: that is what request
//! smuggling lives on. [`Fault`] names every such case with its status.

mod body;
mod chunked;
mod fault;
mod field;
mod method;
mod path;
mod request;
mod response;
mod rewrite;

pub use body::{Body, Framing, Stretch};
pub use chunked::check_trailers;
pub use fault::Fault;
pub use method::Method;
pub use path::match_path;
pub use request::{RequestHead, Version};
pub use response::ResponseHead;
pub use rewrite::{ConnectionOption, Hop, field_lines, write_request, write_response};

/// The longest head, in bytes, request line or status line included. It fits one connection buffer.
pub const MAX_HEAD: usize = 16 * 1024;
/// The longest request target, in bytes.
pub const MAX_TARGET: usize = 8 * 1024;
/// The most field lines in a head.
pub const MAX_FIELDS: usize = 100;
/// The longest trailer section, in bytes.
pub const MAX_TRAILERS: usize = 8 * 1024;
