//! Peers that read nothing, readers of events that sleep, threads that stand still: nobody else waits for them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use common::{
    V4, attributes, own_address, peer, plain,
    raw::{KEEPALIVE, OPEN, THEIR_AS, handshake, read_message, router},
    until, until_received, within,
};
use proxima_bgp_speaker::{AllowList, EVENT_QUEUE, Leave, PeerStatus, Speaker, SpeakerEvents, State};
use proxima_types::Prefix;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpSocket},
};

/// A listener whose connections take little that is not read.
fn narrow(address: IpAddr) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::new(address, 0)).unwrap();
    socket.listen(1).unwrap()
}

fn hosts(count: u32) -> Vec<Prefix> {
    (0..count).map(|i| Prefix::host(IpAddr::V4((0x0a00_0000 + i).into()))).collect()
}

#[tokio::test]
async fn a_peer_that_stops_reading_delays_nobody_and_gets_only_the_latest_state() {
    let (us, them, neighbour) = (own_address(), own_address(), own_address());
    let slow = narrow(them);
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(neighbour, 0), &[us])).unwrap();
    let prefixes = hosts(10_000);
    let mut config = common::speaker(vec![
        peer("slow", slow.local_addr().unwrap(), THEIR_AS, us),
        peer("router", router.listening()[0], THEIR_AS, us),
    ]);
    config.allow_list = AllowList::new(prefixes.iter().copied());
    let (pop, _events) = Speaker::start(config).unwrap();
    let (mut stream, _) = within("an attempt", slow.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&pop, "slow", State::Established).await;
    until(&pop, "router", State::Established).await;

    // Many whole states, none of which the slow peer takes; its neighbour gets the last one all the same.
    for round in 0u32..20 {
        let attributes = attributes(0, Some(round), &[]);
        let all = prefixes
            .iter()
            .map(|prefix| proxima_types::Announcement { prefix: *prefix, attributes: attributes.clone() });
        pop.set_desired(all.collect()).unwrap();
        tokio::task::yield_now().await;
    }
    pop.set_desired(vec![proxima_types::Announcement {
        prefix: prefixes[0],
        attributes: attributes(0, Some(99), &[]),
    }])
    .unwrap();
    until_received(&router, "pop0", 1).await;
    let status = pop.peers();
    let sent: Vec<_> = status.iter().map(|status| status.session.counters.updates_sent).collect();
    // 10 000 host routes take 13 messages a state; 20 states would be 260.
    assert!(sent[0] < 80, "UPDATEs are made only as the peer takes them: {sent:?}");
    assert_eq!(status[0].session.state, State::Established);

    // When it reads again it ends where it should.
    stream.write_all(KEEPALIVE).await.unwrap();
    let mut held = BTreeSet::new();
    while held != [prefixes[0]].into() {
        let message = read_message(&mut stream).await.expect("the session lives");
        apply_ipv4(&message, &mut held);
    }
}

/// Follows withdrawals and announcements of IPv4 host routes, decoded by hand.
fn apply_ipv4(message: &[u8], held: &mut BTreeSet<Prefix>) {
    if message[18] != 2 {
        return;
    }
    let length = |at: usize| usize::from(u16::from_be_bytes([message[at], message[at + 1]]));
    let withdrawn = &message[21..21 + length(19)];
    let attributes = 21 + withdrawn.len();
    let announced = &message[attributes + 2 + length(attributes)..];
    let hosts = |bytes: &[u8]| -> Vec<_> {
        bytes
            .chunks(5)
            .map(|host| Prefix::host(Ipv4Addr::new(host[1], host[2], host[3], host[4]).into()))
            .collect()
    };
    for prefix in hosts(withdrawn) {
        held.remove(&prefix);
    }
    held.extend(hosts(announced));
}

/// A router in a thread of its own: establishes with hold time 3 s on the first connection, then sends a KEEPALIVE every
/// 100 ms for as long as the connection lives, and never minds what comes back.
fn chatty_router(address: IpAddr) -> SocketAddr {
    use std::io::{Read, Write};

    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    let listening = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut open = OPEN.to_vec();
        open[23] = 3; // the hold time
        stream.write_all(&open).unwrap();
        let pause = Duration::from_millis(100);
        stream.set_read_timeout(Some(pause)).unwrap();
        let mut ignored = [0; 4096];
        while stream.write_all(KEEPALIVE).is_ok() {
            while stream.read(&mut ignored).is_ok_and(|count| count > 0) {}
        }
    });
    listening
}

#[tokio::test]
async fn what_came_while_the_thread_stood_still_keeps_the_sessions_up() {
    let us = own_address();
    let names: Vec<_> = (0..8).map(|n| format!("router{n}")).collect();
    let peers = names.iter().map(|name| peer(name, chatty_router(own_address()), THEIR_AS, us)).collect();
    let (pop, _events) = Speaker::start(common::speaker(peers)).unwrap();
    for name in &names {
        until(&pop, name, State::Established).await;
    }
    stand_still(Duration::from_millis(3500));
    for (name, before) in names.iter().zip(pop.peers()) {
        let spoke = |status: &PeerStatus| {
            status.session.counters.messages_sent > before.session.counters.messages_sent
        };
        let status = within("a KEEPALIVE", pop.wait_for(name, spoke)).await.unwrap();
        assert_eq!(status.session.counters.flaps, 0, "{:?}", status.session.last_sent);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the thread is to stand still, as it does on a host without CPU time"
)]
fn stand_still(span: Duration) {
    std::thread::sleep(span);
}

#[tokio::test]
async fn a_reader_of_events_that_sleeps_delays_no_session() {
    let (us, them) = (own_address(), own_address());
    let (router, _router_events) = Speaker::start(router(SocketAddr::new(them, 0), &[us])).unwrap();
    let (pop, events): (_, SpeakerEvents) =
        Speaker::start(common::speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)])).unwrap();
    until(&pop, "router", State::Established).await;
    for round in 0..2000u32 {
        let attributes = attributes(0, Some(round), &[]);
        pop.set_desired(vec![common::announcement(V4, attributes)]).unwrap();
        let sent = move |status: &PeerStatus| status.session.counters.updates_sent > u64::from(round);
        within("the UPDATE", pop.wait_for("router", sent)).await.unwrap();
    }
    assert_eq!(events.len(), EVENT_QUEUE, "more were told than there is room for");
    assert_eq!(pop.peers()[0].session.state, State::Established);
}

#[tokio::test]
async fn a_slow_reader_gets_withdrawals_before_announcements() {
    let (us, them) = (own_address(), own_address());
    let slow = narrow(them);
    let prefixes = hosts(20_000);
    let mut config = common::speaker(vec![peer("slow", slow.local_addr().unwrap(), THEIR_AS, us)]);
    config.allow_list = AllowList::new(prefixes.iter().copied());
    let (pop, _events) = Speaker::start(config).unwrap();
    let (mut stream, _) = within("an attempt", slow.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&pop, "slow", State::Established).await;
    let state = |of: &[Prefix], med| {
        let attributes = attributes(0, Some(med), &[]);
        let announcement = |prefix: &Prefix| common::announcement(&prefix.to_string(), attributes.clone());
        of.iter().map(announcement).collect::<Vec<_>>()
    };
    pop.set_desired(state(&prefixes, 1)).unwrap();
    let some = |status: &PeerStatus| status.session.advertised > 5000;
    within("its window to close", pop.wait_for("slow", some)).await.unwrap();
    // A third goes, a third stays with new attributes.
    pop.set_desired(state(&prefixes[..2000], 2)).unwrap();

    let mut withdrawals_over = false;
    let mut held = BTreeSet::new();
    while held.len() != 2000 || !withdrawals_over {
        let message = read_message(&mut stream).await.expect("the session lives");
        if message[18] != 2 {
            continue;
        }
        let withdraws = message[19..21] != [0, 0];
        let new = message.windows(7).any(|octets| octets == [0x80, 4, 4, 0, 0, 0, 2]);
        withdrawals_over |= new;
        assert!(!(withdraws && withdrawals_over), "a withdrawal after a new announcement");
        apply_ipv4(&message, &mut held);
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_does_not_hold_up_a_stop() {
    let (us, them) = (own_address(), own_address());
    let closed = narrow(them);
    let prefixes = hosts(20_000);
    let mut config = common::speaker(vec![peer("closed", closed.local_addr().unwrap(), THEIR_AS, us)]);
    config.allow_list = AllowList::new(prefixes.iter().copied());
    let (pop, _events) = Speaker::start(config).unwrap();
    let (mut stream, _) = within("an attempt", closed.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&pop, "closed", State::Established).await;
    let all = prefixes.iter().map(|prefix| plain(&prefix.to_string()));
    pop.set_desired(all.collect()).unwrap();
    let some = |status: &PeerStatus| status.session.advertised > 5000;
    within("its window to close", pop.wait_for("closed", some)).await.unwrap();
    let stop = pop.stop(Leave::Stop { reason: "bye".to_owned() });
    tokio::time::timeout(Duration::from_secs(20), stop)
        .await
        .expect("the stop ends within its own deadlines");
    drop(stream);
}

#[tokio::test]
async fn what_a_process_could_not_write_its_successor_writes() {
    let (us, them) = (own_address(), own_address());
    let slow = narrow(them);
    let prefixes = hosts(20_000);
    let all = || prefixes.iter().map(|prefix| plain(&prefix.to_string())).collect::<Vec<_>>();
    let mut config = common::speaker(vec![peer("slow", slow.local_addr().unwrap(), THEIR_AS, us)]);
    config.allow_list = AllowList::new(prefixes.iter().copied());
    let (old, _old_events) = Speaker::start(config.clone()).unwrap();
    let (mut stream, _) = within("an attempt", slow.accept()).await.unwrap();
    handshake(&mut stream).await;
    until(&old, "slow", State::Established).await;
    old.set_desired(all()).unwrap();
    let some = |status: &PeerStatus| status.session.advertised > 5000;
    within("its window to close", old.wait_for("slow", some)).await.unwrap();
    let detached = common::detach(&old).await;
    assert!(!detached.peers[0].unwritten.is_empty(), "something was left to be written");
    drop(old);
    let (new, _events) = Speaker::start_with(config, detached).unwrap();
    new.set_desired(all()).unwrap();
    // Not an octet is missing or there twice: messages follow each other, and each prefix comes once.
    let mut held = BTreeSet::new();
    let mut announced = 0;
    while held.len() < prefixes.len() {
        let message = read_message(&mut stream).await.expect("the session lives");
        assert_eq!(message[..16], [0xff; 16], "the marker");
        let mut told = BTreeSet::new();
        apply_ipv4(&message, &mut told);
        announced += told.len();
        held.extend(told);
    }
    assert_eq!(announced, prefixes.len());
}
