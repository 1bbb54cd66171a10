//! A routing table that stands still, and sessions that do not.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use proxima_bgp_session::{AllowList, State};
use proxima_types::{Announcement, Asn, Community, Family, Prefix, RouteAttributes};

use tokio::sync::{oneshot, watch};

use super::Command;
use crate::{PeerConfig, Remote, Speaker, SpeakerConfig, SpeakerHandle, detach::Handed};

const DEADLINE: Duration = Duration::from_mins(1);
const MARKER: [u8; 16] = [0xff; 16];

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).unwrap().to_be_bytes();
    [&MARKER[..], &length, &[kind], body].concat()
}

/// AS 65000, hold time 3 s.
fn open() -> Vec<u8> {
    message(1, &[4, 0xfd, 0xe8, 0, 3, 192, 0, 2, 22, 0])
}

/// A /24 of 10.0.0.0/8 by its number, with an attribute that nobody knows and that fills the message.
fn announce(number: usize) -> Vec<u8> {
    const FILLING: u16 = 3200;
    let attributes = b"\x40\x01\x01\x00\x40\x02\x04\x02\x01\xfd\xe8\x40\x03\x04\xc0\x00\x02\x16\xd0\x63";
    let length = u16::try_from(attributes.len()).unwrap() + 2 + FILLING;
    let mut body = vec![0, 0];
    body.extend(length.to_be_bytes());
    body.extend(attributes);
    body.extend(FILLING.to_be_bytes());
    body.resize(body.len() + usize::from(FILLING), 0);
    body.extend([24, 10, (number >> 8) as u8, number as u8]);
    message(2, &body)
}

/// More than fits the RIB's queue and the sockets' buffers.
const UPDATES: usize = 4000;

/// What a raw router has seen of us.
#[derive(Default)]
struct Seen {
    keepalives: AtomicUsize,
    updates: AtomicUsize,
    ended: AtomicUsize,
    written: AtomicUsize,
}

/// A router that answers the handshake, sends `flood` UPDATEs and after that a KEEPALIVE a second, and counts what comes.
fn router(address: IpAddr, flood: usize) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let seen = Arc::<Seen>::default();
    let counts = seen.clone();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        socket2::SockRef::from(&stream).set_send_buffer_size(64 * 1024).unwrap();
        stream.write_all(&open()).unwrap();
        stream.write_all(&message(4, &[])).unwrap();
        let (reader, counting) = (stream.try_clone().unwrap(), counts.clone());
        std::thread::spawn(move || count(reader, &counting));
        for number in 0..flood {
            if stream.write_all(&announce(number)).is_err() {
                return;
            }
            counts.written.fetch_add(1, Ordering::Relaxed);
        }
        // Waiting for our KEEPALIVE paces its own.
        let mut last = counts.keepalives.load(Ordering::Relaxed);
        while counts.ended.load(Ordering::Relaxed) == 0 {
            let now = counts.keepalives.load(Ordering::Relaxed);
            if now != last && stream.write_all(&message(4, &[])).is_err() {
                return;
            }
            last = now;
            std::thread::yield_now();
        }
    });
    (at, seen)
}

fn count(mut stream: TcpStream, seen: &Seen) {
    let mut header = [0; 19];
    while stream.read_exact(&mut header).is_ok() {
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length - 19];
        if stream.read_exact(&mut body).is_err() {
            break;
        }
        match header[18] {
            2 => seen.updates.fetch_add(1, Ordering::Relaxed),
            4 => seen.keepalives.fetch_add(1, Ordering::Relaxed),
            _ => 0,
        };
    }
    seen.ended.fetch_add(1, Ordering::Relaxed);
}

fn own_address(last: u8) -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 32 | (high & 0x1f), low, last).into()
}

fn peer(name: &str, at: SocketAddr) -> PeerConfig {
    PeerConfig {
        port: at.port(),
        families: vec![Family::Ipv4],
        ..PeerConfig::new(name.parse().unwrap(), Remote::address(at.ip()), Asn(65000))
    }
}

fn speaker(peers: Vec<PeerConfig>, allow_list: AllowList) -> SpeakerConfig {
    SpeakerConfig {
        local_as: Asn(64512),
        router_id: Ipv4Addr::new(192, 0, 2, 11),
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_millis(200),
        listen: Vec::new(),
        peers,
        allow_list,
        best_path: proxima_bgp_rib::BestPathRules::default(),
        bmp: Vec::new(),
        mrt: None,
    }
}

async fn until(handle: &SpeakerHandle, peer: &str, condition: impl FnMut(&crate::PeerStatus) -> bool) {
    tokio::time::timeout(DEADLINE, handle.wait_for(peer, condition)).await.expect("in time").unwrap();
}

/// Polls a counter that a thread keeps.
async fn reaches(counter: &AtomicUsize, count: usize, what: &str) {
    let reached = async {
        while counter.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// Two sessions, one to a router that floods us, and a table that stands still until the sender is used or dropped.
struct Stuck {
    handle: SpeakerHandle,
    flooded: Arc<Seen>,
    calm: Arc<Seen>,
    go_on: mpsc::Sender<()>,
}

async fn stuck(prefix: Prefix) -> Stuck {
    let (flooding, flooded) = router(own_address(1), UPDATES);
    let (quiet, calm) = router(own_address(2), 0);
    let config = speaker(vec![peer("flooding", flooding), peer("quiet", quiet)], AllowList::new([prefix]));
    let (handle, _events) = Speaker::start(config).unwrap();
    let (go_on, stopped) = mpsc::channel::<()>();
    let rib = handle.rib().clone();
    tokio::spawn(async move { rib.ask(move |_| stopped.recv().ok()).await });
    for name in ["flooding", "quiet"] {
        until(&handle, name, |status| status.session.state == State::Established).await;
    }
    Stuck { handle, flooded, calm, go_on }
}

#[tokio::test]
async fn a_table_that_stands_still_delays_neither_keepalives_nor_withdrawals_nor_other_peers() {
    let prefix: Prefix = "203.0.113.0/24".parse().unwrap();
    let Stuck { handle, flooded, calm, go_on } = stuck(prefix).await;

    // Over more than the hold time of 3 s, KEEPALIVEs go both ways, and what is announced or withdrawn goes out.
    for round in 1..=5 {
        let announcements = if round % 2 == 1 {
            vec![Announcement { prefix, attributes: RouteAttributes::default() }]
        } else {
            Vec::new()
        };
        handle.set_desired(announcements).unwrap();
        for seen in [&flooded, &calm] {
            reaches(&seen.updates, round, "an UPDATE").await;
            reaches(&seen.keepalives, 1 + round, "KEEPALIVEs").await;
        }
    }
    let written = flooded.written.load(Ordering::Relaxed);
    assert!(written < UPDATES, "the flood is held up by TCP, not taken into memory: {written} UPDATEs");
    for status in handle.peers() {
        assert_eq!(status.session.state, State::Established, "{}", status.name);
        assert_eq!(status.session.counters.flaps, 0);
    }

    // And then everything comes in.
    go_on.send(()).unwrap();
    reaches(&flooded.written, UPDATES, "the rest of the flood").await;
    let all = |status: &crate::PeerStatus| {
        status.session.counters.updates_received == UPDATES as u64 && status.session.received.ipv4 == 4000
    };
    until(&handle, "flooding", all).await;
    assert_eq!(handle.peers()[0].session.counters.flaps, 0);
}

/// What a peer's task answers to a hand-over; it stands still until the sender is dropped.
async fn handed(handle: &SpeakerHandle, peer: &str) -> (Handed, watch::Sender<()>) {
    let (answer, answered) = oneshot::channel();
    let until = watch::Sender::new(());
    let command = Command::HandOver(answer, until.subscribe());
    handle.roster().session(peer).unwrap().commands.send(command).await.unwrap();
    let handed = tokio::time::timeout(DEADLINE, answered).await.expect("in time").unwrap();
    (handed, until)
}

#[tokio::test]
async fn routes_that_have_not_reached_the_table_are_the_successors_to_ask_for() {
    let Stuck { handle, flooded, go_on: _stuck, .. } = stuck("203.0.113.0/24".parse().unwrap()).await;
    // Before a timer expires a chunk is read without a place in the queue.
    reaches(&flooded.keepalives, 3, "KEEPALIVEs").await;
    let (flooding, _still) = handed(&handle, "flooding").await;
    assert!(flooding.session.is_some(), "the session goes over");
    assert!(flooding.routes.is_none(), "and nobody takes what the table has for all of them");
}

#[tokio::test]
async fn a_table_that_stands_still_does_not_hold_up_a_hand_over() {
    let Stuck { handle, calm, go_on: _stuck, .. } = stuck("203.0.113.0/24".parse().unwrap()).await;
    let handed = tokio::time::timeout(DEADLINE, handle.hand_over()).await.expect("in time").unwrap();
    let received: Vec<_> = handed.detached.peers.iter().map(|peer| &peer.session.received).collect();
    assert_eq!(received, [&None, &None], "they are the successor's to ask for");
    handed.called_off();
    let now = calm.keepalives.load(Ordering::Relaxed);
    reaches(&calm.keepalives, now + 1, "the next KEEPALIVE").await;
}

/// Routes of more octets than sockets' buffers and ours hold together, as each has attributes of its own.
fn too_much() -> Vec<Announcement> {
    let announcement = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let communities = (0..250).map(|value| Community(u32::from(number) << 16 | value)).collect();
        Announcement {
            prefix: Prefix::truncating(Ipv4Addr::new(10, high, low, 0).into(), 24),
            attributes: RouteAttributes { communities, ..RouteAttributes::default() },
        }
    };
    (0..2000).map(announcement).collect()
}

/// What is handed over of a session whose peer, which reads nothing, resets the connection at that moment.
async fn reset_at_the_hand_over() -> Handed {
    let listener = TcpListener::bind((own_address(3), 0)).unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(4096).unwrap();
    let routes = too_much();
    let allowed = AllowList::new(routes.iter().map(|route| route.prefix));
    let config = speaker(vec![peer("deaf", listener.local_addr().unwrap())], allowed);
    let (handle, _events) = Speaker::start(config).unwrap();
    let mut stream = tokio::task::spawn_blocking(move || listener.accept().unwrap().0).await.unwrap();
    // Without a hold time.
    stream.write_all(&message(1, &[4, 0xfd, 0xe8, 0, 0, 192, 0, 2, 22, 0])).unwrap();
    stream.write_all(&message(4, &[])).unwrap();
    let most = routes.len();
    handle.set_desired(routes).unwrap();
    until(&handle, "deaf", |status| status.session.advertised > 0).await;
    assert!(handle.peers()[0].session.advertised < most, "some of it waits to be written");

    let (answer, answered) = oneshot::channel();
    let until = watch::Sender::new(());
    let commands = handle.roster().session("deaf").unwrap().commands;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    // The reset is known to the runtime when this goes on, and has not been told to the task, whose next turn it is.
    tokio::task::yield_now().await;
    commands.try_send(Command::HandOver(answer, until.subscribe())).unwrap();
    answered.await.unwrap()
}

#[test]
fn a_connection_that_is_reset_as_it_is_handed_over_is_nobodys_and_holds_nobody_up() {
    let (handed, outcome) = mpsc::channel();
    // On a thread that can be left behind, should it never end.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        handed.send(runtime.block_on(reset_at_the_hand_over())).ok();
    });
    let handed = outcome.recv_timeout(DEADLINE).expect("the task goes on");
    assert!(handed.session.is_none());
}
