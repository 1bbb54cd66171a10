//! One TCP connection: bytes that wait to be written, and an orderly end.

use std::{collections::VecDeque, io, net::SocketAddr, os::fd::AsFd, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use proxima_bgp_session::{ConnectionId, UpdateContent};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long a closed connection may take to deliver its last words and to be closed by the peer.
const LINGER: Duration = Duration::from_secs(2);
/// The most octets taken from a socket at once.
const READ_CHUNK: usize = 64 * 1024;

/// A connection that belongs to a session.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    stream: TcpStream,
    unwritten: BytesMut,
    /// UPDATEs among the unwritten bytes: how many bytes are before the end of each, and what it says.
    updates: VecDeque<(usize, UpdateContent)>,
}

/// What a read brought.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(Bytes),
    Nothing,
    Ended(String),
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, stream: TcpStream) -> Self {
        Self {
            id,
            local: stream.local_addr().ok(),
            remote: stream.peer_addr().ok(),
            stream,
            unwritten: BytesMut::new(),
            updates: VecDeque::new(),
        }
    }

    /// A connection that another process has used; `unwritten` is what it did not get to write.
    pub(crate) fn resumed(id: ConnectionId, stream: TcpStream, unwritten: &[u8]) -> Self {
        let mut connection = Self::new(id, stream);
        connection.queue(unwritten);
        connection
    }

    /// For another process: another descriptor of the socket, and what was not written.
    pub(crate) fn duplicate(&self) -> io::Result<(std::net::TcpStream, Bytes)> {
        let socket = self.stream.as_fd().try_clone_to_owned()?;
        Ok((socket.into(), Bytes::copy_from_slice(&self.unwritten)))
    }

    /// Bytes that wait.
    pub(crate) fn backlog(&self) -> usize {
        self.unwritten.len()
    }

    pub(crate) fn queue(&mut self, bytes: &[u8]) {
        self.unwritten.extend_from_slice(bytes);
    }

    pub(crate) fn queue_update(&mut self, bytes: &[u8], content: UpdateContent) {
        self.queue(bytes);
        self.updates.push_back((self.unwritten.len(), content));
    }

    /// Writes what the kernel takes, without waiting; returns how many octets that were and calls `written` with
    /// each UPDATE that is now out in full.
    pub(crate) fn flush(&mut self, mut written: impl FnMut(UpdateContent)) -> io::Result<usize> {
        let mut total = 0;
        while !self.unwritten.is_empty() {
            let count = match self.stream.try_write(&self.unwritten) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.unwritten.advance(count);
            total += count;
            self.updates.iter_mut().for_each(|(end, _)| *end = end.saturating_sub(count));
            while let Some((_, content)) = self.updates.pop_front_if(|(end, _)| *end == 0) {
                written(content);
            }
        }
        Ok(total)
    }

    /// Reads what is there, without waiting.
    pub(crate) fn read(&self, buffer: &mut BytesMut) -> Read {
        buffer.reserve(READ_CHUNK);
        match self.stream.try_read_buf(buffer) {
            Ok(0) => Read::Ended("closed by the peer".to_owned()),
            Ok(_) => Read::Bytes(buffer.split().freeze()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Read::Nothing
            }
            Err(error) => Read::Ended(error.to_string()),
        }
    }

    /// Ready when there is something to read, if that is wanted, or room for what waits.
    pub(crate) fn poll_ready(&self, cx: &mut std::task::Context<'_>, reading: bool) -> std::task::Poll<()> {
        let readable = reading && self.stream.poll_read_ready(cx).is_ready();
        let writable = !self.unwritten.is_empty() && self.stream.poll_write_ready(cx).is_ready();
        if readable || writable { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }

    /// The socket, for its options.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes what waits, says that nothing follows, and waits for the peer to do the same: closing earlier, with
    /// bytes of the peer still unread, would let the kernel reset the connection and destroy a NOTIFICATION.
    pub(crate) async fn linger(self) {
        linger(self.stream, &self.unwritten).await;
    }
}

/// Sends the last words on a connection and closes it, within a deadline.
pub(crate) async fn linger(mut stream: TcpStream, last_words: &[u8]) {
    let goodbye = async {
        stream.write_all(last_words).await?;
        stream.shutdown().await?;
        let mut discarded = [0; 4096];
        while stream.read(&mut discarded).await? > 0 {}
        io::Result::Ok(())
    };
    if !matches!(timeout(LINGER, goodbye).await, Ok(Ok(()))) {
        tracing::trace!("a connection was closed without the peer's consent");
    }
}
