//! Unusual requests that are forwarded, and how the backends read them.

use std::fmt;

use super::{client::exchange, echo::line, programs::READERS, shown};
use crate::error::{Error, Result};

/// What is unusual, the octets, and the line every backend has to say of it.
type Case = (&'static str, Vec<u8>, String);

/// Sent right behind each, on the same connection: a backend that reads a body too short or too long misreads this one.
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A request with what the backends say of it.
#[derive(Debug)]
pub(super) struct Row {
    what: &'static str,
    request: Vec<u8>,
    expected: Vec<String>,
    /// By backend.
    told: Vec<(&'static str, Vec<String>)>,
}

impl Row {
    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { what, request, expected, told } = self;
        let (who, lines) = told.iter().find(|(_, lines)| lines != expected)?;
        Some(format!("{what}: {who} reads {} as {lines:?} instead of {expected:?}", shown(request)))
    }

    /// A line of the table in the documentation.
    pub(super) fn markdown(&self) -> String {
        format!("| {} | {} |\n", self.what, shown(&self.request))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = if self.fault().is_none() { "read the same by all" } else { "READ DIFFERENTLY" };
        write!(f, "{:<52} {read}", self.what)
    }
}

/// Sends each to every backend.
pub(super) fn run() -> Result<Vec<Row>> {
    let rows = cases().into_iter().map(|(what, request, expected)| {
        let bytes = [&request, NEXT].concat();
        let told = READERS.into_iter().map(|(who, port)| {
            let answer = exchange(port, &bytes).map_err(Error::io(format!("asking {who}")))?;
            Ok((who, lines(&answer.bytes)))
        });
        let told = told.collect::<Result<_>>()?;
        Ok(Row { what, request, expected: vec![expected, line("GET", "/next", "a", b"", b"")], told })
    });
    rows.collect()
}

/// The bodies of the responses in `bytes`: each is one line, which no line of a head looks like.
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut in_body = false;
    text.split_inclusive('\n')
        .filter(|line| {
            let was_in_body = in_body && !line.starts_with("HTTP/");
            in_body = *line == "\r\n" || (in_body && !line.starts_with("HTTP/"));
            // Node.js sends its line as a chunk.
            was_in_body && line.contains(' ')
        })
        .map(str::to_owned)
        .collect()
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let get = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes();
    let post = |fields: &str, body: &str| format!("POST /p HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").into_bytes();
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let got = |target: &str| line("GET", target, "a", b"", b"");
    let posted = |body: &str| line("POST", "/p", "a", b"", body.as_bytes());
    vec![
        ("an empty line before the request", [b"\r\n".to_vec(), get("/", "")].concat(), got("/")),
        ("field names in any case", b"GET / HTTP/1.1\r\nhOsT: a\r\n\r\n".to_vec(), got("/")),
        ("spaces and tabs around a value", b"GET / HTTP/1.1\r\nHost:  a  \r\nX: \t b \t\r\n\r\n".to_vec(), line("GET", "/", "a", b"b", b"")),
        ("a value beyond ASCII", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\xf6\r\n\r\n".to_vec(), line("GET", "/", "a", b"\xe4\xf6", b"")),
        ("an empty value", get("/", "X:\r\n"), got("/")),
        ("a host with a port", b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n".to_vec(), line("GET", "/", "a:8080", b"", b"")),
        ("an IPv6 address as host", b"GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n".to_vec(), line("GET", "/", "[2001:db8::1]:80", b"", b"")),
        ("an absolute target", get("http://a/x?y=1", ""), got("/x?y=1")),
        ("an absolute target without a path", get("http://a", ""), got("/")),
        ("HTTP/1.0 that stays", b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".to_vec(), got("/")),
        ("an unknown method", b"PURGE /x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), line("PURGE", "/x", "a", b"", b"")),
        ("escapes and dots in a target", get("/a%41b/../c//d;e=%42?q=/../", ""), got("/a%41b/../c//d;e=%42?q=/../")),
        ("a query of odd characters", get("/?a=b&c[]=(d),e;f'g*!~", ""), got("/?a=b&c[]=(d),e;f'g*!~")),
        ("a field of 6 000 octets", get("/", &format!("Y: {}\r\n", "y".repeat(6000))), got("/")),
        ("fields for one hop", get("/", "Connection: X\r\nX: gone\r\nKeep-Alive: 5\r\nTE: trailers\r\n"), got("/")),
        ("a body with GET", get("/", "Content-Length: 3\r\n").into_iter().chain(*b"abc").collect(), line("GET", "/", "a", b"", b"abc")),
        ("no body with POST", post("", ""), posted("")),
        ("a length of zero", post("Content-Length: 0\r\n", ""), posted("")),
        ("a length with leading zeros", post("Content-Length: 0003\r\n", "abc"), posted("abc")),
        ("a body that looks like a request", post("Content-Length: 37\r\n", "GET /smuggled HTTP/1.1\r\nHost: b\r\nX:\r\n"), posted("GET /smuggled HTTP/1.1\r\nHost: b\r\nX:\r\n")),
        ("chunked in any case", post("Transfer-Encoding: Chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"), posted("abc")),
        ("chunk sizes in any case and with zeros", chunked("00a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n"), posted("01234567890123456789a")),
        ("chunk extensions", chunked("3;a=b;c=\"d\"\r\nabc\r\n0;e\r\n\r\n"), posted("abc")),
        ("trailers", chunked("3\r\nabc\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"), posted("abc")),
        ("an empty chunked body", chunked("0\r\n\r\n"), posted("")),
        ("chunks that look like a request", chunked("5\r\nGET /\r\n4\r\n\r\n\r\n\r\n0\r\n\r\n"), posted("GET /\r\n\r\n")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_told_from_heads_and_chunk_sizes() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: b c\r\n\r\nGET / a - -\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                      c\r\nGET / b - -\n\r\n0\r\n\r\n";
        assert_eq!(lines(bytes), ["GET / a - -\n", "GET / b - -\n"]);
    }
}
