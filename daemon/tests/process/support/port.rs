//! Ports of the loopback device that stay reserved.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use socket2::{Domain, Socket, Type};

/// A port nobody else gets while this lives.
///
/// The kernel hands out no port that a socket is bound to, and lets others bind it by name where all have
/// SO_REUSEADDR and none listens. So the owner of a reservation may open, close and open again, and in between a
/// connect is refused.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _reservation: Socket,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        Self::reserve_at(Ipv4Addr::LOCALHOST.into()).unwrap()
    }

    /// A port of an address that no other has: BGP tells peers apart by it.
    pub(crate) fn reserve_apart() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        Self::reserve_at(Ipv4Addr::new(127, 1, high, low + 1).into()).unwrap()
    }

    /// A port of this address.
    pub(crate) fn reserve_at(address: IpAddr) -> io::Result<Self> {
        let address = SocketAddr::new(address, 0);
        let reservation = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        reservation.set_reuse_address(true)?;
        reservation.bind(&address.into())?;
        let address = reservation.local_addr()?.as_socket().unwrap();
        Ok(Self { address, _reservation: reservation })
    }

    pub(crate) fn listen(&self) -> TcpListener {
        TcpListener::bind(self.address).unwrap()
    }
}
