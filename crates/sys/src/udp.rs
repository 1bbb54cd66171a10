//! UDP over IPv6 without a checksum.

use std::{io, os::fd::AsFd};

use crate::option;

/// `UDP_NO_CHECK6_RX` (linux/udp.h).
const UDP_NO_CHECK6_RX: libc::c_int = 102;

/// Takes IPv6 datagrams whose checksum is zero, which the kernel drops otherwise (RFC 6936 §5). Some routers send BFD
/// that way; BFD has checks of its own.
///
/// # Errors
/// What the kernel says, such as `ENOTSOCK`.
pub fn accept_zero_checksum(socket: impl AsFd) -> io::Result<()> {
    option::set(socket, libc::IPPROTO_UDP, UDP_NO_CHECK6_RX, &libc::c_int::from(true))
}
