//! What those who watch are told: BMP stations by script and by pmacct, and MRT files read by bgpdump.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{
    own_address, peer,
    raw::{THEIR_AS, accept, announce, handshake, listening, message, read_message},
    speaker, until, until_received, within,
};
use proxima_bgp_speaker::{
    BmpConfig, DumpError, Leave, MrtConfig, Speaker, SpeakerConfig, SpeakerHandle, State,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

/// Types of BMP messages (RFC 7854 §4.1).
const ROUTE_MONITORING: u8 = 0;
const STATISTICS: u8 = 1;
const PEER_DOWN: u8 = 2;
const PEER_UP: u8 = 3;
const INITIATION: u8 = 4;
const TERMINATION: u8 = 5;
/// Octets of the common header, and of the per-peer header.
const COMMON: usize = 6;
const PER_PEER: usize = 42;

/// A BMP message without its common header; None at the end of the stream.
async fn bmp(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; COMMON];
    within("a BMP message", stream.read_exact(&mut header)).await.ok()?;
    assert_eq!(header[0], 3, "the version");
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut body = vec![0; length - COMMON];
    within("its body", stream.read_exact(&mut body)).await.ok()?;
    Some((header[5], body))
}

/// The next message of a type, others skipped.
async fn bmp_of(stream: &mut TcpStream, kind: u8) -> Vec<u8> {
    loop {
        let (found, body) = bmp(stream).await.expect("a message before the end");
        if found == kind {
            return body;
        }
    }
}

/// The /24s that an UPDATE announces, as their three octets; empty for an End-of-RIB.
fn announced(update: &[u8]) -> Vec<[u8; 3]> {
    let length = |at: usize| usize::from(u16::from_be_bytes([update[at], update[at + 1]]));
    let attributes = 21 + length(19);
    let nlri = &update[attributes + 2 + length(attributes)..];
    nlri.chunks(4).map(|prefix| [prefix[1], prefix[2], prefix[3]]).collect()
}

/// The next UPDATE that is told, End-of-RIBs skipped.
async fn update_of(stream: &mut TcpStream) -> Vec<u8> {
    loop {
        let update = bmp_of(stream, ROUTE_MONITORING).await.split_off(PER_PEER);
        if update.len() > 23 && !update.ends_with(&[0x80, 15, 3, 0, 2, 1]) {
            return update;
        }
    }
}

/// Route monitoring up to the first End-of-RIB of IPv4.
async fn table(stream: &mut TcpStream) -> BTreeSet<[u8; 3]> {
    let mut routes = BTreeSet::new();
    loop {
        let body = bmp_of(stream, ROUTE_MONITORING).await;
        let update = &body[PER_PEER..];
        if update.len() == 23 {
            return routes;
        }
        routes.extend(announced(update));
    }
}

fn station(address: SocketAddr) -> BmpConfig {
    BmpConfig {
        name: "collector".parse().unwrap(),
        address,
        retry: Duration::from_millis(20),
        statistics: None,
    }
}

/// A speaker with one raw router, established.
async fn established(change: impl FnOnce(&mut SpeakerConfig)) -> (SpeakerHandle, TcpStream) {
    let us = own_address();
    let (listener, at) = listening(own_address()).await;
    let mut config = speaker(vec![peer("router", at, THEIR_AS, us)]);
    change(&mut config);
    let (pop, _events) = Speaker::start(config).unwrap();
    let mut router = accept(&listener).await;
    handshake(&mut router).await;
    until(&pop, "router", State::Established).await;
    (pop, router)
}

async fn stations() -> (TcpListener, SocketAddr) {
    listening(own_address()).await
}

#[tokio::test]
async fn a_station_is_told_of_sessions_their_routes_and_their_end() {
    let (listener, at) = stations().await;
    let (pop, mut router) = established(|config| config.bmp = vec![station(at)]).await;
    let mut collector = accept(&listener).await;
    let (kind, initiation) = bmp(&mut collector).await.unwrap();
    assert_eq!(kind, INITIATION);
    assert!(String::from_utf8_lossy(&initiation).contains("proxima"));
    let up = bmp_of(&mut collector, PEER_UP).await;
    // The per-peer header, our address, two ports, and both OPENs as they went over the wire.
    let opens = &up[PER_PEER + 20..];
    let ours = usize::from(u16::from_be_bytes([opens[16], opens[17]]));
    assert_eq!((opens[18], opens[ours + 18]), (1, 1));
    assert_eq!(opens[ours..ours + 29], *common::raw::OPEN);
    assert!(up.ends_with(b"router"), "its name with us");

    let update = announce([[10, 0, 1], [10, 0, 2]]);
    router.write_all(&update).await.unwrap();
    let told = update_of(&mut collector).await;
    assert_eq!(told, update, "the message as it came");

    // An UPDATE with a fault: ORIGIN 9. What was made of it is a withdrawal.
    let mut faulty = announce([[10, 0, 2]]);
    let origin = faulty.windows(4).position(|octets| octets == [0x40, 1, 1, 0]).unwrap();
    faulty[origin + 3] = 9;
    router.write_all(&faulty).await.unwrap();
    let told = update_of(&mut collector).await;
    assert_eq!(told[19..25], [0, 4, 24, 10, 0, 2], "withdrawn: {told:?}");

    let cease = message(3, &[6, 4]);
    router.write_all(&cease).await.unwrap();
    let down = bmp_of(&mut collector, PEER_DOWN).await;
    assert_eq!((down[PER_PEER], &down[PER_PEER + 1..]), (3, &cease[..]), "the peer's NOTIFICATION");

    let stopped = tokio::spawn(async move { pop.stop(Leave::Stop { reason: String::new() }).await });
    bmp_of(&mut collector, TERMINATION).await;
    assert_eq!(bmp(&mut collector).await, None);
    within("stop", stopped).await.unwrap();
}

#[tokio::test]
async fn a_station_that_comes_late_or_again_gets_the_whole_table() {
    let (listener, at) = stations().await;
    drop(listener);
    let (pop, mut router) = established(|config| config.bmp = vec![station(at)]).await;
    let routes: BTreeSet<_> = (0..1500u16).map(|n| [10, (n >> 8) as u8, n as u8]).collect();
    for routes in routes.iter().copied().collect::<Vec<_>>().chunks(100) {
        router.write_all(&announce(routes.iter().copied())).await.unwrap();
    }
    until_received(&pop, "router", 1500).await;
    let listener = TcpListener::bind(at).await.unwrap();
    for _ in 0..2 {
        let mut collector = accept(&listener).await;
        assert_eq!(bmp(&mut collector).await.unwrap().0, INITIATION);
        assert_eq!(bmp(&mut collector).await.unwrap().0, PEER_UP);
        assert_eq!(table(&mut collector).await, routes);
    }
}

#[tokio::test]
async fn a_station_that_does_not_read_delays_nobody_and_is_told_all_anew() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::new(own_address(), 0)).unwrap();
    let at = socket.local_addr().unwrap();
    let listener = socket.listen(8).unwrap();
    let (pop, mut router) = established(|config| config.bmp = vec![station(at)]).await;
    let mut asleep = accept(&listener).await;
    // Many more records than the queue and the sockets hold.
    let updates = 60_000;
    let sent = tokio::spawn(async move {
        let mut bytes = Vec::new();
        for n in 0..updates {
            bytes.extend(announce([[10, (n >> 8) as u8, n as u8]]));
        }
        router.write_all(&bytes).await.unwrap();
        router
    });
    let taken =
        |status: &proxima_bgp_speaker::PeerStatus| status.session.counters.updates_received == updates;
    within("all UPDATEs", pop.wait_for("router", taken)).await.unwrap();
    let _router = within("the router", sent).await.unwrap();
    // What was told before the tap was lost may be read; then it begins anew.
    while bmp(&mut asleep).await.is_some() {}
    let mut again = accept(&listener).await;
    assert_eq!(table(&mut again).await.len(), 60_000);
    assert_eq!(pop.peers()[0].session.counters.flaps, 0);
}

#[tokio::test]
async fn a_station_that_takes_connections_and_ends_them_is_tried_less_and_less_often() {
    let (listener, at) = stations().await;
    let (_pop, _router) = established(|config| config.bmp = vec![station(at)]).await;
    drop(accept(&listener).await);
    let first = Instant::now();
    for _ in 0..5 {
        drop(accept(&listener).await);
    }
    // 20 ms, doubled each time.
    assert!(first.elapsed() > Duration::from_millis(20 + 40 + 80 + 160 + 300), "{:?}", first.elapsed());
}

#[tokio::test]
async fn a_station_gets_figures_from_time_to_time() {
    let (listener, at) = stations().await;
    let every = Some(Duration::from_millis(30));
    let (pop, mut router) =
        established(|config| config.bmp = vec![BmpConfig { statistics: every, ..station(at) }]).await;
    router.write_all(&announce([[10, 0, 1]])).await.unwrap();
    router.write_all(&announce([[10, 0, 1]])).await.unwrap();
    until_received(&pop, "router", 1).await;
    let mut collector = accept(&listener).await;
    // Type 7: routes in the Adj-RIB-In, a gauge of eight octets; type 1: a duplicate announcement.
    let held = [0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1];
    let duplicate = [0, 1, 0, 4, 0, 0, 0, 1];
    loop {
        let figures = bmp_of(&mut collector, STATISTICS).await;
        let has = |figure: &[u8]| figures.windows(figure.len()).any(|octets| octets == figure);
        if has(&held) && has(&duplicate) {
            break;
        }
    }
    // And it is not held against the router that it says nothing.
    assert_eq!(pop.peers()[0].session.state, State::Established);
    drop(read_message(&mut router));
}

#[tokio::test]
async fn only_updates_that_were_treated_as_withdrawals_count_as_such() {
    let (listener, at) = stations().await;
    let every = Some(Duration::from_millis(30));
    let (_pop, mut router) =
        established(|config| config.bmp = vec![BmpConfig { statistics: every, ..station(at) }]).await;
    let mut collector = accept(&listener).await;
    bmp_of(&mut collector, PEER_UP).await;
    // A prefix that is no destination is ignored, which is no withdrawal; ORIGIN 9 makes one.
    let martian = announce([[10, 0, 1], [127, 0, 0]]);
    let mut faulty = announce([[10, 0, 2]]);
    let origin = faulty.windows(4).position(|octets| octets == [0x40, 1, 1, 0]).unwrap();
    faulty[origin + 3] = 9;
    for update in [&martian, &faulty, &announce([[10, 0, 3]])] {
        router.write_all(update).await.unwrap();
    }
    assert_eq!(announced(&update_of(&mut collector).await), [[10, 0, 1]]);
    // Types 7 and 11 of RFC 7854 §4.8.
    let (held, treated) = ([0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2], [0, 11, 0, 4, 0, 0, 0]);
    let counted = loop {
        let figures = bmp_of(&mut collector, STATISTICS).await;
        if figures.windows(held.len()).any(|octets| octets == held) {
            let at = figures.windows(7).position(|octets| octets == treated).unwrap();
            break figures[at + 7];
        }
    };
    assert_eq!(counted, 1);
}

#[tokio::test]
async fn loops_are_counted_by_what_shows_them() {
    let (listener, at) = stations().await;
    let every = Some(Duration::from_millis(30));
    let (_pop, mut router) = established(|config| {
        config.local_as = proxima_types::Asn(THEIR_AS);
        config.bmp = vec![BmpConfig { statistics: every, ..station(at) }];
    })
    .await;
    // ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF; 192.0.2.11 is we.
    let update = |path: &[u8], more: &[u8]| {
        let length = u8::try_from(path.len()).unwrap();
        let attributes = [
            &[0x40, 1, 1, 0, 0x40, 2, length][..],
            path,
            &[0x40, 3, 4, 192, 0, 2, 22, 0x40, 5, 4, 0, 0, 0, 100],
            more,
        ]
        .concat();
        let length = u8::try_from(attributes.len()).unwrap();
        message(2, &[&[0, 0, 0, length][..], &attributes, &[24, 10, 0, 1]].concat())
    };
    let (cluster, originator) = ([0x80, 10, 8, 192, 0, 2, 9, 192, 0, 2, 11], [0x80, 9, 4, 192, 0, 2, 11]);
    for update in [
        update(&[2, 1, 0xfd, 0xe8], &[]),
        update(&[], &originator),
        update(&[], &originator),
        update(&[], &cluster),
        update(&[], &cluster),
        update(&[], &cluster),
    ] {
        router.write_all(&update).await.unwrap();
    }
    let mut collector = accept(&listener).await;
    // RFC 7854 §4.8: 3 by CLUSTER_LIST, 4 by AS_PATH, 5 by ORIGINATOR_ID.
    let expected = [[0, 3, 0, 4, 0, 0, 0, 3], [0, 4, 0, 4, 0, 0, 0, 1], [0, 5, 0, 4, 0, 0, 0, 2]];
    loop {
        let figures = bmp_of(&mut collector, STATISTICS).await;
        let has = |figure: &[u8; 8]| figures.windows(8).any(|octets| octets == figure);
        if expected.iter().all(has) {
            break;
        }
    }
}

/// `bgpdump -m`: a line for each route.
fn bgpdump(path: &Path) -> Vec<String> {
    let output = Command::new("bgpdump")
        .args(["-m", path.to_str().unwrap()])
        .output()
        .expect("bgpdump, of the Debian package of this name");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// pmacct's collector, which ends with the test.
struct Pmbmpd(std::process::Child);

impl Pmbmpd {
    /// Listens at `address` and writes what it hears to `log`.
    fn start(folder: &Path, address: SocketAddr, log: &Path) -> Self {
        let file = folder.join("pmbmpd.conf");
        let (ip, port) = (address.ip(), address.port());
        let text = format!(
            "daemonize: false\nbmp_daemon_ip: {ip}\nbmp_daemon_port: {port}\nbmp_daemon_msglog_file: {}\nbmp_daemon_msglog_output: json\n",
            log.display()
        );
        std::fs::write(&file, text).unwrap();
        let child = Command::new("pmbmpd").arg("-f").arg(file).stdout(std::process::Stdio::null()).spawn();
        Self(child.expect("pmbmpd, of the Debian package pmacct"))
    }
}

impl Drop for Pmbmpd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn pmacct_is_told_of_sessions_and_routes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("bmp.json");
    let (listener, at) = stations().await;
    drop(listener);
    let _collector = Pmbmpd::start(folder.path(), at, &log);
    let (_pop, mut router) = established(|config| config.bmp = vec![station(at)]).await;
    router.write_all(&announce([[10, 0, 1], [10, 0, 2]])).await.unwrap();
    within("what pmacct has read", async {
        let of = |text: &str, kind: &str, what: &str| {
            text.lines().any(|line| line.contains(&format!("\"{kind}\"")) && line.contains(what))
        };
        loop {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if of(&text, "init", "proxima")
                && of(&text, "peer_up", "65000")
                && of(&text, "route_monitor", "10.0.2.0/24")
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_table_is_dumped_for_bgpdump_to_read() {
    let (pop, mut router) = established(|_| {}).await;
    router.write_all(&announce([[10, 0, 1], [10, 0, 2]])).await.unwrap();
    until_received(&pop, "router", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.mrt");
    within("the dump", pop.dump_mrt(path.clone())).await.unwrap();
    let routes = bgpdump(&path);
    assert_eq!(routes.len(), 2, "{routes:?}");
    let router = pop.peers()[0].remote.unwrap().ip();
    for (route, prefix) in routes.iter().zip(["10.0.1.0/24", "10.0.2.0/24"]) {
        let expected = format!("|B|{router}|65000|{prefix}|65000|IGP|192.0.2.22|");
        assert!(route.contains(&expected), "{route}: {expected}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");
    let nowhere = folder.path().join("missing/table.mrt");
    let error = within("the dump", pop.dump_mrt(nowhere)).await.unwrap_err();
    assert!(matches!(error, DumpError::Write { .. }), "{error}");
    assert!(error.to_string().contains("make the directory"), "{error}");
}

/// An UPDATE for 10.9.9.0/24 whose path has so many AS numbers, of two octets each.
fn announce_far_away(numbers: usize) -> Vec<u8> {
    let mut path = Vec::new();
    for segment in vec![THEIR_AS as u16; numbers].chunks(255) {
        path.extend([2, segment.len() as u8]);
        path.extend(segment.iter().flat_map(|number| number.to_be_bytes()));
    }
    let mut attributes = vec![0x40, 1, 1, 0, 0x50, 2];
    attributes.extend((path.len() as u16).to_be_bytes());
    attributes.extend(path);
    attributes.extend([0x40, 3, 4, 192, 0, 2, 22]);
    let mut body = vec![0, 0];
    body.extend((attributes.len() as u16).to_be_bytes());
    body.extend(attributes);
    body.extend([24, 10, 9, 9]);
    message(2, &body)
}

#[tokio::test]
async fn a_path_that_outgrows_a_dump_keeps_no_other_out_of_it() {
    let (pop, mut router) = established(|_| {}).await;
    router.write_all(&announce([[10, 0, 1]])).await.unwrap();
    router.write_all(&announce_far_away(20_000)).await.unwrap();
    until_received(&pop, "router", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.mrt");
    within("the dump", pop.dump_mrt(path.clone())).await.unwrap();
    let routes = bgpdump(&path);
    assert_eq!(routes.len(), 1, "{routes:?}");
    assert!(routes[0].contains("|10.0.1.0/24|"), "{routes:?}");
}

#[tokio::test]
async fn dumps_are_written_from_time_to_time_and_appear_when_they_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().to_owned();
    let (pop, mut router) = established(|config| {
        config.mrt = Some(MrtConfig { directory, interval: Duration::from_millis(50) });
    })
    .await;
    router.write_all(&announce([[10, 0, 1]])).await.unwrap();
    until_received(&pop, "router", 1).await;
    within("a dump with the route", async {
        loop {
            let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
            let whole: Vec<_> =
                files.filter(|path| path.extension().is_some_and(|end| end == "mrt")).collect();
            if whole.iter().any(|path| bgpdump(path).len() == 1) {
                let name = whole[0].file_name().unwrap().to_str().unwrap();
                assert!(
                    name.starts_with("rib.20") && name.len() == "rib.20260129.143000.mrt".len(),
                    "{name}"
                );
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
