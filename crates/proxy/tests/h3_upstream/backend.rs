//! Backends by the `h3` crate, and one whose octets are written by hand.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use h3_quinn::BidiStream;
use http::{HeaderMap, Request, Response};
use proxima_proxy::{Authorities, TlsClient, TlsClientOptions, UpstreamProtocol};
use quinn::{
    Connection, Endpoint, RecvStream, SendStream, TransportConfig, crypto::rustls::QuicServerConfig,
};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::TLS13,
};

use crate::{
    common::{Setup, soon},
    pki::{Authority, Issued},
};

pub(crate) type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A world before backends whose certificates are for 127.0.0.1.
pub(crate) fn setup(authority: &Authority, backends: &[SocketAddr]) -> Setup {
    let authorities = Authorities::Only(authority.chain());
    let tls = TlsClient::new(&TlsClientOptions {
        authorities: &authorities,
        server_name: None,
        protocol: UpstreamProtocol::Http3,
        identity: None,
    });
    Setup { upstream: UpstreamProtocol::Http3, backend_tls: Some(tls.unwrap()), ..Setup::http(backends) }
}

/// An endpoint with the certificate, which asks for one of `clients`.
pub(crate) fn endpoint(
    issued: &Issued,
    clients: Option<&Authority>,
    transport: TransportConfig,
) -> (Endpoint, SocketAddr) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut tls = builder.with_single_cert(chain, key).unwrap();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(Arc::new(transport));
    let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = endpoint.local_addr().unwrap();
    (endpoint, address)
}

/// A backend that answers each request by a script.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Backend {
    pub(crate) fn start<F, T>(authority: &Authority, script: F) -> Self
    where
        F: Fn(Request<()>, Stream) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (endpoint, address) =
            endpoint(&authority.issue(&["127.0.0.1"]), None, TransportConfig::default());
        Self::over(endpoint, address, script)
    }

    pub(crate) fn over<F, T>(endpoint: Endpoint, address: SocketAddr, script: F) -> Self
    where
        F: Fn(Request<()>, Stream) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let connections = Arc::<AtomicUsize>::default();
        let count = connections.clone();
        let task = tokio::spawn(async move {
            let mut tasks = JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(serve(connection, script.clone()));
            }
        });
        Self { address, connections, task }
    }

    /// Sends back the body and the trailers of each request, piece by piece as they come.
    pub(crate) fn echo(authority: &Authority) -> Self {
        Self::start(authority, |_, mut stream| async move {
            if stream.send_response(Response::new(())).await.is_err() {
                return;
            }
            while let Ok(Some(mut data)) = stream.recv_data().await {
                let count = data.remaining();
                let bytes = data.copy_to_bytes(count);
                drop(data);
                if stream.send_data(bytes).await.is_err() {
                    return;
                }
            }
            if let Ok(Some(trailers)) = stream.recv_trailers().await {
                let _ = stream.send_trailers(trailers).await;
            }
            let _ = stream.finish().await;
        })
    }

    /// Answers each request with `response`; tells of its head.
    pub(crate) fn telling(
        authority: &Authority,
        response: fn() -> Response<&'static str>,
    ) -> (Self, mpsc::UnboundedReceiver<Request<()>>) {
        let (heads, seen) = mpsc::unbounded_channel();
        let backend = Self::start(authority, move |request, mut stream| {
            let heads = heads.clone();
            async move {
                heads.send(request).unwrap();
                let (parts, body) = response().into_parts();
                let _ = stream.send_response(Response::from_parts(parts, ())).await;
                if !body.is_empty() {
                    let _ = stream.send_data(Bytes::from_static(body.as_bytes())).await;
                }
                let _ = stream.finish().await;
            }
        });
        (backend, seen)
    }

    /// Connections so far.
    pub(crate) fn seen(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<F, T>(connection: Connection, script: F)
where
    F: Fn(Request<()>, Stream) -> T + Clone + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let quic = h3_quinn::Connection::new(connection);
    let Ok(mut connection) = h3::server::Connection::<_, Bytes>::new(quic).await else { return };
    let mut tasks = JoinSet::new();
    while let Ok(Some(resolver)) = connection.accept().await {
        let script = script.clone();
        tasks.spawn(async move {
            if let Ok((request, stream)) = resolver.resolve_request().await {
                script(request, stream).await;
            }
        });
    }
}

/// A backend whose octets are written by hand.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    endpoint: Endpoint,
}

/// One connection of it; its settings are sent.
pub(crate) struct RawConnection {
    pub(crate) connection: Connection,
    pub(crate) control: SendStream,
}

impl Raw {
    pub(crate) fn start(authority: &Authority, transport: TransportConfig) -> Self {
        let (endpoint, address) = endpoint(&authority.issue(&["127.0.0.1"]), None, transport);
        Self { address, endpoint }
    }

    pub(crate) async fn accept(&self) -> RawConnection {
        let mut connection = self.accept_silently().await;
        connection.control.write_all(&[0, 4, 0]).await.unwrap();
        connection
    }

    /// Without settings.
    pub(crate) async fn accept_silently(&self) -> RawConnection {
        let incoming = soon("a connection", self.endpoint.accept()).await.unwrap();
        let connection = soon("a handshake", incoming.into_future()).await.unwrap();
        let control = connection.open_uni().await.unwrap();
        RawConnection { connection, control }
    }
}

impl RawConnection {
    /// The next request's stream, and its head's section.
    pub(crate) async fn request(&self) -> (SendStream, RecvStream, Vec<u8>) {
        let (send, mut receive) = soon("a request", self.connection.accept_bi()).await.unwrap();
        // HEADERS with a length of four octets.
        let mut header = [0; 5];
        soon("a frame", receive.read_exact(&mut header)).await.unwrap();
        let [1, length @ ..] = header else { panic!("no HEADERS: {header:02x?}") };
        let mut section = vec![0; (u32::from_be_bytes(length) & 0x3fff_ffff) as usize];
        soon("a section", receive.read_exact(&mut section)).await.unwrap();
        (send, receive, section)
    }
}

/// Trailers of one field.
pub(crate) fn trailers(name: &'static str, value: &str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    trailers
}
