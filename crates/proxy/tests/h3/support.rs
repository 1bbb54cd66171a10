//! A client by the `h3` crate, and one that writes its octets by hand.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, Bytes};
use h3::{client::SendRequest, error::StreamError};
use h3_quinn::OpenStreams;
use http::Request;
use proxima_proxy::{Listener, Protocol, TlsServer};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tokio::task::JoinHandle;

use crate::{
    common::{Answer, Setup, World, soon},
    pki::{Authority, Issued, Wanted},
};

/// A world that speaks HTTP/3, and those who trust its certificate.
pub(crate) struct Http3World {
    pub(crate) world: World,
    setup: Setup,
    client: ClientConfig,
    pub(crate) authority: Authority,
}

/// Starts what `setup` says, for HTTP/3.
pub(crate) fn start(setup: Setup) -> Http3World {
    let authority = Authority::new();
    let server = Wanted::new(&[&authority.issue(&["localhost"])]).server();
    start_with(setup, authority, server, None)
}

/// The same with the TLS of `server`, and clients that show what `shown` is.
pub(crate) fn start_with(
    setup: Setup,
    authority: Authority,
    server: TlsServer,
    shown: Option<&Issued>,
) -> Http3World {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut client = match shown {
        None => client.with_no_client_auth(),
        Some(issued) => {
            let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
            client.with_client_auth_cert(vec![issued.identity_der()], key).unwrap()
        }
    };
    client.alpn_protocols = vec![b"h3".to_vec()];
    let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let setup = Setup { protocol: Protocol::Http3, tls: Some(server), ..setup };
    Http3World { world: setup.start(), setup, client, authority }
}

impl Http3World {
    pub(crate) async fn connect(&self) -> (Endpoint, Connection) {
        self.try_connect(TransportConfig::default()).await.unwrap()
    }

    pub(crate) async fn try_connect(
        &self,
        transport: TransportConfig,
    ) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
        self.try_connect_with(self.world.address, transport).await
    }

    /// As one of this world's clients, to a server elsewhere.
    pub(crate) async fn try_connect_to(
        &self,
        address: SocketAddr,
    ) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
        self.try_connect_with(address, TransportConfig::default()).await
    }

    /// What could serve in place of `predecessor`, which is this world's or has succeeded it.
    pub(crate) fn successor_of(&self, predecessor: &World) -> World {
        self.setup.inherit(predecessor)
    }

    /// At these listeners and no others from now on.
    pub(crate) async fn listen(&self, listeners: Vec<Listener>, drain: Duration) {
        self.world.reconfigure(&self.setup, listeners, drain).await;
    }

    pub(crate) async fn client_of(&self, address: SocketAddr) -> Client {
        let (endpoint, connection) = self.try_connect_to(address).await.unwrap();
        Client::over(endpoint, connection).await
    }

    pub(crate) async fn try_connect_with(
        &self,
        address: SocketAddr,
        mut transport: TransportConfig,
    ) -> Result<(Endpoint, Connection), quinn::ConnectionError> {
        let mut config = self.client.clone();
        transport.initial_rtt(Duration::from_millis(20));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting = endpoint.connect_with(config, address, "localhost").unwrap();
        let connection = soon("a handshake", connecting).await?;
        Ok((endpoint, connection))
    }

    pub(crate) async fn client(&self) -> Client {
        let (endpoint, connection) = self.connect().await;
        Client::over(endpoint, connection).await
    }

    pub(crate) async fn raw(&self) -> Raw {
        let (endpoint, connection) = self.connect().await;
        let control = uni(&connection, &[0, 4, 0]).await;
        Raw { connection, _control: control, _endpoint: endpoint }
    }
}

/// Opens a stream in one direction, and says something on it.
pub(crate) async fn uni(connection: &Connection, octets: &[u8]) -> quinn::SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(octets).await.unwrap();
    stream
}

pub(crate) struct Client {
    pub(crate) send: SendRequest<OpenStreams, Bytes>,
    pub(crate) connection: Connection,
    _driver: JoinHandle<h3::error::ConnectionError>,
    endpoint: Endpoint,
}

pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

pub(crate) fn post(path: &str) -> Request<()> {
    Request::post(format!("https://localhost{path}")).body(()).unwrap()
}

impl Client {
    pub(crate) async fn over(endpoint: Endpoint, connection: Connection) -> Self {
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driver, send) = soon("the settings", h3::client::new(quic)).await.unwrap();
        let driver = tokio::spawn(async move { driver.wait_idle().await });
        Self { send, connection, _driver: driver, endpoint }
    }

    /// From now on it sends from another port.
    pub(crate) fn move_on(&self) {
        self.endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }

    /// Sends a request with a body of one piece, if it is not empty.
    pub(crate) async fn ask(&mut self, request: Request<()>, body: &'static str) -> Answer {
        soon("an answer", self.try_ask(request, body)).await.unwrap()
    }

    pub(crate) async fn try_ask(
        &mut self,
        request: Request<()>,
        body: &'static str,
    ) -> Result<Answer, StreamError> {
        let mut stream = self.send.send_request(request).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body.as_bytes())).await?;
        }
        stream.finish().await?;
        answer(stream).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path), "").await
    }
}

pub(crate) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// Reads a response to its end.
pub(crate) async fn answer(mut stream: Stream) -> Result<Answer, StreamError> {
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        let count = data.remaining();
        body.extend_from_slice(&data.copy_to_bytes(count));
    }
    let trailers = stream.recv_trailers().await?;
    Ok(Answer { head, body, trailers })
}

/// A client that writes its octets by hand; its settings are sent.
pub(crate) struct Raw {
    pub(crate) connection: Connection,
    _control: quinn::SendStream,
    _endpoint: Endpoint,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A whole response, by its status where that is in the static table or a literal.
    Status(u16),
    Reset(u64),
    Closed(u64),
}

impl Raw {
    /// Sends `octets` as a whole request.
    pub(crate) async fn say(&self, octets: &[u8]) -> Outcome {
        let (mut send, mut receive) = self.connection.open_bi().await.unwrap();
        // The server may refuse to read on.
        let _ = send.write_all(octets).await;
        let _ = send.finish();
        soon("what becomes of it", outcome(&mut receive)).await
    }

    /// The code that the connection is closed with.
    pub(crate) async fn closed(&self) -> u64 {
        code(soon("the end of the connection", self.connection.closed()).await)
    }
}

pub(crate) async fn outcome(receive: &mut quinn::RecvStream) -> Outcome {
    match receive.read_to_end(1 << 20).await {
        Ok(response) => Outcome::Status(status(&response)),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Outcome::Reset(code.into_inner()),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::ConnectionLost(error))) => {
            Outcome::Closed(code(error))
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn code(error: quinn::ConnectionError) -> u64 {
    match error {
        quinn::ConnectionError::ApplicationClosed(close) => VarInt::into_inner(close.error_code),
        error => panic!("{error}"),
    }
}

/// The status of a response whose first field is it, from the tables of RFC 9204 and, for digits, of RFC 7541.
fn status(response: &[u8]) -> u16 {
    // HEADERS with a length of four octets, and a prefix of two.
    match response[7..] {
        [0xd9, ..] => 200,
        [0xdb, ..] => 404,
        [0xdc, ..] => 503,
        // 63 to 71 of the table: the rest over a prefix of six bits.
        [0xff, rest, ..] => [100, 204, 206, 302, 400, 403, 421, 425, 500][usize::from(rest)],
        // A literal with a name of the table, plain.
        [0x5f, _, 3, a, b, c, ..] => {
            [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        }
        // Or Huffman coded: three digits of five or six bits.
        [0x5f, _, 0x82, a, b, ..] => coded_digits(u16::from_be_bytes([a, b])),
        _ => panic!("no status in {response:02x?}"),
    }
}

/// Digits by the code of RFC 7541, appendix B: 0 to 2 are the codes 0 to 2 of five bits, 3 to 9 the codes 25 to 31 of six.
fn coded_digits(mut code: u16) -> u16 {
    let mut number = 0;
    for _ in 0..3 {
        let five = code >> 11;
        let (digit, bits) = if five < 3 { (five, 5) } else { ((code >> 10) - 0x19 + 3, 6) };
        number = number * 10 + digit;
        code <<= bits;
    }
    number
}

/// A HEADERS frame of fields as literals: neither tables nor Huffman coding.
pub(crate) fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        integer(&mut section, 0x20, 7, name.len());
        section.extend_from_slice(name.as_bytes());
        integer(&mut section, 0, 127, value.len());
        section.extend_from_slice(value.as_bytes());
    }
    frame(1, &section)
}

fn integer(out: &mut Vec<u8>, high: u8, most: usize, value: usize) {
    if value < most {
        return out.push(high | value as u8);
    }
    out.push(high | most as u8);
    let mut left = value - most;
    while left >= 128 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x8000_0000 | u32::try_from(payload.len()).unwrap();
    [&[kind], &length.to_be_bytes()[..], payload].concat()
}

pub(crate) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
pub(crate) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")];
