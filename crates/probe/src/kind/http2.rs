//! A GET over HTTP/2 (RFC 9113), with TLS or by prior knowledge. The connection stays for the next probe; a task of its own
//! moves its bytes and sees its end.
//!
//! What goes over HTTP/2 and asks something else is another [`Exchange`]: the request and the judging are its own, the rest is
//! here.

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{
    HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, Version, header::USER_AGENT, uri,
};
use proxima_health::{Failure, Findings, Loss, Phase};
use proxima_probe_kind::{Http, Tls};
use tokio::time::Instant;

use super::{Check, Checked, answer::Judge, http1};
use crate::{
    path::{Deadline, Path, failure},
    standing::{Driven, Driver, Link, Standing},
    tls::judge_validity,
    wire::{Wire, loss},
};

/// The most an answer's head may take, in bytes.
const MAX_HEAD: u32 = 16 * 1024;
/// The most of an answer that is under way unread, in bytes.
const WINDOW: u32 = 128 * 1024;

/// A connection that can carry requests.
#[derive(Debug)]
pub(crate) struct Session {
    sender: SendRequest<Bytes>,
    /// When the server's certificate ends, in seconds since the Unix epoch.
    pub(crate) certificate_ends: Option<u64>,
}

/// Begins HTTP/2 over `wire`.
async fn open(wire: Wire, deadline: Deadline) -> Result<Box<Driven<Session>>, Failure> {
    if matches!(wire, Wire::Tls(_)) && wire.alpn() != Some(b"h2") {
        return Err(Failure::Protocol { detail: "it does not speak HTTP/2 (ALPN)".to_owned() });
    }
    let certificate_ends = wire.certificate_ends();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(MAX_HEAD)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    let begin = async { builder.handshake(wire).await.map_err(|error| http2_failure(&error)) };
    let (sender, connection) = deadline.run(Phase::Handshake, begin).await?;
    let driver = Driver::start(async move {
        match connection.await {
            Ok(()) => Loss::Closed,
            Err(error) => error.get_io().map_or(Loss::Closed, loss),
        }
    });
    Ok(Box::new(Driven { session: Session { sender, certificate_ends }, driver }))
}

impl Session {
    /// Sends a request with this body, if any, and waits for the head of the answer.
    async fn send(
        &self,
        request: Request<()>,
        body: Option<Bytes>,
    ) -> Result<Response<RecvStream>, h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (answer, mut stream) = sender.send_request(request, body.is_none())?;
        if let Some(body) = body {
            stream.send_data(body, true)?;
        }
        answer.await
    }
}

/// How an exchange ended.
enum Asked {
    /// With an outcome.
    Answered(Result<Findings, Failure>),
    /// Before any answer, with the connection.
    Lost(Loss, Failure),
}

impl From<Failure> for Asked {
    fn from(failure: Failure) -> Self {
        Self::Answered(Err(failure))
    }
}

impl From<h2::Error> for Asked {
    /// For an error before any answer.
    fn from(error: h2::Error) -> Self {
        match staleness(&error) {
            Some(loss) => Self::Lost(loss, http2_failure(&error)),
            None => http2_failure(&error).into(),
        }
    }
}

/// What is asked over HTTP/2.
pub(crate) trait Exchange: Send + Sync {
    /// `None`: without TLS.
    fn tls(&self) -> Option<&Tls>;

    /// The request.
    fn request(&self) -> Result<Request<()>, Failure>;

    /// What follows the request; `None`: nothing.
    fn body(&self) -> Option<Bytes>;

    /// How much of the answer's body has to be seen, in bytes, given its status.
    fn wants(&self, status: StatusCode) -> usize;

    /// Judges an answer. The trailers are there when the body ended before as much as is wanted had come.
    fn judge(&self, answer: &Answer) -> Result<(), Failure>;
}

/// An answer, as far as it is wanted.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A request without its body, from what every probe says and `headers`.
pub(crate) fn request(
    address: &Result<Uri, String>,
    method: Method,
    headers: &[(HeaderName, &'static str)],
) -> Result<Request<()>, Failure> {
    let address = address.clone().map_err(|error| Failure::Local { error })?;
    let begun = Request::builder()
        .version(Version::HTTP_2)
        .method(method)
        .uri(address)
        .header(USER_AGENT, http1::USER_AGENT);
    let request = headers.iter().fold(begun, |request, (name, value)| request.header(name, *value));
    request.body(()).map_err(|error| Failure::Local { error: error.to_string() })
}

/// Asks over the standing connection, or a new one.
pub(crate) async fn check(
    question: &impl Exchange,
    path: &Path,
    standing: Option<Standing>,
    deadline: Deadline,
) -> Checked {
    if let Some(Standing { link: Link::Http2(driven), uses_left }) = standing {
        return match ask(question, &driven.session, deadline).await {
            Asked::Lost(loss, _) => Checked::Stale(loss),
            Asked::Answered(outcome) => Checked::Done {
                outcome,
                standing: Some(Standing::again(Link::Http2(driven), uses_left)),
                connected_in: None,
            },
        };
    }
    let (wire, connected_in) = path.wire(question.tls(), &["h2".to_owned()], deadline).await;
    let driven = match wire {
        Ok(wire) => open(wire, deadline).await,
        Err(failure) => Err(failure),
    };
    match driven {
        Ok(driven) => {
            let (outcome, lives) = match ask(question, &driven.session, deadline).await {
                Asked::Answered(outcome) => (outcome, true),
                Asked::Lost(_, failure) => (Err(failure), false),
            };
            let standing = lives.then(|| Standing::kept_alive(Link::Http2(driven), path));
            Checked::Done { outcome, standing, connected_in }
        }
        Err(failure) => Checked::Done { outcome: Err(failure), standing: None, connected_in },
    }
}

async fn ask(question: &impl Exchange, session: &Session, deadline: Deadline) -> Asked {
    let asked = deadline.run(Phase::Answer, async { Ok(exchange(question, session).await) }).await;
    asked.unwrap_or_else(Asked::from)
}

async fn exchange(question: &impl Exchange, session: &Session) -> Asked {
    let request = match question.request() {
        Ok(request) => request,
        Err(failure) => return failure.into(),
    };
    let begun = Instant::now();
    let answer = match session.send(request, question.body()).await {
        Ok(answer) => answer,
        Err(error) => return error.into(),
    };
    let first_byte = Some(begun.elapsed());
    let (head, mut stream) = answer.into_parts();
    let (body, trailers) = match body(&mut stream, question.wants(head.status)).await {
        Ok(received) => received,
        Err(error) => return http2_failure(&error).into(),
    };
    let answer = Answer { status: head.status, headers: head.headers, body, trailers };
    let certificate_ends = session.certificate_ends;
    let min_validity = question.tls().and_then(|tls| tls.min_validity);
    let judged = question.judge(&answer).and_then(|()| judge_validity(certificate_ends, min_validity));
    Asked::Answered(judged.map(|()| Findings { certificate_ends, first_byte, ..Findings::default() }))
}

/// The beginning of a body, at most `most` bytes of it, and the trailers when it ended before.
async fn body(stream: &mut RecvStream, most: usize) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while body.len() < most {
        let Some(data) = stream.data().await else { return Ok((body, stream.trailers().await?)) };
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data[..data.len().min(most - body.len())]);
    }
    Ok((body, None))
}

/// The address of a request: scheme, authority, path.
pub(crate) fn address(host: Option<&str>, target: &str, secured: bool, path: &Path) -> http::Result<Uri> {
    uri::Builder::new()
        .scheme(if secured { "https" } else { "http" })
        .authority(host.map_or_else(|| path.address.to_string(), str::to_owned))
        .path_and_query(target)
        .build()
}

/// What an error of HTTP/2 says about the backend.
fn http2_failure(error: &h2::Error) -> Failure {
    match error.get_io() {
        Some(error) => failure(error),
        None => Failure::Protocol { detail: format!("HTTP/2: {error}") },
    }
}

/// Whether a connection that was used before is to blame for `error`, and not the app: then it is lost.
fn staleness(error: &h2::Error) -> Option<Loss> {
    match http2_failure(error) {
        Failure::Closed => Some(Loss::Closed),
        Failure::Reset => Some(Loss::Reset),
        _ if error.is_go_away() && error.is_remote() => Some(Loss::Closed),
        _ => None,
    }
}

/// A request and what its answer has to be.
#[derive(Debug)]
pub(crate) struct Question {
    address: Result<Uri, String>,
    judge: Judge,
    tls: Option<Tls>,
}

impl Question {
    pub(crate) fn new(http: Http, path: &Path) -> Self {
        let address = address(http.host.as_deref(), &http.path, http.tls.is_some(), path);
        Self {
            address: address.map_err(|error| error.to_string()),
            judge: Judge::new(http.expect, path),
            tls: http.tls,
        }
    }
}

impl Exchange for Question {
    fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    fn request(&self) -> Result<Request<()>, Failure> {
        request(&self.address, Method::GET, &[])
    }

    fn body(&self) -> Option<Bytes> {
        None
    }

    fn wants(&self, _status: StatusCode) -> usize {
        self.judge.wants()
    }

    fn judge(&self, answer: &Answer) -> Result<(), Failure> {
        let header = self.judge.header_name().and_then(|name| answer.headers.get(name));
        self.judge.judge(answer.status.as_u16(), header.map(http::HeaderValue::as_bytes), &answer.body)
    }
}

impl Check for Question {
    async fn check(&self, path: &Path, standing: Option<Standing>, deadline: Deadline) -> Checked {
        check(self, path, standing, deadline).await
    }
}
