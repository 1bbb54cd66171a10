//! Clients that show certificates of their own.

use proxima_proxy::{Clients, HandshakeFailure, TicketKeys};

use super::{
    common::{Backend, Setup, until},
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
