use std::path::PathBuf;

use proxima_api::{
    AdvertisedRoutes, BackendCounts, Backends, DrainStatus, Drained, Event, EventKind, Events, PeerCounts,
    Peers, Phase, ReceivedRoutes, SessionState, Status, Timestamp,
};
use proxima_proxy::Stats;
use proxima_types::Asn;
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::admin::{Command, bind_admin_socket, commands};

struct World {
    path: PathBuf,
    journal: Arc<EventJournal>,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
    _directory: tempfile::TempDir,
}

/// A server whose control task is a script.
fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let (control, mut commands) = commands();
    tokio::spawn(async move {
        let mut drained = None;
        while let Some(command) = commands.recv().await {
            answer(command, &mut drained);
        }
    });
    let journal = EventJournal::new(4);
    let (stop, stopped) = oneshot::channel();
    let socket = bind_admin_socket(&path, 0o600, None).unwrap();
    let server = tokio::spawn(serve(socket, control, Arc::clone(&journal), async {
        let _ = stopped.await;
    }));
    World { path, journal, stop: Some(stop), server, _directory: directory }
}

fn answer(command: Command, drained: &mut Option<Drained>) {
    match command {
        Command::Status(reply) => reply.send(status()).unwrap(),
        Command::Peers(reply) => reply.send(Peers { peers: vec![peer("router"), peer("rr1")] }).unwrap(),
        Command::Advertised(filter, reply) => {
            assert_eq!(filter.peer.unwrap().as_str(), "router");
            assert_eq!(filter.prefix.unwrap().to_string(), "2001:db8:ac::/48");
            reply.send(AdvertisedRoutes { routes: vec![] }).unwrap();
        }
        Command::Received(filter, reply) => {
            assert_eq!(filter, RouteFilter::default());
            reply.send(ReceivedRoutes { routes: vec![] }).unwrap();
        }
        Command::Backends(reply) => reply.send(Backends { backends: vec![] }).unwrap(),
        Command::Traffic(reply) => reply.send(Stats::default()).unwrap(),
        Command::Drain(request, reply) => {
            let changed = drained.is_none();
            drained.get_or_insert(Drained { since: Timestamp::from_unix_micros(0), reason: request.reason });
            reply.send(DrainStatus { changed, drained: drained.clone() }).unwrap();
        }
        // As a stopping daemon does.
        Command::Undrain(reply) => drop(reply),
    }
}

fn status() -> Status {
    Status {
        pop: "eu1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        jurisdiction: "EU".parse().unwrap(),
        version: "0.1.0".into(),
        pid: 1,
        router_id: [10, 2, 0, 2].into(),
        local_as: Asn(64512),
        started_at: Timestamp::from_unix_micros(0),
        uptime_ms: 0,
        phase: Phase::Starting,
        drained: None,
        groups: vec![],
        services: vec![],
        peers: PeerCounts::default(),
        backends: BackendCounts::default(),
        workers: 2,
        last_event: 0,
    }
}

fn peer(name: &str) -> Peer {
    Peer {
        name: name.parse().unwrap(),
        address: [10, 2, 1, 1].into(),
        port: 179,
        remote_as: Asn(65002),
        state: SessionState::Active,
        since: Timestamp::from_unix_micros(0),
        last_error: None,
        remote_router_id: None,
        hold_time_s: None,
        families: vec![],
        advertised: 0,
        received: 0,
        updates_sent: 0,
        updates_received: 0,
        established_count: 0,
    }
}

impl World {
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: proximad\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let (status, body) = self.ask(method, path, body).await;
        let ErrorBody { error, hint } = serde_json::from_str(&body).unwrap();
        (status, error, hint.unwrap())
    }

    /// A followed stream of events, past the head of its answer.
    async fn follow(&self, since: u64) -> Stream {
        let mut stream = BufReader::new(UnixStream::connect(&self.path).await.unwrap());
        let request = format!("GET /v1/events?follow=true&since={since} HTTP/1.1\r\nHost: proximad\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await.unwrap();
        }
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/x-ndjson"), "{head}");
        Stream(stream)
    }
}

struct Stream(BufReader<UnixStream>);

impl Stream {
    /// The next chunk's text; empty for the last one.
    async fn chunk(&mut self) -> String {
        let mut size = String::new();
        self.0.read_line(&mut size).await.unwrap();
        let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
        self.0.read_exact(&mut chunk).await.unwrap();
        chunk.truncate(chunk.len() - 2);
        String::from_utf8(chunk).unwrap()
    }

    async fn lines(&mut self) -> Vec<EventLine> {
        self.chunk().await.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn seqs(lines: &[EventLine]) -> Vec<u64> {
    lines
        .iter()
        .map(|line| match line {
            EventLine::Event(Event { seq, .. }) => *seq,
            EventLine::Lost { .. } => panic!("{line:?}"),
        })
        .collect()
}

#[tokio::test]
async fn every_read_gives_the_control_tasks_answer() {
    let world = world();
    assert_eq!(world.get::<Status>("/v1/status").await, status());
    assert_eq!(world.get::<Peers>("/v1/peers").await.peers.len(), 2);
    assert_eq!(world.get::<Peer>("/v1/peers/rr1").await, peer("rr1"));
    assert!(world.get::<Backends>("/v1/backends").await.backends.is_empty());
    let path = "/v1/routes/advertised?peer=router&prefix=2001:db8:ac::/48";
    assert!(world.get::<AdvertisedRoutes>(path).await.routes.is_empty());
    assert!(
        world
            .get::<AdvertisedRoutes>(&path.replace('/', "%2F").replacen("%2F", "/", 3))
            .await
            .routes
            .is_empty()
    );
    assert!(world.get::<ReceivedRoutes>("/v1/routes/received").await.routes.is_empty());
}

#[tokio::test]
async fn drain_takes_a_reason_or_nothing() {
    let world = world();
    let (status, body) = world.ask("POST", "/v1/drain", r#"{"reason":"new kernel"}"#).await;
    assert_eq!(status, 200, "{body}");
    let first: DrainStatus = serde_json::from_str(&body).unwrap();
    assert!(first.changed);
    assert_eq!(first.drained.unwrap().reason.as_deref(), Some("new kernel"));
    let (_, body) = world.ask("POST", "/v1/drain", "").await;
    assert!(!serde_json::from_str::<DrainStatus>(&body).unwrap().changed);
}

#[tokio::test]
async fn every_refusal_names_what_is_wrong_and_the_remedy() {
    let world = world();
    for (method, path, body, status, error, hint) in [
        ("GET", "/v1/nothing", "", 404, "there is no /v1/nothing", "one version"),
        ("POST", "/v1/status", "", 405, "/v1/status does not take POST", "GET reads"),
        ("GET", "/v1/drain", "", 405, "/v1/drain does not take GET", "POST is for"),
        ("GET", "/v1/peers/nobody", "", 404, "there is no peer `nobody`", "peers: router, rr1"),
        (
            "GET",
            "/v1/routes/received?peer=nobody",
            "",
            404,
            "there is no peer `nobody`",
            "peers: router, rr1",
        ),
        ("GET", "/v1/routes/received?prefix=10.0.0.1/8", "", 400, "host bits", "prefix=PREFIX"),
        ("GET", "/v1/events?since=x", "", 400, "since", "since=SEQ"),
        ("POST", "/v1/drain", "drain!", 400, "not a drain request", "reason"),
        ("POST", "/v1/undrain", "", 503, "the daemon is stopping", "ask again"),
    ] {
        let refused = world.refused(method, path, body).await;
        assert_eq!(refused.0, status, "{method} {path}: {refused:?}");
        assert!(refused.1.contains(error) && refused.2.contains(hint), "{method} {path}: {refused:?}");
    }
}

#[tokio::test]
async fn events_are_read_from_a_number_on() {
    let world = world();
    for _ in 0..6 {
        world.journal.publish(EventKind::Undrain);
    }
    let events: Events = world.get("/v1/events?since=1").await;
    assert_eq!((events.lost, events.events.iter().map(|event| event.seq).collect()), (1, vec![3, 4, 5, 6]));
    let events: Events = world.get("/v1/events?since=5").await;
    assert_eq!((events.lost, events.events.len()), (0, 1));
}

#[tokio::test]
async fn a_followed_stream_tells_what_was_lost_then_what_is_kept_then_what_happens() {
    let world = world();
    for _ in 0..6 {
        world.journal.publish(EventKind::Undrain);
    }
    let mut stream = world.follow(0).await;
    let lines = stream.lines().await;
    assert_eq!(lines[0], EventLine::Lost { lost: 2 });
    assert_eq!(seqs(&lines[1..]), [3, 4, 5, 6]);
    world.journal.publish(EventKind::Undrain);
    assert_eq!(seqs(&stream.lines().await), [7]);
}

#[tokio::test]
async fn a_stop_ends_streams_after_the_last_event_and_removes_the_socket() {
    let mut world = world();
    let mut stream = world.follow(0).await;
    world.journal.publish(EventKind::DaemonStopping { cause: "SIGTERM".into() });
    world.stop.take().unwrap().send(()).unwrap();
    assert_eq!(seqs(&stream.lines().await), [1]);
    assert_eq!(stream.chunk().await, "");
    world.server.await.unwrap().unwrap();
    assert!(!world.path.exists());
}

#[tokio::test]
async fn a_closed_journal_ends_streams() {
    let world = world();
    let mut stream = world.follow(0).await;
    world.journal.close();
    assert_eq!(stream.chunk().await, "");
}
