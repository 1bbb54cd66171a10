//! QUIC and HTTP/3 as quinn and h3 serve them.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use proxima_health::{Failure, Loss, Reason};
use proxima_probe::ProbeKind;
use proxima_probe_kind::{Expect, ExpectHeader, Http, HttpVersion, Quic, Statuses, Tls};
use proxima_types::Health;
use quinn::{Endpoint, Incoming, ServerConfig, crypto::rustls::QuicServerConfig};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::support::{
    Probing,
    certificates::{Authority, Certificate, NAME},
    fails,
    server::address,
    tls,
};

/// An HTTP/3 server with threads of its own. Dropping it is like killing it: nobody says farewell.
struct Server {
    runtime: Option<Runtime>,
    address: SocketAddr,
    authority: Authority,
    _directory: TempDir,
}

impl Server {
    fn start() -> Self {
        Self::until(2090)
    }

    /// One whose certificate ends in that year.
    fn until(year: i32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let Certificate { chain_der, key_der, .. } = authority.sign(NAME, year);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(chain_der)],
                PrivateKeyDer::try_from(key_der).unwrap(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let endpoint = {
            let _inside = runtime.enter();
            Endpoint::server(config, address()).unwrap()
        };
        let address = endpoint.local_addr().unwrap();
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(serve(incoming));
            }
        });
        Self { runtime: Some(runtime), address, authority, _directory: directory }
    }

    fn get(&self, path: &str) -> Http {
        let expect = Expect { status: Statuses::ok(), body: None, header: None };
        Http {
            path: path.to_owned(),
            host: Some(NAME.to_owned()),
            version: HttpVersion::Http3,
            tls: Some(tls(&self.authority.file)),
            expect,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Answers every request of a connection.
async fn serve(incoming: Incoming) -> Option<()> {
    let connection = h3_quinn::Connection::new(incoming.await.ok()?);
    let mut connection = h3::server::Connection::<_, Bytes>::new(connection).await.ok()?;
    while let Some(resolver) = connection.accept().await.ok()? {
        let (request, mut stream) = resolver.resolve_request().await.ok()?;
        let status = if request.uri().path() == "/healthz" { 200 } else { 503 };
        let head = http::Response::builder().status(status).header("x-ready", "yes").body(()).ok()?;
        stream.send_response(head).await.ok()?;
        stream.send_data(Bytes::from_static(b"version 7\nready\n")).await.ok()?;
        stream.finish().await.ok()?;
    }
    Some(())
}

fn handshake(authority: &Path, alpn: &str) -> ProbeKind {
    ProbeKind::Quic(Quic { tls: tls(authority), alpn: vec![alpn.to_owned()] })
}

#[tokio::test]
async fn a_handshake_needs_a_server_a_certificate_and_a_protocol_in_common() {
    let server = Server::start();
    Probing::often(server.address, handshake(&server.authority.file, "h3")).up().await;
    let failure = fails(server.address, handshake(&server.authority.file, "imap")).await;
    assert!(failure.contains("(ALPN)"), "{failure}");
    let stranger = Server::start();
    let failure = fails(server.address, handshake(&stranger.authority.file, "h3")).await;
    assert!(failure.starts_with("certificate: "), "{failure}");
    let ended = Server::until(2020);
    let failure = fails(ended.address, handshake(&ended.authority.file, "h3")).await;
    assert!(failure.starts_with("certificate: "), "{failure}");
    let tls = Tls { min_validity: Some(Duration::from_hours(100 * 365 * 24)), ..tls(&server.authority.file) };
    let failure = fails(server.address, ProbeKind::Quic(Quic { tls, alpn: vec!["h3".to_owned()] })).await;
    assert!(failure.ends_with("sooner than in 36500 days"), "{failure}");
}

#[tokio::test]
async fn an_answer_over_http3_is_held_against_all_that_is_expected_of_it() {
    let server = Server::start();
    let expect = Expect {
        status: Statuses::new(vec![200..=299]).unwrap(),
        body: Some("(?m)^ready$".to_owned()),
        header: Some(ExpectHeader { name: "x-ready".to_owned(), value: Some("yes".to_owned()) }),
    };
    Probing::often(server.address, ProbeKind::Http(Http { expect, ..server.get("/healthz") })).up().await;
    let failure = fails(server.address, ProbeKind::Http(server.get("/gone"))).await;
    assert_eq!(failure, "status 503 instead of 200");
    let expect = Expect { status: Statuses::ok(), body: Some("version 8".to_owned()), header: None };
    let failure = fails(server.address, ProbeKind::Http(Http { expect, ..server.get("/healthz") })).await;
    assert_eq!(failure, "unexpected body: `version 7 ready` does not match `version 8`");
}

#[tokio::test]
async fn where_nobody_listens_the_kernel_says_so_at_once() {
    let server = Server::start();
    let kind = ProbeKind::Http(server.get("/healthz"));
    let (to, reason) = Probing::rarely(address(), kind).verdict().await;
    assert_eq!(to, Health::Down);
    assert_eq!(reason, Reason::Refused { probe: Failure::Refused, confirm: Failure::Refused });
}

#[tokio::test]
async fn a_killed_server_is_noticed_by_the_standing_connection() {
    for kind in [ProbeKind::Http, |http: Http| {
        ProbeKind::Quic(Quic { tls: http.tls.unwrap(), alpn: vec!["h3".to_owned()] })
    }] {
        let server = Server::start();
        let mut probing = Probing::rarely(server.address, kind(server.get("/healthz")));
        probing.up().await;
        drop(server);
        assert!(matches!(probing.lost().await, Loss::Closed | Loss::Reset));
    }
}
