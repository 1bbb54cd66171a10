//! How a connection closes when it is dropped.

use std::{
    io::{self, IoSlice},
    ops::{Deref, DerefMut},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A connection that closes in order only when what it carries is whole. Dropped before, as all are when the data
/// plane stops, it is reset: an end of stream would make a part look like all there is.
#[derive(Debug)]
pub(crate) struct Guarded {
    stream: TcpStream,
    is_whole: bool,
}

impl Guarded {
    /// Nothing is under way on `stream`.
    pub(crate) fn at_rest(stream: TcpStream) -> Self {
        Self { stream, is_whole: true }
    }

    /// Something is under way on `stream`.
    pub(crate) fn under_way(stream: TcpStream) -> Self {
        Self { stream, is_whole: false }
    }

    /// From here on until [`Guarded::end`] a close is a reset.
    pub(crate) fn begin(&mut self) {
        self.is_whole = false;
    }

    /// What was under way is whole.
    pub(crate) fn end(&mut self) {
        self.is_whole = true;
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !self.is_whole {
            reset_on_close(&self.stream);
        }
    }
}

impl Deref for Guarded {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Makes the coming close of `stream` a reset.
pub(crate) fn reset_on_close(stream: &TcpStream) {
    // It fails only on a connection that is reset already.
    let _ = stream.set_zero_linger();
}
