//! Sessions that go on, here or at another PoP.

use std::sync::Arc;

use proxima_proxy::{Handshake, Inheritance, TicketKeys};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    common::{Backend, Lines, PATIENCE, Setup, soon},
    pki::{Authority, Wanted},
    programs::s_client,
};

/// `openssl rand -base64 80`.
const OLD: &str = "P8+mOF1+GLXW328dbMq06A94CPEcG5eO9FSnzTCX+fx5PI+D0h+zspvfrslXd+bB4fwOb6yAvZEp7LfrOR1q3/jLNVQaznRQkbimu9u+0hA=";
const NEW: &str = "BpRwO3BEsuR6XEvqH7x+hCH2WM7zDb+bm2f2rmTw2jSDRri+rw2DFtRpHIAqAAiun8lR0SsHOijImntFL2fkmF7D4SULq9VOdzVvRmRbcZk=";

#[tokio::test]
async fn a_session_goes_on_at_another_pop_with_the_same_keys_and_nowhere_else() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let world = |tickets| {
        let wanted = Wanted { tickets, ..Wanted::new(&[&issued]) };
        Setup::https(&[backend.address], wanted.server()).start()
    };
    let shared = |lines: &str| TicketKeys::shared(lines.as_bytes()).unwrap();
    let here = world(shared(OLD));
    let there = world(shared(&format!("{NEW}\n{OLD}\n")));
    let elsewhere = world(shared(NEW));
    let alone = world(TicketKeys::own().unwrap());
    for (version, name, [full, resumed]) in [
        ("-tls1_2", "session12", [Handshake::Full12, Handshake::Resumed12]),
        ("-tls1_3", "session13", [Handshake::Full13, Handshake::Resumed13]),
    ] {
        let session = authority.scratch(name);
        let session = session.to_str().unwrap();
        let first = s_client(here.address, "a.example", &[version, "-sess_out", session]).await;
        assert!(first.ok && first.out.contains("New, TLSv1"), "{first:?}");
        for (world, goes_on) in [(&here, true), (&there, true), (&elsewhere, false), (&alone, false)] {
            let before = world.stats().handshakes;
            let said = s_client(world.address, "a.example", &[version, "-sess_in", session]).await;
            assert!(said.ok && said.out.ends_with("hi") || said.out.contains("\r\n\r\nhi"), "{said:?}");
            assert_eq!(said.out.contains("Reused, TLSv1"), goes_on, "{said:?}");
            let kind = if goes_on { resumed } else { full };
            let count = |stats: &std::collections::BTreeMap<_, u64>| stats.get(&kind).copied().unwrap_or(0);
            assert_eq!(count(&world.stats().handshakes), count(&before) + 1);
        }
    }
}

#[tokio::test]
async fn a_session_goes_on_with_a_process_that_succeeds_without_keys_from_a_file() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let setup = |tickets| {
        let wanted = Wanted { tickets, ..Wanted::new(&[&issued]) };
        Setup::https(&[backend.address], wanted.server())
    };
    let keys = TicketKeys::own().unwrap();
    let world = setup(keys.clone()).start();
    let session = authority.scratch("succession");
    let session = session.to_str().unwrap();
    let first = s_client(world.address, "a.example", &["-tls1_3", "-sess_out", session]).await;
    assert!(first.ok && first.out.contains("New, TLSv1"), "{first:?}");
    let (meta, descriptors) = world.plane.bequeath().unwrap().with_tickets(&keys).into_parts();
    let meta = serde_json::from_slice(&serde_json::to_vec(&meta).unwrap()).unwrap();
    let inherited = Inheritance::from_parts(meta, descriptors).unwrap().tickets().unwrap();
    let successor = setup(inherited.unwrap()).inherit(&world);
    successor.succeed(&world, world.plane.listeners()).await;
    assert_eq!(world.plane.drain(PATIENCE).await, 0);
    let said = s_client(successor.address, "a.example", &["-tls1_3", "-sess_in", session]).await;
    assert!(said.out.contains("Reused, TLSv1.3"), "{said:?}");
    assert_eq!(successor.stats().handshakes.get(&Handshake::Resumed13), Some(&1));
}

#[tokio::test]
async fn all_workers_of_a_process_take_each_others_sessions() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let setup = Setup { workers: 3, ..Setup::https(&[backend.address], Wanted::new(&[&issued]).server()) };
    let world = setup.start();
    let session = authority.scratch("session");
    let session = session.to_str().unwrap();
    s_client(world.address, "a.example", &["-sess_out", session]).await;
    // The kernel chooses the worker by the client's port: among so many all of them have their turn.
    for _ in 0..12 {
        let said = s_client(world.address, "a.example", &["-sess_in", session]).await;
        assert!(said.out.contains("Reused, TLSv1.3"), "{said:?}");
    }
}

#[tokio::test]
async fn the_access_log_tells_how_sessions_began() {
    let (authority, lines) = (Authority::new(), Lines::default());
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let tls = Wanted::new(&[&issued]).server();
    let world = Setup { access_log: Some(lines.log(false)), ..Setup::https(&[backend.address], tls) }.start();
    let session = authority.scratch("logged");
    let session = session.to_str().unwrap();
    s_client(world.address, "a.example", &["-tls1_3", "-sess_out", session]).await;
    s_client(world.address, "a.example", &["-tls1_3", "-sess_in", session]).await;
    s_client(world.address, "a.example", &["-tls1_2"]).await;
    let told: Vec<_> = lines.wait(3).await.iter().map(|line| line["tls"].to_string()).collect();
    let expected = [
        r#"{"resumed":false,"version":"1.3"}"#,
        r#"{"resumed":true,"version":"1.3"}"#,
        r#"{"resumed":false,"version":"1.2"}"#,
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_session_goes_on_without_early_data() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let (backend, mut seen) = Backend::telling("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let world = Setup::https(&[backend.address], Wanted::new(&[&issued]).server()).start();
    let mut config = authority.client(&[&rustls::version::TLS13]).config().as_ref().clone();
    config.enable_early_data = true;
    let connector = TlsConnector::from(Arc::new(config));
    for (path, kind) in [("/first", Handshake::Full13), ("/second", Handshake::Resumed13)] {
        let stream = TcpStream::connect(world.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        // Once a handshake has begun, there is a place for early data if the ticket allows any.
        let mut offers = false;
        let connecting =
            connector.connect_with(name, stream, |client| offers = client.early_data().is_some());
        let mut stream = soon("a handshake", connecting).await.unwrap();
        assert!(!offers && !stream.get_ref().1.is_early_data_accepted(), "{path}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hi"), "{answer}");
        assert_eq!(world.stats().handshakes.get(&kind), Some(&1), "{path}");
        let head = seen.recv().await.unwrap();
        assert!(head.starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{head}");
    }
    assert!(seen.try_recv().is_err());
}
