//! Backends that take WebSockets.

use std::{future::Future, net::SocketAddr};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Request, Response};
use proxima_http3::{RequestText, server_control_stream};
use proxima_proxy::UpstreamProtocol;
use quinn::{Endpoint, RecvStream, SendStream, TransportConfig};
use tokio::task::{JoinHandle, JoinSet};

use crate::{
    Head,
    common::{self, Peer, Setup, agreement},
    fields,
    http3_backend::{endpoint, setup},
    patient,
    pki::Authority,
    support::{frame, headers, uni},
    wire::{Wire, first_frame},
};

/// A backend of one version.
pub(crate) struct Backend {
    /// A world before it.
    pub(crate) setup: Setup,
    task: Option<JoinHandle<()>>,
    _http1: Option<common::Backend>,
    _http2: Option<common::h2::Backend>,
}

impl Backend {
    pub(crate) async fn start<F, T>(version: UpstreamProtocol, script: F) -> Self
    where
        F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let mut backend = match version {
            UpstreamProtocol::Http1 => Self::http1(script).await,
            UpstreamProtocol::Http2 => Self::http2(script).await,
            UpstreamProtocol::Http3 => Self::http3(script),
        };
        backend.setup.timeouts = patient();
        backend
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.setup.backends[0].0
    }

    async fn http1<F, T>(script: F) -> Self
    where
        F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let backend = common::Backend::start(move |mut peer| {
            let script = script.clone();
            async move {
                let Some(head) = peer.head().await else { return };
                // What the client sends must not come before the agreement.
                assert!(peer.buffer.is_empty());
                script(Asking::Http1 { peer, head }).await;
            }
        })
        .await;
        Self { setup: Setup::http(&[backend.address]), task: None, _http1: Some(backend), _http2: None }
    }

    async fn http2<F, T>(script: F) -> Self
    where
        F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let backend = common::h2::Backend::with(builder, move |request, respond| {
            script(Asking::Http2 { request: Box::new(request), respond })
        })
        .await;
        let setup = Setup { upstream: UpstreamProtocol::Http2, ..Setup::http(&[backend.address]) };
        Self { setup, task: None, _http1: None, _http2: Some(backend) }
    }

    fn http3<F, T>(script: F) -> Self
    where
        F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let authority = Authority::new();
        let (endpoint, address) =
            endpoint(&authority.issue(&["127.0.0.1"]), None, TransportConfig::default());
        let task = tokio::spawn(serve(endpoint, script));
        Self { setup: setup(&authority, &[address]), task: Some(task), _http1: None, _http2: None }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn serve<F, T>(endpoint: Endpoint, script: F)
where
    F: Fn(Asking) -> T + Clone + Send + Sync + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let script = script.clone();
        tasks.spawn(async move {
            let _control = uni(&connection, &server_control_stream()).await;
            let mut streams = JoinSet::new();
            while let Ok((send, mut receive)) = connection.accept_bi().await {
                let script = script.clone();
                streams.spawn(async move {
                    let mut raw = Vec::new();
                    let Some((kind, section)) = first_frame(&mut receive, &mut raw).await else { return };
                    assert_eq!(kind, 1);
                    // What the client sends must not come before the agreement.
                    assert!(raw.is_empty());
                    script(Asking::Http3 { send, receive, section }).await;
                });
            }
        });
    }
}

/// Who asks a backend for a WebSocket.
pub(crate) enum Asking {
    Http1 { peer: Peer, head: String },
    Http2 { request: Box<Request<h2::RecvStream>>, respond: SendResponse<Bytes> },
    Http3 { send: SendStream, receive: RecvStream, section: Vec<u8> },
}

impl Asking {
    /// What is asked: `:method`, `:protocol` and `:path` as they were sent, and the fields.
    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Http1 { head, .. } => {
                let mut words = head.split(' ');
                let mut all = fields(head);
                all.insert(":method".into(), words.next().unwrap().into());
                all.insert(":path".into(), words.next().unwrap().into());
                all
            }
            Self::Http2 { request, .. } => {
                let named = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                    (name.to_string(), value.to_str().unwrap().to_owned())
                };
                let mut all: Head = request.headers().iter().map(named).collect();
                all.insert(":method".into(), request.method().to_string());
                all.insert(":path".into(), request.uri().path_and_query().unwrap().to_string());
                let protocol = request.extensions().get::<h2::ext::Protocol>();
                all.extend(protocol.map(|protocol| (":protocol".into(), protocol.as_str().into())));
                all
            }
            Self::Http3 { section, .. } => {
                let mut text = Vec::new();
                let read = RequestText::read(&mut text, section).unwrap();
                let text = String::from_utf8(text).unwrap();
                let mut all = fields(&text);
                all.insert(":path".into(), text.split(' ').nth(1).unwrap().into());
                if read.is_websocket() {
                    all.insert(":method".into(), "CONNECT".into());
                    all.insert(":protocol".into(), "websocket".into());
                }
                all
            }
        }
    }

    pub(crate) fn path(&self) -> String {
        self.head()[":path"].clone()
    }

    /// Agrees, to this subprotocol.
    pub(crate) async fn agree(self) -> Wire {
        match self {
            Self::Http1 { mut peer, head } => {
                let agreement = agreement(&head);
                let agreement = agreement.trim_end();
                peer.write(&format!("{agreement}\r\nSec-WebSocket-Protocol: chat\r\n\r\n")).await;
                Wire::Http1(peer)
            }
            Self::Http2 { request, mut respond } => {
                let response = Response::builder().header("sec-websocket-protocol", "chat").body(()).unwrap();
                let send = respond.send_response(response, false).unwrap();
                Wire::Http2 { send, receive: request.into_body() }
            }
            Self::Http3 { mut send, receive, .. } => {
                let fields = [(":status", "200"), ("sec-websocket-protocol", "chat")];
                send.write_all(&headers(&fields)).await.unwrap();
                Wire::Http3 { send, receive, raw: Vec::new() }
            }
        }
    }

    /// Answers with this status, and `no`. What came behind the request; it has to be nothing.
    pub(crate) async fn refuse(self, status: u16) {
        match self {
            Self::Http1 { mut peer, .. } => {
                peer.write(&format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno")).await;
                peer.closed().await;
                assert!(peer.buffer.is_empty(), "{:?}", peer.buffer);
            }
            Self::Http2 { request, mut respond } => {
                let response =
                    Response::builder().status(status).header("content-length", "2").body(()).unwrap();
                let mut send = respond.send_response(response, false).unwrap();
                send.send_data("no".into(), true).unwrap();
                let mut body = request.into_body();
                while let Some(Ok(bytes)) = body.data().await {
                    assert!(bytes.is_empty(), "{bytes:?}");
                }
            }
            Self::Http3 { mut send, mut receive, .. } => {
                let status = status.to_string();
                let head = headers(&[(":status", &status), ("content-length", "2")]);
                send.write_all(&[head, frame(0, b"no")].concat()).await.unwrap();
                send.finish().unwrap();
                while let Ok(Some(chunk)) = receive.read_chunk(usize::MAX, true).await {
                    assert!(chunk.bytes.is_empty(), "{:?}", chunk.bytes);
                }
            }
        }
    }
}
