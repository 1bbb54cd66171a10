//! Response heads (RFC 9112 §4).

use std::mem::MaybeUninit;

use crate::{
    Fault, Framing, MAX_FIELDS, MAX_HEAD, Method, Version,
    fault::diagnose,
    field::{Section, Side, Span},
};

/// A parsed response head: offsets into the bytes it was parsed from. Meant to be used again and again.
#[derive(Debug, Default)]
pub struct ResponseHead {
    pub(crate) section: Section,
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) reason: Span,
    framing: Framing,
}

impl ResponseHead {
    /// Parses the head at the beginning of `bytes`, the answer to a request of `method`. `None` asks for more
    /// bytes, otherwise the length of the head. Interim responses (1xx) are returned like others, without a
    /// body; the final one follows them.
    ///
    /// # Errors
    /// When the message is refused.
    pub fn parse(&mut self, bytes: &[u8], method: Method) -> Result<Option<usize>, Fault> {
        self.parse_within(bytes, method, MAX_HEAD)
    }

    /// As [`ResponseHead::parse`], the answer to a request for a WebSocket: 101 is a final response then, if it agrees to
    /// that. What follows it is of another protocol.
    ///
    /// # Errors
    /// As there.
    pub fn parse_switching(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        self.parse_switching_within(bytes, MAX_HEAD)
    }

    /// As [`ResponseHead::parse_switching`] with another limit than [`MAX_HEAD`].
    ///
    /// # Errors
    /// As there.
    pub fn parse_switching_within(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Fault> {
        self.read(bytes, Method::Get, limit, true)
    }

    /// As [`ResponseHead::parse`] with another limit than [`MAX_HEAD`].
    ///
    /// # Errors
    /// As there.
    pub fn parse_within(
        &mut self,
        bytes: &[u8],
        method: Method,
        limit: usize,
    ) -> Result<Option<usize>, Fault> {
        self.read(bytes, method, limit, false)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        method: Method,
        limit: usize,
        may_switch: bool,
    ) -> Result<Option<usize>, Fault> {
        if let [b'\r' | b'\n', ..] = bytes {
            return Err(Fault::StatusLine);
        }
        let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let end = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut slots) {
            Ok(httparse::Status::Complete(end)) if end <= limit => end,
            Ok(httparse::Status::Partial) if bytes.len() < limit => return Ok(None),
            Ok(_) => return Err(Fault::HeadTooLong),
            Err(error) => return Err(diagnose(bytes, error, Fault::StatusLine)),
        };
        self.section.read(bytes, end, response.headers, Side::Response)?;
        self.version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        self.status = response.code.unwrap_or_default();
        self.reason = Span::of(response.reason.unwrap_or_default().as_bytes(), bytes);
        if self.status == 101 && !(may_switch && self.section.is_websocket()) {
            return Err(Fault::Upgrade);
        }
        if self.status < 100 {
            return Err(Fault::StatusLine);
        }
        if self.section.chunked && self.version == Version::Http10 {
            return Err(Fault::CodingInOldVersion);
        }
        self.framing = if method == Method::Head || self.has_no_body() {
            Framing::None
        } else {
            self.section.framing(Framing::UntilClose)
        };
        Ok(Some(end))
    }

    /// RFC 9112 §6.3 rule 1.
    pub(crate) fn has_no_body(&self) -> bool {
        matches!(self.status, 100..200 | 204 | 304)
    }

    /// The status code, 100 to 999.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether this is a 1xx response: another one follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && !self.switches()
    }

    /// Whether another protocol begins behind this head; see [`ResponseHead::parse_switching`].
    pub fn switches(&self) -> bool {
        self.status == 101
    }

    /// How the body is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the upstream takes another request on this connection, once this response is complete.
    pub fn keeps_alive(&self) -> bool {
        let wants = match self.version {
            Version::Http11 => !self.section.close,
            Version::Http10 => self.section.keep_alive && !self.section.close,
        };
        wants && self.framing != Framing::UntilClose && !self.switches()
    }
}
