//! Out of file descriptors. In a process of its own: the limit is one of the process.

#![allow(clippy::unwrap_used, reason = "test helpers")]

mod common;

use common::{Backend, Peer, Setup, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[tokio::test]
async fn a_worker_without_descriptors_waits_and_serves_again_when_there_are_some() {
    let backend = Backend::fixed("served").await;
    let world = Setup::http(&[backend.address]).start();
    let mut client = world.client().await;
    assert_eq!(client.get("/").await.text(), "served");

    // The client's own socket is made first; after that no descriptor is left for the worker's accept.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
    let mut waiting = Peer::new(socket.connect(world.address).await.unwrap());
    until("failures to accept", || world.plane.stats().accept_errors >= 3).await;
    assert_eq!(client.get("/").await.text(), "served", "connections that are open go on");
    // 10, 20, 40 ms: a worker that span would have failed thousands of times by now.
    assert!(world.plane.stats().accept_errors < 50);

    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    assert_eq!(waiting.get("/").await.text(), "served");
}
