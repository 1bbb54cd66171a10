//! What heads of HTTP/1.1 become.

use proxima_http3::{data_header, write_response, write_trailers};

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
