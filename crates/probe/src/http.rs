//! One GET over HTTP/1.1 (RFC 9110, RFC 9112), as far as a probe needs it.
//!
//! The status decides. The body is read to its end only so that the connection can be used again, and only up to a bound.

use std::net::SocketAddr;

use proxima_health::Failure;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::connect::failure;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The longest body that is read to its end for the sake of the connection, in bytes.
const MAX_BODY: u64 = 256 * 1024;

/// The bytes of a probe's request.
pub(crate) fn request(path: &str, host: Option<&str>, address: SocketAddr) -> Vec<u8> {
    let host = host.map_or_else(|| address.to_string(), str::to_owned);
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: proxima-probe/{version}\r\n\
         Accept: */*\r\nConnection: keep-alive\r\n\r\n",
        version = env!("CARGO_PKG_VERSION"),
    )
    .into_bytes()
}

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The final status.
    pub(crate) status: u16,
    /// Whether the connection can carry another request.
    pub(crate) reusable: bool,
}

/// An exchange that came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// Why.
    pub(crate) failure: Failure,
    /// Whether any byte of an answer had come.
    pub(crate) answer_begun: bool,
}

/// Sends `request` and waits for its answer.
pub(crate) async fn exchange<S>(stream: &mut S, request: &[u8]) -> Result<Answer, Interrupted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = Input { stream, buffer: Vec::with_capacity(1024), total: 0 };
    let answer = async {
        let sent = input.stream.write_all(request).await;
        sent.map_err(|error| failure(&error))?;
        let head = input.head().await?;
        let reusable = head.keep_alive && input.skip_body(head.body).await? && input.buffer.is_empty();
        Ok(Answer { status: head.status, reusable })
    }
    .await;
    answer.map_err(|failure| Interrupted { failure, answer_begun: input.total > 0 })
}

struct Head {
    status: u16,
    keep_alive: bool,
    body: Body,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Length(u64),
    Chunked,
    UntilClose,
}

struct Input<'a, S> {
    stream: &'a mut S,
    /// Received and not yet consumed.
    buffer: Vec<u8>,
    /// Received in all.
    total: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Input<'_, S> {
    /// The final head; interim ones (1xx) are skipped.
    async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some((length, head)) = parse_head(&self.buffer)? {
                self.buffer.drain(..length);
                if head.status >= 200 {
                    return Ok(head);
                }
            } else if self.buffer.len() >= MAX_HEAD {
                return Err(malformed(format!("its head is longer than {MAX_HEAD} bytes")));
            } else {
                self.receive().await?;
            }
        }
    }

    /// Whether the body was read to its end: false when it is too long or ends with the connection.
    async fn skip_body(&mut self, body: Body) -> Result<bool, Failure> {
        match body {
            Body::UntilClose => Ok(false),
            Body::Length(length) if length > MAX_BODY => Ok(false),
            Body::Length(length) => self.skip(length).await.map(|()| true),
            Body::Chunked => self.skip_chunks().await,
        }
    }

    async fn skip_chunks(&mut self) -> Result<bool, Failure> {
        let mut left = MAX_BODY;
        loop {
            let size = match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((length, size))) => {
                    self.buffer.drain(..length);
                    size
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < MAX_HEAD => {
                    self.receive().await?;
                    continue;
                }
                Ok(httparse::Status::Partial) | Err(_) => {
                    return Err(malformed("a chunk size is not one".to_owned()));
                }
            };
            // Trailers are rare in answers to a probe; where there are some, the connection is not used again.
            let ends_plainly = self.starts_with(b"\r\n", if size == 0 { 0 } else { size.min(left) }).await?;
            left = left.saturating_sub(size);
            match (size, ends_plainly) {
                (0, plainly) => return Ok(plainly),
                (_, _) if left == 0 => return Ok(false),
                (_, true) => {}
                (_, false) => return Err(malformed("a chunk is longer than its size".to_owned())),
            }
        }
    }

    /// Skips `length` bytes; whether `end` follows, which is then consumed too.
    async fn starts_with(&mut self, end: &[u8], length: u64) -> Result<bool, Failure> {
        self.skip(length).await?;
        while self.buffer.len() < end.len() {
            self.receive().await?;
        }
        let follows = self.buffer.starts_with(end);
        if follows {
            self.buffer.drain(..end.len());
        }
        Ok(follows)
    }

    async fn skip(&mut self, mut length: u64) -> Result<(), Failure> {
        loop {
            let here = self.buffer.len().min(usize::try_from(length).unwrap_or(usize::MAX));
            self.buffer.drain(..here);
            length -= here as u64;
            if length == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        let received = self.stream.read_buf(&mut self.buffer).await;
        match received.map_err(|error| failure(&error))? {
            0 => Err(Failure::Closed),
            received => {
                self.total += received as u64;
                Ok(())
            }
        }
    }
}

/// The head and its length; `None` while it is incomplete.
fn parse_head(buffer: &[u8]) -> Result<Option<(usize, Head)>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(buffer).map_err(|error| malformed(error.to_string()))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or_default();
    let values = |name: &'static str| {
        let named = response.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value)
    };
    let tokens =
        |name| values(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let body = if matches!(status, 100..200 | 204 | 304) {
        Body::Length(0)
    } else if values("transfer-encoding").next().is_some() {
        let chunked =
            tokens("transfer-encoding").next_back().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
        if chunked { Body::Chunked } else { Body::UntilClose }
    } else if let Some(value) = values("content-length").next() {
        let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        Body::Length(length.ok_or_else(|| malformed("its Content-Length is not a number".to_owned()))?)
    } else {
        Body::UntilClose
    };
    let close = tokens("connection").any(|token| token.eq_ignore_ascii_case(b"close"));
    let keep_alive = response.version == Some(1) && !close;
    Ok(Some((length, Head { status, keep_alive, body })))
}

fn malformed(detail: String) -> Failure {
    Failure::Malformed { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer `bytes` as it is understood, sent in pieces of `piece` bytes; the connection then ends if `closes`.
    async fn answer(bytes: &[u8], piece: usize, closes: bool) -> Result<Answer, Interrupted> {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let request = request("/healthz", None, "127.0.0.1:8080".parse().unwrap());
        let app = async {
            let mut received = vec![0; request.len()];
            theirs.read_exact(&mut received).await.unwrap();
            for piece in bytes.chunks(piece) {
                if theirs.write_all(piece).await.is_err() {
                    break;
                }
            }
            if closes {
                theirs.shutdown().await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = exchange(&mut ours, &request) => answer,
            () = app => unreachable!("the app never ends"),
        }
    }

    #[test]
    fn the_request_names_its_host_and_asks_to_be_kept_alive() {
        let text = |host| String::from_utf8(request("/h", host, "[::1]:80".parse().unwrap())).unwrap();
        assert!(text(None).starts_with("GET /h HTTP/1.1\r\nHost: [::1]:80\r\n"));
        assert!(text(Some("api")).contains("\r\nHost: api\r\n"));
        assert!(text(None).ends_with("\r\nConnection: keep-alive\r\n\r\n"));
    }

    #[tokio::test]
    async fn answers_are_understood_however_they_are_cut() {
        let long = "x".repeat(70_000);
        let table: &[(&str, u16, bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", 204, true),
            ("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n", 503, true),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, true),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
                200,
                true,
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX: y\r\n\r\n", 200, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nok", 200, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, false),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", 200, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", 200, false),
            ("HTTP/1.1 204 No Content\r\n\r\nmore than asked for", 204, false),
        ];
        for (bytes, status, reusable) in table {
            for piece in [1, 7, bytes.len()] {
                // A surplus after the answer is only seen when it comes along with it.
                if piece < bytes.len() && bytes.ends_with("asked for") {
                    continue;
                }
                let expected = Ok(Answer { status: *status, reusable: *reusable });
                assert_eq!(answer(bytes.as_bytes(), piece, false).await, expected, "{bytes}");
            }
        }
        let chunks = format!("11170\r\n{long}\r\n").repeat(5);
        let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let expected = Ok(Answer { status: 200, reusable: false });
        assert_eq!(answer(endless.as_bytes(), 9000, false).await, expected);
    }

    #[tokio::test]
    async fn what_is_not_an_answer_is_told_apart() {
        let malformed = [
            "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n".to_owned(),
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(MAX_HEAD)),
        ];
        for bytes in malformed {
            let Err(Interrupted { failure, answer_begun: true }) = answer(bytes.as_bytes(), 512, false).await
            else {
                panic!("{bytes} was taken");
            };
            assert!(matches!(failure, Failure::Malformed { .. }), "{bytes}: {failure}");
        }
        for (bytes, answer_begun) in [("", false), ("HTTP/1.1 2", true)] {
            let interrupted = answer(bytes.as_bytes(), 64, true).await.unwrap_err();
            assert_eq!(interrupted, Interrupted { failure: Failure::Closed, answer_begun });
        }
    }
}
