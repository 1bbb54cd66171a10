//! What guards and shapes connections: MD5 signatures, distance, interface, source.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    num::NonZeroU8,
    time::Duration,
};

use common::{
    OUR_AS, event, own_address, peer,
    raw::{OPEN, THEIR_AS, accept, handshake, listening, router},
    speaker, until, within,
};
use proxima_bgp_speaker::{
    Cause, Distance, Effect, Password, PeerConfig, Remote, Speaker, SpeakerEvent, State,
};
use proxima_sys::Md5Scope;
use proxima_types::{Asn, Prefix};
use socket2::{Domain, Socket, Type};

/// How long a SYN that nobody answers is waited for.
const NO_ANSWER: Duration = Duration::from_millis(300);

fn password(text: &str) -> Password {
    Password::new(text.as_bytes()).unwrap()
}

fn hops(hops: u8) -> NonZeroU8 {
    NonZeroU8::new(hops).unwrap()
}

/// A connection of its own making, blocking.
struct Caller {
    socket: Socket,
}

impl Caller {
    fn from(source: IpAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        Self { socket }
    }

    fn signed(self, to: SocketAddr, key: &str) -> Self {
        proxima_sys::set_tcp_md5(&self.socket, Md5Scope::host(to.ip()), key.as_bytes()).unwrap();
        self
    }

    fn ttl(self, ttl: u32) -> Self {
        self.socket.set_ttl_v4(ttl).unwrap();
        self
    }

    /// Off the runtime's thread, which has to answer.
    async fn call(self, to: SocketAddr) -> Result<TcpStream, ErrorKind> {
        let call = tokio::task::spawn_blocking(move || {
            self.socket.connect_timeout(&to.into(), NO_ANSWER).map_err(|error| error.kind())?;
            Ok(TcpStream::from(self.socket))
        });
        call.await.unwrap()
    }
}

/// The type of the first message that comes.
async fn first_message(stream: &TcpStream) -> u8 {
    let mut stream = stream.try_clone().unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut header = [0; 19];
        stream.read_exact(&mut header).unwrap();
        header[18]
    });
    within("a message", read).await.unwrap()
}

#[tokio::test]
async fn md5_carries_a_session_when_both_sides_have_the_key() {
    let (us, them) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us]);
    config.peers[0].password = Some(password("correct horse"));
    let (router, _router_events) = Speaker::start(config).unwrap();
    let mut config = speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)]);
    config.peers[0].password = Some(password("correct horse"));
    let (pop, _events) = Speaker::start(config).unwrap();
    until(&pop, "router", State::Established).await;
}

#[tokio::test]
async fn md5_answers_nobody_without_the_right_key() {
    let (us, them, other) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us, other]);
    config.peers[0].password = Some(password("right"));
    let (router, _events) = Speaker::start(config).unwrap();
    let to = router.listening()[0];
    assert_eq!(Caller::from(us).call(to).await.unwrap_err(), ErrorKind::TimedOut, "unsigned");
    let wrong = Caller::from(us).signed(to, "wrong").call(to).await;
    assert_eq!(wrong.unwrap_err(), ErrorKind::TimedOut);
    let right = Caller::from(us).signed(to, "right").call(to).await.unwrap();
    assert_eq!(first_message(&right).await, 1);
    // The other peer of the same socket has no key and needs none.
    let plain = Caller::from(other).call(to).await.unwrap();
    assert_eq!(first_message(&plain).await, 1);
}

#[tokio::test]
async fn md5_for_a_range_holds_for_its_members() {
    let (them, member) = (own_address(), own_address());
    let range = Remote::Range { prefix: Prefix::truncating(member, 24), max: 10 };
    let mut config = router(SocketAddr::new(them, 0), &[]);
    config.peers.push(PeerConfig {
        password: Some(password("right")),
        ..PeerConfig::new("leaves".parse().unwrap(), range, OUR_AS)
    });
    let (router, _events) = Speaker::start(config).unwrap();
    let to = router.listening()[0];
    assert_eq!(Caller::from(member).call(to).await.unwrap_err(), ErrorKind::TimedOut);
    assert!(router.peers().is_empty());
    let right = Caller::from(member).signed(to, "right").call(to).await.unwrap();
    assert_eq!(first_message(&right).await, 1);
    assert_eq!(router.peers().len(), 1);
}

#[tokio::test]
async fn a_changed_key_costs_only_its_own_session() {
    let (us, other, them) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us, other]);
    config.peers[0].password = Some(password("old"));
    let mut keyed = config.peers[0].clone();
    let (router, _router_events) = Speaker::start(config).unwrap();
    let to = router.listening()[0];
    let mut towards = peer("keyed", to, THEIR_AS, us);
    towards.password = Some(password("old"));
    let (pop, _events) = Speaker::start(speaker(vec![towards.clone()])).unwrap();
    let (neighbour, _neighbour_events) =
        Speaker::start(speaker(vec![peer("router", to, THEIR_AS, other)])).unwrap();
    until(&pop, "keyed", State::Established).await;
    until(&neighbour, "router", State::Established).await;
    until(&router, "pop1", State::Established).await;
    let before = neighbour.peers().remove(0);

    keyed.password = Some(password("new"));
    assert_eq!(router.reconfigure(keyed.clone()).await.unwrap(), Effect::Reopened);
    within("the old session to end", router.wait_for("pop0", |s| s.session.counters.flaps == 1))
        .await
        .unwrap();
    assert_eq!(Caller::from(us).signed(to, "old").call(to).await.unwrap_err(), ErrorKind::TimedOut);
    towards.password = Some(password("new"));
    assert_eq!(pop.reconfigure(towards.clone()).await.unwrap(), Effect::Reopened);
    until(&router, "pop0", State::Established).await;

    // And without one.
    keyed.password = None;
    assert_eq!(router.reconfigure(keyed).await.unwrap(), Effect::Reopened);
    towards.password = None;
    assert_eq!(pop.reconfigure(towards).await.unwrap(), Effect::Reopened);
    let again = |s: &proxima_bgp_speaker::PeerStatus| {
        s.session.counters.flaps == 2 && s.session.state == State::Established
    };
    within("a session without key", router.wait_for("pop0", again)).await.unwrap();

    let after = neighbour.peers().remove(0);
    assert_eq!((after.since, after.local, after.remote), (before.since, before.local, before.remote));
    assert_eq!(after.session.counters.flaps, 0);
}

#[tokio::test]
async fn gtsm_answers_a_near_peer_and_not_a_far_one() {
    let (near, usual, them) = (own_address(), own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[near, usual]);
    config.peers[0].distance = Distance::Security(hops(2));
    let mut guarded = config.peers[0].clone();
    let (router, _events) = Speaker::start(config).unwrap();
    let to = router.listening()[0];
    for ttl in [1, 64, 253] {
        let far = Caller::from(near).ttl(ttl).call(to).await;
        assert_eq!(far.unwrap_err(), ErrorKind::TimedOut, "TTL {ttl}");
    }
    for ttl in [254, 255] {
        let close = Caller::from(near).ttl(ttl).call(to).await.unwrap();
        assert_eq!(first_message(&close).await, 1, "TTL {ttl}");
    }
    // The other peer of the same socket is not asked for it.
    let other = Caller::from(usual).ttl(64).call(to).await.unwrap();
    assert_eq!(first_message(&other).await, 1);
    // The filter goes with the setting.
    guarded.distance = Distance::Usual;
    assert_eq!(router.reconfigure(guarded).await.unwrap(), Effect::InPlace);
    let far = Caller::from(near).ttl(64).call(to).await.unwrap();
    assert_eq!(first_message(&far).await, 1);
}

#[tokio::test]
async fn gtsm_drops_what_comes_from_afar_on_a_connection_too() {
    let (us, them) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us]);
    config.peers[0].distance = Distance::Security(hops(1));
    let (router, _events) = Speaker::start(config).unwrap();
    let caller = Caller::from(us).ttl(255);
    caller.socket.set_tcp_user_timeout(Some(Duration::from_millis(500))).unwrap();
    let stream = caller.call(router.listening()[0]).await.unwrap();
    assert_eq!(first_message(&stream).await, 1);
    stream.set_ttl(254).unwrap();
    (&stream).write_all(OPEN).unwrap();
    // Nobody acknowledges it, so our own kernel gives up.
    let mut reader = stream.try_clone().unwrap();
    let end = tokio::task::spawn_blocking(move || reader.read_to_end(&mut Vec::new()));
    assert_eq!(within("the end", end).await.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(router.peers()[0].session.counters.messages_received, 0);
}

#[tokio::test]
async fn gtsm_carries_a_session_when_both_sides_have_it() {
    let (us, them) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us]);
    config.peers[0].distance = Distance::Security(hops(1));
    let (router, _router_events) = Speaker::start(config).unwrap();
    let mut config = speaker(vec![peer("router", router.listening()[0], THEIR_AS, us)]);
    config.peers[0].distance = Distance::Security(hops(1));
    let (pop, _events) = Speaker::start(config).unwrap();
    until(&pop, "router", State::Established).await;
}

#[tokio::test]
async fn packets_reach_a_peer_that_wants_the_ttl_of_its_distance() {
    let (us, them) = (own_address(), own_address());
    for (distance, internal, reaches) in [
        (Distance::Usual, false, 1),
        (Distance::Usual, true, 64),
        (Distance::Multihop(hops(3)), false, 3),
        (Distance::Security(hops(9)), false, 255),
    ] {
        let (listener, to) = listening(them).await;
        // The router takes nothing with less left.
        proxima_sys::set_least_ttl(&listener, false, reaches).unwrap();
        listener.set_ttl(255).unwrap();
        let remote_as = if internal { OUR_AS.0 } else { THEIR_AS };
        let mut config = speaker(vec![peer("router", to, remote_as, us)]);
        config.peers[0].distance = distance;
        let (_pop, _events) = Speaker::start(config).unwrap();
        accept(&listener).await;
    }
}

#[tokio::test]
async fn connections_are_bound_to_the_interface() {
    let (us, them) = (own_address(), own_address());
    let (listener, to) = listening(them).await;
    let mut config = speaker(vec![peer("router", to, THEIR_AS, us)]);
    config.peers[0].remote = Remote::Address { address: to.ip(), interface: Some("lo".to_owned()) };
    let (pop, mut events) = Speaker::start(config.clone()).unwrap();
    let mut stream = accept(&listener).await;
    handshake(&mut stream).await;
    let interface = event("the interface", &mut events, |event| match event {
        SpeakerEvent::Connected { interface, local, .. } if local.ip() == us => Some(interface),
        _ => None,
    })
    .await;
    assert_eq!(interface.as_deref(), Some("lo"));
    drop(pop);

    config.peers[0].remote = Remote::Address { address: to.ip(), interface: Some("nosuch0".to_owned()) };
    let (_pop, mut events) = Speaker::start(config).unwrap();
    let error = event("the error", &mut events, |event| match event {
        SpeakerEvent::StateChanged { cause: Cause::ConnectFailed(error), .. } => Some(error),
        _ => None,
    })
    .await;
    assert!(error.contains("nosuch0"), "{error}");
}

#[tokio::test]
async fn a_peer_behind_a_key_or_a_filter_that_was_removed_is_a_stranger() {
    let (us, them) = (own_address(), own_address());
    let mut config = router(SocketAddr::new(them, 0), &[us]);
    config.peers[0].password = Some(password("right"));
    config.peers[0].distance = Distance::Security(hops(1));
    let (router, _events) = Speaker::start(config).unwrap();
    let to = router.listening()[0];
    within("the removal", router.remove_peer("pop0")).await.unwrap();
    let stream = Caller::from(us).call(to).await.expect("neither key nor filter is left");
    assert_eq!(first_message(&stream).await, 3, "NOTIFICATION: connection rejected");
}

#[test]
fn a_password_is_neither_empty_nor_too_long_nor_shown() {
    assert_eq!(Password::new(b"").unwrap_err().to_string(), "a password has 1 to 80 octets, not 0");
    assert!(Password::new(&[b'x'; 80]).is_ok());
    assert!(Password::new(&[b'x'; 81]).is_err());
    assert!(!format!("{:?}", Password::new(b"secret").unwrap()).contains("secret"));
}

#[tokio::test]
async fn a_link_local_address_needs_its_interface() {
    let link_local: IpAddr = "fe80::1".parse().unwrap();
    let config = PeerConfig::new("router".parse().unwrap(), Remote::address(link_local), Asn(THEIR_AS));
    let error = Speaker::start(speaker(vec![config])).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("say on which `interface` it is"), "{error}");
}
