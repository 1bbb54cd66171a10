//! A UDP socket for one QUIC connection, which ends when the host at the other end says that nobody has the port.
//!
//! quinn's own socket passes errors over, as one for many connections has to. On a connected socket an error is about its one
//! peer: with it the endpoint, and so the connection, has ended. It makes a socket neither readable nor writable, so it is
//! waited for apart.
//!
//! The kernel tells such an error once, to whichever call comes first. So a datagram that meets one is sent again: its answer is
//! another error, for the reader.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

/// A connected socket.
pub(super) struct Connected {
    io: Arc<UdpSocket>,
    state: UdpSocketState,
    /// Ends with the socket's first error.
    failing: Mutex<Pin<Box<dyn Future<Output = io::Error> + Send>>>,
    /// The code of that error, once it has been told.
    failed: OnceLock<i32>,
}

impl Connected {
    /// Takes a socket that is connected and does not block.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let io = Arc::new(UdpSocket::from_std(socket)?);
        let failing = Mutex::new(Box::pin(first_error(Arc::clone(&io))) as Pin<Box<_>>);
        Ok(Self { io, state, failing, failed: OnceLock::new() })
    }

    fn fail(&self, error: io::Error) -> io::Error {
        if let Some(code) = error.raw_os_error() {
            self.failed.get_or_init(|| code);
        }
        error
    }

    /// The error it has ended with, if it has.
    pub(super) fn error(&self) -> Option<io::Error> {
        self.failed.get().copied().map(io::Error::from_raw_os_error)
    }
}

async fn first_error(io: Arc<UdpSocket>) -> io::Error {
    let look = || match io.take_error()? {
        Some(error) => Ok(error),
        None => Err(io::ErrorKind::WouldBlock.into()),
    };
    io.async_io(Interest::ERROR, look).await.unwrap_or_else(|error| error)
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("io", &self.io).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Connected {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || {
            match self.state.try_send((&*self.io).into(), transmit) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.state.send((&*self.io).into(), transmit)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                // What can't be sent is lost, as it may be on its way.
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        while self.io.poll_recv_ready(cx)?.is_ready() {
            let received =
                self.io.try_io(Interest::READABLE, || self.state.recv((&*self.io).into(), buffers, meta));
            match received {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(self.fail(error))),
                Ok(received) => return Poll::Ready(Ok(received)),
            }
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let error = ready!(failing.as_mut().poll(cx));
        // Whoever asks again is told again.
        *failing = Box::pin(first_error(Arc::clone(&self.io)));
        Poll::Ready(Err(self.fail(error)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.state.may_fragment()
    }
}

/// Waits for room to send. There is one of them: a socket has one connection.
#[derive(Debug)]
struct Poller(Arc<Connected>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.poll_send_ready(cx)
    }
}
