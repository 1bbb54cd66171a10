//! What is refused, why, and with which status.

/// A message that is refused. Its connection is closed: where the next message would begin is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// RFC 9112 §2.2: a line that ends in LF alone.
    #[error("a line ends in LF without CR")]
    BareLf,
    /// RFC 9112 §2.2: CR that is not followed by LF.
    #[error("CR without LF")]
    BareCr,
    /// RFC 9110 §5.5.
    #[error("a NUL byte in the head")]
    Nul,
    /// RFC 9112 §5.2.
    #[error("a field continues on the next line; obsolete line folding is not accepted")]
    ObsFold,
    /// RFC 9112 §5.1.
    #[error("white space between a field name and its colon")]
    SpaceBeforeColon,
    /// The first line of a request is not `method SP target SP version`.
    #[error("the request line is malformed")]
    RequestLine,
    /// The first line of a response is not `version SP status SP reason`.
    #[error("the status line is malformed")]
    StatusLine,
    /// A field line with a byte that can't stand there.
    #[error("a field line is malformed")]
    FieldLine,
    /// Another version than HTTP/1.0 and HTTP/1.1.
    #[error("only HTTP/1.0 and HTTP/1.1 are spoken here")]
    Version,
    /// More than [`crate::MAX_HEAD`] bytes.
    #[error("the head is longer than {} bytes", crate::MAX_HEAD)]
    HeadTooLong,
    /// More than [`crate::MAX_FIELDS`] fields.
    #[error("more than {} fields", crate::MAX_FIELDS)]
    TooManyFields,
    /// More than [`crate::MAX_TARGET`] bytes.
    #[error("the request target is longer than {} bytes", crate::MAX_TARGET)]
    TargetTooLong,
    /// RFC 9112 §3.2: none of the four forms, or a byte outside of printable ASCII, or a fragment.
    #[error("the request target is malformed")]
    Target,
    /// A path that climbs above the root, or one with a broken percent escape.
    #[error("the path is malformed")]
    Path,
    /// CONNECT asks for a tunnel.
    #[error("CONNECT is not served here")]
    Connect,
    /// RFC 9112 §3.2: HTTP/1.1 without Host.
    #[error("HTTP/1.1 asks for a Host field")]
    MissingHost,
    /// RFC 9112 §3.2.
    #[error("more than one Host field")]
    RepeatedHost,
    /// Host is not `host [":" port]`.
    #[error("the Host field is malformed")]
    Host,
    /// RFC 9112 §3.2.2: the authority of the target and Host disagree.
    #[error("the Host field differs from the authority of the request target")]
    HostMismatch,
    /// RFC 9112 §6.1.
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndCoding,
    /// RFC 9112 §6.3: repeated or a list, alike or not.
    #[error("more than one Content-Length")]
    RepeatedLength,
    /// RFC 9110 §8.6: not a plain decimal number below 2^63.
    #[error("Content-Length is not a number")]
    Length,
    /// RFC 9112 §6.1: repeated, empty, or its last coding is not `chunked`.
    #[error("Transfer-Encoding is not exactly `chunked`")]
    Coding,
    /// RFC 9112 §6.1: ends in `chunked`, after codings that are not spoken here.
    #[error("of the transfer codings only `chunked` is spoken here")]
    UnknownCoding,
    /// RFC 9112 §6.1: HTTP/1.0 has no transfer codings.
    #[error("Transfer-Encoding in HTTP/1.0")]
    CodingInOldVersion,
    /// RFC 9110 §10.1.1: something else than `100-continue`.
    #[error("the only expectation known is `100-continue`")]
    Expectation,
    /// RFC 9110 §9.3.8: TRACE must not carry a body.
    #[error("TRACE with a body")]
    TraceBody,
    /// RFC 9112 §7.1: not a hexadecimal number, or something before, between or behind it.
    #[error("a chunk size is malformed")]
    ChunkSize,
    /// RFC 9112 §7.1.1: more than 64 bits, or more than 16 digits.
    #[error("a chunk size overflows")]
    ChunkOverflow,
    /// RFC 9112 §7.1.1: a control byte, a long one, or too many bytes of them for the data they come with.
    #[error("a chunk extension is malformed or too long")]
    ChunkExtension,
    /// RFC 9112 §7.1: no CRLF behind the data of a chunk.
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    /// RFC 9112 §7.1.2.
    #[error("the trailer section is malformed")]
    Trailer,
    /// RFC 9110 §6.5.1: a trailer field that frames, routes or authenticates the message.
    #[error("a field that must not stand in the trailer section")]
    UnsafeTrailer,
    /// More than [`crate::MAX_TRAILERS`] bytes.
    #[error("the trailer section is longer than {} bytes", crate::MAX_TRAILERS)]
    TrailersTooLong,
    /// RFC 9110 §15.2.2: a switch of protocols that nobody asked for.
    #[error("101 without an Upgrade request")]
    Upgrade,
    /// RFC 9114 §4.3: a pseudo-header field that is missing, unknown, repeated, misplaced or malformed.
    #[error("a pseudo-header field is missing, unknown, repeated, misplaced or malformed")]
    PseudoField,
    /// RFC 9114 §4.2: a field that belongs to connections of HTTP/1.1.
    #[error("a field that belongs to HTTP/1.1 connections")]
    ConnectionField,
    /// RFC 9114 §4.1.2: content of another length than Content-Length says.
    #[error("the content is not as long as Content-Length says")]
    LengthMismatch,
    /// RFC 6455 §4.2.1: a WebSocket is asked for without the one nonce that the answer is made of.
    #[error("a WebSocket asks for one Sec-WebSocket-Key, of 16 octets in base64")]
    WebSocketKey,
}

impl Fault {
    /// Every fault, in the order of the enum: a fault's place here is the index of its counter.
    pub const ALL: [Self; 39] = [
        Self::BareLf,
        Self::BareCr,
        Self::Nul,
        Self::ObsFold,
        Self::SpaceBeforeColon,
        Self::RequestLine,
        Self::StatusLine,
        Self::FieldLine,
        Self::Version,
        Self::HeadTooLong,
        Self::TooManyFields,
        Self::TargetTooLong,
        Self::Target,
        Self::Path,
        Self::Connect,
        Self::MissingHost,
        Self::RepeatedHost,
        Self::Host,
        Self::HostMismatch,
        Self::LengthAndCoding,
        Self::RepeatedLength,
        Self::Length,
        Self::Coding,
        Self::UnknownCoding,
        Self::CodingInOldVersion,
        Self::Expectation,
        Self::TraceBody,
        Self::ChunkSize,
        Self::ChunkOverflow,
        Self::ChunkExtension,
        Self::ChunkEnd,
        Self::Trailer,
        Self::UnsafeTrailer,
        Self::TrailersTooLong,
        Self::Upgrade,
        Self::PseudoField,
        Self::ConnectionField,
        Self::LengthMismatch,
        Self::WebSocketKey,
    ];

    /// The status a client is answered with. From an upstream every fault is a 502.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLong | Self::TooManyFields | Self::TrailersTooLong => 431,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Connect | Self::UnknownCoding => 501,
            Self::Expectation => 417,
            _ => 400,
        }
    }

    /// A short name for counters and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareLf => "bare-lf",
            Self::BareCr => "bare-cr",
            Self::Nul => "nul",
            Self::ObsFold => "obs-fold",
            Self::SpaceBeforeColon => "space-before-colon",
            Self::RequestLine => "request-line",
            Self::StatusLine => "status-line",
            Self::FieldLine => "field-line",
            Self::Version => "version",
            Self::HeadTooLong => "head-too-long",
            Self::TooManyFields => "too-many-fields",
            Self::TargetTooLong => "target-too-long",
            Self::Target => "target",
            Self::Path => "path",
            Self::Connect => "connect",
            Self::MissingHost => "missing-host",
            Self::RepeatedHost => "repeated-host",
            Self::Host => "host",
            Self::HostMismatch => "host-mismatch",
            Self::LengthAndCoding => "length-and-coding",
            Self::RepeatedLength => "repeated-length",
            Self::Length => "length",
            Self::Coding => "coding",
            Self::UnknownCoding => "unknown-coding",
            Self::CodingInOldVersion => "coding-in-old-version",
            Self::Expectation => "expectation",
            Self::TraceBody => "trace-body",
            Self::ChunkSize => "chunk-size",
            Self::ChunkOverflow => "chunk-overflow",
            Self::ChunkExtension => "chunk-extension",
            Self::ChunkEnd => "chunk-end",
            Self::Trailer => "trailer",
            Self::UnsafeTrailer => "unsafe-trailer",
            Self::TrailersTooLong => "trailers-too-long",
            Self::Upgrade => "upgrade",
            Self::PseudoField => "pseudo-field",
            Self::ConnectionField => "connection-field",
            Self::LengthMismatch => "length-mismatch",
            Self::WebSocketKey => "websocket-key",
        }
    }
}

/// Names what made `httparse` refuse `head`: its errors don't tell apart what operators want told apart.
pub(crate) fn diagnose(head: &[u8], error: httparse::Error, first_line: Fault) -> Fault {
    if error == httparse::Error::TooManyHeaders {
        return Fault::TooManyFields;
    }
    let end = head.windows(4).position(|four| four == b"\r\n\r\n").map_or(head.len(), |at| at + 4);
    let head = &head[..end];
    for (at, byte) in head.iter().enumerate() {
        match byte {
            0 => return Fault::Nul,
            b'\n' if at == 0 || head[at - 1] != b'\r' => return Fault::BareLf,
            b'\r' if head.get(at + 1).is_some_and(|next| *next != b'\n') => return Fault::BareCr,
            b' ' | b'\t' if at >= 2 && head[at - 2..at] == *b"\r\n" => return Fault::ObsFold,
            _ => {}
        }
    }
    match error {
        httparse::Error::HeaderName if space_before_colon(head) => Fault::SpaceBeforeColon,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Fault::FieldLine,
        httparse::Error::Version if names_another_version(head) => Fault::Version,
        _ => first_line,
    }
}

fn space_before_colon(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').skip(1).any(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        name.len() < line.len() && name.last().is_some_and(|byte| matches!(byte, b' ' | b'\t'))
    })
}

/// Whether the first line ends (or, in a response, begins) with the likes of `HTTP/2.0`.
fn names_another_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    line.split(|byte| *byte == b' ').any(|word| {
        matches!(word, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() && !matches!((major, minor), (b'1', b'0' | b'1')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_counted_at_its_place() {
        for (index, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, index, "{fault}");
            assert!((400..=505).contains(&fault.status()));
        }
        let mut names: Vec<_> = Fault::ALL.iter().map(|fault| fault.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Fault::ALL.len());
    }
}
