//! Requests from the text of HTTP/1.1 (RFC 9114 §4.1, §4.3.1).

use std::fmt::Display;

use proxima_http1::field_lines;

use crate::{fields::is_of_connection, qpack::put_field, response::headers};

/// Appends the HEADERS frame of a head that is whole and well-formed, as [`proxima_http1::write_request`] writes it. `scheme` is
/// that of the connection; where the head names no host, as HTTP/1.0 may, `address` stands for it. `false`, and nothing appended:
/// there is no method or no target in it.
///
/// Fields of HTTP/1.1 connections are left out.
pub fn write_request(out: &mut Vec<u8>, text: &[u8], scheme: &str, address: impl Display) -> bool {
    let end = text.iter().position(|octet| *octet == b'\n').map_or(text.len(), |at| at + 1);
    let (first, section) = text.split_at(end);
    let mut words = first.split(|octet| *octet == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return false };
    let host = field_lines(section).find(|(name, _)| name.eq_ignore_ascii_case(b"host"));
    let host = host.map(|(_, value)| value).filter(|value| !value.is_empty());
    headers(out, |out| {
        put_field(out, b":method", method);
        put_field(out, b":scheme", scheme.as_bytes());
        match host {
            Some(host) => put_field(out, b":authority", host),
            None => put_field(out, b":authority", address.to_string().as_bytes()),
        }
        put_field(out, b":path", target);
        for (name, value) in field_lines(section) {
            if is_passed_on(&name.to_ascii_lowercase(), value) {
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
