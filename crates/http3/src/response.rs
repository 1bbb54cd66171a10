//! Responses from the text of HTTP/1.1 (RFC 9114 §4.1, §4.3.2).

use proxima_http1::field_lines;

use crate::{
    fields::is_of_connection,
    frames::kind,
    put_varint,
    qpack::{begin_section, put_field},
};

/// Appends the HEADERS frame of a head that is whole and well-formed. `false`, and nothing appended: there is no status in it.
///
/// Fields of HTTP/1.1 connections are left out.
pub fn write_response(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let end = text.iter().position(|octet| *octet == b'\n').map_or(text.len(), |at| at + 1);
    let (first, section) = text.split_at(end);
    let Some(status) = first.get(9..12).filter(|status| status.iter().all(u8::is_ascii_digit)) else {
        return false;
    };
    headers(out, |out| {
        put_field(out, b":status", status);
        put_lines(out, section);
    });
    true
}

/// Appends the HEADERS frame of a trailer section that is well-formed.
pub fn write_trailers(out: &mut Vec<u8>, section: &[u8]) {
    headers(out, |out| put_lines(out, section));
}

fn put_lines(out: &mut Vec<u8>, section: &[u8]) {
    for (name, value) in
        field_lines(section).filter(|(name, _)| !is_of_connection(&name.to_ascii_lowercase()))
    {
        put_field(out, name, value);
    }
}

/// Appends a HEADERS frame. Its length is written in four octets, since it is not known before.
fn headers(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, kind::HEADERS);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    begin_section(out);
    write(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX) & 0x3fff_ffff;
    out[at..at + 4].copy_from_slice(&(0x8000_0000 | length).to_be_bytes());
}
