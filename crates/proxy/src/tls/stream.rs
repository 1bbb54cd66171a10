//! TLS over one connection.
//!
//! ```text
//! socket ─▶ the thread's record buffer ─▶ rustls ─▶ reader          one system call for a whole record
//! writer ─▶ rustls ─▶ records ─▶ socket                            nothing more is taken while records wait
//! ```
//!
//! At rest a connection holds no record: what it keeps is the state of rustls and its buffer for the next few bytes.

use std::{
    cell::RefCell,
    io::{self, IoSlice, Read, Write},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustls::{Connection, HandshakeKind, ProtocolVersion, pki_types::CertificateDer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::stats::Handshake;

/// A whole record as it is sent: header, 2^14 octets, and what encryption may add (RFC 5246 §6.2.3).
const RECORD: usize = 5 + (1 << 14) + 2048;
/// How much plaintext rustls holds and still takes another record.
const MOST_READABLE: usize = 1 << 14;
/// How much a write turns into records at once, which then wait until the socket takes them.
const MOST_WRITTEN: usize = 2 << 14;

thread_local! {
    /// Where what a socket gave stands until rustls has taken it, which is before another connection's turn.
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECORD].into_boxed_slice());
}

/// A connection with its handshake under way or behind it.
#[derive(Debug)]
pub(crate) struct TlsStream {
    tcp: TcpStream,
    tls: Connection,
    /// How many octets of plaintext can be read.
    readable: usize,
    /// Received, and too much for rustls to take until some plaintext was read.
    spilled: Vec<u8>,
}

impl TlsStream {
    pub(crate) fn new(tcp: TcpStream, mut tls: Connection) -> Self {
        tls.set_buffer_limit(Some(MOST_WRITTEN));
        Self { tcp, tls, readable: 0, spilled: Vec::new() }
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// What ALPN agreed on (RFC 7301).
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// What kind of handshake lies behind the connection.
    pub(crate) fn handshake(&self) -> Handshake {
        let is_tls13 = self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        let is_resumed = self.tls.handshake_kind() == Some(HandshakeKind::Resumed);
        match (is_tls13, is_resumed) {
            (false, false) => Handshake::Full12,
            (false, true) => Handshake::Resumed12,
            (true, false) => Handshake::Full13,
            (true, true) => Handshake::Resumed13,
        }
    }

    /// What the other side has shown, its own certificate first.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        self.tls.peer_certificates().unwrap_or_default()
    }

    pub(crate) fn holds_received(&self) -> bool {
        self.readable > 0 || !self.spilled.is_empty()
    }

    pub(crate) fn holds_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.holds_received() { Poll::Ready(Ok(())) } else { self.tcp.poll_read_ready(cx) }
    }

    /// Goes on with the handshake; ready when it is done and everything of it is sent. An error of TLS is a
    /// [`rustls::Error`] inside, and the other side has been told, as far as that went without waiting.
    pub(crate) fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(cx))? == 0 && self.tls.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Says that nothing follows, if the socket takes that at once (RFC 8446 §6.1).
    pub(crate) fn end(&mut self) {
        self.tls.send_close_notify();
        while self.tls.wants_write() && self.tls.write_tls(&mut Unwaiting(&self.tcp)).is_ok() {}
    }

    /// Gives rustls what has arrived; 0 at the end of the connection.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.spilled.is_empty() {
            let spilled = std::mem::take(&mut self.spilled);
            return Poll::Ready(self.take_in(&spilled));
        }
        RECEIVED.with_borrow_mut(|room| {
            let mut into = ReadBuf::new(room);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut into))?;
            Poll::Ready(self.take_in(into.filled()))
        })
    }

    /// Gives rustls what was received, nothing being the end, and keeps what it can't take yet.
    fn take_in(&mut self, received: &[u8]) -> io::Result<usize> {
        let mut rest = received;
        loop {
            // Nothing is the end, or stands behind the other side's close_notify.
            let is_over = self.tls.read_tls(&mut rest)? == 0;
            match self.tls.process_new_packets() {
                Ok(state) => self.readable = state.plaintext_bytes_to_read(),
                Err(error) => {
                    // An alert is in there.
                    while self.tls.wants_write() && self.tls.write_tls(&mut Unwaiting(&self.tcp)).is_ok() {}
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            if is_over || rest.is_empty() {
                return Ok(received.len());
            }
            if self.readable > MOST_READABLE {
                self.spilled = rest.to_vec();
                return Ok(received.len());
            }
        }
    }

    /// Has rustls turn plaintext into records, and sends what the socket takes of them now. The rest waits for the next
    /// write or flush, whose turn it is to be woken.
    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut dyn Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        let count = take(&mut self.tls.writer())?;
        match self.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    /// Sends the records that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Waiting { tcp: &mut self.tcp, cx }) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.tls.reader().read(into.initialize_unfilled()) {
                Ok(count) => {
                    into.advance(count);
                    this.readable = this.readable.saturating_sub(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(this.poll_receive(cx))?;
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(cx, |writer| writer.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(cx, |writer| writer.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Said once; rustls ignores it from then on.
        this.tls.send_close_notify();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.tcp).poll_shutdown(cx)
    }
}

/// Writes to the socket, and has the task woken when it takes more.
struct Waiting<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Write for Waiting<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        or_would_block(Pin::new(&mut *self.tcp).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let tcp = Pin::new(&mut *self.tcp);
        or_would_block(match slices {
            // A record at a time, as token streams have it: send(2) costs less than writev(2).
            [record] => tcp.poll_write(self.cx, record),
            records => tcp.poll_write_vectored(self.cx, records),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn or_would_block(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
    match polled {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Writes to the socket what it takes now.
pub(super) struct Unwaiting<'a>(pub(super) &'a TcpStream);

impl Write for Unwaiting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
