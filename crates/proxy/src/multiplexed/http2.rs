//! Connections of HTTP/2 (RFC 9113).

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};

use super::{Drive, Link, Multiplexed, STREAMS};
use crate::{backend::Backend, stats::Reason, stream::Stream, tls::H2};

/// What a backend may send on one stream beyond what was passed on.
const WINDOW: u32 = 64 * 1024;
/// What may wait to be written, of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// The longest list of fields a response may have, in bytes as RFC 9113 §10.5.1 counts them.
const MAX_LIST: u32 = 64 * 1024;

/// One connection.
#[derive(Debug)]
pub(crate) struct Http2Link(SendRequest<Bytes>);

impl Link for Http2Link {
    type Stream = SendRequest<Bytes>;

    fn of(backend: &Backend) -> &Multiplexed<Self> {
        &backend.http2
    }

    async fn connect(backend: &Backend) -> Result<(Self, Drive), Reason> {
        let (send, connection) = handshake(backend).await?;
        let drive = async {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a backend ended");
            }
        };
        Ok((Self(send), Box::pin(drive)))
    }

    fn is_usable(&self) -> bool {
        !matches!(self.0.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    fn open(&self, streams: usize) -> Option<Self::Stream> {
        (streams < self.0.current_max_send_streams()).then(|| self.0.clone())
    }

    /// The settings are there since it connected.
    async fn takes_websockets(&self) -> Result<bool, Reason> {
        Ok(self.0.is_extended_connect_protocol_enabled())
    }
}

/// A connection whose backend has shown by its SETTINGS that it speaks HTTP/2, and how many streams it takes.
async fn handshake(backend: &Backend) -> Result<(SendRequest<Bytes>, Connection<Stream, Bytes>), Reason> {
    let stream = backend.connect().await?;
    // RFC 9113 §3.2: over TLS, what ALPN has agreed on.
    if matches!(&stream, Stream::Tls(tls) if tls.alpn() != Some(H2)) {
        tracing::debug!(backend = %backend.id, "the backend did not agree on h2");
        return Err(Reason::Tls);
    }
    preface(stream).await.map_err(|error| {
        tracing::debug!(backend = %backend.id, %error, "no HTTP/2 connection");
        Reason::Connect
    })
}

async fn preface(stream: Stream) -> io::Result<(SendRequest<Bytes>, Connection<Stream, Bytes>)> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * STREAMS as u32)
        .max_header_list_size(MAX_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(0);
    let (send, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    poll_fn(|cx| {
        let ended = pin!(&mut connection).poll(cx).map_err(io::Error::other)?.is_ready();
        match send.current_max_send_streams() {
            0 if ended => Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    })
    .await?;
    Ok((send, connection))
}
