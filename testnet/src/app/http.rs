//! The app server's answers.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    sync::Arc,
    sync::atomic::Ordering,
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use super::{
    App, broken_off, completions,
    switches::{Behaviour, Change, Close, Switches},
};

type Body = BoxBody<Bytes, io::Error>;
type Answer = Response<Body>;

/// A body that costs the app nothing, and of which the buffers on its way to a client that reads nothing hold some 600 KiB.
static LARGE: &[u8] = &[b'.'; 1 << 20];

impl App {
    /// Answers one request. An error closes the connection without an answer.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> io::Result<Answer> {
        let switches = *self.switches.borrow();
        let path = request.uri().path();
        let mut answer = match (request.method(), path) {
            (_, "/healthz") => {
                Self::misbehave(switches.health, switches).await.unwrap_or_else(|| text("ok\n"))
            }
            (&Method::POST, "/switch") => self.switch(request).await,
            (_, "/switch") => json_answer(&switches),
            (_, "/stats") => json_answer(&self.counters.snapshot()),
            _ => {
                self.counters.requests.fetch_add(1, Ordering::Relaxed);
                self.write_down(&request)?;
                if switches.close == Close::BeforeResponse {
                    return Err(broken_off());
                }
                let answer = match Self::misbehave(switches.requests, switches).await {
                    Some(answer) => answer,
                    None => self.clone().serve(request).await,
                };
                if switches.close == Close::MidResponse { cut_short(answer) } else { answer }
            }
        };
        for (name, value) in [("x-app", &self.name), ("x-region", &self.region)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                answer.headers_mut().insert(name, value);
            }
        }
        Ok(answer)
    }

    /// Records a request that has an identity.
    fn write_down(&self, request: &Request<Incoming>) -> io::Result<()> {
        let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
        let (Some(mut record), Some(id)) = (self.record.as_ref(), id) else { return Ok(()) };
        record.write_all(format!("{} {id}\n", request.method()).as_bytes())
    }

    /// What the request meets instead of an answer, if anything.
    async fn misbehave(behaviour: Behaviour, switches: Switches) -> Option<Answer> {
        match behaviour {
            Behaviour::Ok => None,
            Behaviour::Fail => Some(error(StatusCode::INTERNAL_SERVER_ERROR, "switched to fail")),
            Behaviour::Wrong => Some(text("switched to be wrong\n")),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Slow => {
                sleep(Duration::from_millis(switches.slow_ms)).await;
                None
            }
        }
    }

    async fn serve(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/v1/chat/completions") => self.complete(request).await,
            (_, "/work") => self.work(),
            (_, path) if path == "/fenced" || path.starts_with("/fenced/") => self.work(),
            (_, "/slow") => {
                let milliseconds =
                    request.uri().query().and_then(|query| query.strip_prefix("ms=")?.parse().ok());
                let Some(milliseconds) = milliseconds else {
                    return error(StatusCode::BAD_REQUEST, "say how slow: /slow?ms=100");
                };
                sleep(Duration::from_millis(milliseconds)).await;
                self.work()
            }
            (_, "/large") => with_type("application/octet-stream", Bytes::from_static(LARGE)),
            (_, "/echo") => Response::new(request.into_body().map_err(io::Error::other).boxed()),
            (method, path) => error(StatusCode::NOT_FOUND, &format!("there is no {method} {path}")),
        }
    }

    fn work(&self) -> Answer {
        json_answer(&json!({ "app": self.name, "region": self.region }))
    }

    async fn switch(&self, request: Request<Incoming>) -> Answer {
        let change = match request.into_body().collect().await {
            Ok(body) => serde_json::from_slice::<Change>(&body.to_bytes()),
            Err(failure) => return error(StatusCode::BAD_REQUEST, &failure.to_string()),
        };
        match change {
            Ok(change) => {
                self.switches.send_modify(|switches| *switches = switches.changed(change));
                json_answer(&*self.switches.borrow())
            }
            Err(failure) => error(StatusCode::BAD_REQUEST, &failure.to_string()),
        }
    }

    async fn complete(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let body = match request.into_body().collect().await {
            Ok(body) => body.to_bytes(),
            Err(failure) => return error(StatusCode::BAD_REQUEST, &failure.to_string()),
        };
        let request = match completions::Request::parse(&body) {
            Ok(request) => request,
            Err(failure) => return error(StatusCode::BAD_REQUEST, &failure),
        };
        let id = format!("chatcmpl-{}-{}", self.name, self.counters.requests.load(Ordering::Relaxed));
        if request.stream {
            return self.stream(id, request);
        }
        sleep(request.token_delay() * (request.max_tokens - 1)).await;
        json_answer(&completions::whole(&self.name, &id, &request))
    }

    fn stream(self: Arc<Self>, id: String, request: completions::Request) -> Answer {
        self.counters.streams_started.fetch_add(1, Ordering::Relaxed);
        let events = stream::unfold(0, move |n| {
            let (app, id, request) = (self.clone(), id.clone(), request.clone());
            async move {
                if n >= request.max_tokens {
                    return None;
                }
                if n > 0 {
                    sleep(request.token_delay()).await;
                }
                let event = completions::event(&app.name, &id, &request, n);
                if n + 1 == request.max_tokens {
                    app.counters.streams_finished.fetch_add(1, Ordering::Relaxed);
                }
                Some((Ok(Frame::data(Bytes::from(event))), n + 1))
            }
        });
        let mut answer = Response::new(BodyExt::boxed(StreamBody::new(events)));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        answer
    }
}

/// The same answer, broken off after the first part of its body, and after a pause in which that part leaves.
fn cut_short(answer: Answer) -> Answer {
    const PAUSE: Duration = Duration::from_millis(10);
    answer.map(|body| {
        let first = body.into_data_stream().take(1).map(|part| part.map(Frame::data));
        let end = stream::once(async {
            sleep(PAUSE).await;
            Err(broken_off())
        });
        BodyExt::boxed(StreamBody::new(first.chain(end)))
    })
}

fn json_answer(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(json) => with_type("application/json", Bytes::from(json)),
        Err(failure) => error(StatusCode::INTERNAL_SERVER_ERROR, &failure.to_string()),
    }
}

fn text(words: &'static str) -> Answer {
    with_type("text/plain", Bytes::from_static(words.as_bytes()))
}

fn error(status: StatusCode, message: &str) -> Answer {
    let body = json!({ "error": { "message": message, "type": status.as_str() } }).to_string();
    let mut answer = with_type("application/json", Bytes::from(body));
    *answer.status_mut() = status;
    answer
}

fn with_type(content_type: &'static str, body: Bytes) -> Answer {
    let whole = Full::new(body).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(whole.boxed());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
