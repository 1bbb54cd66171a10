//! Request heads (RFC 9112 §3).

use std::{borrow::Cow, mem::MaybeUninit};

use crate::{
    Fault, Framing, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Method,
    fault::diagnose,
    field::{Section, Side, Span},
};

/// The versions that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// The form of a request target (RFC 9112 §3.2). CONNECT, and with it the authority form, is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    #[default]
    Origin,
    Absolute,
    Asterisk,
}

/// A parsed request head: offsets into the bytes it was parsed from. Meant to be used again and again, so
/// that parsing allocates nothing. Until [`RequestHead::parse`] has returned a length it describes nothing.
#[derive(Debug, Default)]
pub struct RequestHead {
    pub(crate) start: u32,
    pub(crate) section: Section,
    pub(crate) method_name: Span,
    /// Path and query; of an absolute form without its scheme and authority; may be empty there.
    pub(crate) target: Span,
    pub(crate) form: Form,
    pub(crate) version: Version,
    pub(crate) authority: Span,
    method: Option<Method>,
    framing: Framing,
}

impl RequestHead {
    /// Parses the head at the beginning of `bytes`; an empty line before it is skipped. `None` asks for
    /// more bytes, otherwise the length of the head, skipped line included.
    ///
    /// # Errors
    /// When the message is refused. A head that is not complete is refused once it can't become a good one,
    /// at the latest when `bytes` holds [`MAX_HEAD`] bytes.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Fault> {
        self.parse_within(bytes, MAX_HEAD)
    }

    /// As [`RequestHead::parse`] with another limit than [`MAX_HEAD`]: for heads that came in another version of HTTP
    /// and were written down as this one writes them.
    ///
    /// # Errors
    /// As there.
    pub fn parse_within(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Fault> {
        let start = match bytes {
            [b'\r', b'\n', b'\r' | b'\n', ..] => return Err(Fault::RequestLine),
            [b'\r', b'\n', ..] => 2,
            [b'\n', ..] => return Err(Fault::BareLf),
            [] | [b'\r'] => return Ok(None),
            _ => 0,
        };
        let mut slots = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        let end = match request.parse_with_uninit_headers(&bytes[start..], &mut slots) {
            Ok(httparse::Status::Complete(length)) => start + length,
            Ok(httparse::Status::Partial) => return incomplete(bytes, request.path, limit),
            Err(error) => return Err(diagnose(&bytes[start..], error, Fault::RequestLine)),
        };
        if end > limit {
            return Err(Fault::HeadTooLong);
        }
        self.start = start as u32;
        self.section.read(bytes, end, request.headers, Side::Request)?;
        self.version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let method = request.method.unwrap_or_default().as_bytes();
        let target = request.path.unwrap_or_default().as_bytes();
        self.method_name = Span::of(method, bytes);
        let method = Method::of(method);
        self.method = Some(method);
        if self.method_name.in_bytes(bytes) == b"CONNECT" {
            return Err(Fault::Connect);
        }
        self.read_target(bytes, target, method)?;
        self.read_framing(method)?;
        Ok(Some(end))
    }

    fn read_target(&mut self, bytes: &[u8], target: &[u8], method: Method) -> Result<(), Fault> {
        if target.len() > MAX_TARGET {
            return Err(Fault::TargetTooLong);
        }
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(Fault::Target);
        }
        let host = match self.section.host {
            Some(host) => host,
            None if self.version == Version::Http11 => return Err(Fault::MissingHost),
            None => Span::default(),
        };
        if !is_authority(host.in_bytes(bytes)) {
            return Err(Fault::Host);
        }
        self.authority = host;
        self.target = Span::of(target, bytes);
        self.form = match target {
            [b'/', ..] => Form::Origin,
            b"*" if method == Method::Options => Form::Asterisk,
            _ => return self.read_absolute(bytes, target),
        };
        Ok(())
    }

    /// RFC 9112 §3.2.2: the authority of the target counts, and Host must not say something else.
    fn read_absolute(&mut self, bytes: &[u8], target: &[u8]) -> Result<(), Fault> {
        let rest = ["http://", "https://"].iter().find_map(|scheme| {
            let (head, rest) = target.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
        });
        let rest = rest.ok_or(Fault::Target)?;
        let length = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(length);
        if authority.is_empty() || !is_authority(authority) {
            return Err(Fault::Target);
        }
        if self.section.host.is_some() && !self.authority.in_bytes(bytes).eq_ignore_ascii_case(authority) {
            return Err(Fault::HostMismatch);
        }
        self.authority = Span::of(authority, bytes);
        self.target = Span::of(path, bytes);
        self.form = Form::Absolute;
        Ok(())
    }

    fn read_framing(&mut self, method: Method) -> Result<(), Fault> {
        if self.section.chunked && self.version == Version::Http10 {
            return Err(Fault::CodingInOldVersion);
        }
        self.framing = self.section.framing(Framing::None);
        if method == Method::Trace && self.framing != Framing::None {
            return Err(Fault::TraceBody);
        }
        Ok(())
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method.unwrap_or(Method::Other)
    }

    /// The method's name as it came, out of the bytes the head was parsed from.
    pub fn method_name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.method_name.in_bytes(bytes)
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The host the request is for, without its port; empty when HTTP/1.0 named none.
    pub fn host<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let authority = self.authority.in_bytes(bytes);
        let length = match authority {
            [b'[', ..] => authority.iter().position(|byte| *byte == b']').map(|at| at + 1),
            _ => authority.iter().position(|byte| *byte == b':'),
        };
        &authority[..length.unwrap_or(authority.len())]
    }

    /// The path as it came, without the query. `/` for an absolute form without one, `*` for the asterisk form.
    pub fn path<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let target = self.target.in_bytes(bytes);
        let length = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
        if length == 0 { b"/" } else { &target[..length] }
    }

    /// The path as it came, with the query if there is one.
    pub fn path_and_query<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self.target.in_bytes(bytes) {
            query @ [b'?', ..] => [b"/", query].concat().into(),
            b"" => b"/".into(),
            target => target.into(),
        }
    }

    /// How the body is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether the client asks for a WebSocket. Another protocol, or one that is asked for with a body, is not offered to
    /// the upstream, which RFC 9110 §7.8 leaves to the receiver.
    pub fn is_websocket(&self) -> bool {
        self.section.is_websocket()
            && self.version == Version::Http11
            && self.method() == Method::Get
            && self.framing == Framing::None
    }

    /// Whether the client wants to send more requests on this connection (RFC 9112 §9.3).
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::Http11 => !self.section.close,
            Version::Http10 => self.section.keep_alive && !self.section.close,
        }
    }

    /// Whether the client waits for `100 Continue` before it sends the body. Not so in HTTP/1.0
    /// (RFC 9110 §10.1.1), nor without a body.
    pub fn expects_continue(&self) -> bool {
        self.section.expects_continue && self.version == Version::Http11 && self.framing != Framing::None
    }
}

/// What an incomplete head is refused for: its length.
fn incomplete(bytes: &[u8], target: Option<&str>, limit: usize) -> Result<Option<usize>, Fault> {
    if target.is_none() && bytes.len() > MAX_TARGET {
        return Err(Fault::TargetTooLong);
    }
    if bytes.len() >= limit {
        return Err(Fault::HeadTooLong);
    }
    Ok(None)
}

/// `uri-host [":" port]` (RFC 3986 §3.2.2), or nothing.
fn is_authority(text: &[u8]) -> bool {
    let is_within =
        |host: &[u8], marks: &[u8]| host.iter().all(|b| b.is_ascii_alphanumeric() || marks.contains(b));
    let (host_is_good, port) = if let [b'[', rest @ ..] = text {
        let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
        (end > 0 && is_within(&rest[..end], b":.-_~"), &rest[end + 1..])
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        // RFC 9110 §4.2.1: no port without a host.
        let is_whole = end > 0 || text.is_empty();
        (is_whole && is_within(&text[..end], b"-._~%!$&'()*+,;="), &text[end..])
    };
    let port_is_good = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host_is_good && port_is_good
}
