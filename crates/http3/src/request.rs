//! Requests as HTTP/1.1 writes them (RFC 9114 §4.1 to §4.3).
//!
//! What could be read in two ways, or could become something else as text, is refused here; all else is left to the codec
//! of HTTP/1.1, which reads the text next.

use proxima_http1::{Fault, MAX_TRAILERS};

use crate::{
    MAX_SECTION, Wrong,
    fields::{is_name, is_of_connection, is_token, is_value, is_visible},
    qpack::decode,
};

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    None,
    /// Something, perhaps only the stream's end.
    Some,
}

/// A request's head on its way to text. The request line and all fields are written; its end is not.
#[derive(Debug)]
pub struct RequestText {
    content_length: Option<u64>,
    method: MethodKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MethodKind {
    Head,
    /// It usually has no content.
    Bare,
    /// It has content by its nature (RFC 9110 §8.6).
    Full,
    /// What follows is no content.
    WebSocket,
    Other,
}

/// What of a head is not written yet.
#[derive(Default)]
struct Pending {
    method: Option<Vec<u8>>,
    protocol: Option<Vec<u8>>,
    scheme: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    path: Option<Vec<u8>>,
    /// The request line is written: no more pseudo-header fields may come.
    begun: bool,
    has_host: bool,
    cookies: Vec<u8>,
    content_length: Option<u64>,
    size: usize,
}

impl RequestText {
    /// Appends the head in `section` to `out`, without the end of it.
    ///
    /// # Errors
    /// When the section can't be decoded, or the request is malformed or refused.
    pub fn read(out: &mut Vec<u8>, section: &[u8]) -> Result<Self, Wrong> {
        let mut head = Pending::default();
        decode(section, |name, value| {
            head.size = size_with(head.size, name, value)?;
            match name {
                [b':', pseudo @ ..] => head.pseudo(pseudo, value).map_err(Wrong::Message),
                _ => head.field(out, name, value).map_err(Wrong::Message),
            }
        })?;
        head.begin(out)?;
        head.finish(out)
    }

    /// The length of the content, if the head says it.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Whether the method is HEAD.
    pub fn is_head(&self) -> bool {
        self.method == MethodKind::Head
    }

    /// Whether it makes a difference to wait and see if the stream ends here: a backend would wonder at a GET with content.
    pub fn is_better_known_whole(&self) -> bool {
        self.content_length.is_none() && matches!(self.method, MethodKind::Head | MethodKind::Bare)
    }

    /// Whether it asks for a WebSocket, by extended CONNECT (RFC 9220). Its head is a GET, and [`Self::end_websocket`] ends it.
    pub fn is_websocket(&self) -> bool {
        self.method == MethodKind::WebSocket
    }

    /// Ends the head of a request for a WebSocket as HTTP/1.1 has it (RFC 6455 §4.1), with `key` as its nonce.
    pub fn end_websocket(&self, out: &mut Vec<u8>, key: &str) {
        line(out, b"Upgrade", b"websocket");
        line(out, b"Connection", b"Upgrade");
        line(out, b"Sec-WebSocket-Key", key.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// Ends the head.
    pub fn end(&self, out: &mut Vec<u8>, content: Content) {
        if self.content_length.is_none() {
            match (content, self.method) {
                (Content::Some, _) => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
                (Content::None, MethodKind::Full) => out.extend_from_slice(b"Content-Length: 0\r\n"),
                (Content::None, _) => {}
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

impl Pending {
    /// RFC 9114 §4.3: each once, before all others, and no unknown ones.
    fn pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        let place = match name {
            b"method" => &mut self.method,
            b"protocol" => &mut self.protocol,
            b"scheme" => &mut self.scheme,
            b"authority" => &mut self.authority,
            b"path" => &mut self.path,
            _ => return Err(Fault::PseudoField),
        };
        if self.begun || place.is_some() {
            return Err(Fault::PseudoField);
        }
        *place = Some(value.to_vec());
        Ok(())
    }

    fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.begin(out)?;
        if !is_name(name) || !is_value(value) {
            return Err(Fault::FieldLine);
        }
        if is_of_connection(name) || (name == b"te" && !value.eq_ignore_ascii_case(b"trailers")) {
            return Err(Fault::ConnectionField);
        }
        match name {
            b"host" => return self.host(out, value),
            // The hop to the backend has a nonce of its own.
            b"sec-websocket-key" if self.asks_websocket() => return Ok(()),
            b"cookie" => {
                // RFC 9114 §4.2.1: a cookie that was split to compress better is one field again.
                if !self.cookies.is_empty() {
                    self.cookies.extend_from_slice(b"; ");
                }
                self.cookies.extend_from_slice(value);
                return Ok(());
            }
            b"content-length" => {
                let is_repeated = self.content_length.is_some();
                self.content_length = Some(length(value)?);
                if is_repeated {
                    return Err(Fault::RepeatedLength);
                }
            }
            _ => {}
        }
        line(out, name, value);
        Ok(())
    }

    fn host(&mut self, out: &mut Vec<u8>, value: &[u8]) -> Result<(), Fault> {
        if std::mem::replace(&mut self.has_host, true) {
            return Err(Fault::RepeatedHost);
        }
        // RFC 9114 §4.3.1.
        if value.is_empty() {
            return Err(Fault::Host);
        }
        match &self.authority {
            Some(authority) if !authority.eq_ignore_ascii_case(value) => Err(Fault::HostMismatch),
            Some(_) => Ok(()),
            None => {
                line(out, b"Host", value);
                Ok(())
            }
        }
    }

    /// Writes the request line, once.
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let method = self.method.as_deref().ok_or(Fault::PseudoField)?;
        let is_websocket = self.asks_websocket();
        if method == b"CONNECT" && !is_websocket {
            return Err(Fault::Connect);
        }
        // RFC 8441 §4.
        if self.protocol.is_some() && !is_websocket {
            return Err(Fault::PseudoField);
        }
        let method = if is_websocket { b"GET" } else { method };
        let (Some(scheme), Some(path)) = (&self.scheme, &self.path) else { return Err(Fault::PseudoField) };
        let is_known_scheme = [&b"https"[..], b"http"].iter().any(|known| known.eq_ignore_ascii_case(scheme));
        if method.is_empty() || !method.iter().all(|octet| is_token(*octet)) || !is_known_scheme {
            return Err(Fault::PseudoField);
        }
        let is_path = path.starts_with(b"/") || (path == b"*" && method == b"OPTIONS");
        if !is_path || !is_visible(path) {
            return Err(Fault::Target);
        }
        for piece in [method, b" ", path, b" HTTP/1.1\r\n"] {
            out.extend_from_slice(piece);
        }
        if let Some(authority) = &self.authority {
            if !is_visible(authority) {
                return Err(Fault::Host);
            }
            line(out, b"Host", authority);
        }
        Ok(())
    }

    /// Extended CONNECT for a WebSocket (RFC 9220).
    fn asks_websocket(&self) -> bool {
        self.method.as_deref() == Some(b"CONNECT") && self.protocol.as_deref() == Some(b"websocket")
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<RequestText, Wrong> {
        if self.authority.is_none() && !self.has_host {
            return Err(Fault::MissingHost.into());
        }
        if !self.cookies.is_empty() {
            line(out, b"Cookie", &self.cookies);
        }
        let method = match self.method.as_deref() {
            Some(b"CONNECT") if self.content_length.is_some() => return Err(Fault::Connect.into()),
            Some(b"CONNECT") => MethodKind::WebSocket,
            Some(b"HEAD") => MethodKind::Head,
            Some(b"GET" | b"OPTIONS" | b"DELETE" | b"TRACE") => MethodKind::Bare,
            Some(b"POST" | b"PUT" | b"PATCH") => MethodKind::Full,
            _ => MethodKind::Other,
        };
        Ok(RequestText { content_length: self.content_length, method })
    }
}

/// Appends the trailers in `section` to `out`, with the empty line behind them.
///
/// # Errors
/// When the section can't be decoded, or what is in it must not stand in trailers.
pub fn trailer_text(out: &mut Vec<u8>, section: &[u8]) -> Result<(), Wrong> {
    let start = out.len();
    let mut size = 0;
    decode(section, |name, value| {
        size = size_with(size, name, value)?;
        if name.starts_with(b":") {
            return Err(Fault::PseudoField.into());
        }
        if !is_name(name) || !is_value(value) {
            return Err(Fault::Trailer.into());
        }
        if is_of_connection(name) {
            return Err(Fault::ConnectionField.into());
        }
        line(out, name, value);
        if out.len() - start > MAX_TRAILERS - 2 {
            return Err(Fault::TrailersTooLong.into());
        }
        Ok(())
    })?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The size of a section with one more field (RFC 9114 §4.2.2).
pub(crate) fn size_with(size: usize, name: &[u8], value: &[u8]) -> Result<usize, Wrong> {
    let size = size + name.len() + value.len() + 32;
    if size > MAX_SECTION { Err(Fault::HeadTooLong.into()) } else { Ok(size) }
}

/// RFC 9110 §8.6.
fn length(value: &[u8]) -> Result<u64, Fault> {
    let is_number = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    if !is_number {
        return Err(Fault::Length);
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

pub(crate) fn line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for piece in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(piece);
    }
}
