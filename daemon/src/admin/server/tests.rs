use std::path::PathBuf;

use proxima_api::{
    AdvertisedRoutes, BackendCounts, Backends, BfdSessions, By, Certificates, DrainStatus, Drained, Event,
    EventKind, Events, Ordered, OrderedGroup, PeerCommanded, PeerCounts, Peers, Phase, ReceivedRoutes,
    Reloaded, Renewing, RouteLookup, RoutesSummary, Status, Timestamp,
};
use proxima_bgp_speaker::CommandError;
use proxima_types::{Asn, GroupName, ReachState};
use serde::de::DeserializeOwned;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::watch,
    task::JoinHandle,
};

use super::*;
use crate::{
    admin::{Command, bind_admin_socket, commands},
    traffic::Counts,
};

struct World {
    path: PathBuf,
    journal: Arc<EventJournal>,
    stop: watch::Sender<bool>,
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
    let (stop, stopped) = watch::channel(false);
    let socket = bind_admin_socket(&path, 0o600, None).unwrap();
    let server = tokio::spawn(serve(socket, control, Arc::clone(&journal), stopped));
    World { path, journal, stop, server, _directory: directory }
}

fn answer(command: Command, drained: &mut Option<Drained>) {
    match command {
        Command::Status(reply) => reply.send(status()).unwrap(),
        Command::Peers(reply) => {
            reply.send(Peers { peers: vec![peer("router"), peer("rr1"), peer("racks/10.1.0.7")] }).unwrap();
        }
        Command::Advertised(filter, reply) => {
            assert_eq!(filter.peer.unwrap().as_str(), "router");
            assert_eq!(filter.prefix.unwrap().to_string(), "2001:db8:ac::/48");
            reply.send(AdvertisedRoutes { routes: vec![] }).unwrap();
        }
        Command::Received(query, reply) => {
            let next = query.after.is_none().then(|| "10.0.0.0/8".parse().unwrap());
            if let Some(after) = query.after {
                assert_eq!((after.to_string().as_str(), query.limit), ("10.0.0.0/8", Some(5)));
            }
            let known = query.peer.is_none_or(|peer| peer.as_str() == "router");
            reply
                .send(if known { Ok(ReceivedRoutes { routes: vec![], next }) } else { Err(unknown()) })
                .unwrap();
        }
        Command::Lookup(address, reply) => {
            reply.send(Ok(RouteLookup { address, prefix: None, paths: vec![] })).unwrap();
        }
        Command::RoutesSummary(reply) => {
            reply.send(Ok(RoutesSummary { prefixes: 3, selected: 2, paths: 5 })).unwrap();
        }
        Command::Bfd(reply) => reply.send(BfdSessions { sessions: vec![] }).unwrap(),
        Command::Peer(peer, verb, reply) => {
            let known = peer.as_str() != "nobody";
            assert!(!known || verb != PeerVerb::Shutdown(String::new()), "a reason was sent");
            reply.send(if known { Ok(PeerCommanded { peer, state: None }) } else { Err(unknown()) }).unwrap();
        }
        Command::Reload(request, reply) => {
            let body = ErrorBody { error: "no peers".into(), details: vec!["line 1".into()], hint: None };
            let refused = Err(CommandRefusal::Unprocessable(body));
            reply.send(if request.force { Ok(Reloaded::default()) } else { refused }).unwrap();
        }
        Command::Restart(_, reply) => {
            reply.send(Err(CommandRefusal::conflict("nobody helps", "--force"))).unwrap();
        }
        Command::Upgrade(_, reply) => {
            reply.send(Err(CommandRefusal::conflict("no such program", "it goes on"))).unwrap();
        }
        Command::Renew(service, reply) => {
            let issuer = "le".parse().unwrap();
            reply.send(Ok(Renewing { service, issuer })).unwrap();
        }
        Command::Certificates(reply) => reply.send(Certificates { certificates: vec![] }).unwrap(),
        Command::Backends(reply) => reply.send(Backends { backends: vec![] }).unwrap(),
        Command::Traffic(reply) => reply.send(Counts::default()).unwrap(),
        Command::Order(request, by, reply) => {
            assert!(matches!(by, By::Operator { uid: Some(_), pid: Some(_) }), "{by:?}");
            let known = |name: &GroupName| name.as_str() != "nothing";
            let groups = request.groups.into_iter().map(|name| OrderedGroup {
                name,
                state: ReachState::Withdrawn,
                order: None,
            });
            let groups: Vec<_> = groups.collect();
            let all = groups.iter().all(|group| known(&group.name));
            let answer = Ok(Ordered { groups });
            reply
                .send(if all { answer } else { Err(CommandRefusal::unknown("no such group", "groups: web")) })
                .unwrap();
        }
        Command::Drain(request, by, reply) => {
            let changed = drained.is_none();
            let (since, reason) = (Timestamp::from_unix_micros(0), request.reason);
            drained.get_or_insert(Drained { since, reason, by: Some(by), until: None });
            reply.send(DrainStatus { changed, drained: drained.clone() }).unwrap();
        }
        // As a stopping daemon does.
        Command::Undrain(_, reply) => drop(reply),
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
        alarms: vec![],
        groups: vec![],
        services: vec![],
        peers: PeerCounts::default(),
        backends: BackendCounts::default(),
        workers: 2,
        last_event: 0,
    }
}

fn unknown() -> CommandRefusal {
    let known = vec!["router".to_owned(), "rr1".to_owned()];
    CommandError::UnknownPeer { name: "nobody".to_owned(), known }.into()
}

fn peer(name: &str) -> Peer {
    serde_json::from_value(serde_json::json!({
        "name": name, "configured": "10.2.1.1", "address": "10.2.1.1", "port": 179, "remote_as": 65002,
        "internal": false, "state": "active", "since": "1970-01-01T00:00:00Z", "since_ms": 0, "timers": [],
        "capabilities": [], "families": [], "prefixes": [], "advertised": 0, "received": 0,
        "messages": { "sent": 0, "received": 0, "refreshes_sent": 0, "refreshes_received": 0,
            "treated_as_withdrawn": 0, "loops": 0, "leaks": 0 },
        "updates_sent": 0, "updates_received": 0, "established_count": 0, "flaps": 0,
    }))
    .unwrap()
}

impl World {
    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nHost: proximad\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
        .await
    }

    /// The status and the body that come for these octets, after which the connection ends.
    async fn exchange(&self, request: &str) -> (u16, String) {
        let (mut reading, mut writing) = UnixStream::connect(&self.path).await.unwrap().into_split();
        let mut answer = Vec::new();
        // A body that is refused is not read to its end: that may fail the writing, and end the reading with a reset.
        let (_, _) = tokio::join!(writing.write_all(request.as_bytes()), reading.read_to_end(&mut answer));
        let answer = String::from_utf8(answer).unwrap();
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
        let ErrorBody { error, hint, .. } = serde_json::from_str(&body).unwrap();
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
    assert_eq!(world.get::<Peers>("/v1/peers").await.peers.len(), 3);
    assert_eq!(world.get::<Peer>("/v1/peers/rr1").await, peer("rr1"));
    assert_eq!(world.get::<Peer>("/v1/peers/racks%2F10.1.0.7").await, peer("racks/10.1.0.7"));
    assert!(world.get::<Backends>("/v1/backends").await.backends.is_empty());
    assert!(world.get::<Certificates>("/v1/certificates").await.certificates.is_empty());
    let path = "/v1/routes/advertised?peer=router&prefix=2001:db8:ac::/48";
    assert!(world.get::<AdvertisedRoutes>(path).await.routes.is_empty());
    assert!(
        world
            .get::<AdvertisedRoutes>(&path.replace('/', "%2F").replacen("%2F", "/", 3))
            .await
            .routes
            .is_empty()
    );
    let page: ReceivedRoutes = world.get("/v1/routes/received").await;
    assert_eq!(page.next.unwrap().to_string(), "10.0.0.0/8");
    let page: ReceivedRoutes = world.get("/v1/routes/received?after=10.0.0.0/8&limit=5").await;
    assert_eq!(page.next, None);
    let found: RouteLookup = world.get("/v1/routes/lookup?address=2001:db8::1").await;
    assert_eq!((found.address.to_string().as_str(), found.prefix), ("2001:db8::1", None));
    let summary: RoutesSummary = world.get("/v1/routes/summary").await;
    assert_eq!(summary, RoutesSummary { prefixes: 3, selected: 2, paths: 5 });
    assert!(world.get::<BfdSessions>("/v1/bfd").await.sessions.is_empty());
}

#[tokio::test]
async fn commands_reach_the_peer_they_name() {
    let world = world();
    for (path, body, name) in [
        ("/v1/peers/router/reset", "", "router"),
        ("/v1/peers/racks%2F10.1.0.7/refresh", "{}", "racks/10.1.0.7"),
        ("/v1/peers/racks%2F2001:db8::7/up", "", "racks/2001:db8::7"),
        ("/v1/peers/router/shutdown", r#"{"reason":"new line card"}"#, "router"),
    ] {
        let (status, answer) = world.ask("POST", path, body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!(serde_json::from_str::<PeerCommanded>(&answer).unwrap().peer.as_str(), name);
    }
    let (status, answer) = world.ask("POST", "/v1/reload", r#"{"force":true}"#).await;
    assert_eq!((status, serde_json::from_str::<Reloaded>(&answer).unwrap()), (200, Reloaded::default()));
    let (status, answer) = world.ask("POST", "/v1/reload", "").await;
    let body: ErrorBody = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, body.details), (422, vec!["line 1".to_owned()]));
}

#[tokio::test]
async fn an_order_of_a_certificate_names_the_service_in_its_path() {
    let world = world();
    let (status, answer) = world.ask("POST", "/v1/certificates/web/renew", "").await;
    let renewing: Renewing = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, renewing.service.as_str()), (200, "web"));
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
async fn an_order_reaches_its_groups_with_whose_it_is() {
    let world = world();
    let body = r#"{"verb":"withdraw","groups":["web"],"reason":"new kernel","for_ms":60000}"#;
    let (status, answer) = world.ask("POST", "/v1/orders", body).await;
    let ordered: Ordered = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, ordered.groups[0].name.as_str()), (200, "web"));
}

#[tokio::test]
async fn every_refusal_names_what_is_wrong_and_the_remedy() {
    let world = world();
    for (method, path, body, status, error, hint) in [
        ("GET", "/v1/nothing", "", 404, "there is no /v1/nothing", "one version"),
        ("POST", "/v1/status", "", 405, "/v1/status does not take POST", "GET reads"),
        ("GET", "/v1/drain", "", 405, "/v1/drain does not take GET", "POST is for"),
        ("GET", "/v1/certificates/web/renew", "", 405, "does not take GET", "/v1/certificates/SERVICE/renew"),
        (
            "GET",
            "/v1/peers/nobody",
            "",
            404,
            "there is no peer `nobody`",
            "peers: router, rr1, racks/10.1.0.7",
        ),
        ("GET", "/v1/peers/racks", "", 404, "`racks` is a range", "members: racks/10.1.0.7"),
        (
            "GET",
            "/v1/routes/received?peer=nobody",
            "",
            404,
            "there is no peer `nobody`",
            "peers: router, rr1",
        ),
        ("GET", "/v1/routes/received?prefix=10.0.0.1/8", "", 400, "host bits", "prefix=PREFIX"),
        ("GET", "/v1/routes/received?limit=x", "", 400, "limit", "limit=COUNT"),
        ("GET", "/v1/routes/lookup", "", 400, "address", "address=ADDRESS"),
        ("GET", "/v1/routes/lookup?address=x", "", 400, "address", "address=ADDRESS"),
        ("POST", "/v1/peers/nobody/reset", "", 404, "there is no peer `nobody`", "peers: router, rr1"),
        ("POST", "/v1/peers/-x-/reset", "", 404, "can't be a name", "proxima peers"),
        ("POST", "/v1/peers/router/explode", "", 404, "`explode` is nothing", "reset, refresh, shutdown, up"),
        ("POST", "/v1/peers/router/shutdown", "down!", 400, "not what is asked for", "reason"),
        ("GET", "/v1/peers/router/reset", "", 405, "does not take GET", "POST is for"),
        ("POST", "/v1/certificates/-x-/renew", "", 404, "there is no service `-x-`", "proxima certificates"),
        ("POST", "/v1/restart", "", 409, "nobody helps", "--force"),
        ("POST", "/v1/upgrade", "", 409, "no such program", "it goes on"),
        ("GET", "/v1/events?since=x", "", 400, "since", "since=SEQ"),
        ("POST", "/v1/drain", "drain!", 400, "not what is asked for", "reason"),
        ("POST", "/v1/drain", r#"{"reasn": "kernel"}"#, 400, "unknown field `reasn`", "reason"),
        ("POST", "/v1/drain", r#"{"for_ms":5}"#, 400, "5 ms is no time", "1 s to 30 days"),
        ("POST", "/v1/orders", "", 400, "not what is asked for", "verb"),
        ("POST", "/v1/orders", r#"{"verb":"explode"}"#, 400, "explode", "announce"),
        ("POST", "/v1/orders", r#"{"verb":"auto","for_ms":60000}"#, 400, "`auto` is for good", "for_ms"),
        ("POST", "/v1/orders", r#"{"verb":"withdraw","for_ms":0}"#, 400, "0 ms is no time", "1 s to 30 days"),
        (
            "POST",
            "/v1/orders",
            r#"{"verb":"withdraw","groups":["nothing"]}"#,
            404,
            "no such group",
            "groups: web",
        ),
        ("POST", "/v1/undrain", "", 503, "the daemon is stopping", "ask again"),
    ] {
        let refused = world.refused(method, path, body).await;
        assert_eq!(refused.0, status, "{method} {path}: {refused:?}");
        assert!(refused.1.contains(error) && refused.2.contains(hint), "{method} {path}: {refused:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_or_broken_is_refused_in_the_api_s_words() {
    let world = world();
    let too_long = format!("Content-Length: 3000000\r\n\r\n{}", "x".repeat(3_000_000));
    for (rest, status, hint) in [
        (too_long.as_str(), 413, "what is asked for here takes a few hundred octets"),
        ("Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n\r\n", 400, "send it whole, or nothing"),
    ] {
        let head = "POST /v1/drain HTTP/1.1\r\nHost: proximad\r\nConnection: close";
        let (found, body) = world.exchange(&format!("{head}\r\n{rest}")).await;
        let told: ErrorBody = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!((found, told.hint.as_deref()), (status, Some(hint)), "{told:?}");
        assert!(told.error.starts_with("the body can't be taken: "), "{told:?}");
    }
}

#[tokio::test]
async fn a_reason_that_no_message_holds_is_refused() {
    let world = world();
    let reason = "x".repeat(256);
    let refused =
        world.refused("POST", "/v1/peers/router/shutdown", &format!(r#"{{"reason":"{reason}"}}"#)).await;
    assert!(refused.0 == 400 && refused.1.contains("256 octets") && refused.2 == "shorten it", "{refused:?}");
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
    let world = world();
    let mut stream = world.follow(0).await;
    world.journal.publish(EventKind::DaemonStopping { cause: "SIGTERM".into() });
    world.stop.send_replace(true);
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
