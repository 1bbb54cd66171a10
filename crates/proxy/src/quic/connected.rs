//! A UDP socket for the one connection to a backend, which ends when the host at the other end says that nobody has the port:
//! by ICMP, as a reset does for TCP. quinn's own socket passes such errors over, as one for many connections has to.
//!
//! An error makes a socket neither readable nor writable, so it is waited for apart. The kernel tells it once, to whichever call
//! comes first: a datagram that meets one is sent again, so that its answer is another error, for the reader.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

pub(super) struct Connected {
    io: Arc<UdpSocket>,
    state: UdpSocketState,
    /// Ends with the socket's next error. The lock is what `AsyncUdpSocket` asks for.
    failing: Mutex<Failing>,
}

type Failing = Pin<Box<dyn Future<Output = io::Error> + Send>>;

impl Connected {
    /// A socket that hears from `address` only, and of its absence.
    pub(super) fn to(address: SocketAddr) -> io::Result<Self> {
        let any = match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let state = UdpSocketState::new((&socket).into())?;
        let io = Arc::new(UdpSocket::from_std(socket)?);
        let failing = Mutex::new(next_error(Arc::clone(&io)));
        Ok(Self { io, state, failing })
    }
}

fn next_error(io: Arc<UdpSocket>) -> Failing {
    Box::pin(async move {
        let look = || io.take_error()?.ok_or(io::Error::from(io::ErrorKind::WouldBlock));
        io.async_io(Interest::ERROR, look).await.unwrap_or_else(|error| error)
    })
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
        self.io.try_io(Interest::WRITABLE, || match self.state.try_send((&*self.io).into(), transmit) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.state.send((&*self.io).into(), transmit)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // What can't be sent is lost, as it may be on its way.
            Ok(()) | Err(_) => Ok(()),
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
                received => return Poll::Ready(received),
            }
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let error = ready!(failing.as_mut().poll(cx));
        *failing = next_error(Arc::clone(&self.io));
        Poll::Ready(Err(error))
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

/// Waits for room to send.
#[derive(Debug)]
struct Poller(Arc<Connected>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.io.poll_send_ready(cx)
    }
}
