//! Which certificate a client gets, and that new ones are taken over in place.

use std::sync::Arc;

use proxima_proxy::{Handshake, HandshakeFailure, MinVersion};
use tokio_rustls::rustls;

use super::{
    common::{Backend, Setup, soon, until},
    pki::{Authority, Wanted},
    programs::{curl, s_client},
};

#[tokio::test]
async fn curl_gets_the_certificate_of_the_name_it_asks_for() {
    let authority = Authority::new();
    let first = authority.issue(&["first.example", "127.0.0.1"]);
    let wildcard = authority.issue(&["*.example.com"]);
    let exact = authority.issue(&["api.example.com"]);
    let backend = Backend::fixed("hi").await;
    let tls = Wanted::new(&[&first, &wildcard, &exact]).server();
    let world = Setup::https(&[backend.address], tls).start();
    for name in ["first.example", "api.example.com", "www.example.com", "127.0.0.1"] {
        let said = curl(world.address, name, &authority.file(), &[]).await;
        assert!(said.ok && said.out == "hi", "{name}: {said:?}");
    }
    let stranger = curl(world.address, "a.b.example.com", &authority.file(), &[]).await;
    assert!(!stranger.ok && stranger.err.starts_with("curl: (60)"), "{stranger:?}");
    // The exact name goes before the wildcard that also has it.
    let said = s_client(world.address, "api.example.com", &["-showcerts"]).await;
    assert!(said.out.contains(&exact.certificate), "{said:?}");
}

#[tokio::test]
async fn curl_speaks_the_versions_that_are_taken_and_no_older_one() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    for (min_version, old_is_taken) in [(MinVersion::Tls12, true), (MinVersion::Tls13, false)] {
        let wanted = Wanted { min_version, ..Wanted::new(&[&issued]) };
        let world = Setup::https(&[backend.address], wanted.server()).start();
        let old = curl(world.address, "a.example", &authority.file(), &["--tls-max", "1.2"]).await;
        assert_eq!(old.ok, old_is_taken, "{old:?}");
        let new = curl(world.address, "a.example", &authority.file(), &["--tlsv1.3"]).await;
        assert!(new.ok, "{new:?}");
        let expected = if old_is_taken {
            vec![(Handshake::Full12, 1), (Handshake::Full13, 1)]
        } else {
            vec![(Handshake::Full13, 1)]
        };
        let stats = world.stats();
        assert_eq!(stats.handshakes.into_iter().collect::<Vec<_>>(), expected);
        let refused = if old_is_taken { vec![] } else { vec![(HandshakeFailure::Incompatible, 1)] };
        assert_eq!(stats.handshake_failures.into_iter().collect::<Vec<_>>(), refused);
    }
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_touch_no_other() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["a.example"]), authority.issue(&["a.example"]));
    let backend = Backend::fixed("hi").await;
    let mut setup = Setup::https(&[backend.address], Wanted::new(&[&old]).server());
    let world = setup.start();
    let connector = authority.client(rustls::ALL_VERSIONS);
    let mut before = world.tls_client(&connector, "a.example").await;
    assert_eq!(before.get("/").await.text(), "hi");

    setup.tls = Some(Wanted::new(&[&new]).server());
    world.snapshot.store(Arc::new(setup.snapshot()));
    let mut after = world.tls_client(&authority.client(rustls::ALL_VERSIONS), "a.example").await;
    let shown = after.stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, new.identity_der());
    assert_eq!(after.get("/").await.text(), "hi");
    assert_eq!(before.get("/").await.text(), "hi");
    assert_eq!(before.stream.get_ref().1.peer_certificates().unwrap()[0], old.identity_der());
    assert_eq!(world.stats().connections, 2);
}

#[tokio::test]
async fn certificates_change_a_hundred_times_under_load_and_no_request_fails() {
    let authority = Authority::new();
    let certificates = [authority.issue(&["a.example"]), authority.issue(&["a.example"])];
    let backend = Backend::fixed("hi").await;
    let mut setup = Setup::https(&[backend.address], Wanted::new(&[&certificates[0]]).server());
    let world = Arc::new(setup.start());
    let stop = Arc::<std::sync::atomic::AtomicBool>::default();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (world, stop) = (world.clone(), stop.clone());
            let connector = authority.client(rustls::ALL_VERSIONS);
            tokio::spawn(async move {
                let mut requests = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut client = world.tls_client(&connector, "a.example").await;
                    for _ in 0..5 {
                        assert_eq!(client.get("/").await.text(), "hi");
                        requests += 1;
                    }
                }
                requests
            })
        })
        .collect();
    for round in 0..100 {
        setup.tls = Some(Wanted::new(&[&certificates[round % 2]]).server());
        world.snapshot.store(Arc::new(setup.snapshot()));
        let before = world.stats().requests;
        until("requests with the new certificate", || world.stats().requests > before + 5).await;
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut requests = 0;
    for client in clients {
        requests += soon("the end of a client", client).await.unwrap();
    }
    assert!(requests >= 500, "{requests}");
    assert!(world.stats().handshake_failures.is_empty());
}
