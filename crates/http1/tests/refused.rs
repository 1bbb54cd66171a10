//! Tables of bytes that are refused, each with its reason. Written by hand from the RFCs.

use proxima_http1::{Body, Fault, Framing, Method, RequestHead, ResponseHead};

fn request(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    RequestHead::default().parse(bytes)
}

fn response(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    ResponseHead::default().parse(bytes, Method::Get)
}

fn chunks(bytes: &[u8]) -> Result<bool, Fault> {
    let mut body = Body::new(Framing::Chunked, true);
    let mut rest = bytes;
    while !rest.is_empty() && !body.is_complete() {
        rest = &rest[body.stretch(rest)?.length()..];
    }
    Ok(body.is_complete())
}

/// The same, when every octet comes in a segment of its own.
fn octet_by_octet(bytes: &[u8]) -> Result<bool, Fault> {
    let mut body = Body::new(Framing::Chunked, true);
    for octet in bytes {
        body.stretch(std::slice::from_ref(octet))?;
    }
    Ok(body.is_complete())
}

#[test]
fn ambiguous_or_malformed_requests_are_refused() {
    use Fault as F;
    let table: &[(&[u8], Fault)] = &[
        (b"GET / HTTP/1.1\nHost: a\n\n", F::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", F::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\nY: c\r\n\r\n", F::BareLf),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", F::BareLf),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", F::BareLf),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", F::RequestLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", F::BareCr),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", F::BareCr),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", F::Nul),
        (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", F::Nul),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", F::ObsFold),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", F::ObsFold),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", F::ObsFold),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", F::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 3\r\n\r\n", F::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", F::FieldLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", F::FieldLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\x80: b\r\n\r\n", F::FieldLine),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x07\r\n\r\n", F::FieldLine),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", F::RequestLine),
        (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", F::RequestLine),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", F::RequestLine),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", F::RequestLine),
        (b"GET /\r\n\r\n", F::RequestLine),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", F::Nul),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", F::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", F::Version),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", F::Version),
        (b"GET / http/1.1\r\nHost: a\r\n\r\n", F::RequestLine),
        (b"GET / HTTP/1.1\r\n\r\n", F::MissingHost),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", F::RepeatedHost),
        (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: :\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", F::Host),
        (b"GET / HTTP/1.1\r\nHost: \"a\"\r\n\r\n", F::Host),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", F::HostMismatch),
        (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", F::HostMismatch),
        (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET http://:80/x HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", F::Target),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", F::Connect),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            F::LengthAndCoding,
        ),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
            F::LengthAndCoding,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", F::RepeatedLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", F::RepeatedLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", F::RepeatedLength),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n", F::Length),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", F::Coding),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", F::Coding),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            F::Coding,
        ),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", F::UnknownCoding),
        (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", F::CodingInOldVersion),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", F::Expectation),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", F::TraceBody),
    ];
    for (bytes, fault) in table {
        assert_eq!(request(bytes), Err(*fault), "{}", bytes.escape_ascii());
    }
}

#[test]
fn statuses_say_what_kind_of_refusal_it_is() {
    for (fault, status) in [
        (Fault::LengthAndCoding, 400),
        (Fault::TargetTooLong, 414),
        (Fault::Expectation, 417),
        (Fault::HeadTooLong, 431),
        (Fault::TooManyFields, 431),
        (Fault::UnknownCoding, 501),
        (Fault::Connect, 501),
        (Fault::Version, 505),
    ] {
        assert_eq!(fault.status(), status);
    }
}

#[test]
fn heads_beyond_the_limits_are_refused_while_they_arrive() {
    let fields = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(proxima_http1::MAX_FIELDS));
    assert_eq!(request(fields.as_bytes()), Err(Fault::TooManyFields));
    let fields =
        format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(proxima_http1::MAX_FIELDS - 1));
    assert_eq!(request(fields.as_bytes()), Ok(Some(fields.len())));

    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(proxima_http1::MAX_HEAD));
    assert_eq!(request(&long.as_bytes()[..proxima_http1::MAX_HEAD - 1]), Ok(None));
    assert_eq!(request(&long.as_bytes()[..proxima_http1::MAX_HEAD]), Err(Fault::HeadTooLong));

    let target = format!("GET /{}", "y".repeat(proxima_http1::MAX_TARGET + 8));
    assert_eq!(request(target.as_bytes()), Err(Fault::TargetTooLong));
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(proxima_http1::MAX_TARGET));
    assert_eq!(request(target.as_bytes()), Err(Fault::TargetTooLong));
}

#[test]
fn unusual_but_good_requests_are_accepted() {
    let table: &[&[u8]] = &[
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:a:8080\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \t [2001:db8::1]:80 \t\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://a HTTP/1.1\r\nHost: A\r\n\r\n",
        b"GET HTTPS://a:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PURGE /x HTTP/1.1\r\nhOST: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\xf6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
    ];
    for bytes in table {
        assert_eq!(request(bytes), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
    }
}

#[test]
fn malformed_responses_are_refused() {
    use Fault as F;
    let table: &[(&[u8], Fault)] = &[
        (b"HTTP/1.1 200 OK\nA: b\n\n", F::BareLf),
        (b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", F::ObsFold),
        (b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", F::SpaceBeforeColon),
        (b"HTTP/1.1 99 Low\r\n\r\n", F::StatusLine),
        (b"HTTP/1.1 099 Low\r\n\r\n", F::StatusLine),
        (b"HTTP/1.1 2000 High\r\n\r\n", F::StatusLine),
        (b"HTTP/2.0 200 OK\r\n\r\n", F::Version),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", F::StatusLine),
        (b"hello", F::StatusLine),
        (b"HTTP/1.1 101 Switching\r\n\r\n", F::Upgrade),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", F::RepeatedLength),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", F::LengthAndCoding),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", F::Coding),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", F::CodingInOldVersion),
    ];
    for (bytes, fault) in table {
        assert_eq!(response(bytes), Err(*fault), "{}", bytes.escape_ascii());
    }
}

#[test]
fn broken_chunks_are_refused() {
    use Fault as F;
    let table: &[(&[u8], Fault)] = &[
        (b"\r\n", F::ChunkSize),
        (b"g\r\n", F::ChunkSize),
        (b"0x5\r\nhello\r\n", F::ChunkSize),
        (b" 5\r\nhello\r\n", F::ChunkSize),
        (b"5 \r\nhello\r\n", F::ChunkSize),
        (b"5 ;a\r\nhello\r\n", F::ChunkSize),
        (b"-5\r\nhello\r\n", F::ChunkSize),
        (b";a=b\r\n", F::ChunkSize),
        (b"5\nhello\r\n", F::BareLf),
        (b"5\rhello\r\n", F::BareCr),
        (b"5;a\nhello\r\n", F::BareLf),
        (b"5;a\rhello\r\n", F::BareCr),
        (b"5;a\0\r\nhello\r\n", F::ChunkExtension),
        (b"5;a\x7f\r\nhello\r\n", F::ChunkExtension),
        (b"5;a\0b\nhello\r\n", F::ChunkExtension),
        (b"5;a\nb\0hello\r\n", F::BareLf),
        (b"10000000000000000\r\n", F::ChunkOverflow),
        (b"00000000000000005\r\nhello\r\n", F::ChunkOverflow),
        (b"fffffffffffffffff\r\n", F::ChunkOverflow),
        (b"5\r\nhelloX\r\n", F::ChunkEnd),
        (b"5\r\nhello\n0\r\n", F::ChunkEnd),
        (b"5\r\nhello\rX", F::ChunkEnd),
        (b"0\r\n\rX", F::BareCr),
        (b"0\r\nX: y\n\r\n", F::BareLf),
        (b"0\r\nX : y\r\n\r\n", F::Trailer),
        (b"0\r\n X: y\r\n\r\n", F::Trailer),
        (b"0\r\nX: y\r\n z\r\n\r\n", F::Trailer),
        (b"0\r\nX: \0\r\n\r\n", F::Trailer),
        (b"0\r\nContent-Length: 5\r\n\r\n", F::UnsafeTrailer),
        (b"0\r\ntransfer-encoding: chunked\r\n\r\n", F::UnsafeTrailer),
        (b"0\r\nX: y\r\nHOST: b\r\n\r\n", F::UnsafeTrailer),
        (b"0\r\nAuthorization: b\r\n\r\n", F::UnsafeTrailer),
    ];
    for (bytes, fault) in table {
        assert_eq!(chunks(bytes), Err(*fault), "{}", bytes.escape_ascii());
        assert_eq!(octet_by_octet(bytes), Err(*fault), "{}, octet by octet", bytes.escape_ascii());
    }
}

#[test]
fn chunk_extensions_and_trailers_have_limits() {
    let long = format!("1;{}\r\nx\r\n", "e".repeat(300));
    assert_eq!(chunks(long.as_bytes()), Err(Fault::ChunkExtension));
    let many = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(100);
    assert_eq!(chunks(many.as_bytes()), Err(Fault::ChunkExtension));
    let paid = format!("100;{}\r\n{}\r\n", "e".repeat(200), "x".repeat(256)).repeat(1000) + "0\r\n\r\n";
    assert_eq!(chunks(paid.as_bytes()), Ok(true));
    let trailers = format!("0\r\nX: {}\r\n\r\n", "y".repeat(proxima_http1::MAX_TRAILERS));
    assert_eq!(chunks(trailers.as_bytes()), Err(Fault::TrailersTooLong));
}
