//! The UDP socket of one QUIC connection that is ours, which ends when the host at the other end says that nobody has the port: by
//! ICMP, as a reset does for TCP. Shared by the drivers that make such connections.
//!
//! quinn's own socket passes errors over, as one for many connections has to. On a connected socket an error is about its one
//! peer: with it the endpoint, and so the connection, has ended. It makes a socket neither readable nor writable, so it is
//! waited for apart.
//!
//! Unless it is about a datagram of ours: a router that says by ICMP what it takes at most (RFC 1191, RFC 8201) makes `EMSGSIZE` of a
//! connected socket that sends no fragments. QUIC looks for the path's MTU by itself, with packets that may be lost (RFC 9000 §14.3), and an
//! endpoint may pass such messages over (§14.2.1). So they are, or behind a tunnel no connection would outlive its first look.
//!
//! The kernel tells an error once, to whichever call comes first. So a datagram that meets one is sent again: its answer is
//! another error, for the reader.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll, ready},
};

use nix::libc::EMSGSIZE;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

/// A socket that does not block and hears from `address` only, and of its absence. Bound to `source`, or to any address of ours.
///
/// # Errors
/// When there is no descriptor, no way to `address`, or `source` can't be bound.
pub fn connect(address: SocketAddr, source: Option<SocketAddr>) -> io::Result<std::net::UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = std::net::UdpSocket::bind(source.unwrap_or(SocketAddr::new(any, 0)))?;
    socket.connect(address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The socket of an endpoint with one connection.
pub struct Connected {
    io: Arc<UdpSocket>,
    state: UdpSocketState,
    /// Ends with the socket's next error. The lock is what `AsyncUdpSocket` asks for.
    failing: Mutex<Failing>,
    /// The code of the first error that was told.
    failed: OnceLock<i32>,
}

type Failing = Pin<Box<dyn Future<Output = io::Error> + Send>>;

impl Connected {
    /// As [`connect`]. To be called inside a tokio runtime with I/O.
    ///
    /// # Errors
    /// As of [`connect`], or when the runtime does not take the socket.
    pub fn to(address: SocketAddr, source: Option<SocketAddr>) -> io::Result<Self> {
        let socket = connect(address, source)?;
        let state = UdpSocketState::new((&socket).into())?;
        let io = Arc::new(UdpSocket::from_std(socket)?);
        let failing = Mutex::new(next_error(Arc::clone(&io)));
        Ok(Self { io, state, failing, failed: OnceLock::new() })
    }

    /// The error it has ended with, if it has: of the connection quinn says only that it was lost.
    pub fn error(&self) -> Option<io::Error> {
        self.failed.get().copied().map(io::Error::from_raw_os_error)
    }

    fn fail(&self, error: io::Error) -> io::Error {
        if let Some(code) = error.raw_os_error() {
            self.failed.get_or_init(|| code);
        }
        error
    }
}

/// Whether it is about a datagram that was longer than the path takes, and not about the peer.
fn is_of_length(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EMSGSIZE)
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
            // Of this datagram, or of one before it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused || is_of_length(&error) => {
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
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_of_length(&error) => {}
                received => return Poll::Ready(received.map_err(|error| self.fail(error))),
            }
        }
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let error = ready!(failing.as_mut().poll(cx));
            // Whoever asks again hears of the next one.
            *failing = next_error(Arc::clone(&self.io));
            if !is_of_length(&error) {
                return Poll::Ready(Err(self.fail(error)));
            }
        }
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

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::UdpSocket as Plain, time::Duration};

    use super::*;

    const HOSTS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

    async fn send(socket: &Connected, to: SocketAddr, contents: &[u8]) {
        poll_fn(|cx| socket.io.poll_send_ready(cx)).await.unwrap();
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        socket.try_send(&transmit).unwrap();
    }

    async fn receive(socket: &Connected) -> io::Result<Vec<u8>> {
        let mut room = [0; 2048];
        let mut meta = [RecvMeta::default()];
        let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut room)], &mut meta));
        tokio::time::timeout(Duration::from_secs(20), received).await.expect("nothing came")?;
        Ok(room[..meta[0].len].to_vec())
    }

    #[tokio::test]
    async fn a_port_that_nobody_has_is_told_to_the_reader() {
        for host in HOSTS {
            let address = Plain::bind(host).unwrap().local_addr().unwrap();
            let socket = Connected::to(address, None).unwrap();
            assert!(socket.error().is_none());
            send(&socket, address, b"hello?").await;
            let error = receive(&socket).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(socket.error().unwrap().kind(), io::ErrorKind::ConnectionRefused);
            // And again, of the next datagram.
            send(&socket, address, b"still nobody?").await;
            assert_eq!(receive(&socket).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_it() {
        let address = Plain::bind(HOSTS[0]).unwrap().local_addr().unwrap();
        let socket = Connected::to(address, None).unwrap();
        let (received, ()) = tokio::join!(biased; receive(&socket), send(&socket, address, b"hello?"));
        assert_eq!(received.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_datagram_that_meets_the_error_of_another_is_sent_all_the_same() {
        let address = Plain::bind(HOSTS[0]).unwrap().local_addr().unwrap();
        let socket = Connected::to(address, None).unwrap();
        // Over the loopback the error is there when the call returns.
        send(&socket, address, b"nobody").await;
        let peer = Plain::bind(address).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        send(&socket, address, b"somebody").await;
        let mut room = [0; 64];
        let (count, from) = peer.recv_from(&mut room).unwrap();
        assert_eq!(&room[..count], b"somebody");
        peer.send_to(b"yes", from).unwrap();
        assert_eq!(receive(&socket).await.unwrap(), b"yes");
    }

    #[tokio::test]
    async fn it_hears_from_its_peer_only_and_speaks_from_its_source() {
        let peer = Plain::bind(HOSTS[0]).unwrap();
        let socket = Connected::to(peer.local_addr().unwrap(), Some("127.0.0.2:0".parse().unwrap())).unwrap();
        let ours = socket.local_addr().unwrap();
        assert_eq!(ours.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)));
        Plain::bind(HOSTS[0]).unwrap().send_to(b"I am somebody else", ours).unwrap();
        peer.send_to(b"it is me", ours).unwrap();
        assert_eq!(receive(&socket).await.unwrap(), b"it is me");
    }
}
