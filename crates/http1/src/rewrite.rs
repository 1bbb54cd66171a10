//! Heads as the next hop gets them.
//!
//! Kept field lines are copied as they came, in runs as long as possible; what is left out are the fields for
//! one hop only (RFC 9110 §7.6.1) and those that `Connection` names. Added are:
//!
//! | field | when the client sent one |
//! |---|---|
//! | `Via` (RFC 9110 §7.6.3) | ours comes after it, in a line of its own |
//! | `X-Forwarded-For`, `Forwarded` (RFC 7239) | one line: the client's members first, ours last |
//! | `X-Forwarded-Proto`, `X-Forwarded-Host` | replaced by ours |
//! | `Client-Cert`, `Client-Cert-Chain` (RFC 9440), if asked for | replaced by ours; over TLS removed in any case |
//!
//! So a backend may trust the last member of a list, and only that: what stands before it is the client's word.

use std::net::IpAddr;

use crate::{
    RequestHead, ResponseHead, Version,
    field::{Field, Name, Section},
    request::Form,
};

/// What this hop says about itself and about one client; made once per client connection.
#[derive(Debug, Clone)]
pub struct Hop {
    name: String,
    /// The client's connection is over TLS, which ends here: what the client says of its certificate is only its word.
    ends_tls: bool,
    /// What a response gets.
    via: Vec<u8>,
    /// What a response gets besides, or nothing.
    alt_svc: Vec<u8>,
    client: String,
    /// `for=…;proto=…;by=…`
    forwarded: String,
    /// Everything that is added to a request and does not depend on it, but for the closing quote and line end
    /// of `Forwarded`.
    usual: Vec<u8>,
    /// The same for a request that has `X-Forwarded-For` or `Forwarded` already.
    chained: Vec<u8>,
}

impl Hop {
    /// `name` is the pseudonym of this proxy in `Via` and `Forwarded`: letters, digits, `-`, `_` and `.` only.
    /// `scheme` is that of the client's connection, on which HTTP/1.1 is spoken.
    pub fn new(name: &str, client: IpAddr, scheme: &str) -> Self {
        Self::of_version(name, client, scheme, "1.1")
    }

    /// As [`Hop::new`], for a client that speaks another version, as `Via` writes it: `2`, `3`.
    pub fn of_version(name: &str, client: IpAddr, scheme: &str, version: &str) -> Self {
        let client = client.to_canonical();
        let node = match client {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("\"[{address}]\""),
        };
        let forwarded = format!("for={node};proto={scheme};by=_{name}");
        let chained = format!("Via: {version} {name}\r\nX-Forwarded-Proto: {scheme}\r\n");
        let usual = format!("{chained}X-Forwarded-For: {client}\r\nForwarded: {forwarded}");
        Self {
            name: name.to_owned(),
            ends_tls: scheme == "https",
            via: via("1.1", name),
            alt_svc: Vec::new(),
            client: client.to_string(),
            forwarded,
            usual: usual.into_bytes(),
            chained: chained.into_bytes(),
        }
    }

    /// For clients of a server that speaks HTTP/3 too, at `port` of the same address (RFC 9114 §3.1.1).
    #[must_use]
    pub fn with_http3_at(mut self, port: u16) -> Self {
        self.alt_svc = format!("Alt-Svc: h3=\":{port}\"; ma=86400\r\n").into_bytes();
        self
    }

    /// With the certificate that the client has shown, and those that lead from it to its authority, in base64
    /// (RFC 9440 §2).
    #[must_use]
    pub fn with_client_certificate<'a>(
        mut self,
        certificate: &str,
        chain: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut lines = format!("Client-Cert: :{certificate}:\r\n");
        let chain: Vec<_> = chain.into_iter().map(|certificate| format!(":{certificate}:")).collect();
        if !chain.is_empty() {
            lines.extend(["Client-Cert-Chain: ", &chain.join(", "), "\r\n"]);
        }
        for added in [&mut self.usual, &mut self.chained] {
            added.splice(..0, lines.bytes());
        }
        self
    }

    /// The field that offers HTTP/3, with its line end; nothing where it is not offered. For answers of our own: what
    /// [`write_response`] writes has it.
    pub fn alt_svc(&self) -> &[u8] {
        &self.alt_svc
    }

    /// For responses of an upstream that speaks another version than HTTP/1.1, as `Via` writes it.
    #[must_use]
    pub fn answered_in(mut self, version: &str) -> Self {
        self.via = via(version, &self.name);
        self
    }
}

fn via(version: &str, name: &str) -> Vec<u8> {
    format!("Via: {version} {name}\r\n").into_bytes()
}

/// Appends the head for the upstream to `out`: always HTTP/1.1 in origin form, with `Host`.
///
/// `bytes` are those `head` was parsed from.
pub fn write_request(out: &mut Vec<u8>, head: &RequestHead, bytes: &[u8], hop: &Hop) {
    let section = &head.section;
    let authority = head.authority.in_bytes(bytes);
    let as_it_came = head.form != Form::Absolute && head.version == Version::Http11;
    let from = if as_it_came {
        head.start
    } else {
        out.extend_from_slice(head.method_name.in_bytes(bytes));
        out.push(b' ');
        let target = head.target.in_bytes(bytes);
        if !matches!(target, [b'/' | b'*', ..]) {
            out.push(b'/');
        }
        out.extend_from_slice(target);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(authority);
        out.extend_from_slice(b"\r\n");
        section.start
    };
    copy_fields(out, section, bytes, from, |field| match field.name {
        Name::Host => as_it_came,
        Name::Other | Name::ContentLength | Name::TransferEncoding => true,
        Name::Expect => head.expects_continue(),
        Name::ClientCert => !hop.ends_tls,
        _ => false,
    });
    if section.te_trailers {
        out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n");
    }
    if head.is_websocket() {
        out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n");
    }
    if section.forwarded {
        write_chained(out, section, bytes, hop);
    } else {
        out.extend_from_slice(&hop.usual);
    }
    if !authority.is_empty() {
        out.extend_from_slice(b";host=\"");
        out.extend_from_slice(authority);
        out.extend_from_slice(b"\"\r\nX-Forwarded-Host: ");
        out.extend_from_slice(authority);
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// As the usual block, with the client's own members in front.
fn write_chained(out: &mut Vec<u8>, section: &Section, bytes: &[u8], hop: &Hop) {
    out.extend_from_slice(&hop.chained);
    let lines = [
        ("X-Forwarded-For: ", Name::XForwardedFor, &hop.client, "\r\n"),
        ("Forwarded: ", Name::Forwarded, &hop.forwarded, ""),
    ];
    for (name, known, own, end) in lines {
        out.extend_from_slice(name.as_bytes());
        for field in section.fields.iter().filter(|field| field.name == known && !field.value.is_empty()) {
            out.extend_from_slice(field.value.in_bytes(bytes));
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(own.as_bytes());
        out.extend_from_slice(end.as_bytes());
    }
}

/// What the client is told about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionOption {
    /// Nothing: HTTP/1.1 stays open by itself.
    Omit,
    /// `Connection: close`.
    Close,
    /// `Connection: keep-alive`, for HTTP/1.0.
    KeepAlive,
}

/// Appends the head for the client to `out`. `keeps_chunks` is false when a chunked body is passed on as bare
/// data.
///
/// `bytes` are those `head` was parsed from.
pub fn write_response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    bytes: &[u8],
    hop: &Hop,
    connection: ConnectionOption,
    keeps_chunks: bool,
) {
    let section = &head.section;
    let from = if head.version == Version::Http11 && !head.reason.is_empty() {
        0
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend(
            [head.status / 100, head.status / 10 % 10, head.status % 10].map(|digit| b'0' + digit as u8),
        );
        out.push(b' ');
        out.extend_from_slice(head.reason.in_bytes(bytes));
        out.extend_from_slice(b"\r\n");
        section.start
    };
    let no_content = head.has_no_body() && head.status != 304;
    copy_fields(out, section, bytes, from, |field| match field.name {
        Name::ContentLength => !no_content,
        Name::TransferEncoding => keeps_chunks && !head.has_no_body(),
        Name::Connection | Name::Hop | Name::Upgrade => false,
        _ => true,
    });
    match connection {
        _ if head.switches() => out.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        ConnectionOption::Omit => {}
        ConnectionOption::Close => out.extend_from_slice(b"Connection: close\r\n"),
        ConnectionOption::KeepAlive => out.extend_from_slice(b"Connection: keep-alive\r\n"),
    }
    out.extend_from_slice(&hop.via);
    out.extend_from_slice(&hop.alt_svc);
    out.extend_from_slice(b"\r\n");
}

/// Copies the bytes from `from` to the end of the field lines, but for the lines that are not kept.
fn copy_fields(out: &mut Vec<u8>, section: &Section, bytes: &[u8], from: u32, keep: impl Fn(&Field) -> bool) {
    let mut run = from;
    for (index, field) in section.fields.iter().enumerate() {
        if keep(field) && !section.is_nominated(field, bytes) {
            continue;
        }
        out.extend_from_slice(&bytes[run as usize..field.start as usize]);
        run = section.fields.get(index + 1).map_or(section.end, |next| next.start);
    }
    out.extend_from_slice(&bytes[run as usize..section.end as usize]);
}

/// The fields of `section`, a head without its first line or a trailer section, name and value. It must be whole and
/// well-formed: one that was parsed, or written by [`write_request`] or [`write_response`].
pub fn field_lines(section: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    section.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}
