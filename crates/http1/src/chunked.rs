//! The chunked transfer coding (RFC 9112 §7.1), read strictly and without copying.
//!
//! ```text
//! size ─▶ (extension) ─▶ LF ─▶ data ─▶ CR ─▶ LF ─▶ size …
//!   └─ 0 ─▶ LF ─▶ CR ─▶ LF ─▶ done
//!              └─▶ trailers ─▶ done
//! ```
//!
//! Chunks are passed on with the sender's own sizes. Extensions are left out: nobody behind a proxy needs
//! them, and they have been read differently often enough to smuggle requests. Trailers are held until they
//! are whole, since only then can they be judged.

use crate::{Fault, MAX_FIELDS, MAX_TRAILERS};

const MAX_SIZE_DIGITS: u8 = 16;
/// The longest extension of one chunk.
const MAX_EXTENSION: u32 = 256;
/// How many bytes of extensions may come beyond what the data pays for (CVE-2023-39326).
const EXTENSION_CREDIT: i64 = 16 * 1024;

/// The next part of a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) length: usize,
    pub(crate) kind: PartKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Content.
    Data,
    /// Chunk sizes and line ends, as a receiver of chunks needs them.
    Framing,
    /// Not passed on as it comes: an extension, or a piece of the trailer section.
    Held,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerStartLf,
    Trailers,
    Done,
}

#[derive(Debug, Default)]
pub(crate) struct ChunkDecoder {
    state: State,
    digits: u8,
    /// The size as read so far, then the bytes left of the chunk.
    left: u64,
    extension: u32,
    /// Bytes of extensions less what the data paid for.
    debt: i64,
    trailers: Vec<u8>,
}

impl ChunkDecoder {
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer section with its final empty line; empty without trailers (their final line is framing).
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Takes the next part of `input`, which must not be empty.
    pub(crate) fn part(&mut self, input: &[u8]) -> Result<Part, Fault> {
        let part = |length, kind| Ok(Part { length, kind });
        match self.state {
            State::Size => self.size(input),
            State::Extension => self.extension(input),
            State::Data => {
                let length = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
                self.left -= length as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                part(length, PartKind::Data)
            }
            State::SizeLf => {
                let last = self.left == 0;
                self.line_feed(input[0], if last { State::TrailerStart } else { State::Data })?;
                self.debt = (self.debt - i64::try_from(self.left).unwrap_or(i64::MAX)).max(0);
                part(1, PartKind::Framing)
            }
            State::DataCr if input[0] == b'\r' => {
                self.state = State::DataLf;
                part(1, PartKind::Framing)
            }
            State::DataLf if input[0] == b'\n' => {
                self.state = State::Size;
                self.digits = 0;
                part(1, PartKind::Framing)
            }
            State::DataCr | State::DataLf => Err(Fault::ChunkEnd),
            State::TrailerStart if input[0] == b'\r' => {
                self.state = State::TrailerStartLf;
                part(1, PartKind::Framing)
            }
            State::TrailerStartLf => {
                self.line_feed(input[0], State::Done)?;
                part(1, PartKind::Framing)
            }
            State::TrailerStart => {
                self.state = State::Trailers;
                self.trailer_section(input)
            }
            State::Trailers => self.trailer_section(input),
            State::Done => part(0, PartKind::Held),
        }
    }

    fn line_feed(&mut self, byte: u8, next: State) -> Result<(), Fault> {
        if byte != b'\n' {
            return Err(Fault::BareCr);
        }
        self.state = next;
        Ok(())
    }

    /// The size and, when no extension follows, its CR.
    fn size(&mut self, input: &[u8]) -> Result<Part, Fault> {
        for (at, byte) in input.iter().enumerate() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                b'\r' if self.digits > 0 => {
                    self.state = State::SizeLf;
                    return Ok(Part { length: at + 1, kind: PartKind::Framing });
                }
                b';' if self.digits > 0 => {
                    self.state = State::Extension;
                    self.extension = 0;
                    return match at {
                        0 => self.extension(input),
                        _ => Ok(Part { length: at, kind: PartKind::Framing }),
                    };
                }
                b'\n' => return Err(Fault::BareLf),
                _ => return Err(Fault::ChunkSize),
            };
            if self.digits == MAX_SIZE_DIGITS {
                return Err(Fault::ChunkOverflow);
            }
            self.left = if self.digits == 0 { 0 } else { self.left << 4 } | u64::from(digit);
            self.digits += 1;
        }
        Ok(Part { length: input.len(), kind: PartKind::Framing })
    }

    /// The extension up to its CR, which is part of the framing again. What is wrong with it is what comes first,
    /// however the bytes arrive.
    fn extension(&mut self, input: &[u8]) -> Result<Part, Fault> {
        let end =
            input.iter().position(|byte| byte.is_ascii_control() && *byte != b'\t').unwrap_or(input.len());
        self.extension = self.extension.saturating_add(end as u32);
        self.debt += i64::from(end as u32);
        if self.extension > MAX_EXTENSION || self.debt > EXTENSION_CREDIT {
            return Err(Fault::ChunkExtension);
        }
        match input.get(end) {
            Some(b'\r') if end == 0 => {
                self.state = State::SizeLf;
                Ok(Part { length: 1, kind: PartKind::Framing })
            }
            Some(b'\r') | None => Ok(Part { length: end, kind: PartKind::Held }),
            Some(b'\n') => Err(Fault::BareLf),
            Some(_) => Err(Fault::ChunkExtension),
        }
    }

    fn trailer_section(&mut self, input: &[u8]) -> Result<Part, Fault> {
        for (at, byte) in input.iter().enumerate() {
            if self.trailers.len() == MAX_TRAILERS {
                return Err(Fault::TrailersTooLong);
            }
            if *byte == b'\n' && self.trailers.last() != Some(&b'\r') {
                return Err(Fault::BareLf);
            }
            self.trailers.push(*byte);
            if self.trailers.ends_with(b"\r\n\r\n") {
                check_trailers(&self.trailers)?;
                self.state = State::Done;
                return Ok(Part { length: at + 1, kind: PartKind::Held });
            }
        }
        Ok(Part { length: input.len(), kind: PartKind::Held })
    }
}

/// Checks a whole trailer section, its final empty line included.
///
/// # Errors
/// When it is malformed, or holds a field that must not stand there (RFC 9110 §6.5.1).
pub fn check_trailers(section: &[u8]) -> Result<(), Fault> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let Ok(httparse::Status::Complete((length, trailers))) = httparse::parse_headers(section, &mut slots)
    else {
        return Err(Fault::Trailer);
    };
    if length != section.len() {
        return Err(Fault::Trailer);
    }
    for trailer in trailers {
        let start = trailer.name.as_ptr().addr() - section.as_ptr().addr();
        if start > 0 && section[..start].last_chunk() != Some(b"\r\n") {
            return Err(Fault::BareLf);
        }
        if UNSAFE.iter().any(|name| trailer.name.eq_ignore_ascii_case(name)) {
            return Err(Fault::UnsafeTrailer);
        }
    }
    Ok(())
}

/// What must not come late (RFC 9110 §6.5.1): framing, routing, request modifiers, authentication, and the
/// fields that say how to read the content.
const UNSAFE: [&str; 31] = [
    "age",
    "authorization",
    "cache-control",
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "if-match",
    "if-none-match",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
];
