//! Field lines: where they lie, and what the ones that matter to a proxy say.

use crate::{Fault, Framing};

/// A stretch of the bytes a head was parsed from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// Where `part` lies within `whole`. An empty part may lie anywhere, so it gets an empty span.
    pub(crate) fn of(part: &[u8], whole: &[u8]) -> Self {
        if part.is_empty() {
            return Self::default();
        }
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        Self { start: start as u32, end: (start + part.len()) as u32 }
    }

    pub(crate) fn in_bytes(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// The fields a proxy reads, rewrites or removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Te,
    Expect,
    Upgrade,
    Forwarded,
    XForwardedFor,
    XForwardedProto,
    XForwardedHost,
    /// `Client-Cert`, `Client-Cert-Chain` (RFC 9440).
    ClientCert,
    /// Meant for this hop only (RFC 9110 §7.6.1), or for forward proxies, or dangerous (`Proxy`: httpoxy).
    Hop,
}

impl Name {
    fn of(name: &[u8]) -> Self {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is(b"te") => Self::Te,
            4 if is(b"host") => Self::Host,
            5 if is(b"proxy") => Self::Hop,
            6 if is(b"expect") => Self::Expect,
            7 if is(b"upgrade") => Self::Upgrade,
            9 if is(b"forwarded") => Self::Forwarded,
            10 if is(b"connection") => Self::Connection,
            10 if is(b"keep-alive") => Self::Hop,
            11 if is(b"client-cert") => Self::ClientCert,
            14 if is(b"content-length") => Self::ContentLength,
            14 if is(b"http2-settings") => Self::Hop,
            15 if is(b"x-forwarded-for") => Self::XForwardedFor,
            16 if is(b"x-forwarded-host") => Self::XForwardedHost,
            16 if is(b"proxy-connection") => Self::Hop,
            17 if is(b"client-cert-chain") => Self::ClientCert,
            17 if is(b"transfer-encoding") => Self::TransferEncoding,
            17 if is(b"x-forwarded-proto") => Self::XForwardedProto,
            18 if is(b"proxy-authenticate") => Self::Hop,
            19 if is(b"proxy-authorization") => Self::Hop,
            25 if is(b"proxy-authentication-info") => Self::Hop,
            _ => Self::Other,
        }
    }
}

/// One field line. The line goes from `start` to the `start` of the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) start: u32,
    name_end: u32,
    pub(crate) value: Span,
    pub(crate) name: Name,
}

impl Field {
    pub(crate) fn name_in<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.name_end as usize]
    }
}

/// Which message a section belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

/// The field lines of a head, and what those that matter say.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts about a head, independent of each other")]
pub(crate) struct Section {
    pub(crate) fields: Vec<Field>,
    /// Where the first field line begins; equals `end` when there is none.
    pub(crate) start: u32,
    /// Where the empty line begins.
    pub(crate) end: u32,
    pub(crate) content_length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// `Connection` names further fields as meant for this hop.
    pub(crate) nominates: bool,
    /// `Connection` names `Upgrade`.
    pub(crate) upgrades: bool,
    /// `Upgrade` fields, and whether the only one says `websocket`.
    upgrade_fields: u32,
    upgrade_is_websocket: bool,
    pub(crate) host: Option<Span>,
    pub(crate) expects_continue: bool,
    pub(crate) te_trailers: bool,
    /// A `Forwarded` or `X-Forwarded-For` field came along.
    pub(crate) forwarded: bool,
}

impl Section {
    /// Takes in the parsed fields of the head that ends at `head_end`, and checks the line ends `httparse`
    /// is lax about.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        head_end: usize,
        headers: &[httparse::Header<'_>],
        side: Side,
    ) -> Result<(), Fault> {
        let fields = std::mem::take(&mut self.fields);
        *self = Self { fields, end: (head_end - 2) as u32, ..Self::default() };
        self.fields.clear();
        if !bytes[..head_end].ends_with(b"\r\n\r\n") {
            return Err(Fault::BareLf);
        }
        for header in headers {
            let name = header.name.as_bytes();
            let start = name.as_ptr().addr() - bytes.as_ptr().addr();
            if bytes[..start].last_chunk() != Some(b"\r\n") {
                return Err(Fault::BareLf);
            }
            let field = Field {
                start: start as u32,
                name_end: (start + name.len()) as u32,
                value: Span::of(header.value, bytes),
                name: Name::of(name),
            };
            self.note(field, header.value, side)?;
            self.fields.push(field);
        }
        self.start = self.fields.first().map_or(self.end, |field| field.start);
        if self.chunked && self.content_length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        Ok(())
    }

    fn note(&mut self, field: Field, value: &[u8], side: Side) -> Result<(), Fault> {
        match field.name {
            Name::Other | Name::Hop | Name::XForwardedProto | Name::XForwardedHost | Name::ClientCert => {}
            Name::Host | Name::Expect if side == Side::Response => {}
            Name::Upgrade => {
                self.upgrade_fields += 1;
                self.upgrade_is_websocket = value.eq_ignore_ascii_case(b"websocket");
            }
            Name::Forwarded | Name::XForwardedFor => self.forwarded = true,
            Name::Host => {
                if self.host.replace(field.value).is_some() {
                    return Err(Fault::RepeatedHost);
                }
            }
            Name::ContentLength => {
                if self.content_length.replace(decimal(value)?).is_some() {
                    return Err(Fault::RepeatedLength);
                }
            }
            Name::TransferEncoding => {
                if self.chunked {
                    return Err(Fault::Coding);
                }
                check_coding(value)?;
                self.chunked = true;
            }
            Name::Connection => self.note_connection(value),
            Name::Te => {
                self.te_trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
            Name::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Fault::Expectation);
                }
                self.expects_continue = true;
            }
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            if token.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if token.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if token.eq_ignore_ascii_case(b"upgrade") {
                self.upgrades = true;
            } else {
                self.nominates = true;
            }
        }
    }

    /// Whether `Connection` names `field`. The fields that frame and route the message can't be named away.
    pub(crate) fn is_nominated(&self, field: &Field, bytes: &[u8]) -> bool {
        if !self.nominates || field.name != Name::Other {
            return false;
        }
        let name = field.name_in(bytes);
        self.fields
            .iter()
            .filter(|other| other.name == Name::Connection)
            .flat_map(|connection| tokens(connection.value.in_bytes(bytes)))
            .any(|token| token.eq_ignore_ascii_case(name))
    }

    /// Whether the fields ask for, or agree to, WebSocket and nothing else (RFC 6455 §4.1, RFC 9110 §7.8).
    pub(crate) fn is_websocket(&self) -> bool {
        self.upgrades && self.upgrade_fields == 1 && self.upgrade_is_websocket
    }

    /// The framing the fields ask for, `otherwise` when they ask for none.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        match self.content_length {
            _ if self.chunked => Framing::Chunked,
            Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
            None => otherwise,
        }
    }
}

/// The members of a comma-separated list, without white space around them and without empty ones.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

fn decimal(value: &[u8]) -> Result<u64, Fault> {
    if value.contains(&b',') {
        return Err(Fault::RepeatedLength);
    }
    if value.is_empty() || value.len() > 19 {
        return Err(Fault::Length);
    }
    let number = value.iter().try_fold(0u64, |sum, digit| {
        digit.is_ascii_digit().then(|| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    });
    number.filter(|number| i64::try_from(*number).is_ok()).ok_or(Fault::Length)
}

fn check_coding(value: &[u8]) -> Result<(), Fault> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let codings: Vec<_> = tokens(value).collect();
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    match codings.split_last() {
        Some((last, before)) if is_chunked(last) && !before.is_empty() && !before.iter().any(is_chunked) => {
            Err(Fault::UnknownCoding)
        }
        _ => Err(Fault::Coding),
    }
}
