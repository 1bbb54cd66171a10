//! What heads of HTTP/1.1 become, and what becomes them.

use proxima_http1::Fault;
use proxima_http3::{
    Code, RequestText, Wrong, data_header, response_text, write_connected, write_request, write_response,
    write_trailers, write_websocket_request,
};

#[test]
fn a_response_is_a_headers_frame() {
    let mut out = Vec::new();
    assert!(write_response(
        &mut out,
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nX-Ray:  on \r\n\r\n"
    ));
    // RFC 9204, appendix A: 25 is `:status: 200`, 46 is `content-type: application/json`. `x-ray` is a literal; coded by the
    // code of RFC 7541, appendix B, it has four octets: x 1111001, - 010110, r 101100, a 00011, y 1111010.
    let section =
        [0, 0, 0xc0 + 25, 0xc0 + 46, 0x20 + 0x08 + 4, 0b1111_0010, 0b1011_0101, 0b1000_0011, 0b1111_0101];
    // Too short to be coded in fewer octets: o 00111, n 101010.
    let value = [2, b'o', b'n'];
    let length = (section.len() + value.len()) as u8;
    let expected = [&[1, 0x80, 0, 0, length][..], &section, &value].concat();
    assert_eq!(out, expected);
}

#[test]
fn what_lets_someone_in_is_never_indexed() {
    let mut out = Vec::new();
    assert!(write_response(&mut out, b"HTTP/1.1 204 No Content\r\nSet-Cookie: a=b\r\n\r\n"));
    // 14 is `set-cookie`; with the N bit and the T bit.
    assert_eq!(out[5..], [0, 0, 0xff, 0x01, 0x40 + 0x20 + 0x10 + 14, 3, b'a', b'=', b'b']);
}

#[test]
fn an_agreement_to_a_websocket_is_a_200_without_what_http1_has_for_it() {
    let mut out = Vec::new();
    let text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX: on\r\n\r\n";
    write_connected(&mut out, text);
    let expected = [1, 0x80, 0, 0, 8, 0, 0, 0xc0 + 25, 0x21, b'x', 2, b'o', b'n'];
    assert_eq!(out, expected);
    // A reason is no field, whatever it looks like.
    let mut out = Vec::new();
    write_connected(&mut out, b"HTTP/1.1 101 to: another protocol\r\nX: on\r\n\r\n");
    assert_eq!(out, expected);
}

#[test]
fn without_a_status_there_is_no_response() {
    for text in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 2x0 OK\r\n\r\n"] {
        let mut out = Vec::new();
        assert!(!write_response(&mut out, text) && out.is_empty());
    }
}

#[test]
fn trailers_are_a_headers_frame_without_a_status() {
    let mut out = Vec::new();
    write_trailers(&mut out, b"ETag: \"1\"\r\n\r\n");
    assert_eq!(out, [1, 0x80, 0, 0, 7, 0, 0, 0x50 + 7, 3, b'"', b'1', b'"']);
}

#[test]
fn the_header_of_content_says_its_length() {
    let mut out = Vec::new();
    data_header(&mut out, 16_384);
    assert_eq!(out, [0, 0x80, 0, 0x40, 0]);
}

fn text(section: &[u8]) -> Result<String, Wrong> {
    let mut out = Vec::new();
    response_text(&mut out, section)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Fields as literals: neither tables nor Huffman coding (RFC 9204 §4.5.6).
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        // A prefix of three bits holds up to six.
        assert!(name.len() < 7 + 128 && value.len() < 127);
        match name.len() {
            length @ 0..7 => section.push(0x20 | length as u8),
            length => section.extend([0x27, length as u8 - 7]),
        }
        section.extend_from_slice(name.as_bytes());
        section.push(value.len() as u8);
        section.extend_from_slice(value.as_bytes());
    }
    section
}

#[test]
fn a_head_is_written_down_as_http1_has_it() {
    // 25 is `:status: 200`, 46 is `content-type: application/json`.
    let octets = [0, 0, 0xc0 + 25, 0xc0 + 46];
    let expected = "HTTP/1.1 200 \r\ncontent-type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(text(&octets).unwrap(), expected);
    for (fields, expected) in [
        (&[(":status", "200"), ("content-length", "5")][..], "HTTP/1.1 200 \r\ncontent-length: 5\r\n\r\n"),
        (&[(":status", "204"), ("x", "")], "HTTP/1.1 204 \r\nx: \r\n\r\n"),
        (&[(":status", "304")], "HTTP/1.1 304 \r\n\r\n"),
        (&[(":status", "103"), ("link", "</a>")], "HTTP/1.1 103 \r\nlink: </a>\r\n\r\n"),
    ] {
        assert_eq!(text(&section(fields)).unwrap(), expected);
    }
}

#[test]
fn what_a_response_must_not_hold_is_refused() {
    let cases: [(&[(&str, &str)], Fault); 13] = [
        (&[], Fault::PseudoField),
        (&[("x", "1"), (":status", "200")], Fault::PseudoField),
        (&[(":status", "200"), (":status", "200")], Fault::PseudoField),
        (&[(":status", "200"), (":path", "/")], Fault::PseudoField),
        (&[(":status", "20")], Fault::StatusLine),
        (&[(":status", "+20")], Fault::StatusLine),
        (&[(":status", "099")], Fault::StatusLine),
        (&[(":status", "101")], Fault::Upgrade),
        (&[(":status", "200"), ("X", "1")], Fault::FieldLine),
        (&[(":status", "200"), ("x", " 1")], Fault::FieldLine),
        (&[(":status", "200"), ("x", "a\r\nb: c")], Fault::FieldLine),
        (&[(":status", "200"), ("transfer-encoding", "chunked")], Fault::ConnectionField),
        (&[(":status", "200"), ("te", "trailers")], Fault::ConnectionField),
    ];
    for (fields, fault) in cases {
        assert_eq!(text(&section(fields)), Err(Wrong::Message(fault)), "{fields:?}");
    }
    let failed = Wrong::Connection(Code::QpackDecompressionFailed);
    assert_eq!(text(&[0, 0, 0x80]), Err(failed), "an entry of a dynamic table");
}

#[test]
fn a_request_is_a_headers_frame() {
    let mut out = Vec::new();
    let head = b"GET / HTTP/1.1\r\nHost: a.b\r\nConnection: close\r\nTE: trailers\r\nX: on\r\n\r\n";
    assert!(write_request(&mut out, head, "https", "unused"));
    // RFC 9204, appendix A: 17 is `:method: GET`, 23 `:scheme: https`, 0 the name `:authority`, 1 `:path: /`.
    let expected = [
        &[0, 0, 0xc0 + 17, 0xc0 + 23, 0x50, 3][..],
        b"a.b",
        &[0xc0 + 1, 0x22],
        b"te",
        // By the code of RFC 7541, appendix B: t 01001, r 101100, a 00011, i 00110, l 101000, e 00101, r 101100, s 01000.
        &[0x86, 0b0100_1101, 0b1000_0011, 0b0011_0101, 0b0000_0101, 0b1011_0001, 0b0001_1111],
        &[0x21, b'x', 2],
        b"on",
    ]
    .concat();
    assert_eq!(out[5..], expected);
    assert_eq!(out[..5], [1, 0x80, 0, 0, expected.len() as u8]);
}

#[test]
fn a_request_for_a_websocket_is_extended_connect_without_a_nonce() {
    let head = b"GET /chat?q HTTP/1.1\r\nHost: a.b\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        sec-websocket-protocol: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    let mut out = Vec::new();
    assert!(write_websocket_request(&mut out, head, "https", "unused"));
    // 15 is `:method: CONNECT`, 23 `:scheme: https`.
    assert_eq!(out[5..8], [0, 0, 0xc0 + 15]);
    assert!(out[8..].contains(&(0xc0 + 23)));
    let mut text = Vec::new();
    let read = RequestText::read(&mut text, &out[5..]).unwrap();
    assert!(read.is_websocket());
    assert_eq!(
        text.escape_ascii().to_string(),
        r"GET /chat?q HTTP/1.1\r\nHost: a.b\r\nsec-websocket-protocol: x\r\n"
    );
}

#[test]
fn a_request_without_a_host_is_to_the_address() {
    for head in [&b"OPTIONS * HTTP/1.0\r\n\r\n"[..], b"OPTIONS * HTTP/1.1\r\nHost: \r\nTE: gzip\r\n\r\n"] {
        let mut out = Vec::new();
        assert!(write_request(&mut out, head, "https", "[::1]:8443"));
        // 19 is `:method: OPTIONS`; the path is a literal with the name 1.
        let expected =
            [&[0, 0, 0xc0 + 19, 0xc0 + 23, 0x50][..], &out[10..out.len() - 3], &[0x51, 1, b'*']].concat();
        assert_eq!(out[5..], expected);
    }
    let mut out = Vec::new();
    assert!(!write_request(&mut out, b"GET", "https", "a") && out.is_empty());
}
