//! What the tests share: a configuration to begin with, and addresses of their own on the loopback.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its part")]

pub mod raw;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use proxima_bgp_speaker::{
    AllowList, BestPathRules, PeerConfig, PeerRoute, PeerStatus, Remote, Speaker, SpeakerConfig,
    SpeakerEvent, SpeakerEvents, SpeakerHandle, State,
};
use proxima_types::{Announcement, Asn, Community, Family, Prefix, RouteAttributes};
use tokio::{net::TcpStream, time::timeout};

use raw::{THEIR_AS, accept, handshake, listening};

/// Everything a test waits for comes within this time, or the test fails.
pub const DEADLINE: Duration = Duration::from_mins(1);

pub const OUR_AS: Asn = Asn(64512);
pub const V4: &str = "203.0.113.0/24";
pub const V6: &str = "2001:db8:ac::/48";

/// A loopback address no other test of this run has. (All of 127.0.0.0/8 is local on Linux.)
pub fn own_address() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    IpAddr::V4(Ipv4Addr::new(127, 64 | (high & 0x3f), low, next))
}

/// A port nothing listens on at `address`.
pub fn free_port(address: IpAddr) -> u16 {
    std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn announcement(text: &str, attributes: RouteAttributes) -> Announcement {
    Announcement { prefix: prefix(text), attributes }
}

pub fn plain(text: &str) -> Announcement {
    announcement(text, RouteAttributes::default())
}

pub fn attributes(prepend: u8, med: Option<u32>, communities: &[&str]) -> RouteAttributes {
    let communities = communities.iter().map(|text| text.parse::<Community>().unwrap()).collect();
    RouteAttributes { prepend, med, communities, ..RouteAttributes::default() }
}

/// A speaker in AS 64512 that may announce [`V4`] and [`V6`].
pub fn speaker(peers: Vec<PeerConfig>) -> SpeakerConfig {
    SpeakerConfig {
        local_as: OUR_AS,
        router_id: Ipv4Addr::new(192, 0, 2, 11),
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_millis(200),
        listen: Vec::new(),
        peers,
        allow_list: AllowList::new([prefix(V4), prefix(V6)]),
        best_path: BestPathRules::default(),
        bmp: Vec::new(),
        mrt: None,
    }
}

/// A peer at `remote` that we reach from `source`.
pub fn peer(name: &str, remote: SocketAddr, remote_as: u32, source: IpAddr) -> PeerConfig {
    PeerConfig {
        port: remote.port(),
        source: Some(source),
        next_hop_ipv6: Some("fd00::2".parse().unwrap()),
        ..PeerConfig::new(name.parse().unwrap(), Remote::address(remote.ip()), Asn(remote_as))
    }
}

/// Fails the test when `future` takes longer than [`DEADLINE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The first event `wanted` accepts.
pub async fn event<T>(
    what: &str,
    events: &mut SpeakerEvents,
    mut wanted: impl FnMut(SpeakerEvent) -> Option<T>,
) -> T {
    within(what, async {
        loop {
            let event = events.recv().await.expect("the speaker lives");
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    })
    .await
}

/// Waits for a state.
pub async fn until(handle: &SpeakerHandle, peer: &str, state: State) {
    within(&format!("{peer} {state}"), handle.wait_for(peer, |status| status.session.state == state))
        .await
        .unwrap();
}

/// Hands a speaker over for good.
pub async fn detach(speaker: &SpeakerHandle) -> proxima_bgp_speaker::Detached {
    let mut handed = within("the hand-over", speaker.hand_over()).await.unwrap();
    let detached = std::mem::take(&mut handed.detached);
    within("its end", handed.taken()).await;
    detached
}

/// How many prefixes were received, of both families.
pub fn received_count(status: &PeerStatus) -> usize {
    let received = status.session.received;
    (received.ipv4 + received.ipv6) as usize
}

/// Waits until so many prefixes were received.
pub async fn until_received(handle: &SpeakerHandle, peer: &str, count: usize) {
    within(&format!("{count} prefixes from {peer}"), handle.wait_for(peer, |s| received_count(s) == count))
        .await
        .unwrap();
}

/// All routes of a peer.
pub async fn received(handle: &SpeakerHandle, peer: &str) -> Vec<PeerRoute> {
    let mut routes = Vec::new();
    let mut after = None;
    loop {
        let page = within("a page", handle.received(peer, after, 2)).await.unwrap();
        routes.extend(page.routes);
        match page.next {
            Some(next) => after = Some(next),
            None => return routes,
        }
    }
}

/// The range of the test's own addresses.
pub fn range(name: &str, of: IpAddr, max: u16) -> PeerConfig {
    let remote = Remote::Range { prefix: Prefix::truncating(of, 24), max };
    PeerConfig { families: vec![Family::Ipv4], ..PeerConfig::new(name.parse().unwrap(), remote, OUR_AS) }
}

pub fn names(handle: &SpeakerHandle) -> Vec<String> {
    handle.peers().iter().map(|peer| peer.name.to_string()).collect()
}

/// A speaker with a session to each of two raw routers, established.
pub struct Two {
    pub pop: SpeakerHandle,
    pub first: TcpStream,
    pub second: TcpStream,
    pub config: SpeakerConfig,
}

pub async fn two() -> Two {
    let us = own_address();
    let (first_listener, first_at) = listening(own_address()).await;
    let (second_listener, second_at) = listening(own_address()).await;
    let peers = vec![peer("first", first_at, THEIR_AS, us), peer("second", second_at, THEIR_AS, us)];
    let config = speaker(peers);
    let (pop, events) = Speaker::start(config.clone()).unwrap();
    drop(events); // nobody listens; nobody has to
    let mut first = accept(&first_listener).await;
    handshake(&mut first).await;
    let mut second = accept(&second_listener).await;
    handshake(&mut second).await;
    until(&pop, "first", State::Established).await;
    until(&pop, "second", State::Established).await;
    Two { pop, first, second, config }
}

pub fn status(handle: &SpeakerHandle, name: &str) -> PeerStatus {
    handle.peers().into_iter().find(|peer| peer.name.as_str() == name).unwrap()
}

/// What a session is by: the same as long as nothing happened to it.
pub fn identity(status: &PeerStatus) -> (std::time::Instant, Option<SocketAddr>, Option<SocketAddr>, u64) {
    (status.since, status.local, status.remote, status.session.counters.flaps)
}
