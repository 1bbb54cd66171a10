//! Requests that must not be forwarded, and what became of each.

use std::fmt;

use super::{
    client::{Answer, exchange},
    programs::{HAPROXY, NGINX, PROXIMAD, Ports, Programs},
    recorder::Record,
    shown,
};
use crate::error::{Error, Result};

/// Why, the octets, and the status of our answer.
type Case = (&'static str, Vec<u8>, u16);

/// What one proxy did with one request.
#[derive(Debug)]
struct Outcome {
    answer: Answer,
    /// Octets of it that came to the app.
    forwarded: Vec<u8>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let forwarded = if self.forwarded.is_empty() { "" } else { ", **forwarded**" };
        write!(f, "{}{forwarded}", self.answer)
    }
}

/// A request with its outcomes.
#[derive(Debug)]
pub(super) struct Row {
    why: &'static str,
    request: Vec<u8>,
    status: u16,
    proximad: Outcome,
    nginx: Outcome,
    haproxy: Outcome,
}

impl Row {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { why, request, status, proximad, .. } = self;
        let as_it_should = proximad.answer.statuses() == [*status] && proximad.answer.closed;
        (!as_it_should || !proximad.forwarded.is_empty()).then(|| {
            format!("{why}: {} has to get {status} and not be forwarded; it got {proximad}", shown(request))
        })
    }

    /// A line of the table in the documentation.
    pub(super) fn markdown(&self) -> String {
        let Self { why, request, proximad, nginx, haproxy, .. } = self;
        format!("| {why} | {} | {proximad} | {nginx} | {haproxy} |\n", shown(request))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { why, proximad, nginx, haproxy, .. } = self;
        let [proximad, nginx] = [proximad, nginx].map(ToString::to_string);
        write!(f, "{why:<44} proximad {proximad:<14} nginx {nginx:<24} HAProxy {haproxy}")
    }
}

/// Sends them all, one after the other.
pub(super) fn run(programs: &Programs) -> Result<Vec<Row>> {
    cases()
        .into_iter()
        .map(|(why, request, status)| {
            Ok(Row {
                why,
                status,
                proximad: outcome(PROXIMAD, &programs.proximad, &request)?,
                nginx: outcome(NGINX, &programs.nginx, &request)?,
                haproxy: outcome(HAPROXY, &programs.haproxy, &request)?,
                request,
            })
        })
        .collect()
}

fn outcome(ports: Ports, record: &Record, request: &[u8]) -> Result<Outcome> {
    const LAST: &[u8] = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let send =
        |bytes| exchange(ports.proxy, bytes).map_err(Error::io(format!("talking to port {}", ports.proxy)));
    let answer = send(request)?;
    // When the app has this one, it has all that was to come of the one before.
    let last = send(LAST)?;
    if last.statuses() != [200] {
        return Err(Error::Claim(format!(
            "after {} port {} does not serve: {last}",
            shown(request),
            ports.proxy
        )));
    }
    let mut forwarded = record.take();
    if let Some(at) = forwarded.windows(9).position(|window| window == b"GET /last") {
        forwarded.truncate(at);
    }
    Ok(Outcome { answer, forwarded })
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes();
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let raw = |bytes: &[u8]| bytes.to_vec();
    vec![
        ("Content-Length and Transfer-Encoding", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("Transfer-Encoding and Content-Length", post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"), 400),
        ("two lengths that differ", post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab"), 400),
        ("two lengths that agree", post("Content-Length: 2\r\nContent-Length: 2\r\n", "ab"), 400),
        ("a list of lengths", post("Content-Length: 2, 2\r\n", "ab"), 400),
        ("a length with a sign", post("Content-Length: +2\r\n", "ab"), 400),
        ("a negative length", post("Content-Length: -1\r\n", ""), 400),
        ("a hexadecimal length", post("Content-Length: 0x2\r\n", "ab"), 400),
        ("a length beyond 64 bits", post("Content-Length: 18446744073709551618\r\n", "ab"), 400),
        ("an empty length", post("Content-Length:\r\n", ""), 400),
        ("an unknown coding", post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 400),
        ("a coding after chunked", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"), 400),
        ("a coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400),
        ("chunked in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("chunked in quotes", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400),
        ("chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400),
        ("chunked behind a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"), 400),
        ("an empty coding", post("Transfer-Encoding:\r\n", ""), 400),
        ("chunked in HTTP/1.0", raw(b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("a space before the colon", post("Content-Length : 2\r\n", "ab"), 400),
        ("a tab before the colon", post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"), 400),
        ("a folded field", get("X: a\r\n b\r\n"), 400),
        ("a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400),
        ("a first field that is folded", raw(b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"), 400),
        ("a field without a colon", get("nonsense\r\n"), 400),
        ("a field without a name", get(": x\r\n"), 400),
        ("a field name beyond ASCII", raw(b"GET / HTTP/1.1\r\nHost: a\r\nX\xe9: b\r\n\r\n"), 400),
        ("a lone LF between fields", raw(b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"), 400),
        ("lone LFs everywhere", raw(b"GET / HTTP/1.1\nHost: a\n\n"), 400),
        ("a lone LF at the end of the head", raw(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), 400),
        ("a lone CR in a value", get("X: a\rContent-Length: 5\r\n"), 400),
        ("a NUL in a value", get("X: a\0b\r\n"), 400),
        ("a NUL in the target", raw(b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a control character in a value", get("X: a\x07b\r\n"), 400),
        ("two spaces in the request line", raw(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a space in the target", raw(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a method that is no token", raw(b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("HTTP/0.9", raw(b"GET /\r\n\r\n"), 400),
        ("HTTP/1.2", raw(b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"), 505),
        ("HTTP/2.0 in a request line", raw(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505),
        ("no Host", raw(b"GET / HTTP/1.1\r\n\r\n"), 400),
        ("two Hosts", get("Host: b\r\n"), 400),
        ("a list of Hosts", raw(b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"), 400),
        ("a Host with a path", raw(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400),
        ("a Host with a user", raw(b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"), 400),
        ("a target of another host", raw(b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a target of another port", raw(b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a target with a user", raw(b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a target with a fragment", raw(b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a target beyond ASCII", raw(b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("dots between escaped slashes", raw(b"GET /x/..%2f..%2fy HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("dots beside an escaped slash", raw(b"GET /x%2fy/../z HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("dots between backslashes", raw(b"GET /x\\..\\y HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("dots with a parameter", raw(b"GET /x/..;a/y HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("a relative target", raw(b"GET x HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        ("CONNECT", raw(b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"), 501),
        ("an unknown expectation", post("Expect: 200-ok\r\nContent-Length: 2\r\n", "ab"), 417),
        ("TRACE with a body", raw(b"TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"), 400),
        ("a chunk size beyond 64 bits", chunked("10000000000000002\r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk size of 17 digits", chunked("00000000000000002\r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk size with a sign", chunked("+2\r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk size with 0x", chunked("0x2\r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk size behind a space", chunked(" 2\r\nab\r\n0\r\n\r\n"), 400),
        ("a space behind a chunk size", chunked("2 \r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk size and a lone LF", chunked("2\nab\r\n0\r\n\r\n"), 400),
        ("a chunk without its end", chunked("2\r\nabX0\r\n\r\n"), 400),
        ("a chunk that ends by a lone LF", chunked("2\r\nab\n0\r\n\r\n"), 400),
        ("a lone LF in a chunk extension", chunked("2;a\nb\r\nab\r\n0\r\n\r\n"), 400),
        ("a control character in a chunk extension", chunked("2;a\x01\r\nab\r\n0\r\n\r\n"), 400),
        ("a chunk extension of 300 octets", chunked(&format!("2;{}\r\nab\r\n0\r\n\r\n", "e".repeat(300))), 400),
        ("Content-Length among the trailers", chunked("0\r\nContent-Length: 5\r\n\r\n"), 400),
        ("Transfer-Encoding among the trailers", chunked("0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400),
        ("Host among the trailers", chunked("0\r\nHost: b\r\n\r\n"), 400),
        ("a folded trailer", chunked("0\r\nX: y\r\n z\r\n\r\n"), 400),
        ("101 fields", get(&"X: y\r\n".repeat(100)), 431),
        ("a head of 40 000 octets", get(&format!("X: {}\r\n", "y".repeat(40_000))), 431),
        ("a target of 20 000 octets", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(20_000)).into_bytes(), 414),
        ("a TLS record", raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400),
    ]
}
