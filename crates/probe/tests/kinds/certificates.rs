//! What a certificate has to be, against nginx.

use std::{fs, time::Duration};

use proxima_health::Loss;
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Tls, TlsHandshake, Trust};

use crate::support::{Probing, certificates::NAME, fails, nginx::Nginx, tls};

const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

fn handshake(tls: Tls) -> ProbeKind {
    ProbeKind::Tls(TlsHandshake { tls, alpn: Vec::new() })
}

#[tokio::test]
async fn a_certificate_that_proves_nothing_fails_the_probe_and_why_is_told() {
    let nginx = Nginx::start();
    let good = tls(&nginx.authority.file);
    Probing::often(nginx.https, handshake(good.clone())).up().await;

    let other = Nginx::start();
    let stranger = tls(&other.authority.file);
    assert_eq!(
        fails(nginx.https, handshake(stranger)).await,
        "certificate: whoever signed it is not trusted"
    );

    let another = Tls { server_name: Some("other.example".to_owned()), ..good.clone() };
    let failure = fails(nginx.https, handshake(another)).await;
    assert!(failure.ends_with("not for other.example") && failure.contains(NAME), "{failure}");

    let unnamed = Tls { server_name: None, ..good.clone() };
    let failure = fails(nginx.https, handshake(unnamed)).await;
    assert!(failure.ends_with(&format!("not for {}", nginx.https.ip())), "{failure}");

    let soon = Tls { min_validity: Some(CENTURY), ..good.clone() };
    let failure = fails(nginx.https, handshake(soon)).await;
    assert!(
        failure.starts_with("certificate: it ends in ") && failure.ends_with("sooner than in 36500 days"),
        "{failure}"
    );

    let missing = nginx.authority.file.with_file_name("none.pem");
    let unreadable = Tls { trust: Trust::File(missing), ..good };
    let mut probing = Probing::often(nginx.https, handshake(unreadable));
    assert!(
        probing.is_silent_for(Duration::from_millis(300)).await,
        "this host's fault says nothing of the app"
    );
}

#[tokio::test]
async fn an_expired_certificate_fails_unless_nobody_has_to_prove_anything() {
    let nginx = Nginx::with(|authority| authority.sign(NAME, 2020));
    let strict = tls(&nginx.authority.file);
    let failure = fails(nginx.https, handshake(strict.clone())).await;
    assert!(failure.starts_with("certificate: it ended ") && failure.ends_with(" days ago"), "{failure}");
    let lax = Tls { trust: Trust::Anyone, ..strict };
    Probing::often(nginx.https, handshake(lax.clone())).up().await;
    let failure =
        fails(nginx.https, handshake(Tls { min_validity: Some(Duration::from_secs(1)), ..lax })).await;
    assert!(failure.starts_with("certificate: it ends in 0 seconds"), "{failure}");
}

#[tokio::test]
async fn a_server_has_to_choose_one_of_the_protocols_offered() {
    let nginx = Nginx::start();
    let offered = |alpn: &str| {
        ProbeKind::Tls(TlsHandshake { tls: tls(&nginx.authority.file), alpn: vec![alpn.to_owned()] })
    };
    Probing::often(nginx.https, offered("h2")).up().await;
    let failure = fails(nginx.https, offered("imap")).await;
    assert!(failure.contains("(ALPN)") || failure.contains("NoApplicationProtocol"), "{failure}");
}

#[tokio::test]
async fn a_killed_server_is_noticed_by_the_session_that_was_left_standing() {
    let mut nginx = Nginx::start();
    let mut probing = Probing::rarely(nginx.https, handshake(tls(&nginx.authority.file)));
    probing.up().await;
    nginx.server.kill();
    assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
}

#[tokio::test]
async fn authorities_are_read_again_when_that_is_asked_for() {
    let (nginx, other) = (Nginx::start(), Nginx::start());
    let file = nginx.authority.file.with_file_name("trusted.pem");
    fs::copy(&other.authority.file, &file).unwrap();
    let mut probing = Probing::often(nginx.https, handshake(tls(&file)));
    assert_eq!(probing.failure().await.to_string(), "certificate: whoever signed it is not trusted");
    fs::copy(&nginx.authority.file, &file).unwrap();
    probing.prober.trust().read_again();
    probing.up().await;
}
