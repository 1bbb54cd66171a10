//! Clients that show certificates of their own.

use std::time::{Duration, SystemTime};

use base64::prelude::{BASE64_STANDARD, Engine};
use proxima_proxy::{Clients, ForwardedCertificate, HandshakeFailure, TicketKeys};

use super::{
    common::{Backend, Setup, World, field, soon, until},
    pki::{Authority, Issued, Wanted},
    programs::{curl, s_client},
};

fn files(issued: &Issued) -> [&str; 2] {
    [issued.files.0.to_str().unwrap(), issued.files.1.to_str().unwrap()]
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_authority_are_taken_where_one_is_required() {
    let (authority, others) = (Authority::new(), Authority::new());
    let issued = authority.issue(&["a.example"]);
    let (own, strange) = (authority.issue(&["client"]), others.issue(&["client"]));
    let backend = Backend::fixed("hi").await;
    for (clients, without) in
        [(Clients::Required(authority.chain()), false), (Clients::Optional(authority.chain()), true)]
    {
        let wanted = Wanted { clients, ..Wanted::new(&[&issued]) };
        let world = Setup::https(&[backend.address], wanted.server()).start();
        for version in ["1.2", "1.3"] {
            let ask = async |more: &[&str]| {
                let version = [["--tls-max", version].as_slice(), more].concat();
                curl(world.address, "a.example", &authority.file(), &version).await.ok
            };
            let [certificate, key] = files(&own);
            assert!(ask(&["--cert", certificate, "--key", key]).await, "{version}");
            assert_eq!(ask(&[]).await, without, "{version}");
            let [certificate, key] = files(&strange);
            assert!(!ask(&["--cert", certificate, "--key", key]).await, "{version}");
        }
        let refused = if without { 2 } else { 4 };
        // A client may know of it before it is counted.
        let counted = [(HandshakeFailure::ClientCertificate, refused)].into();
        until("all who were refused", || world.stats().handshake_failures == counted).await;
    }
}

/// Whoever has a session that began without a certificate must not go on with it where one is required.
#[tokio::test]
async fn a_session_of_anyone_is_none_where_certificates_are_required() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let tickets = TicketKeys::shared(b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk8=").unwrap();
    let world = |clients| {
        let wanted = Wanted { clients, tickets: tickets.clone(), ..Wanted::new(&[&issued]) };
        Setup::https(&[backend.address], wanted.server()).start()
    };
    let (open, guarded) = (world(Clients::Any), world(Clients::Required(authority.chain())));
    for (version, name) in [("-tls1_2", "session12"), ("-tls1_3", "session13")] {
        let session = authority.scratch(name);
        let session = session.to_str().unwrap();
        assert!(s_client(open.address, "a.example", &[version, "-sess_out", session]).await.ok);
        let again = s_client(open.address, "a.example", &[version, "-sess_in", session]).await;
        assert!(again.out.contains("Reused, TLSv1"), "{again:?}");
        let elsewhere = s_client(guarded.address, "a.example", &[version, "-sess_in", session]).await;
        assert!(!elsewhere.out.contains("Reused, ") && !elsewhere.out.contains("200 OK"), "{elsewhere:?}");
    }
    assert_eq!(guarded.stats().requests, 0);
}

/// Answers with the head of the request.
async fn mirror() -> Backend {
    Backend::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            peer.write(&format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len())).await;
        }
    })
    .await
}

#[tokio::test]
async fn backends_learn_of_a_clients_certificate_what_they_are_to_and_never_from_the_client() {
    let (authority, backend) = (Authority::new(), mirror().await);
    let (issued, own) = (authority.issue(&["a.example"]), authority.issue(&["client"]));
    let [_, key] = files(&own);
    let both = authority.scratch("both.pem");
    let chain = format!("{}{}", own.certificate, std::fs::read_to_string(authority.file()).unwrap());
    std::fs::write(&both, chain).unwrap();
    let shown = format!(":{}:", BASE64_STANDARD.encode(own.identity_der()));
    let above = format!(":{}:", BASE64_STANDARD.encode(authority.der()));
    let forged = ["-H", "Client-Cert: :Zm9yZ2Vk:", "-H", "client-cert-chain: :Zm9yZ2Vk:"];
    for (forwarded, expected) in [
        (ForwardedCertificate::None, [None, None]),
        (ForwardedCertificate::Certificate, [Some(&shown), None]),
        (ForwardedCertificate::Chain, [Some(&shown), Some(&above)]),
    ] {
        let wanted = Wanted { clients: Clients::Optional(authority.chain()), ..Wanted::new(&[&issued]) };
        let world = Setup::https(&[backend.address], wanted.server().forwarding(forwarded)).start();
        for version in ["--http1.1", "--http2"] {
            let ask = async |more: &[&str]| {
                let more = [&[version], &forged[..], more].concat();
                let said = curl(world.address, "a.example", &authority.file(), &more).await;
                assert!(said.ok, "{said:?}");
                said.out
            };
            let told = ask(&["--cert", both.to_str().unwrap(), "--key", key]).await;
            let fields = ["client-cert", "client-cert-chain"].map(|name| field(&told, name));
            assert_eq!(fields, expected.map(|value| value.map(String::as_str)), "{version} {forwarded:?}");
            let told = ask(&[]).await;
            assert!(!told.to_lowercase().contains("client-cert"), "{told}");
        }
    }
}

#[tokio::test]
async fn no_session_outlives_the_certificate_that_its_client_has_shown() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example"]);
    let backend = Backend::fixed("hi").await;
    let clients = Clients::Required(authority.chain());
    let wanted = Wanted { clients, ..Wanted::new(&[&issued]) };
    // Two PoPs with the same keys.
    let worlds = [(); 2].map(|()| Setup::https(&[backend.address], wanted.server()).start());
    #[allow(clippy::disallowed_methods, reason = "certificates know calendar time only")]
    let ends = SystemTime::now() + Duration::from_secs(5);
    let (short, long) = (authority.issue_until(&["client"], Some(ends)), authority.issue(&["client"]));
    let ask = async |world: &World, more: &[&str]| {
        let said = s_client(world.address, "a.example", more).await;
        (said.out.contains("200 OK"), said.out.contains("Reused, TLS"))
    };
    let versions = ["-tls1_2", "-tls1_3"];
    let session = |version: &str, whose: &str| authority.scratch(&format!("{whose}{version}"));
    for version in versions {
        for (own, whose) in [(&short, "short"), (&long, "long")] {
            let session = session(version, whose);
            let ([certificate, key], session) = (files(own), session.to_str().unwrap());
            let of_own = [version, "-cert", certificate, "-key", key];
            let begun = ask(&worlds[0], &[&of_own[..], &["-sess_out", session]].concat()).await;
            assert_eq!(begun, (true, false), "{version} {whose}");
            // The ticket of a resumption takes the place of the one it began with.
            let goes_on = [&of_own[..], &["-sess_in", session, "-sess_out", session]].concat();
            assert_eq!(ask(&worlds[1], &goes_on).await, (true, true), "{version} {whose}");
        }
    }
    let [certificate, key] = files(&short);
    soon("its end", async { while ask(&worlds[0], &["-cert", certificate, "-key", key]).await.0 {} }).await;
    for version in versions {
        let (of_short, of_long) = (session(version, "short"), session(version, "long"));
        let of_short = of_short.to_str().unwrap();
        let goes_on = [version, "-sess_in", of_short, "-cert", certificate, "-key", key];
        for world in &worlds {
            let refused =
                || world.stats().handshake_failures.get(&HandshakeFailure::ClientCertificate).copied();
            let before = refused().unwrap_or_default();
            assert_eq!(ask(world, &goes_on).await, (false, false), "{version}");
            until("a refusal", || refused() == Some(before + 1)).await;
        }
        let [renewed, key] = files(&long);
        let shows_another = [version, "-sess_in", of_short, "-cert", renewed, "-key", key];
        assert_eq!(ask(&worlds[0], &shows_another).await, (true, false), "{version}: a full handshake");
        let goes_on = [version, "-sess_in", of_long.to_str().unwrap()];
        assert_eq!(ask(&worlds[0], &goes_on).await, (true, true), "{version}");
    }
}
