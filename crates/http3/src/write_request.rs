//! Requests from the text of HTTP/1.1 (RFC 9114 §4.1, §4.3.1).

use std::fmt::Display;

use proxima_http1::field_lines;

use crate::{
    fields::is_of_connection,
    qpack::put_field,
    response::{first_line, headers},
};

/// Appends the HEADERS frame of a head that is whole and well-formed, as [`proxima_http1::write_request`] writes it. `scheme` is
/// that of the connection; where the head names no host, as HTTP/1.0 may, `address` stands for it. `false`, and nothing appended:
/// there is no method or no target in it.
///
/// Fields of HTTP/1.1 connections are left out.
pub fn write_request(out: &mut Vec<u8>, text: &[u8], scheme: &str, address: impl Display) -> bool {
    write(out, text, scheme, address, None)
}

/// As [`write_request`], of a head that asks for a WebSocket as HTTP/1.1 has it: extended CONNECT (RFC 9220 §3), which has no
/// nonce (RFC 8441 §5).
pub fn write_websocket_request(out: &mut Vec<u8>, text: &[u8], scheme: &str, address: impl Display) -> bool {
    write(out, text, scheme, address, Some(b"websocket"))
}

/// `protocol`: what extended CONNECT asks for.
fn write(
    out: &mut Vec<u8>,
    text: &[u8],
    scheme: &str,
    address: impl Display,
    protocol: Option<&[u8]>,
) -> bool {
    let (first, section) = first_line(text);
    let mut words = first.split(|octet| *octet == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    let host = field_lines(section).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    let host = host.map(|(_, value)| value).filter(|value| !value.is_empty());
    headers(out, |out| {
        put_field(out, b":method", if protocol.is_some() { b"CONNECT" } else { method });
        if let Some(protocol) = protocol {
            put_field(out, b":protocol", protocol);
        }
        put_field(out, b":scheme", scheme.as_bytes());
        match host {
            Some(host) => put_field(out, b":authority", host),
            None => put_field(out, b":authority", address.to_string().as_bytes()),
        }
        put_field(out, b":path", target);
        for (name, value) in field_lines(section) {
            let lower = name.to_ascii_lowercase();
            if is_passed_on(&lower, value) && !(protocol.is_some() && lower == b"sec-websocket-key") {
                put_field(out, name, value);
            }
        }
    });
    true
}

/// RFC 9114 §4.2: of TE, only what says that trailers are welcome.
fn is_passed_on(name: &[u8], value: &[u8]) -> bool {
    match name {
        b"host" => false,
        b"te" => value.eq_ignore_ascii_case(b"trailers"),
        name => !is_of_connection(name),
    }
}
