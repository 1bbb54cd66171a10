//! TLS-ALPN-01 (RFC 8737): challenges are answered while they are pending, to nobody but who asks for them.

use std::{collections::BTreeMap, sync::Arc};

use proxima_proxy::{Challenges, HandshakeFailure, Snapshot, TlsServer};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, ClientConfig, pki_types::PrivatePkcs8KeyDer},
};

use super::{
    common::{Backend, Setup, World, soon, until},
    pki::{Authority, Wanted},
};

const ACME: &[u8] = b"acme-tls/1";

/// What is pending for `name`, and the certificate that proves it.
fn pending(name: &str) -> (Challenges, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
    let certificate = parameters.self_signed(&key).unwrap();
    let mut challenges = Challenges::default();
    let der = certificate.der().clone();
    challenges
        .add_tls_alpn(name, der.clone(), &PrivatePkcs8KeyDer::from(key.serialize_der()).into())
        .unwrap();
    (challenges, der.to_vec())
}

fn put(world: &World, challenges: Challenges) {
    let snapshot = Snapshot { challenges: Arc::new(challenges), ..(*world.snapshot.load_full()).clone() };
    world.snapshot.store(Arc::new(snapshot));
}

/// As an ACME server asks: the certificate need not lead to anyone.
fn offering(protocols: &[&[u8]]) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    // The certificate has an extension that is critical and that nobody but an ACME server knows.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The handshake's outcome: the certificate that was shown.
async fn shown(world: &World, name: &str, protocols: &[&[u8]]) -> std::io::Result<Vec<u8>> {
    let tcp = TcpStream::connect(world.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = soon("a handshake", offering(protocols).connect(name, tcp)).await?;
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    if stream.get_ref().1.alpn_protocol() == Some(ACME) {
        assert_eq!(soon("the end", stream.read(&mut [0])).await.unwrap(), 0, "nothing follows");
    }
    Ok(certificate)
}

async fn world(authority: &Authority) -> World {
    let issued = authority.issue(&["a.example", "b.example"]);
    let backend = Backend::fixed("hi").await;
    Setup::https(&[backend.address], Wanted::new(&[&issued]).server()).start()
}

#[tokio::test]
async fn a_pending_challenge_is_shown_to_whoever_offers_that_protocol_alone_and_then_the_connection_ends() {
    let world = world(&Authority::new()).await;
    let (challenges, certificate) = pending("a.example");
    put(&world, challenges);
    for name in ["a.example", "A.Example"] {
        assert_eq!(shown(&world, name, &[ACME]).await.unwrap(), certificate);
    }
    let stats = world.stats();
    assert_eq!((stats.requests, stats.handshakes.len()), (0, 0), "no client's");
}

#[tokio::test]
async fn what_is_not_pending_is_refused() {
    let world = world(&Authority::new()).await;
    assert!(shown(&world, "a.example", &[ACME]).await.is_err(), "nothing is pending");
    let (challenges, certificate) = pending("a.example");
    put(&world, challenges);
    assert!(shown(&world, "b.example", &[ACME]).await.is_err(), "another name");
    assert_eq!(shown(&world, "a.example", &[ACME]).await.unwrap(), certificate);
    put(&world, Challenges::default());
    assert!(shown(&world, "a.example", &[ACME]).await.is_err(), "not any more");
    // Counted after the client has heard of it.
    let refused = BTreeMap::from([(HandshakeFailure::Alpn, 3)]);
    until("three refusals", || world.stats().handshake_failures == refused).await;
}

#[tokio::test]
async fn clients_are_served_while_a_challenge_is_pending_though_they_offer_that_protocol_too() {
    let authority = Authority::new();
    let world = world(&authority).await;
    put(&world, pending("a.example").0);
    let mut client = world.tls_client(&authority.client(rustls::ALL_VERSIONS), "a.example").await;
    assert_eq!(client.get("/").await.text(), "hi");
    for protocols in [&[&b"http/1.1"[..], ACME][..], &[ACME, b"http/1.1"]] {
        let certificate = shown(&world, "a.example", protocols).await.unwrap();
        assert_ne!(certificate, pending("a.example").1);
    }
}

#[tokio::test]
async fn what_is_no_tls_is_counted_as_ever_while_a_challenge_is_pending() {
    let world = world(&Authority::new()).await;
    put(&world, pending("a.example").0);
    let mut client = world.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.closed().await;
    until("a failed handshake", || !world.stats().handshake_failures.is_empty()).await;
    assert_eq!(world.stats().handshake_failures, BTreeMap::from([(HandshakeFailure::NotTls, 1)]));
}

#[tokio::test]
async fn a_service_without_a_certificate_refuses_every_client_and_answers_challenges() {
    let server: TlsServer = Wanted::new(&[]).server();
    let backend = Backend::fixed("hi").await;
    let world = Setup::https(&[backend.address], server).start();
    let error = shown(&world, "a.example", &[b"http/1.1"]).await.unwrap_err();
    assert!(error.to_string().contains("AccessDenied"), "{error}");
    until("a failed handshake", || !world.stats().handshake_failures.is_empty()).await;
    assert_eq!(world.stats().handshake_failures, BTreeMap::from([(HandshakeFailure::NoCertificate, 1)]));
    let (challenges, certificate) = pending("a.example");
    put(&world, challenges);
    assert_eq!(shown(&world, "a.example", &[ACME]).await.unwrap(), certificate);
}
