//! A GET over HTTP/1.1 (RFC 9110, RFC 9112), as far as a probe needs it.
//!
//! The body is read to its end only so that the connection can be used again, and only up to a bound.

use std::time::Duration;

use proxima_health::{Failure, Findings, Loss, Phase};
use proxima_probe_kind::{Http, Tls};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    Check, Checked,
    answer::{Judge, MAX_MATCHED},
};
use crate::{
    path::{Deadline, Path, failure},
    standing::{Link, Standing},
    tls::judge_validity,
    via::Carries,
    wire::Wire,
};

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// The longest body that is read to its end for the sake of the connection, in bytes.
const MAX_BODY: u64 = 256 * 1024;

/// A request and what its answer has to be.
#[derive(Debug)]
pub(crate) struct Question {
    request: Box<[u8]>,
    judge: Judge,
    tls: Option<Tls>,
}

impl Question {
    pub(crate) fn new(http: Http, path: &Path) -> Self {
        let request = request(&http.path, http.host.as_deref(), path).into_boxed_slice();
        Self { request, judge: Judge::new(http.expect, path), tls: http.tls }
    }

    /// Asks once over `wire`; gives it back if it can be used again.
    async fn ask(&self, mut wire: Wire, deadline: Deadline) -> (Result<Findings, Interrupted>, Option<Wire>) {
        let work = async {
            Ok(exchange(&mut wire, &self.request, self.judge.header_name(), self.judge.wants()).await)
        };
        let answer = match deadline.run(Phase::Answer, work).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(interrupted)) => return (Err(interrupted), None),
            Err(failure) => return (Err(Interrupted { failure, answer_begun: true }), None),
        };
        let certificate_ends = wire.certificate_ends();
        let min_validity = self.tls.as_ref().and_then(|tls| tls.min_validity);
        let judged = self.judge.judge(answer.status, answer.header.as_deref(), &answer.body);
        let outcome = match judged.and_then(|()| judge_validity(certificate_ends, min_validity)) {
            Ok(()) => Ok(Findings { certificate_ends, first_byte: answer.first_byte, ..Findings::default() }),
            Err(failure) => Err(Interrupted { failure, answer_begun: true }),
        };
        (outcome, answer.reusable.then_some(wire))
    }

    /// A new connection that takes the request, and how long the way to the backend took.
    ///
    /// Where that way leads through the data plane, one for bytes is made first: it has the length of the whole way, and is
    /// refused where the backend refuses. Then comes the one that clients' requests take, where the data plane would answer
    /// by itself.
    async fn connect(&self, path: &Path, deadline: Deadline) -> (Result<Wire, Failure>, Option<Duration>) {
        let alpn = if self.tls.is_some() { &["http/1.1".to_owned()][..] } else { &[] };
        let (wire, connected_in) = path.wire(self.tls.as_ref(), alpn, deadline).await;
        if self.tls.is_some() || path.via.is_none() || wire.is_err() {
            return (wire, connected_in);
        }
        drop(wire);
        let stream = path.connect_for(Carries::Requests, deadline).await;
        (stream.map(|(stream, _)| stream.into()), connected_in)
    }
}

impl Check for Question {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        if let Some(Standing { link: Link::Wire(wire), uses_left }) = standing {
            let (result, wire) = self.ask(wire, deadline).await;
            return match result {
                Err(Interrupted { failure: Failure::Closed, answer_begun: false }) => {
                    Checked::Stale(Loss::Closed)
                }
                Err(Interrupted { failure: Failure::Reset, answer_begun: false }) => {
                    Checked::Stale(Loss::Reset)
                }
                result => Checked::Done {
                    standing: kept(path, &result, wire).map(|link| Standing::again(link, uses_left)),
                    outcome: result.map_err(|interrupted| interrupted.failure),
                    connected_in: None,
                },
            };
        }
        let (wire, connected_in) = self.connect(path, deadline).await;
        match wire {
            Ok(wire) => {
                let (result, wire) = self.ask(wire, deadline).await;
                Checked::Done {
                    standing: kept(path, &result, wire).map(|link| Standing::kept_alive(link, path)),
                    outcome: result.map_err(|interrupted| interrupted.failure),
                    connected_in,
                }
            }
            Err(failure) => Checked::Done { outcome: Err(failure), standing: None, connected_in },
        }
    }
}

/// The connection to leave standing. After a failure none to the data plane, which answers for backends that are gone: the next
/// probe makes the whole way again, and sees whether it is refused.
fn kept(path: &Path, result: &Result<Findings, Interrupted>, wire: Option<Wire>) -> Option<Link> {
    wire.filter(|_| path.via.is_none() || result.is_ok()).map(Link::Wire)
}

/// One GET over a connection of its own: the status, and as much of the body as an expression would be held against.
pub(crate) async fn get(path: &Path, target: &str, deadline: Deadline) -> Result<(u16, Vec<u8>), Failure> {
    let (mut stream, _) = path.connect(deadline).await?;
    let request = request(target, None, path);
    let exchange = async {
        let answer = exchange(&mut stream, &request, None, MAX_MATCHED).await;
        answer.map_err(|interrupted| interrupted.failure)
    };
    let Answer { status, body, .. } = deadline.run(Phase::Answer, exchange).await?;
    Ok((status, body))
}

/// The bytes of a probe's request.
fn request(target: &str, host: Option<&str>, path: &Path) -> Vec<u8> {
    let host = host.map_or_else(|| path.address.to_string(), str::to_owned);
    format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\n\
         Accept: */*\r\nConnection: keep-alive\r\n\r\n",
    )
    .into_bytes()
}

/// What probes call themselves.
pub(crate) const USER_AGENT: &str = concat!("proxima-probe/", env!("CARGO_PKG_VERSION"));

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The final status.
    status: u16,
    /// The value of the header asked for.
    header: Option<Vec<u8>>,
    /// As much of the body as was asked for.
    body: Vec<u8>,
    /// From the request to the first byte.
    first_byte: Option<Duration>,
    /// Whether the connection can carry another request.
    reusable: bool,
}

/// An exchange that came to nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// Why.
    pub(crate) failure: Failure,
    /// Whether any byte of an answer had come.
    pub(crate) answer_begun: bool,
}

/// Sends `request` and waits for its answer: its status, the value of `header`, and `wanted` bytes of its body.
async fn exchange<S>(
    stream: &mut S,
    request: &[u8],
    header: Option<&str>,
    wanted: usize,
) -> Result<Answer, Interrupted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut input = Input {
        stream,
        header,
        buffer: Vec::with_capacity(1024),
        first_byte: None,
        body: Vec::new(),
        wanted,
    };
    let begun = Instant::now();
    let answer = async {
        let sent = async {
            input.stream.write_all(request).await?;
            input.stream.flush().await
        };
        sent.await.map_err(|error| failure(&error))?;
        let head = input.head().await?;
        let whole = (head.keep_alive || input.wanted > 0) && input.read_body(head.body).await?;
        let reusable = whole && head.keep_alive && input.buffer.is_empty();
        Ok(Answer {
            status: head.status,
            header: head.header,
            body: std::mem::take(&mut input.body),
            first_byte: input.first_byte.map(|at| at - begun),
            reusable,
        })
    }
    .await;
    answer.map_err(|failure| Interrupted { failure, answer_begun: input.first_byte.is_some() })
}

struct Head {
    status: u16,
    keep_alive: bool,
    body: Body,
    header: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Length(u64),
    Chunked,
    UntilClose,
}

struct Input<'a, S> {
    stream: &'a mut S,
    /// The header asked for.
    header: Option<&'a str>,
    /// Received and not yet consumed.
    buffer: Vec<u8>,
    /// When the first byte came.
    first_byte: Option<Instant>,
    /// The body so far, without what was not wanted.
    body: Vec<u8>,
    /// How much more of it is wanted.
    wanted: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Input<'_, S> {
    /// The final head; interim ones (1xx) are skipped.
    async fn head(&mut self) -> Result<Head, Failure> {
        loop {
            if let Some((length, head)) = parse_head(&self.buffer, self.header)? {
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

    /// Reads as much of the body as is wanted, and all of it for the sake of the connection; whether it was read to its
    /// end. An answer of which nothing more is wanted is not waited for.
    async fn read_body(&mut self, body: Body) -> Result<bool, Failure> {
        match body {
            Body::UntilClose => {
                self.take(usize::MAX);
                while self.wanted > 0 {
                    match self.receive().await {
                        Err(Failure::Closed) => break,
                        received => received?,
                    }
                    self.take(usize::MAX);
                }
                Ok(false)
            }
            Body::Length(length) if length > MAX_BODY => {
                self.skip(length.min(self.wanted as u64)).await.map(|()| false)
            }
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
            length -= self.take(usize::try_from(length).unwrap_or(usize::MAX)) as u64;
            if length == 0 {
                return Ok(());
            }
            self.receive().await?;
        }
    }

    /// Takes at most `length` bytes of body from what was received, and keeps what is wanted; how many it were.
    fn take(&mut self, length: usize) -> usize {
        let here = self.buffer.len().min(length);
        let kept = here.min(self.wanted);
        self.body.extend_from_slice(&self.buffer[..kept]);
        self.wanted -= kept;
        self.buffer.drain(..here);
        here
    }

    async fn receive(&mut self) -> Result<(), Failure> {
        let received = self.stream.read_buf(&mut self.buffer).await;
        if received.map_err(|error| failure(&error))? == 0 {
            return Err(Failure::Closed);
        }
        self.first_byte.get_or_insert_with(Instant::now);
        Ok(())
    }
}

/// The head and its length; `None` while it is incomplete.
fn parse_head(buffer: &[u8], header: Option<&str>) -> Result<Option<(usize, Head)>, Failure> {
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
    let header =
        header.and_then(|name| response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)));
    let header = header.map(|header| header.value.to_vec());
    Ok(Some((length, Head { status, keep_alive, body, header })))
}

fn malformed(detail: String) -> Failure {
    Failure::Malformed { detail }
}

#[cfg(test)]
mod tests {
    use proxima_probe_kind::{Expect, ExpectHeader, Statuses};

    use super::*;

    fn bare(status: u16, reusable: bool) -> Answer {
        Answer { status, header: None, body: Vec::new(), first_byte: None, reusable }
    }

    fn judge(body: Option<&str>, header: Option<&str>) -> Judge {
        let header = header.map(|name| ExpectHeader { name: name.to_owned(), value: None });
        let expect = Expect { status: Statuses::ok(), body: body.map(str::to_owned), header };
        Judge::new(expect, &Path::for_tests())
    }

    /// The answer `bytes` as it is understood, sent in pieces of `piece` bytes; the connection then ends if `closes`.
    /// Without the time it took.
    async fn answer(bytes: &[u8], piece: usize, closes: bool) -> Result<Answer, Interrupted> {
        let answer = answer_to(&judge(None, None), bytes, piece, closes).await?;
        assert!(answer.first_byte.is_some());
        Ok(Answer { first_byte: None, ..answer })
    }

    async fn answer_to(
        judge: &Judge,
        bytes: &[u8],
        piece: usize,
        closes: bool,
    ) -> Result<Answer, Interrupted> {
        let (mut ours, mut theirs) = tokio::io::duplex(64);
        let request = request("/healthz", None, &Path::for_tests());
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
            answer = exchange(&mut ours, &request, judge.header_name(), judge.wants()) => answer,
            () = app => unreachable!("the app never ends"),
        }
    }

    #[test]
    fn the_request_names_its_host_and_asks_to_be_kept_alive() {
        let path = Path { address: "[::1]:80".parse().unwrap(), ..Path::for_tests() };
        let text = |host| String::from_utf8(request("/h", host, &path)).unwrap();
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
                let expected = Ok(bare(*status, *reusable));
                assert_eq!(answer(bytes.as_bytes(), piece, false).await, expected, "{bytes}");
            }
        }
        let chunks = format!("11170\r\n{long}\r\n").repeat(5);
        let endless = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        let expected = Ok(bare(200, false));
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

    #[tokio::test]
    async fn the_header_and_the_beginning_of_the_body_are_kept_when_they_are_asked_for() {
        let judge = judge(Some("."), Some("x-ready"));
        let long = "x".repeat(100_000);
        for (bytes, body, closes, reusable) in [
            ("HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 2\r\n\r\nok".to_owned(), "ok", false, true),
            (
                "HTTP/1.1 200 OK\r\nx-ready: yes\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
                    .to_owned(),
                "abcde",
                false,
                true,
            ),
            ("HTTP/1.1 200 OK\r\nX-Ready:yes\r\n\r\nto the end".to_owned(), "to the end", true, false),
            (
                "HTTP/1.0 200 OK\r\nX-Ready:yes\r\nContent-Length: 5\r\n\r\nthere".to_owned(),
                "there",
                false,
                false,
            ),
            (
                format!("HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 100000\r\n\r\n{long}"),
                &long[..65536],
                false,
                true,
            ),
            (
                format!("HTTP/1.1 200 OK\r\nX-Ready: yes\r\nContent-Length: 99999999\r\n\r\n{long}"),
                &long[..65536],
                false,
                false,
            ),
            (format!("HTTP/1.1 200 OK\r\nX-Ready: yes\r\n\r\n{long}"), &long[..65536], false, false),
        ] {
            for piece in [1, 63, 4096] {
                let answer = answer_to(&judge, bytes.as_bytes(), piece, closes).await.unwrap();
                assert_eq!(answer.header.as_deref(), Some(&b"yes"[..]));
                assert!(answer.body == body.as_bytes(), "{} bytes: {bytes:.60}", answer.body.len());
                assert_eq!(answer.reusable, reusable, "{bytes:.60}");
            }
        }
    }
}
