//! Listening sockets: one per worker and address, with the load spread by the kernel (`SO_REUSEPORT`).

use std::{io, net::SocketAddr};

use socket2::{Domain, Socket, Type};

/// As much as the kernel allows; `net.core.somaxconn` is the true limit.
const BACKLOG: i32 = 65_535;

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// EADDRINUSE.
    #[error(
        "{address} is taken: something listens there already; find it with `ss -ltunp 'sport = :{port}'`, stop it or \
         choose another port",
        port = .address.port()
    )]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// EACCES.
    #[error(
        "no permission to listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE \
         (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
    )]
    Permission {
        /// The address.
        address: SocketAddr,
    },
    /// EADDRNOTAVAIL.
    #[error(
        "{ip} is not an address of this host; add it to an interface, let a VIP bring it (`vip = \"anyip\"`), or \
         listen on another address",
        ip = .address.ip()
    )]
    NotLocal {
        /// The address.
        address: SocketAddr,
    },
    /// An earlier change took HTTP/3 away from there, and clients still have connections.
    #[error(
        "{address} (UDP) was given up a short while ago and still has connections of clients, which end within `streams` of \
         [drain]; try again then"
    )]
    Leaving {
        /// The address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("can't listen on {address}: {error}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

impl BindError {
    fn of(address: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { address },
            io::ErrorKind::PermissionDenied => Self::Permission { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ => Self::Other { address, error },
        }
    }
}

/// Sockets listening on `address`, one for each of `workers`. Port 0 lets the kernel choose one for all of them.
///
/// # Errors
/// When one of them can't be had; none stays open then.
pub(crate) fn bind(
    address: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), BindError> {
    let (address, sockets) = bind_all(address, workers, Type::STREAM)?;
    let failed = |error| BindError::of(address, error);
    sockets.iter().try_for_each(|socket| socket.listen(BACKLOG)).map_err(failed)?;
    Ok((address, sockets.into_iter().map(Into::into).collect()))
}

/// Sockets for datagrams to `address`, one for each of `workers`. Port 0 lets the kernel choose one for all of them.
///
/// # Errors
/// When one of them can't be had; none stays open then.
pub(crate) fn bind_udp(
    address: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, Vec<std::net::UdpSocket>), BindError> {
    let (address, sockets) = bind_all(address, workers, Type::DGRAM)?;
    Ok((address, sockets.into_iter().map(Into::into).collect()))
}

fn bind_all(
    mut address: SocketAddr,
    workers: usize,
    kind: Type,
) -> Result<(SocketAddr, Vec<Socket>), BindError> {
    if address.port() != 0 {
        // With SO_REUSEPORT a second daemon of the same user would share the port without a word.
        bound(address, kind, false).map_err(|error| BindError::of(address, error))?;
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = bound(address, kind, true).map_err(|error| BindError::of(address, error))?;
        let actual = socket.local_addr().ok().and_then(|local| local.as_socket());
        address = actual.unwrap_or(address);
        sockets.push(socket);
    }
    Ok((address, sockets))
}

/// A socket listening on `address` that no other one shares.
///
/// # Errors
/// When it can't be had.
pub(crate) fn bind_alone(address: SocketAddr) -> Result<(SocketAddr, std::net::TcpListener), BindError> {
    let listening = || {
        let socket: std::net::TcpListener = bound(address, Type::STREAM, false)?.into();
        nix::sys::socket::listen(&socket, nix::sys::socket::Backlog::MAXCONN)?;
        Ok((socket.local_addr()?, socket))
    };
    listening().map_err(|error| BindError::of(address, error))
}

fn bound(address: SocketAddr, kind: Type, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    // Of UDP it would let others share the port.
    socket.set_reuse_address(kind == Type::STREAM)?;
    socket.set_reuse_port(shared)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        // Unlike IPv4, a local route for a prefix does not make its IPv6 addresses ones that can be bound.
        socket.set_freebind_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_an_error_even_if_its_owner_would_share_it() {
        let (address, _owner) = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind(address, 2).unwrap_err();
        assert!(matches!(error, BindError::Taken { .. }), "{error}");
        assert!(error.to_string().contains(&format!("ss -ltunp 'sport = :{}'", address.port())), "{error}");
    }

    #[test]
    fn a_taken_port_of_udp_is_an_error_too() {
        let (address, owner) = bind_udp("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        let error = bind_udp(address, 2).unwrap_err();
        assert!(matches!(error, BindError::Taken { .. }), "{error}");
        drop(owner);
        let (again, sockets) = bind_udp(address, 3).unwrap();
        assert_eq!((again, sockets.len()), (address, 3));
    }

    #[test]
    fn a_port_is_free_again_after_its_owner() {
        let (address, owner) = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        drop(owner);
        bind(address, 3).unwrap();
    }

    #[test]
    fn an_address_of_another_host_is_an_error_that_names_the_remedy() {
        let error = bind("192.0.2.1:8080".parse().unwrap(), 1).unwrap_err();
        assert!(error.to_string().starts_with("192.0.2.1 is not an address of this host; add it"), "{error}");
    }
}
