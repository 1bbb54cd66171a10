//! Starts each request at its time, whatever became of the ones before.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_types::Family;
use serde::Serialize;
use tokio::{
    runtime::Handle,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep_until, timeout},
};

use super::{
    arrivals::Arrivals,
    client::{Client, Exchange, Request},
    http::Head,
    outcome::{Cut, Failure, Outcome, Served, StreamEnd},
    sse::Events,
};
use crate::observe::Journal;

/// Headers by which the world's apps say who they are.
const REGION_HEADER: &str = "x-region";
const APP_HEADER: &str = "x-app";

const WORK_LIMIT: Duration = Duration::from_secs(10);
const STREAM_LIMIT: Duration = Duration::from_secs(30);

/// What kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A small idempotent request: `GET /work`.
    Work,
    /// A token stream: `POST /v1/chat/completions` with `stream: true`.
    Stream,
    /// To the fenced service, with the marker: by turns a GET and a POST.
    Fenced,
}

/// Requests of one kind to one address.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The kind.
    pub kind: Kind,
    /// Where to.
    pub target: SocketAddr,
    /// Requests per second.
    pub rate: f64,
    /// Put into target and body of fenced requests.
    pub marker: Option<Arc<str>>,
}

/// What the clients of one region do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The region the clients are in.
    pub region: Arc<str>,
    /// The `Host` they ask for.
    pub host: String,
    /// Fixes every arrival.
    pub seed: u64,
    /// Tokens of a stream.
    pub tokens: u32,
    /// Time between two tokens.
    pub token_interval: Duration,
    /// The workloads.
    pub workloads: Vec<Workload>,
}

/// Running clients of one region.
#[derive(Debug)]
pub struct Generator {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Generator {
    /// Starts on `runtime`, which decides where sockets are opened; outcomes go to `journal` as requests end.
    pub fn start(runtime: &Handle, plan: &Plan, journal: &Arc<Journal<Outcome>>) -> Self {
        let stop = watch::Sender::new(false);
        let start = Instant::now();
        let tasks = plan.workloads.iter().zip(0_u64..).map(|(workload, number)| {
            let sender = Arc::new(Sender {
                region: Arc::clone(&plan.region),
                kind: workload.kind,
                messages: messages(plan, workload),
                client: Client::new(workload.target),
                id: format!("{}-{number}", plan.region),
                family: if workload.target.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 },
                journal: Arc::clone(journal),
            });
            let arrivals =
                Arrivals::new(workload.rate, plan.seed.wrapping_add(number.wrapping_mul(0x5851_f42d)));
            runtime.spawn(run(sender, arrivals, start, stop.subscribe()))
        });
        let tasks = tasks.collect();
        Self { stop, tasks }
    }

    /// Starts no more requests and waits for those under way, at most `patience`; returns how many were given up.
    pub async fn stop(self, patience: Duration) -> usize {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + patience;
        let mut abandoned = 0;
        for mut task in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                abandoned += 1;
            }
        }
        abandoned
    }
}

async fn run(sender: Arc<Sender>, arrivals: Arrivals, start: Instant, mut stop: watch::Receiver<bool>) {
    let mut requests = JoinSet::new();
    for (due, number) in arrivals.zip(0_usize..) {
        let intended = start + due;
        tokio::select! {
            () = sleep_until(intended.into()) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        while requests.try_join_next().is_some() {}
        let sender = Arc::clone(&sender);
        requests.spawn(async move { sender.send(intended, number).await });
    }
    while requests.join_next().await.is_some() {}
}

/// One workload's requests.
struct Sender {
    region: Arc<str>,
    kind: Kind,
    messages: Vec<Message>,
    client: Client,
    /// The beginning of its requests' `x-request-id`; no two are alike in a world.
    id: String,
    family: Family,
    journal: Arc<Journal<Outcome>>,
}

struct Message {
    /// The head without the `x-request-id` and the empty line.
    head: String,
    body: String,
    idempotent: bool,
}

impl Message {
    fn octets(&self, id: &str) -> Vec<u8> {
        format!("{}x-request-id: {id}\r\n\r\n{}", self.head, self.body).into_bytes()
    }
}

impl Sender {
    async fn send(&self, intended: Instant, number: usize) {
        let started = Instant::now();
        let message = &self.messages[number % self.messages.len()];
        let streaming = self.kind == Kind::Stream;
        let id = format!("{}-{number}", self.id);
        let octets = message.octets(&id);
        let request = Request { octets: &octets, idempotent: message.idempotent, own_connection: streaming };
        let (mut exchange, mut events) = (Exchange::default(), Events::default());
        let limit = if streaming { STREAM_LIMIT } else { WORK_LIMIT };
        // A timeout shows as the result the exchange began with.
        let _ = timeout(limit, self.client.send(request, &mut exchange, |piece| events.push(piece))).await;
        let done = Instant::now();
        let stream = streaming.then(|| stream_end(&exchange, &events)).flatten();
        let head = exchange.head.as_ref();
        let result = match (&exchange.result, head) {
            (Ok(()), Some(head)) => Ok(head.status),
            (Ok(()), None) => Err(Failure::Malformed("no head".to_owned())),
            // The stream's end is told apart; its answer as such began well.
            (Err(_), Some(head)) if stream.is_some() => Ok(head.status),
            (Err(failure), _) => Err(failure.clone()),
        };
        self.journal.push(Outcome {
            id,
            region: Arc::clone(&self.region),
            kind: self.kind,
            family: self.family,
            intended,
            started,
            first_byte: head.map(|head| head.first_byte),
            done,
            attempts: exchange.attempts,
            reconnects: exchange.reconnects,
            fresh: exchange.fresh,
            local_port: exchange.local_port,
            served: head.and_then(served),
            result,
            stream,
        });
    }
}

fn messages(plan: &Plan, workload: &Workload) -> Vec<Message> {
    let host = &plan.host;
    let marker = workload.marker.as_deref().unwrap_or_default();
    let get = |target: &str| Message {
        head: format!("GET {target} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\n"),
        body: String::new(),
        idempotent: true,
    };
    let post = |target: &str, body: &str| Message {
        head: format!(
            "POST {target} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n",
            body.len()
        ),
        body: body.to_owned(),
        idempotent: false,
    };
    match workload.kind {
        Kind::Work => vec![get("/work")],
        Kind::Fenced => vec![
            get(&format!("/fenced/{marker}")),
            post("/fenced", &serde_json::json!({ "record": marker }).to_string()),
        ],
        Kind::Stream => {
            let body = serde_json::json!({
                "model": "testnet",
                "stream": true,
                "max_tokens": plan.tokens,
                "token_delay_ms": plan.token_interval.as_millis() as u64,
                "messages": [{ "role": "user", "content": "Which region is this?" }],
            });
            vec![post("/v1/chat/completions", &body.to_string())]
        }
    }
}

fn served(head: &Head) -> Option<Served> {
    let (region, app) = (head.header(REGION_HEADER)?, head.header(APP_HEADER)?);
    Some(Served { region: region.into(), app: app.into() })
}

/// How a stream that began with 200 ended; `None` when none began.
fn stream_end(exchange: &Exchange, events: &Events) -> Option<StreamEnd> {
    if exchange.head.as_ref()?.status != 200 {
        return None;
    }
    let how = match &exchange.result {
        // Whoever has `[DONE]` has everything, however the connection ends.
        _ if events.is_done() => return Some(StreamEnd::Complete { events: events.count() }),
        Ok(()) => Cut::Silent,
        Err(Failure::TimedOut) => Cut::Stalled,
        Err(Failure::Truncated(std::io::ErrorKind::ConnectionReset)) => Cut::Reset,
        Err(_) => Cut::Truncated,
    };
    Some(StreamEnd::Cut { events: events.count(), how })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    const HEAD: &str =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-region: eu\r\nx-app: eu-1\r\n";

    /// Sends one stream to a server that answers with `answer` and then closes, by reset if `reset`.
    async fn outcome_of(answer: String, reset: bool) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            if reset {
                // The loopback has delivered the answer by now; what was delivered stays readable after a reset.
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let plan = Plan {
            region: "eu".into(),
            host: "api.example.com".to_owned(),
            seed: 1,
            tokens: 2,
            token_interval: Duration::ZERO,
            workloads: Vec::new(),
        };
        let workload = Workload { kind: Kind::Stream, target, rate: 1.0, marker: None };
        let journal = Arc::new(Journal::default());
        let sender = Sender {
            region: "eu".into(),
            kind: Kind::Stream,
            messages: messages(&plan, &workload),
            client: Client::new(target),
            id: "eu-0".to_owned(),
            family: Family::Ipv4,
            journal: Arc::clone(&journal),
        };
        sender.send(Instant::now(), 0).await;
        journal.read(0, |outcomes| outcomes[0].clone())
    }

    fn chunked(parts: &[&str]) -> String {
        let mut answer = format!("{HEAD}transfer-encoding: chunked\r\n\r\n");
        for part in parts {
            let _ = write!(answer, "{:x}\r\n{part}\r\n", part.len());
        }
        answer
    }

    #[tokio::test]
    async fn a_whole_stream_is_complete_and_names_its_app() {
        let answer = chunked(&["data: a\n\n", "data: b\n\n", "data: [DONE]\n\n"]) + "0\r\n\r\n";
        let outcome = outcome_of(answer, false).await;
        assert_eq!(outcome.stream, Some(StreamEnd::Complete { events: 2 }));
        assert_eq!(outcome.served, Some(Served { region: "eu".into(), app: "eu-1".into() }));
        assert!(outcome.succeeded() && outcome.cut().is_none());
    }

    #[tokio::test]
    async fn a_stream_cut_midway_can_be_told_from_a_whole_one() {
        let half = chunked(&["data: a\n\n"]);
        assert_eq!(outcome_of(half.clone(), false).await.cut(), Some(Cut::Truncated));
        assert_eq!(outcome_of(half.clone(), true).await.cut(), Some(Cut::Reset));
        assert!(outcome_of(half, true).await.cut().unwrap().can_tell());
    }

    #[tokio::test]
    async fn a_clean_end_without_done_is_a_silent_cut() {
        let by_chunk = outcome_of(chunked(&["data: a\n\n"]) + "0\r\n\r\n", false).await;
        assert_eq!(by_chunk.cut(), Some(Cut::Silent));
        let by_close = outcome_of(format!("{HEAD}connection: close\r\n\r\ndata: a\n\n"), false).await;
        assert_eq!(by_close.cut(), Some(Cut::Silent));
        assert!(!by_close.cut().unwrap().can_tell());
    }

    #[tokio::test]
    async fn an_error_answer_is_no_stream() {
        let outcome = outcome_of("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n".to_owned(), false).await;
        assert_eq!((outcome.result.clone(), outcome.stream), (Ok(502), None));
        assert!(!outcome.succeeded());
    }

    #[tokio::test]
    async fn a_stalled_server_is_charged_for_every_request_that_was_due() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let stall = Duration::from_millis(200);
        let server = tokio::spawn(async move {
            let mut accepted = Vec::new();
            // Nobody is answered until the stall is over, then everybody at once.
            let end = tokio::time::Instant::now() + stall;
            while let Ok(Ok((stream, _))) = tokio::time::timeout_at(end, listener.accept()).await {
                accepted.push(stream);
            }
            for stream in &mut accepted {
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
            // The listener stays, the clients are stopped before they need it.
            (listener, accepted)
        });
        let workload = Workload { kind: Kind::Work, target, rate: 200.0, marker: None };
        let plan = Plan {
            region: "eu".into(),
            host: "a".to_owned(),
            seed: 3,
            tokens: 0,
            token_interval: Duration::ZERO,
            workloads: vec![workload],
        };
        let journal = Arc::new(Journal::default());
        let generator = Generator::start(&Handle::current(), &plan, &journal);
        let _held = server.await.unwrap();
        let enough = journal
            .wait(0, Instant::now() + Duration::from_secs(5), |all| (all.len() > 20).then_some(()))
            .await;
        assert!(enough.is_some());
        generator.stop(Duration::ZERO).await;
        let slowest = journal.read(0, |all| all.iter().map(Outcome::latency).max().unwrap());
        let waited = journal.read(0, |all| all.iter().filter(|o| o.latency() > stall / 4).count());
        assert!(slowest > stall / 2 && waited > 15, "{slowest:?}, {waited}");
    }
}
