//! An HTTP/2 client by the `h2` crate, and one that writes frames by hand.

use std::future::Future;

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use super::{Answer, World, soon};

pub struct Client {
    pub send: SendRequest<Bytes>,
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

pub fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a{path}")).body(()).unwrap()
}

pub fn post(path: &str) -> Request<()> {
    Request::post(format!("http://a{path}")).body(()).unwrap()
}

impl Client {
    pub async fn connect(world: &World) -> Self {
        Self::with(world, &mut h2::client::Builder::new()).await
    }

    pub async fn with(world: &World, builder: &mut h2::client::Builder) -> Self {
        let stream = TcpStream::connect(world.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (send, connection) = soon("a handshake", builder.handshake(stream)).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Sends a request with a body of one piece, if it is not empty.
    pub async fn ask(&mut self, request: Request<()>, body: &'static str) -> Answer {
        soon("an answer", self.try_ask(request, body)).await.unwrap()
    }

    pub async fn try_ask(&mut self, request: Request<()>, body: &'static str) -> Result<Answer, h2::Error> {
        let mut ready = self.send.clone().ready().await?;
        let (response, mut sending) = ready.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(Bytes::from_static(body.as_bytes()), true)?;
        }
        answer(response.await?).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(get(path), "").await
    }
}

/// Reads a response to its end.
pub async fn answer(response: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut receiving) = response.into_parts();
    let mut body = Vec::new();
    while let Some(bytes) = receiving.data().await {
        let bytes = bytes?;
        receiving.flow_control().release_capacity(bytes.len())?;
        body.extend(bytes);
    }
    let trailers = receiving.trailers().await?;
    Ok(Answer { head: Response::from_parts(parts, ()), body, trailers })
}

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames (RFC 9113 §6).
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals without indexing or Huffman coding (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    let string = |block: &mut Vec<u8>, bytes: &[u8]| {
        if bytes.len() < 127 {
            block.push(bytes.len() as u8);
        } else {
            block.push(127);
            let mut left = bytes.len() - 127;
            while left >= 128 {
                block.push(0x80 | (left % 128) as u8);
                left /= 128;
            }
            block.push(left as u8);
        }
        block.extend(bytes);
    };
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name.as_bytes());
        string(&mut block, value);
    }
    block
}

/// The pseudo-header fields of GET /, then `more`.
pub fn get_block(more: &[(&str, &[u8])]) -> Vec<u8> {
    let mut fields: Vec<(&str, &[u8])> =
        vec![(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), (":authority", b"a")];
    fields.extend(more);
    block(&fields)
}

/// A client of frames.
pub struct Raw {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(*self.payload[at..].first_chunk().unwrap())
    }
}

impl Raw {
    /// Connects and says the preface.
    pub async fn connect(world: &World) -> Self {
        Self::over(TcpStream::connect(world.address).await.unwrap()).await
    }

    /// The same with little room for what is not read yet.
    pub async fn narrow(world: &World) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        Self::over(socket.connect(world.address).await.unwrap()).await
    }

    async fn over(mut stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.write_all(PREFACE).await.unwrap();
        stream.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await.unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// The backend's end of a connection: reads the preface and says SETTINGS.
    pub async fn accepted(stream: TcpStream) -> Self {
        Self::accepted_with(stream, &[]).await
    }

    /// The same with these SETTINGS (RFC 9113 §6.5.1).
    pub async fn accepted_with(mut stream: TcpStream, settings: &[u8]) -> Self {
        let mut preface = [0; PREFACE.len()];
        stream.set_nodelay(true).unwrap();
        let _ = stream.read_exact(&mut preface).await;
        let _ = stream.write_all(&frame(kind::SETTINGS, 0, 0, settings)).await;
        Self { stream, buffer: Vec::new() }
    }

    /// Ignores that the other end may have closed: tests look at what they read.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = soon("a write", self.stream.write_all(bytes)).await;
    }

    /// The next frame; `None` at the end of the connection, whichever it is.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]) = self.buffer.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, l0, l1, l2]) as usize;
                if self.buffer.len() >= 9 + length {
                    let rest = self.buffer.split_off(9 + length);
                    let payload = std::mem::replace(&mut self.buffer, rest).split_off(9);
                    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
                    return Some(Frame { kind, flags, stream, payload });
                }
            }
            match soon("a read", self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame of `kind`.
    pub async fn expect(&mut self, kind: u8) -> Frame {
        loop {
            let frame =
                self.next().await.unwrap_or_else(|| panic!("the end instead of a frame of kind {kind}"));
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// All frames to the end.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}

/// A backend that answers each stream by a script.
pub struct Backend {
    pub address: std::net::SocketAddr,
    /// Connections so far.
    pub connections: std::sync::Arc<std::sync::atomic::AtomicUsize>,
    leaving: std::sync::Arc<tokio::sync::Notify>,
    task: JoinHandle<()>,
}

impl Backend {
    pub async fn start<F, T>(script: F) -> Self
    where
        F: Fn(Request<RecvStream>, h2::server::SendResponse<Bytes>) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self::with(h2::server::Builder::new(), script).await
    }

    pub async fn with<F, T>(builder: h2::server::Builder, script: F) -> Self
    where
        F: Fn(Request<RecvStream>, h2::server::SendResponse<Bytes>) -> T + Clone + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let leaving = std::sync::Arc::<tokio::sync::Notify>::default();
        let (count, left) = (connections.clone(), leaving.clone());
        let task = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let (builder, script, left) = (builder.clone(), script.clone(), left.clone());
                tasks.spawn(async move {
                    let Ok(mut connection) = builder.handshake(stream).await else { return };
                    let mut streams = tokio::task::JoinSet::new();
                    loop {
                        tokio::select! {
                            () = left.notified() => connection.graceful_shutdown(),
                            accepted = connection.accept() => match accepted {
                                Some(Ok((request, respond))) => drop(streams.spawn(script(request, respond))),
                                _ => return,
                            },
                        }
                    }
                });
            }
        });
        Self { address, connections, leaving, task }
    }

    /// Says GOAWAY on a connection, and serves what is under way.
    pub fn leave(&self) {
        self.leaving.notify_one();
    }

    /// Sends back the body and the trailers of each request, piece by piece as they come.
    pub async fn echo() -> Self {
        Self::start(|request, mut respond| async move {
            let mut body = request.into_body();
            let mut sending = respond.send_response(Response::new(()), false).unwrap();
            while let Some(Ok(bytes)) = body.data().await {
                body.flow_control().release_capacity(bytes.len()).unwrap();
                let mut left = bytes;
                while !left.is_empty() {
                    sending.reserve_capacity(left.len());
                    let Some(Ok(room)) = std::future::poll_fn(|cx| sending.poll_capacity(cx)).await else {
                        return;
                    };
                    let _ = sending.send_data(left.split_to(room.min(left.len())), false);
                }
            }
            let _ = match body.trailers().await {
                Ok(Some(trailers)) => sending.send_trailers(trailers),
                _ => sending.send_data(Bytes::new(), true),
            };
        })
        .await
    }

    pub fn seen(&self) -> usize {
        self.connections.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// As if the process died.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
