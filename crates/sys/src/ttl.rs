//! GTSM: what has come too far is dropped by the kernel (RFC 5082).

use std::{io, os::fd::AsFd};

use crate::option;

/// Drops received TCP segments whose TTL or hop limit is less than `least`; on a listening socket, and on the
/// connections it accepts. Without effect on the TTL of what is sent. The kernel has no such check for UDP.
///
/// `ipv6` says of which kind the socket is.
///
/// # Errors
/// What the kernel says, such as `ENOTSOCK`.
pub fn set_least_ttl(socket: impl AsFd, ipv6: bool, least: u8) -> io::Result<()> {
    let (level, name) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT) } else { (libc::IPPROTO_IP, libc::IP_MINTTL) };
    option::set(socket, level, name, &libc::c_int::from(least))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, ErrorKind},
        net::{SocketAddr, TcpListener},
        time::Duration,
    };

    use socket2::{Domain, Socket, Type};

    use super::*;

    fn connect(to: SocketAddr, ttl: u32) -> io::Result<()> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if to.is_ipv6() {
            socket.set_unicast_hops_v6(ttl)?;
        } else {
            socket.set_ttl_v4(ttl)?;
        }
        socket.connect_timeout(&to.into(), Duration::from_millis(300))
    }

    #[test]
    fn only_what_comes_from_near_enough_is_received() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let listener = TcpListener::bind(address).unwrap();
            set_least_ttl(&listener, address.is_ipv6(), 255).unwrap();
            let to = listener.local_addr().unwrap();
            assert_eq!(connect(to, 254).unwrap_err().kind(), ErrorKind::TimedOut, "{address}");
            connect(to, 255).unwrap();
        }
    }
}
