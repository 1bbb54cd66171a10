//! gRPC's health service as tonic serves it.

use std::net::{SocketAddr, TcpListener};

use proxima_health::Loss;
use proxima_probe::ProbeKind;
use proxima_probe_kind::Grpc as Settings;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::support::{Probing, fails};

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
