//! The same octets to our codec and to hyper: what we accept, hyper reads the same, and what only hyper accepts is listed.
//!
//! A difference in what two parsers make of the same octets is what request smuggling lives on. So each input is followed by
//! another request: that hyper finds it shows that both see the end of the first in the same place.

#![allow(clippy::unwrap_used, reason = "tests")]

mod inputs;
mod oracle;

use std::{collections::BTreeMap, fs, path::PathBuf};

use proptest::{prelude::*, test_runner::RngSeed};
use proxima_http1::{Body, Fault, MAX_HEAD, MAX_TARGET, RequestHead, field_lines};

use self::oracle::Theirs;

/// A whole request as one of the two understands it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Message {
    method: String,
    /// Path and query.
    target: String,
    /// By name in lower case, each with its values in their order.
    fields: BTreeMap<String, Vec<Vec<u8>>>,
    content: Vec<u8>,
    trailers: BTreeMap<String, Vec<Vec<u8>>>,
}

/// What we make of `bytes`: a request and how much it takes, nothing when it is not whole, or what is wrong.
fn ours(bytes: &[u8]) -> Result<Option<(Message, usize, bool)>, Fault> {
    let mut head = RequestHead::default();
    let Some(length) = head.parse(bytes)? else { return Ok(None) };
    let section = bytes[..length].iter().position(|byte| *byte == b'\n').map_or(length, |end| end + 1);
    let mut message = Message {
        method: String::from_utf8(head.method_name(bytes).to_vec()).unwrap(),
        target: String::from_utf8(head.path_and_query(bytes).to_vec()).unwrap(),
        fields: by_name(&bytes[section..length]),
        ..Message::default()
    };
    let (mut body, mut at) = (Body::new(head.framing(), false), length);
    while !body.is_complete() {
        if at == bytes.len() {
            return Ok(None);
        }
        let stretch = body.stretch(&bytes[at..])?;
        message.content.extend_from_slice(stretch.forwarded(&bytes[at..]));
        at += stretch.length();
    }
    message.trailers = by_name(body.trailer_section());
    Ok(Some((message, at, head.keeps_alive())))
}

fn by_name(section: &[u8]) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in field_lines(section) {
        let name = String::from_utf8(name.to_ascii_lowercase()).unwrap();
        fields.entry(name).or_default().push(value.to_vec());
    }
    fields
}

const NEXT: &[u8] = b"GET /the-next-one HTTP/1.1\r\nHost: next\r\nConnection: close\r\n\r\n";

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Same,
    /// Hyper accepts it.
    OnlyTheirs(Fault),
    /// Hyper refuses it, as its `Uri` takes fewer characters.
    OnlyOurs,
    Neither,
}

/// Compares, and panics where both accept and do not read the same.
fn compare(bytes: &[u8]) -> Outcome {
    let ours = ours(bytes);
    match ours {
        Ok(Some((message, length, goes_on))) => {
            let theirs = oracle::read(&[&bytes[..length], NEXT].concat());
            let shown = bytes[..length].escape_ascii().to_string();
            let Some(first) = theirs.first() else {
                assert!(is_no_uri(&message), "hyper refuses what we accept: {shown}");
                return Outcome::OnlyOurs;
            };
            let closes_unseen = hides_close(&message);
            assert_eq!(*first, Theirs::Whole(message), "{shown}");
            let next = theirs.get(1).map(|next| match next {
                Theirs::Whole(message) => message.target.as_str(),
                Theirs::Broken => "broken",
            });
            let expected = (goes_on || closes_unseen && next.is_some()).then_some("/the-next-one");
            assert_eq!(next, expected, "where it ends: {shown}");
            Outcome::Same
        }
        Ok(None) => Outcome::Neither,
        Err(fault) => match oracle::read(bytes).first() {
            Some(Theirs::Whole(_)) => Outcome::OnlyTheirs(fault),
            Some(Theirs::Broken) | None => Outcome::Neither,
        },
    }
}

/// Characters that `http::Uri` does not take in a path or query, and in a query. We pass them on as they came: a backend that
/// refuses them reads nothing into them.
const NO_URI: &[u8] = b"<>`";
const NO_QUERY: u8 = b'"';

fn is_no_uri(message: &Message) -> bool {
    let query = message.target.split_once('?').map_or("", |(_, query)| query);
    message.target.bytes().any(|byte| NO_URI.contains(&byte)) || query.bytes().any(|byte| byte == NO_QUERY)
}

/// Octets beyond ASCII in `Connection`, for which hyper does not see that the connection is to close. We do.
fn hides_close(message: &Message) -> bool {
    let values = message.fields.get("connection").map_or(&[][..], Vec::as_slice);
    values.iter().any(|value| !value.is_ascii())
}

/// What hyper accepts and we don't, each with why; docs of [`Fault`] name the RFC.
const STRICTER: [(&str, &[u8], Fault); 25] = [
    ("lines that end in LF", b"GET / HTTP/1.1\nHost: a\n\n", Fault::BareLf),
    ("one that does", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Fault::BareLf),
    ("an empty line of LF in front", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fault::BareLf),
    ("no Host", b"GET / HTTP/1.1\r\n\r\n", Fault::MissingHost),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Fault::RepeatedHost),
    ("a Host with user information", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Fault::Host),
    ("a Host unlike the target", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::HostMismatch),
    ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Fault::Connect),
    (
        "both framings",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Fault::LengthAndCoding,
    ),
    (
        "both, the other way round",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        Fault::LengthAndCoding,
    ),
    (
        "a length twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        Fault::RepeatedLength,
    ),
    (
        "a length that is no number beside chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: +1\r\n\r\n0\r\n\r\n",
        Fault::Length,
    ),
    (
        "codings before chunked",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        Fault::UnknownCoding,
    ),
    (
        "chunked twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        Fault::Coding,
    ),
    (
        "an expectation nobody knows",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: the-worst\r\n\r\n",
        Fault::Expectation,
    ),
    ("TRACE with a body", b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", Fault::TraceBody),
    ("an absolute target of another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("an asterisk that is no OPTIONS", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("a fragment", b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
    ("the form of CONNECT without it", b"GET a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", Fault::Target),
    (
        "space behind a chunk's size",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\nx\r\n0\r\n\r\n",
        Fault::ChunkSize,
    ),
    (
        "control characters in a chunk's extension",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;\0\r\nx\r\n0\r\n\r\n",
        Fault::ChunkExtension,
    ),
    (
        "a chunk's size of many digits",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000001\r\nx\r\n0\r\n\r\n",
        Fault::ChunkOverflow,
    ),
    (
        "trailers that frame",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
        Fault::UnsafeTrailer,
    ),
    ("octets beyond ASCII in a target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", Fault::Target),
];

/// Whether a fault is one of [`STRICTER`].
fn is_listed(fault: Fault) -> bool {
    STRICTER.iter().any(|(_, _, listed)| *listed == fault)
}

#[test]
fn what_only_hyper_accepts_is_listed_class_by_class() {
    for (class, bytes, fault) in STRICTER {
        assert_eq!(compare(bytes), Outcome::OnlyTheirs(fault), "{class}");
    }
}

#[test]
fn hyper_takes_longer_heads_and_targets() {
    let long = |head: &str, more: usize| {
        format!("GET /{head} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(more))
    };
    let target = long(&"x".repeat(MAX_TARGET), 0);
    assert_eq!(compare(target.as_bytes()), Outcome::OnlyTheirs(Fault::TargetTooLong));
    assert_eq!(compare(long("", MAX_HEAD).as_bytes()), Outcome::OnlyTheirs(Fault::HeadTooLong));
}

#[test]
fn what_only_we_accept_are_a_few_characters_in_targets() {
    let refused = (0x21..0x7f).filter(|byte: &u8| {
        let request = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", char::from(*byte));
        compare(request.as_bytes()) == Outcome::OnlyOurs
    });
    assert_eq!(refused.collect::<Vec<u8>>().escape_ascii().to_string(), NO_URI.escape_ascii().to_string());
}

#[test]
fn what_both_accept_they_read_the_same() {
    for bytes in inputs::GOOD {
        assert_eq!(compare(bytes), Outcome::Same, "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_seeds_of_the_fuzzer_are_read_the_same_or_refused_for_a_listed_reason() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bgp/fuzz/corpus/http1");
    let mut accepted = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        // The first octet says what follows.
        let Some((_, bytes)) = bytes.split_first() else { continue };
        match compare(bytes) {
            Outcome::Same => accepted += 1,
            Outcome::OnlyTheirs(fault) => {
                assert!(is_listed(fault), "{fault:?} of {}", bytes.escape_ascii());
            }
            Outcome::OnlyOurs | Outcome::Neither => {}
        }
    }
    assert!(accepted > 0);
}

/// The same requests in each run; others, and more, with `PROPTEST_CASES`.
fn search() -> ProptestConfig {
    if std::env::var_os("PROPTEST_CASES").is_some() {
        return ProptestConfig::default();
    }
    ProptestConfig { cases: 2048, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(search())]

    #[test]
    fn any_request_is_read_the_same_or_refused_for_a_listed_reason(bytes in inputs::request()) {
        if let Outcome::OnlyTheirs(fault) = compare(&bytes) {
            prop_assert!(is_listed(fault), "{:?} of {}", fault, bytes.escape_ascii());
        }
    }

    #[test]
    fn sound_requests_are_read_the_same(bytes in inputs::sound_request()) {
        prop_assert_eq!(compare(&bytes), Outcome::Same, "{}", bytes.escape_ascii());
    }
}
