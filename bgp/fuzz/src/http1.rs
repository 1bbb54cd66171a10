//! What holds for whatever a client or an upstream sends before a body.
//!
//! - No octets make a decoder panic, and no head is longer than it may be.
//! - Where a head ends, and what is wrong with it, does not depend on how its octets arrive.
//! - A head that is passed on is one that we would accept, with the same body after it: nothing in it can be read in two
//!   ways, which is what request smuggling lives on.

use std::net::{IpAddr, Ipv4Addr};

use proxima_http1::{
    ConnectionOption, Fault, Hop, MAX_FIELDS, MAX_HEAD, Method, RequestHead, ResponseHead, write_request,
    write_response,
};

/// The target `http1`: the first octet says whether a request or a response to which method follows.
pub fn heads(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 | 1 => request(bytes),
        2 => response(bytes, Method::Get),
        _ => response(bytes, Method::Head),
    }
}

fn request(bytes: &[u8]) {
    let mut head = RequestHead::default();
    let whole = head.parse(bytes);
    does_not_depend_on_what_has_arrived(bytes, &whole, |start| RequestHead::default().parse(start));
    let Ok(Some(length)) = whole else { return };
    assert!(length <= MAX_HEAD.min(bytes.len()));
    let _ = (head.host(bytes), head.path(bytes), head.method_name(bytes), head.expects_continue());
    let mut passed_on = Vec::new();
    write_request(&mut passed_on, &head, bytes, &edge());
    let mut read = RequestHead::default();
    match read.parse(&passed_on) {
        Ok(Some(end)) => {
            assert_eq!(end, passed_on.len());
            assert_eq!(read.framing(), head.framing());
            assert_eq!(read.method(), head.method());
            assert_eq!(read.path(&passed_on), head.path(bytes));
        }
        Err(fault) => assert!(nearly_too_long(&bytes[..length]), "{fault:?}"),
        Ok(None) => panic!("a head without an end: {}", passed_on.escape_ascii()),
    }
}

fn response(bytes: &[u8], method: Method) {
    let mut head = ResponseHead::default();
    let whole = head.parse(bytes, method);
    does_not_depend_on_what_has_arrived(bytes, &whole, |start| ResponseHead::default().parse(start, method));
    let Ok(Some(length)) = whole else { return };
    assert!(length <= MAX_HEAD.min(bytes.len()));
    assert!((100..1000).contains(&head.status()));
    let _ = head.is_interim();
    for keeps_chunks in [false, true] {
        let mut passed_on = Vec::new();
        write_response(&mut passed_on, &head, bytes, &edge(), ConnectionOption::Omit, keeps_chunks);
        let mut read = ResponseHead::default();
        match read.parse(&passed_on, method) {
            Ok(Some(end)) => {
                assert_eq!(end, passed_on.len());
                assert_eq!(read.status(), head.status());
                assert!(!keeps_chunks || read.framing() == head.framing(), "{:?}", passed_on.escape_ascii());
            }
            Err(fault) => assert!(nearly_too_long(&bytes[..length]), "{fault:?}"),
            Ok(None) => panic!("a head without an end: {}", passed_on.escape_ascii()),
        }
    }
}

fn edge() -> Hop {
    Hop::new("edge", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), "http")
}

/// Whether the fields that we add may be too many.
fn nearly_too_long(head: &[u8]) -> bool {
    head.len() > MAX_HEAD - 512 || head.split(|octet| *octet == b'\n').count() > MAX_FIELDS - 8
}

fn does_not_depend_on_what_has_arrived(
    bytes: &[u8],
    whole: &Result<Option<usize>, Fault>,
    parse: impl Fn(&[u8]) -> Result<Option<usize>, Fault>,
) {
    let end = whole.ok().flatten().unwrap_or(bytes.len());
    for arrived in [end / 4, end / 2, end.saturating_sub(2), end.saturating_sub(1), end] {
        let partly = parse(&bytes[..arrived]);
        // An earlier octet may be wrong in another way than what it turns out to be part of.
        let alike = partly == *whole || partly.is_err() && whole.is_err();
        assert!(partly == Ok(None) || alike, "{partly:?} after {arrived} octets, then {whole:?}");
    }
}
