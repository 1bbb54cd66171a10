//! gRPC's health service as tonic serves it.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use proxima_health::Loss;
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Grpc as Settings, Tls};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::copy_bidirectional,
    net::TcpStream,
    runtime::{Builder, Runtime},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::support::{
    Probing,
    certificates::{Authority, Certificate, NAME},
    fails, tls,
};

/// A server with the health service, and threads of its own. Dropping it ends all its connections.
struct Grpc {
    address: SocketAddr,
    reporter: HealthReporter,
    runtime: Option<Runtime>,
}

impl Grpc {
    fn start() -> Self {
        let (reporter, service) = tonic_health::server::health_reporter();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { address, reporter, runtime: Some(runtime) }
    }

    async fn set(&self, service: &str, status: ServingStatus) {
        self.reporter.set_service_status(service, status).await;
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn check(service: &str) -> ProbeKind {
    ProbeKind::Grpc(Settings { service: service.to_owned(), host: None, tls: None })
}

fn check_over_tls(tls: Tls) -> ProbeKind {
    ProbeKind::Grpc(Settings { service: String::new(), host: None, tls: Some(tls) })
}

/// TLS in front of `server`, as a sidecar has it: it offers these protocols, and passes on what is inside.
async fn secured(server: &Grpc, certificate: &Certificate, alpn: &[&str]) -> (SocketAddr, JoinSet<()>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let chain = vec![CertificateDer::from(certificate.chain_der.clone())];
    let key = PrivatePkcs8KeyDer::from(certificate.key_der.clone()).into();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let (acceptor, behind) = (TlsAcceptor::from(Arc::new(config)), server.address);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // The prober may not like what it is shown, and leave.
                let Ok(mut outside) = acceptor.accept(stream).await else { return };
                let Ok(mut inside) = TcpStream::connect(behind).await else { return };
                copy_bidirectional(&mut outside, &mut inside).await.ok();
            });
        }
    });
    (address, task)
}

#[tokio::test]
async fn a_service_is_up_while_it_says_so() {
    let server = Grpc::start();
    Probing::often(server.address, check("")).up().await;
    server.set("llm.v1.Chat", ServingStatus::Serving).await;
    let mut probing = Probing::often(server.address, check("llm.v1.Chat"));
    probing.up().await;
    server.set("llm.v1.Chat", ServingStatus::NotServing).await;
    assert_eq!(probing.failure().await.to_string(), "the app refuses: NOT_SERVING");
    server.set("llm.v1.Chat", ServingStatus::Serving).await;
    probing.up().await;
    server.set("llm.v1.Chat", ServingStatus::Unknown).await;
    assert_eq!(probing.failure().await.to_string(), "the app refuses: UNKNOWN");
}

#[tokio::test]
async fn a_service_nobody_has_heard_of_is_told_with_grpc_s_status() {
    let server = Grpc::start();
    let failure = fails(server.address, check("no.such.Service")).await;
    assert!(failure.starts_with("the app refuses: gRPC status 5 NOT_FOUND"), "{failure}");
}

#[tokio::test]
async fn a_server_that_goes_is_noticed_by_the_standing_connection() {
    let server = Grpc::start();
    let mut probing = Probing::rarely(server.address, check(""));
    probing.up().await;
    drop(server);
    assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
}

#[tokio::test]
async fn over_tls_a_server_is_up_while_it_says_so_and_its_certificate_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let server = Grpc::start();
    let (address, _sidecar) = secured(&server, &authority.sign(NAME, 2090), &["h2"]).await;
    let mut probing = Probing::often(address, check_over_tls(tls(&authority.file)));
    probing.up().await;
    server.set("", ServingStatus::NotServing).await;
    assert_eq!(probing.failure().await.to_string(), "the app refuses: NOT_SERVING");
    server.set("", ServingStatus::Serving).await;
    probing.up().await;

    let century = Duration::from_hours(100 * 365 * 24);
    let soon = Tls { min_validity: Some(century), ..tls(&authority.file) };
    let failure = fails(address, check_over_tls(soon)).await;
    assert!(failure.starts_with("certificate: it ends in"), "{failure}");
    let stranger = tempfile::tempdir().unwrap();
    let failure = fails(address, check_over_tls(tls(&Authority::new(stranger.path()).file))).await;
    assert!(failure.starts_with("certificate: "), "{failure}");
}

#[tokio::test]
async fn over_tls_a_server_that_goes_is_noticed_by_the_standing_connection() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let server = Grpc::start();
    let (address, mut sidecar) = secured(&server, &authority.sign(NAME, 2090), &["h2"]).await;
    let mut probing = Probing::rarely(address, check_over_tls(tls(&authority.file)));
    probing.up().await;
    sidecar.shutdown().await;
    assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
}

#[tokio::test]
async fn over_tls_a_server_that_does_not_choose_http2_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let server = Grpc::start();
    let (address, _sidecar) = secured(&server, &authority.sign(NAME, 2090), &[]).await;
    let failure = fails(address, check_over_tls(tls(&authority.file))).await;
    assert_eq!(failure, "protocol error: it does not speak HTTP/2 (ALPN)");
}
