//! What holds for every input: no panic, no difference by how the bytes are split, and agreement with a
//! decoder that is too simple to be wrong.

#![allow(clippy::unwrap_used, clippy::format_push_string, reason = "test helpers")]

use proptest::prelude::*;
use proxima_http1::{Body, Fault, Framing, Hop, Method, RequestHead, ResponseHead, write_request};

/// Decodes a chunked body held whole in memory: the content, the trailer section, and how long it was.
fn naive(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let line = at + bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let text = std::str::from_utf8(&bytes[at..line]).ok()?;
        let size = usize::from_str_radix(text.split(';').next()?, 16).ok()?;
        at = line + 2;
        if size == 0 {
            break;
        }
        content.extend_from_slice(bytes.get(at..at + size)?);
        (bytes.get(at + size..at + size + 2)? == b"\r\n").then_some(())?;
        at += size + 2;
    }
    while bytes.get(at..at + 2)? != b"\r\n" {
        at += bytes[at..].windows(2).position(|two| two == b"\r\n")? + 2;
    }
    Some((content, at + 2))
}

/// Feeds `bytes` in pieces that end at `cuts`: what was passed on, how much was consumed, and the fault.
fn fed(bytes: &[u8], cuts: &[usize], keeps_chunks: bool) -> (Vec<u8>, usize, Option<Fault>, bool) {
    let mut body = Body::new(Framing::Chunked, keeps_chunks);
    let (mut out, mut consumed) = (Vec::new(), 0);
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        while consumed < end && !body.is_complete() {
            match body.stretch(&bytes[consumed..end]) {
                Ok(stretch) => {
                    assert!(stretch.length() > 0);
                    out.extend_from_slice(stretch.forwarded(&bytes[consumed..end]));
                    consumed += stretch.length();
                }
                Err(fault) => return (out, consumed, Some(fault), false),
            }
        }
    }
    out.extend_from_slice(body.trailers());
    (out, consumed, None, body.is_complete())
}

fn chunk() -> impl Strategy<Value = Vec<u8>> {
    (
        prop::collection::vec(any::<u8>(), 1..40),
        prop::option::of("[a-z=\" \t]{0,8}"),
        any::<bool>(),
        0usize..3,
    )
        .prop_map(|(data, extension, upper, zeros)| {
            let size = if upper { format!("{:X}", data.len()) } else { format!("{:x}", data.len()) };
            let extension = extension.map(|text| format!(";{text}")).unwrap_or_default();
            let mut chunk = format!("{}{size}{extension}\r\n", "0".repeat(zeros)).into_bytes();
            chunk.extend(data);
            chunk.extend(b"\r\n");
            chunk
        })
}

fn chunked_body() -> impl Strategy<Value = Vec<u8>> {
    let trailers = prop::collection::vec("X-[a-z]{1,5}: [a-z ]{0,5}[a-z]", 0..3);
    (prop::collection::vec(chunk(), 0..6), trailers, prop::collection::vec(any::<u8>(), 0..9)).prop_map(
        |(chunks, trailers, behind)| {
            let mut bytes = chunks.concat();
            bytes.extend(b"0\r\n");
            for trailer in trailers {
                bytes.extend(format!("{trailer}\r\n").bytes());
            }
            bytes.extend(b"\r\n");
            bytes.extend(behind);
            bytes
        },
    )
}

/// Bytes that often are nearly a head.
fn headlike() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n"[..]),
        Just(&b"POST http://a/b HTTP/1.0\r\n"[..]),
        Just(&b"HTTP/1.1 200 OK\r\n"[..]),
        Just(&b"Host: a\r\n"[..]),
        Just(&b"Content-Length: 5\r\n"[..]),
        Just(&b"Transfer-Encoding: chunked\r\n"[..]),
        Just(&b"Connection: x, close\r\n"[..]),
        Just(&b"X-Forwarded-For: 1\r\n"[..]),
        Just(&b"X: "[..]),
        Just(&b"\r\n"[..]),
        Just(&b"\n"[..]),
        Just(&b"\r"[..]),
        Just(&b" "[..]),
        Just(&b":"[..]),
        Just(&b"\0"[..]),
        Just(&b"\xff"[..]),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn the_decoder_agrees_with_a_naive_one_however_the_bytes_are_split(
        bytes in chunked_body(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        let (content, length) = naive(&bytes).expect("the generator makes good bodies");
        let (bare, consumed, fault, complete) = fed(&bytes, &cuts, false);
        prop_assert_eq!((fault, complete, consumed), (None, true, length));
        prop_assert_eq!(&bare, &content);
        let (chunked, consumed, fault, complete) = fed(&bytes, &cuts, true);
        prop_assert_eq!((fault, complete, consumed), (None, true, length));
        prop_assert_eq!(naive(&chunked), Some((content, chunked.len())), "what is passed on is a body of the same content");
        prop_assert!(!chunked[..].windows(2).any(|two| two == b";=") || bytes.windows(2).any(|two| two == b";="));
    }

    #[test]
    fn broken_chunks_fail_alike_however_they_are_split(
        mut bytes in chunked_body(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<usize>(), 0..12),
    ) {
        *at.get_mut(&mut bytes) = byte;
        let (whole, _, fault, complete) = fed(&bytes, &[], true);
        let (split, _, split_fault, split_complete) = fed(&bytes, &cuts, true);
        prop_assert_eq!((fault, complete), (split_fault, split_complete));
        if fault.is_none() {
            prop_assert_eq!(whole, split);
        }
    }

    #[test]
    fn a_head_is_complete_or_refused_by_what_it_is_not_by_how_it_arrives(bytes in headlike()) {
        let mut head = RequestHead::default();
        let whole = head.parse(&bytes);
        for end in 0..bytes.len() {
            match head.parse(&bytes[..end]) {
                Ok(None) => {}
                Ok(Some(length)) => {
                    prop_assert_eq!(whole, Ok(Some(length)));
                    break;
                }
                Err(_) => {
                    prop_assert!(whole.is_err());
                    break;
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), near in headlike()) {
        for bytes in [&bytes, &near] {
            let mut head = RequestHead::default();
            if let Ok(Some(_)) = head.parse(bytes) {
                let _ = proxima_http1::match_path(head.path(bytes));
                head.host(bytes);
            }
            let _ = ResponseHead::default().parse(bytes, Method::Get);
            let _ = proxima_http1::match_path(bytes);
            fed(bytes, &[], true);
        }
    }

    #[test]
    fn what_is_sent_on_reads_back_with_the_same_meaning(
        names in prop::collection::vec("[A-Za-z][A-Za-z-]{0,8}", 0..8),
        values in prop::collection::vec("[ -~]{0,12}", 8),
        connection in prop::collection::vec("[A-Za-z-]{1,8}", 0..3),
        target in "/[a-z/?=&%.]{0,20}",
        length in prop::option::of(0u64..1000),
    ) {
        let mut text = format!("POST {target} HTTP/1.1\r\nHost: h.example\r\nConnection: {}\r\n", connection.join(","));
        for (name, value) in names.iter().zip(&values) {
            text += &format!("X{name}: {value}\r\n");
        }
        if let Some(length) = length {
            text += &format!("Content-Length: {length}\r\n");
        }
        text += "\r\n";
        let mut head = RequestHead::default();
        prop_assert_eq!(head.parse(text.as_bytes()), Ok(Some(text.len())));
        let mut out = Vec::new();
        write_request(&mut out, &head, text.as_bytes(), &Hop::new("fra1", [192, 0, 2, 1].into(), "http"));
        let mut again = RequestHead::default();
        prop_assert_eq!(again.parse(&out), Ok(Some(out.len())));
        prop_assert_eq!(again.framing(), head.framing());
        prop_assert_eq!(again.host(&out), head.host(text.as_bytes()));
        prop_assert_eq!(again.path(&out), head.path(text.as_bytes()));
        prop_assert!(again.keeps_alive());
    }
}
