//! Which requests are taken, what they become, and why others are refused.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use proxima_http1::{Fault, RequestHead};
use proxima_http3::{Code, Content, Event, Frames, MAX_SECTION, MAX_TEXT, RequestText, Wrong, trailer_text};

/// A field section of literals, written by hand (RFC 9204 §4.5.6): neither tables nor Huffman coding.
fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        integer(&mut section, 0x20, 7, name.len());
        section.extend_from_slice(name.as_bytes());
        integer(&mut section, 0, 127, value.len());
        section.extend_from_slice(value.as_bytes());
    }
    section
}

fn integer(out: &mut Vec<u8>, high: u8, most: usize, value: usize) {
    if value < most {
        return out.push(high | value as u8);
    }
    out.push(high | most as u8);
    let mut left = value - most;
    while left >= 128 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn text(fields: &[(&str, &str)], content: Content) -> Result<String, Wrong> {
    let mut out = Vec::new();
    RequestText::read(&mut out, &section(fields))?.end(&mut out, content);
    Ok(String::from_utf8(out).expect("the tests' fields are text"))
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y")];

fn get_with(more: &[(&'static str, &'static str)]) -> Result<String, Wrong> {
    text(&[&GET[..], more].concat(), Content::None)
}

#[test]
fn a_request_becomes_text_of_http_1() {
    assert_eq!(
        get_with(&[("accept", "*/*"), ("cookie", "a=1"), ("x-y", "z"), ("cookie", "b=2")]).unwrap(),
        "GET /x?y HTTP/1.1\r\nHost: a.example\r\naccept: */*\r\nx-y: z\r\nCookie: a=1; b=2\r\n\r\n"
    );
}

#[test]
fn the_framing_is_by_what_follows_the_head() {
    let of = |method: &'static str, more: &[(&'static str, &'static str)], content| {
        text(&[&[(":method", method)], &GET[1..], more].concat(), content).unwrap()
    };
    let ends = |text: &str, end: &str| assert!(text.ends_with(end), "{text}");
    ends(&of("POST", &[], Content::Some), "Transfer-Encoding: chunked\r\n\r\n");
    ends(&of("POST", &[], Content::None), "Content-Length: 0\r\n\r\n");
    ends(&of("POST", &[("content-length", "5")], Content::Some), "content-length: 5\r\n\r\n");
    ends(&of("GET", &[], Content::None), "Host: a.example\r\n\r\n");
    ends(&of("GET", &[], Content::Some), "Transfer-Encoding: chunked\r\n\r\n");
}

#[test]
fn what_a_known_encoder_writes_is_read() {
    // RFC 9204 §B.1: a literal with a name of the static table.
    let mut example = vec![0, 0, 0x51, 0x0b];
    example.extend_from_slice(b"/index.html");
    // :method GET, :scheme https, all of the static table; :authority, Huffman coded as in RFC 7541 §C.4.1.
    example.extend_from_slice(&[0xd1, 0xd7, 0x50, 0x8c]);
    example.extend_from_slice(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]);
    let mut out = Vec::new();
    RequestText::read(&mut out, &example).unwrap().end(&mut out, Content::None);
    assert_eq!(out, b"GET /index.html HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
}

#[test]
fn malformed_requests_are_refused_each_for_its_reason() {
    let cases: &[(&[(&str, &str)], Fault)] = &[
        (&[], Fault::PseudoField),
        (&GET[1..], Fault::PseudoField),
        (&[GET[0], GET[2], GET[3]], Fault::PseudoField),
        (&GET[..3], Fault::PseudoField),
        (&[GET[0], GET[1], GET[3]], Fault::MissingHost),
        (&[GET[0], GET[0], GET[1], GET[2], GET[3]], Fault::PseudoField),
        (&[GET[0], GET[1], GET[2], ("x", "y"), GET[3]], Fault::PseudoField),
        (&[GET[0], GET[1], GET[2], GET[3], (":status", "200")], Fault::PseudoField),
        (&[GET[0], GET[1], GET[2], GET[3], (":protocol", "websocket")], Fault::PseudoField),
        (&[("x", "y"), GET[0], GET[1], GET[2], GET[3]], Fault::PseudoField),
        (&[(":method", "G T"), GET[1], GET[2], GET[3]], Fault::PseudoField),
        (&[(":method", ""), GET[1], GET[2], GET[3]], Fault::PseudoField),
        (&[GET[0], (":scheme", "ftp"), GET[2], GET[3]], Fault::PseudoField),
        (&[GET[0], GET[1], (":authority", "a\r\nx: y"), GET[3]], Fault::Host),
        (&[GET[0], GET[1], (":authority", ""), GET[3]], Fault::Host),
        (&[GET[0], GET[1], GET[3], ("host", "")], Fault::Host),
        (&[GET[0], GET[1], GET[2], (":path", "")], Fault::Target),
        (&[GET[0], GET[1], GET[2], (":path", "x")], Fault::Target),
        (&[GET[0], GET[1], GET[2], (":path", "*")], Fault::Target),
        (&[GET[0], GET[1], GET[2], (":path", "/ HTTP/1.1\r\nx: y")], Fault::Target),
        (&[(":method", "CONNECT"), (":authority", "a:1")], Fault::Connect),
    ];
    for (fields, fault) in cases {
        assert_eq!(text(fields, Content::None), Err(Wrong::Message(*fault)), "{fields:?}");
    }
}

#[test]
fn a_port_without_a_host_is_refused_where_the_text_is_read() {
    for fields in
        [[GET[0], GET[1], (":authority", ":443"), GET[3]], [GET[0], GET[1], GET[3], ("host", ":443")]]
    {
        let text = text(&fields, Content::None).unwrap();
        let parsed = RequestHead::default().parse_within(text.as_bytes(), MAX_TEXT);
        assert_eq!(parsed.map(|_| ()), Err(Fault::Host), "{text}");
    }
}

#[test]
fn extended_connect_for_a_websocket_is_the_request_that_http1_has_for_it() {
    const ASK: [(&str, &str); 6] = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", "/chat?q"),
        ("sec-websocket-version", "13"),
    ];
    let mut out = Vec::new();
    let asked = [&ASK[..], &[("sec-websocket-key", "of the client")]].concat();
    let head = RequestText::read(&mut out, &section(&asked)).unwrap();
    assert!(head.is_websocket());
    head.end_websocket(&mut out, "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(
        String::from_utf8(out.clone()).unwrap(),
        "GET /chat?q HTTP/1.1\r\nHost: a.example\r\nsec-websocket-version: 13\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut parsed = RequestHead::default();
    assert_eq!(parsed.parse_within(&out, MAX_TEXT), Ok(Some(out.len())));
    assert!(parsed.is_websocket());
    let without = |name: &str| ASK.into_iter().filter(|(field, _)| *field != name).collect::<Vec<_>>();
    let other = [&[(":method", "CONNECT"), (":protocol", "connect-udp")], &ASK[2..]].concat();
    for (fields, fault) in [
        (without(":path"), Fault::PseudoField),
        (without(":scheme"), Fault::PseudoField),
        (without(":authority"), Fault::MissingHost),
        (without(":protocol"), Fault::Connect),
        (other, Fault::Connect),
        ([&ASK[..], &[("content-length", "5")]].concat(), Fault::Connect),
        ([&[(":method", "GET")], &ASK[1..]].concat(), Fault::PseudoField),
    ] {
        assert_eq!(text(&fields, Content::None), Err(Wrong::Message(fault)), "{fields:?}");
    }
}

#[test]
fn malformed_fields_are_refused_each_for_its_reason() {
    let cases = [
        (("X", "y"), Fault::FieldLine),
        (("", "y"), Fault::FieldLine),
        (("x y", "z"), Fault::FieldLine),
        (("x:", "z"), Fault::FieldLine),
        (("x", "a\r\nb: c"), Fault::FieldLine),
        (("x", "a\nb"), Fault::FieldLine),
        (("x", "a\0b"), Fault::FieldLine),
        (("x", " a"), Fault::FieldLine),
        (("x", "a\t"), Fault::FieldLine),
        (("connection", "close"), Fault::ConnectionField),
        (("keep-alive", "1"), Fault::ConnectionField),
        (("proxy-connection", "close"), Fault::ConnectionField),
        (("transfer-encoding", "chunked"), Fault::ConnectionField),
        (("upgrade", "h2c"), Fault::ConnectionField),
        (("te", "gzip"), Fault::ConnectionField),
        (("host", "b.example"), Fault::HostMismatch),
        (("content-length", "5x"), Fault::Length),
        (("content-length", "-5"), Fault::Length),
        (("content-length", ""), Fault::Length),
    ];
    for (field, fault) in cases {
        assert_eq!(get_with(&[field]), Err(Wrong::Message(fault)), "{field:?}");
    }
    assert_eq!(
        get_with(&[("content-length", "5"), ("content-length", "5")]),
        Err(Wrong::Message(Fault::RepeatedLength))
    );
    assert_eq!(
        get_with(&[("host", "A.example"), ("host", "a.example")]),
        Err(Wrong::Message(Fault::RepeatedHost))
    );
    assert!(get_with(&[("te", "trailers"), ("host", "A.EXAMPLE")]).is_ok());
}

#[test]
fn a_section_beyond_the_limit_is_refused_however_small_it_came() {
    // One octet stands for a field of the static table.
    let many = [&section(&GET)[..], &[0xc0 + 29; MAX_SECTION / 40]].concat();
    let refused = RequestText::read(&mut Vec::new(), &many).map(|_| ());
    assert_eq!(refused, Err(Wrong::Message(Fault::HeadTooLong)));
}

#[test]
fn what_needs_a_dynamic_table_or_is_no_qpack_ends_the_connection() {
    let cases: [&[u8]; 10] = [
        &[],
        &[0],
        &[1, 0],
        &[0, 0x80],
        &[0, 0, 0x80],
        &[0, 0, 0x10],
        &[0, 0, 0x40],
        &[0, 0, 0xff, 0x24],
        &[0, 0, 0x23, b'a'],
        &[0, 0, 0x29, 0xff, 0],
    ];
    for section in cases {
        let refused = RequestText::read(&mut Vec::new(), section).map(|_| ());
        assert_eq!(refused, Err(Wrong::Connection(Code::QpackDecompressionFailed)), "{section:?}");
    }
}

#[test]
fn trailers_are_fields_alone() {
    let of = |fields: &[(&str, &str)]| {
        let mut out = Vec::new();
        trailer_text(&mut out, &section(fields)).map(|()| String::from_utf8(out).unwrap())
    };
    assert_eq!(of(&[("a", "b"), ("c", "d")]).unwrap(), "a: b\r\nc: d\r\n\r\n");
    assert_eq!(of(&[(":status", "200")]), Err(Wrong::Message(Fault::PseudoField)));
    assert_eq!(of(&[("a", "b\nc")]), Err(Wrong::Message(Fault::Trailer)));
    assert_eq!(of(&[("connection", "x")]), Err(Wrong::Message(Fault::ConnectionField)));
    assert_eq!(of(&[("a", &"x".repeat(9000))]), Err(Wrong::Message(Fault::TrailersTooLong)));
}

proptest! {
    /// Whatever is taken is one head to the codec of HTTP/1.1, of the same fields, or refused by it.
    #[test]
    fn a_head_that_is_taken_is_one_head(fields in vec(("[a-z\\-]{1,8}", "[ -~\r\n\0]{0,12}"), 0..6)) {
        let named: Vec<_> =
            GET.into_iter().chain(fields.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect();
        if let Ok(text) = text(&named, Content::None) {
            let mut head = RequestHead::default();
            if let Ok(parsed) = head.parse(text.as_bytes()) {
                prop_assert_eq!(parsed, Some(text.len()));
            }
        }
    }

    #[test]
    fn any_section_is_read_or_refused_and_its_text_is_bounded(section in vec(any::<u8>(), 0..300)) {
        let mut out = Vec::new();
        if let Ok(head) = RequestText::read(&mut out, &section) {
            head.end(&mut out, Content::Some);
            prop_assert!(out.len() <= MAX_TEXT);
        }
        let _ = trailer_text(&mut Vec::new(), &section);
    }

    /// How a stream comes in pieces makes no difference.
    #[test]
    fn any_stream_is_taken_apart_the_same_in_any_pieces(stream in vec(any::<u8>(), 0..200), size in 1usize..20) {
        prop_assert_eq!(events(&stream, stream.len().max(1)), events(&stream, size));
    }
}

/// Sections as they are, and content in one piece.
fn events(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Vec<u8>, Option<Wrong>) {
    let mut frames = Frames::default();
    let (mut sections, mut content) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        let mut piece = Bytes::copy_from_slice(piece);
        loop {
            match frames.take(&mut piece) {
                Ok(Some(Event::Section(section))) => sections.push(section),
                Ok(Some(Event::Data(data))) => content.extend_from_slice(&data),
                Ok(None) => break,
                Err(wrong) => return (sections, content, Some(wrong)),
            }
        }
    }
    (sections, content, frames.end().err())
}

#[test]
fn a_stream_is_a_head_content_and_trailers_with_unknown_frames_between() {
    let stream = [
        &[0x21, 3][..],
        b"any",
        &[1, 2],
        b"hd",
        &[0, 3],
        b"con",
        &[0x40, 0x21, 0],
        &[0, 4],
        b"tent",
        &[1, 1],
        b"t",
        &[0x21, 0],
    ]
    .concat();
    for size in 1..=stream.len() {
        let (sections, content, wrong) = events(&stream, size);
        assert_eq!(
            (sections, content, wrong),
            (vec![b"hd".to_vec(), b"t".to_vec()], b"content".to_vec(), None)
        );
    }
}

#[test]
fn frames_that_must_not_come_are_refused_each_for_its_reason() {
    let connection = |code| Some(Wrong::Connection(code));
    let long_head = [1, 0x80, 1, 0, 1];
    let empty_data = [&[1, 0][..], &[0, 0].repeat(65)].concat();
    let unknown = [1, 0, 0x21, 0x80, 1, 0, 1];
    // Each frame with content earns one, and none beyond those that there are at first.
    let spent = [&[1, 0][..], &[0, 1, b'x'].repeat(100), &[0, 0].repeat(65)].concat();
    let cases: [(&[u8], Option<Wrong>); 17] = [
        (&[0, 0], connection(Code::FrameUnexpected)),
        (&[1, 0, 1, 0, 1, 0], connection(Code::FrameUnexpected)),
        (&[1, 0, 1, 0, 0, 0], connection(Code::FrameUnexpected)),
        (&[1, 0, 4, 0], connection(Code::FrameUnexpected)),
        (&[1, 0, 5, 0], connection(Code::FrameUnexpected)),
        (&[7, 1, 0], connection(Code::FrameUnexpected)),
        (&[13, 1, 0], connection(Code::FrameUnexpected)),
        (&[3, 1, 0], connection(Code::FrameUnexpected)),
        (&[2, 0], connection(Code::FrameUnexpected)),
        (&[9, 0], connection(Code::FrameUnexpected)),
        (&[], Some(Wrong::Stream(Code::RequestIncomplete))),
        (&[1, 2, 0], connection(Code::FrameError)),
        (&[1, 0, 0], connection(Code::FrameError)),
        (&long_head, Some(Wrong::Message(Fault::HeadTooLong))),
        (&empty_data, connection(Code::ExcessiveLoad)),
        (&unknown, connection(Code::ExcessiveLoad)),
        (&spent, connection(Code::ExcessiveLoad)),
    ];
    for (stream, expected) in cases {
        assert_eq!(events(stream, 100).2, expected, "{stream:?}");
    }
}

#[test]
fn content_earns_frames_that_bring_nothing_forward() {
    // An empty DATA frame behind each piece, as of a server that flushes; a frame of an unknown kind as long as the content.
    let content = [&[0, 0x44, 0][..], &[b'x'; 1024]].concat();
    let grease = [&[0x21, 0x44, 0][..], &[0; 1024]].concat();
    let stream = [vec![1, 0], [&content[..], &[0, 0], &content, &grease].concat().repeat(1000)].concat();
    let (_, content, wrong) = events(&stream, 1200);
    assert_eq!((content.len(), wrong), (2 * 1024 * 1000, None));
}
