//! Sockets: making a connection, setting one up, and what to do when it can't be made.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::PeerConfig;

/// Internetwork control (RFC 791, RFC 4594 CS6): routing before other traffic.
const TRAFFIC_CLASS: u32 = 0xc0;
/// Octets the kernel may hold beyond those in flight.
const UNSENT: u32 = 16 * 1024;
/// Connections the kernel keeps for us to accept.
const BACKLOG: i32 = 64;

/// Connects to a peer, from its configured source. The error is for a person.
pub(crate) async fn connect(peer: PeerConfig) -> Result<TcpStream, String> {
    let remote = peer.socket_address().ok_or("its address is not known")?;
    let socket = match remote.ip() {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(|error| format!("no socket: {error}"))?;
    if let Some(source) = peer.source {
        socket.bind(SocketAddr::new(source, 0)).map_err(|error| source_error(source, &error))?;
    }
    let stream = socket.connect(remote).await.map_err(|error| connect_error(remote, &error))?;
    set_up(&stream);
    Ok(stream)
}

/// No delay for small messages, little that is unsent in the kernel, so that a withdrawal does not wait behind stale
/// announcements to a slow peer, and the priority of routing. A kernel that refuses any of it costs no session.
pub(crate) fn set_up(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let socket = SockRef::from(stream);
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
    let marked = match stream.peer_addr() {
        Ok(SocketAddr::V6(_)) => socket.set_tclass_v6(TRAFFIC_CLASS),
        Ok(SocketAddr::V4(_)) => socket.set_tos_v4(TRAFFIC_CLASS),
        Err(error) => Err(error),
    };
    if let Err(error) = marked {
        tracing::debug!(%error, "cannot mark the connection as internetwork control");
    }
}

/// Listens on an address; IPv6 alone on an IPv6 one, so that `[::]` and `0.0.0.0` can stand side by side.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn source_error(source: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("source {source} is not an address of this host; correct `source`, or add the address")
        }
        _ => format!("cannot connect from source {source}: {error}"),
    }
}

fn connect_error(remote: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start BGP on the router, or correct `address` and `port`"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to it: check the link, the local address and `address`"
        }
        io::ErrorKind::TimedOut => "no answer: check the link, and firewalls between here and the router",
        io::ErrorKind::PermissionDenied => "a local firewall forbids it",
        _ => "retrying",
    };
    format!("{remote}: {error}; {remedy}")
}
