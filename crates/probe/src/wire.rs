//! A connection over TCP, with TLS or without.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use proxima_health::Loss;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// A stream of bytes to a backend and back.
#[derive(Debug)]
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<Secured>),
}

/// A TLS session and what was learnt from its certificate.
#[derive(Debug)]
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// When the server's certificate ends, in seconds since the Unix epoch.
    pub(crate) ends: Option<u64>,
}

impl Wire {
    /// When the server's certificate ends, in seconds since the Unix epoch.
    pub(crate) fn certificate_ends(&self) -> Option<u64> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(secured) => secured.ends,
        }
    }

    /// The protocol that the two ends agreed on.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(secured) => secured.stream.get_ref().1.alpn_protocol(),
        }
    }

    /// Waits for the end of an idle connection, or for what comes unasked: then `None`. Cancel-safe.
    pub(crate) async fn stirred(&mut self) -> Option<Loss> {
        let mut scratch = [0; 64];
        match self.read(&mut scratch).await {
            Ok(0) => Some(Loss::Closed),
            Ok(_) => None,
            Err(error) => Some(loss(&error)),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(secured) => Pin::new(&mut secured.stream).poll_shutdown(cx),
        }
    }
}

/// Waits for the end of a connection, whatever it says meanwhile. Cancel-safe.
pub(crate) async fn end_of(stream: &TcpStream) {
    while next(stream).await.is_ok_and(|received| received > 0) {}
}

/// Receives and throws away. 0 at the end. Cancel-safe.
async fn next(stream: &TcpStream) -> io::Result<usize> {
    let mut scratch = [0; 512];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut scratch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return received,
        }
    }
}

/// How a connection ended with which reading failed. A TLS session that ends without a word is one whose TCP connection
/// was closed.
pub(crate) fn loss(error: &io::Error) -> Loss {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => Loss::Reset,
        Kind::UnexpectedEof => Loss::Closed,
        _ => Loss::TimedOut,
    }
}
