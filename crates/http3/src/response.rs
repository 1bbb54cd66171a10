//! Responses from the text of HTTP/1.1, and back (RFC 9114 §4.1, §4.3.2).

use proxima_http1::{Fault, field_lines};

use crate::{
    Wrong,
    fields::{is_name, is_of_connection, is_value},
    frames::kind,
    put_varint,
    qpack::{begin_section, decode, put_field},
    request::{line, size_with},
};

/// Appends the head of the response in `section` to `out`, with the empty line behind it, as HTTP/1.1 writes it: where content
/// may follow and its length is not said, in chunks.
///
/// # Errors
/// When the section can't be decoded, or the response is malformed (RFC 9114 §4.1.2).
pub fn response_text(out: &mut Vec<u8>, section: &[u8]) -> Result<(), Wrong> {
    let (mut status, mut size, mut has_length) = (None, 0, false);
    decode(section, |name, value| {
        size = size_with(size, name, value)?;
        if let [b':', pseudo @ ..] = name {
            if pseudo != b"status" || status.is_some() {
                return Err(Fault::PseudoField.into());
            }
            status = Some(begin(out, value)?);
            return Ok(());
        }
        // RFC 9114 §4.3: it comes before all others.
        if status.is_none() {
            return Err(Fault::PseudoField.into());
        }
        if !is_name(name) || !is_value(value) {
            return Err(Fault::FieldLine.into());
        }
        if is_of_connection(name) || name == b"te" {
            return Err(Fault::ConnectionField.into());
        }
        has_length |= name == b"content-length";
        line(out, name, value);
        Ok(())
    })?;
    let status = status.ok_or(Fault::PseudoField)?;
    let is_bare = matches!(status, 100..200 | 204 | 304);
    if !is_bare && !has_length {
        line(out, b"Transfer-Encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the status line. Nothing switches protocols in HTTP/3 (RFC 9114 §4.5).
fn begin(out: &mut Vec<u8>, status: &[u8]) -> Result<u16, Fault> {
    let number = match status {
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => {
            status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'))
        }
        _ => return Err(Fault::StatusLine),
    };
    if number == 101 {
        return Err(Fault::Upgrade);
    }
    for piece in [&b"HTTP/1.1 "[..], status, b" \r\n"] {
        out.extend_from_slice(piece);
    }
    Ok(number)
}

/// Appends the HEADERS frame of a head that is whole and well-formed. `false`, and nothing appended: there is no status in it.
///
/// Fields of HTTP/1.1 connections are left out.
pub fn write_response(out: &mut Vec<u8>, text: &[u8]) -> bool {
    let (first, section) = first_line(text);
    let Some(status) = first.get(9..12).filter(|status| status.iter().all(u8::is_ascii_digit)) else {
        return false;
    };
    headers(out, |out| {
        put_field(out, b":status", status);
        put_lines(out, section);
    });
    true
}

/// Appends the HEADERS frame of the response that says of a WebSocket what `text`, a 101 of HTTP/1.1, says (RFC 9220 §3).
pub fn write_connected(out: &mut Vec<u8>, text: &[u8]) {
    let (_, section) = first_line(text);
    headers(out, |out| {
        put_field(out, b":status", b"200");
        let kept =
            field_lines(section).filter(|(name, _)| !name.eq_ignore_ascii_case(b"sec-websocket-accept"));
        put_fields(out, kept);
    });
}

/// Appends the HEADERS frame of a trailer section that is well-formed.
pub fn write_trailers(out: &mut Vec<u8>, section: &[u8]) {
    headers(out, |out| put_lines(out, section));
}

/// The first line with its end, and what follows.
pub(crate) fn first_line(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|octet| *octet == b'\n').map_or(text.len(), |at| at + 1);
    text.split_at(end)
}

fn put_lines(out: &mut Vec<u8>, section: &[u8]) {
    put_fields(out, field_lines(section));
}

fn put_fields<'a>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
    for (name, value) in fields.filter(|(name, _)| !is_of_connection(&name.to_ascii_lowercase())) {
        put_field(out, name, value);
    }
}

/// Appends a HEADERS frame. Its length is written in four octets, since it is not known before.
pub(crate) fn headers(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, kind::HEADERS);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    begin_section(out);
    write(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX) & 0x3fff_ffff;
    out[at..at + 4].copy_from_slice(&(0x8000_0000 | length).to_be_bytes());
}
