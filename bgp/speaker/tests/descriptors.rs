//! A process that has run out of descriptors. The limit is that of the whole process: one test only.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod common;

use common::{
    V4, identity, own_address, peer, plain,
    raw::{MP_IPV4, THEIR_AS, accept, handshake_with, listening, open, read_kind},
    speaker, status, until, within,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use proxima_bgp_speaker::{Speaker, State};

#[tokio::test]
async fn a_session_that_could_not_be_handed_over_goes_on_when_the_hand_over_is_called_off() {
    let (listener, at) = listening(own_address()).await;
    let (pop, _events) = Speaker::start(speaker(vec![peer("router", at, THEIR_AS, own_address())])).unwrap();
    let mut stream = accept(&listener).await;
    handshake_with(&mut stream, &open(0, &[MP_IPV4])).await;
    until(&pop, "router", State::Established).await;
    let before = identity(&status(&pop, "router"));

    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let handed = within("the hand-over", pop.hand_over()).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let handed = handed.unwrap();
    assert!(handed.detached.peers.is_empty(), "its connection could not be duplicated");
    handed.called_off();
    pop.set_desired(vec![plain(V4)]).unwrap();
    let update = read_kind(&mut stream, 2).await;
    assert!(update.ends_with(&[24, 203, 0, 113]), "{update:?}");
    assert_eq!(identity(&status(&pop, "router")), before);
}
