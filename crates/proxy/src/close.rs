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

/// What a connection can do about the way it is going to close.
pub(crate) trait Closing {
    /// Tells the other side that this is the end, as far as that goes without waiting. The close does it for TCP.
    fn end(&mut self);

    /// Makes the coming close a reset.
    fn reset(&self);
}

impl Closing for TcpStream {
    fn end(&mut self) {}

    fn reset(&self) {
        // It fails only on a connection that is reset already.
        let _ = self.set_zero_linger();
    }
}

/// A connection that closes in order only when what it carries is whole. Dropped before, as all are when the data
/// plane stops, it is reset: an end of stream would make a part look like all there is.
#[derive(Debug)]
pub(crate) struct Guarded<S: Closing = TcpStream> {
    stream: S,
    is_whole: bool,
}

impl<S: Closing> Guarded<S> {
    /// Nothing is under way on `stream`.
    pub(crate) fn at_rest(stream: S) -> Self {
        Self { stream, is_whole: true }
    }

    /// Something is under way on `stream`.
    pub(crate) fn under_way(stream: S) -> Self {
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

    /// Whatever was said before, the close is a reset.
    pub(crate) fn break_off(&mut self) {
        self.is_whole = false;
    }
}

impl<S: Closing> Drop for Guarded<S> {
    fn drop(&mut self) {
        if self.is_whole { self.stream.end() } else { self.stream.reset() }
    }
}

impl<S: Closing> Deref for Guarded<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S: Closing> DerefMut for Guarded<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: Closing + AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<S: Closing + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
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
    stream.reset();
}
