//! Clients that go on asking over every version of HTTP, and count exactly what fails.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use bytes::{Buf, Bytes};
use h3::error::StreamError;
use http::Request;
use quinn::{Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    task::{JoinSet, LocalSet},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::PATIENCE;

/// Versions of HTTP, in the order of [`Answered`].
const VERSIONS: [Version; 3] = [Version::Http1, Version::Http2, Version::Http3];
/// Clients of each version that keep their connection.
const KEPT: usize = 4;
/// Requests on a connection of those that don't.
const BRIEF: u64 = 5;

/// Responses of status 200 that came in whole: over HTTP/1.1, HTTP/2 and HTTP/3.
pub(crate) type Answered = [u64; 3];

#[derive(Debug, Clone, Copy)]
enum Version {
    Http1,
    Http2,
    Http3,
}

/// A load; ended when dropped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Whether a server may ask for another connection.
    follows: bool,
    over: AtomicBool,
    answered: [AtomicU64; 3],
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Asks for `/` of an HTTPS service by that name, whatever its certificate is. No request is sent a second time.
    pub(crate) fn begin(address: SocketAddr, name: &'static str) -> Self {
        Self::begin_with(Shared::default(), address, name)
    }

    /// The same by clients that make another connection where the server asks for it: by `Connection: close` in a response, or
    /// by GOAWAY, from which they know that a request was not taken (RFC 9113 §6.8, RFC 9114 §5.2).
    pub(crate) fn begin_following(address: SocketAddr, name: &'static str) -> Self {
        Self::begin_with(Shared { follows: true, ..Shared::default() }, address, name)
    }

    fn begin_with(shared: Shared, address: SocketAddr, name: &'static str) -> Self {
        let shared = Arc::new(shared);
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, run(of_thread, address, name));
        });
        Self { shared, thread: Some(thread) }
    }

    fn answered(&self) -> Answered {
        self.shared.answered.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Waits until at least so many more answers have come over each version.
    pub(crate) fn wait(&self, more: u64) {
        let (before, begun) = (self.answered(), Instant::now());
        while self.answered().iter().zip(before).any(|(now, before)| *now < before + more) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{before:?}, then {:?}: {:?}",
                self.answered(),
                self.failures()
            );
            thread::yield_now();
        }
    }

    fn failures(&self) -> Vec<String> {
        self.shared.failed.lock().unwrap().clone()
    }

    /// What was answered, and every failure in words.
    pub(crate) fn end(mut self) -> (Answered, Vec<String>) {
        self.stop();
        (self.answered(), self.failures())
    }

    fn stop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(shared: Arc<Shared>, address: SocketAddr, name: &'static str) {
    let mut clients = JoinSet::new();
    for version in VERSIONS {
        // Those that keep their connection, and one that always makes a new one.
        for requests in std::iter::repeat_n(u64::MAX, KEPT).chain([BRIEF]) {
            let shared = Arc::clone(&shared);
            clients.spawn_local(async move {
                while !shared.over.load(Ordering::Relaxed) {
                    if let Err(failure) = client(&shared, version, requests, address, name).await {
                        shared.failed.lock().unwrap().push(format!("{version:?}: {failure}"));
                    }
                }
            });
        }
    }
    clients.join_all().await;
}

/// A connection with so many requests, one after the other.
async fn client(
    shared: &Shared,
    version: Version,
    requests: u64,
    address: SocketAddr,
    name: &'static str,
) -> Result<(), String> {
    let mut connection = Connection::open(version, address, name).await?;
    for _ in 0..requests {
        if shared.over.load(Ordering::Relaxed) {
            break;
        }
        let answer = tokio::time::timeout(PATIENCE, connection.ask(name)).await;
        let (status, goes_on) = match answer.map_err(|_| "no answer".to_owned())? {
            Ok(answer) => answer,
            Err(Failed::NotTaken(_)) if shared.follows => return Ok(()),
            Err(Failed::NotTaken(words) | Failed::Lost(words)) => return Err(words),
        };
        if status != 200 {
            return Err(format!("status {status}"));
        }
        shared.answered[version as usize].fetch_add(1, Ordering::Relaxed);
        if !goes_on && shared.follows {
            break;
        }
    }
    connection.close().await;
    Ok(())
}

enum Connection {
    Http1(Box<TlsStream<TcpStream>>),
    Http2(h2::client::SendRequest<Bytes>),
    Http3(h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>, Endpoint),
}

/// A request without an answer.
enum Failed {
    /// The server has said that it takes no more on this connection, and this one it has not taken.
    NotTaken(String),
    Lost(String),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        let is_farewell =
            error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR);
        let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        let words = error.to_string();
        if is_farewell || is_refused { Self::NotTaken(words) } else { Self::Lost(words) }
    }
}

impl From<StreamError> for Failed {
    fn from(error: StreamError) -> Self {
        let words = error.to_string();
        match error {
            // h3 keeps the variant to itself.
            _ if words == "Remote is closing the connection" => Self::NotTaken(words),
            StreamError::RemoteTerminate { code, .. } if code == h3::error::Code::H3_REQUEST_REJECTED => {
                Self::NotTaken(words)
            }
            _ => Self::Lost(words),
        }
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Connection {
    async fn open(version: Version, address: SocketAddr, name: &str) -> Result<Self, String> {
        Ok(match version {
            Version::Http1 => Self::Http1(Box::new(connect(address, name, b"http/1.1").await?)),
            Version::Http2 => {
                let stream = connect(address, name, b"h2").await?;
                let (send, connection) = h2::client::handshake(stream).await.map_err(words)?;
                tokio::task::spawn_local(connection);
                Self::Http2(send)
            }
            Version::Http3 => {
                let tls = QuicClientConfig::try_from(config(b"h3")).unwrap();
                let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
                endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(tls)));
                let connection = endpoint.connect(address, name).unwrap().await.map_err(words)?;
                let quic = h3_quinn::Connection::new(connection);
                let (mut driver, send) = h3::client::new(quic).await.map_err(words)?;
                tokio::task::spawn_local(async move { driver.wait_idle().await });
                Self::Http3(send, endpoint)
            }
        })
    }

    /// The status of a response that has come in whole, and whether the connection is to be used again.
    async fn ask(&mut self, name: &str) -> Result<(u16, bool), Failed> {
        let request = Request::get(format!("https://{name}/")).body(()).unwrap();
        match self {
            Self::Http1(stream) => Ok(ask_http1(stream, name).await?),
            Self::Http2(send) => Ok((ask_http2(send, request).await?, true)),
            Self::Http3(send, _) => Ok((ask_http3(send, request).await?, true)),
        }
    }

    async fn close(self) {
        match self {
            // The server may have closed it meanwhile.
            Self::Http1(mut stream) => drop(stream.shutdown().await),
            Self::Http2(_) => {}
            Self::Http3(send, endpoint) => {
                drop(send);
                endpoint.close(0x100u32.into(), b"");
                endpoint.wait_idle().await;
            }
        }
    }
}

async fn connect(address: SocketAddr, name: &str, alpn: &[u8]) -> Result<TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(address).await.map_err(words)?;
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config(alpn))).connect(name, stream).await.map_err(words)
}

async fn ask_http1(stream: &mut TlsStream<TcpStream>, name: &str) -> std::io::Result<(u16, bool)> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut received = Vec::new();
    loop {
        if stream.read_buf(&mut received).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        if received.len() >= end + 4 + length.expect("every answer has a length") {
            let goes_on = !head.contains("connection: close");
            return Ok((head[9..12].parse().expect("a status"), goes_on));
        }
    }
}

async fn ask_http2(send: &mut h2::client::SendRequest<Bytes>, request: Request<()>) -> Result<u16, Failed> {
    let lost = |error: h2::Error| Failed::Lost(error.to_string());
    let mut ready = send.clone().ready().await?;
    let (response, _) = ready.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data.map_err(lost)?.len()).map_err(lost)?;
    }
    Ok(head.status.as_u16())
}

async fn ask_http3(
    send: &mut h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    request: Request<()>,
) -> Result<u16, Failed> {
    let lost = |error: StreamError| Failed::Lost(error.to_string());
    let mut stream = send.send_request(request).await?;
    stream.finish().await?;
    let head = stream.recv_response().await?;
    while let Some(mut data) = stream.recv_data().await.map_err(lost)? {
        data.advance(data.remaining());
    }
    Ok(head.status().as_u16())
}

fn config(alpn: &[u8]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config
}

/// Certificates change all the time, and each is as good as the others.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
