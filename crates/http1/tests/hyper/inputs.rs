//! Requests, sound and not.

use proptest::{prelude::*, sample::select};

/// What both accept.
pub(crate) const GOOD: [&[u8]; 12] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET /a/b?c=d&e HTTP/1.1\r\nHost: a:80\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a?c HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost:a\r\nX:\r\nX: \t b\xff \r\nContent-Length: 03\r\n\r\nabc",
    b"PURGE /%2e/a HTTP/1.1\r\nHost: [::1]:8080\r\nTransfer-Encoding: chunked\r\n\r\n03;ext=\"v\"\r\nabc\r\n0\r\nX-T: v\r\n\r\n",
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k\r\n\r\n",
];

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "PURGE", "OPTIONS", "TRACE", "CONNECT"];
const TARGETS: [&str; 9] =
    ["/", "/a/b?c=d", "/%41/../x", "//a", "http://a/b", "http://b/", "*", "/#f", "/a|b"];
const VERSIONS: [&str; 4] = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2"];
const FIELDS: [&str; 22] = [
    "Host: a",
    "Host: a:80",
    "host:\ta",
    "Content-Length: 5",
    "Content-Length: 0",
    "Content-Length: +5",
    "Content-Length: 5, 5",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding:\x0bchunked",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: x, Close",
    "Expect: 100-continue",
    "Upgrade: websocket",
    "Cookie: a=b; c=d",
    "X: \u{e4}",
    "X : b",
    " folded",
    "X: a\tb",
    "X:",
];
const BODIES: [&str; 8] = [
    "",
    "hello",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    "0\r\n\r\n",
    "0\r\nHost: b\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "0005\nhello\n0\n\n",
];

/// Parts that fit together or don't, and then some octets changed.
pub(crate) fn request() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::vec(select(&FIELDS[..]), 0..5);
    let ends = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    let parts = (select(&METHODS[..]), select(&TARGETS[..]), select(&VERSIONS[..]), any::<bool>(), fields);
    let octets = prop_oneof![select(&b"\r\n :;,\0\t/a0\xff"[..]), any::<u8>()];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, octets), 0..3);
    (parts, select(&BODIES[..]), ends, changes).prop_map(
        |((method, target, version, has_host, fields), body, end, changes)| {
            let mut lines = vec![format!("{method} {target} {version}")];
            lines.extend(has_host.then(|| "Host: a".to_owned()));
            lines.extend(fields.into_iter().map(ToOwned::to_owned));
            let mut bytes = format!("{}{end}{end}{body}", lines.join(end)).into_bytes();
            for (index, kind, octet) in changes {
                let at = index.index(bytes.len());
                match kind {
                    0 => bytes[at] = octet,
                    1 => bytes.insert(at, octet),
                    _ => drop(bytes.remove(at)),
                }
            }
            bytes
        },
    )
}

/// Requests that nothing is wrong with.
pub(crate) fn sound_request() -> impl Strategy<Value = Vec<u8>> {
    let field = ("[A-Za-z][A-Za-z0-9-]{0,8}", "[ -~]{0,12}").prop_filter("means something", |(name, _)| {
        let known = [
            "host",
            "connection",
            "content-length",
            "transfer-encoding",
            "expect",
            "upgrade",
            "te",
            "trailer",
        ];
        !known.iter().any(|known| name.eq_ignore_ascii_case(known))
    });
    let content = prop::collection::vec(any::<u8>(), 0..40);
    let target = "/[a-z0-9/._~!$&'()*+,;=:@%-]{0,12}(\\?[a-z0-9=&/?]{0,8})?";
    let method = select(&["GET", "POST", "PUT", "DELETE", "PATCH", "QUERY"][..]);
    let chunks = prop::option::of(prop::collection::vec(1..9usize, 1..5));
    (method, target, prop::collection::vec(field, 0..6), content, chunks).prop_map(
        |(method, target, fields, content, chunks)| {
            let mut bytes = format!("{method} {target} HTTP/1.1\r\nHost: a.example\r\n").into_bytes();
            for (name, value) in fields {
                bytes.extend(format!("{name}: {value}\r\n").bytes());
            }
            if let Some(sizes) = chunks {
                bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                let (mut rest, mut sizes) = (&content[..], sizes.into_iter().cycle());
                while !rest.is_empty() {
                    let (chunk, behind) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                    bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                    rest = behind;
                }
                bytes.extend(b"0\r\n\r\n");
            } else {
                bytes.extend(format!("Content-Length: {}\r\n\r\n", content.len()).bytes());
                bytes.extend(content);
            }
            bytes
        },
    )
}
