//! By which interface an accepted TCP connection came in.

use std::{io, os::fd::AsFd};

use crate::option;

/// Room for one control message with a `pktinfo`, and more.
const ROOM: usize = 256;

/// The index of the interface that the first packet of an accepted connection came by. The kernel keeps it, whatever way the
/// later ones take. `ipv6` says of which kind the socket is.
///
/// # Errors
/// What the kernel says, such as `ENOTSOCK`; [`io::ErrorKind::Unsupported`] when it tells nothing.
pub fn arrival_interface(socket: impl AsFd, ipv6: bool) -> io::Result<u32> {
    let (level, tell, told, kind, at) = if ipv6 {
        // struct in6_pktinfo: the address, then the interface.
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, libc::IPV6_2292PKTOPTIONS, libc::IPV6_PKTINFO, 16)
    } else {
        // struct in_pktinfo: the interface, then addresses.
        (libc::IPPROTO_IP, libc::IP_PKTINFO, libc::IP_PKTOPTIONS, libc::IP_PKTINFO, 0)
    };
    option::set(&socket, level, tell, &libc::c_int::from(true))?;
    let mut buffer = [0; ROOM];
    let length = option::get(&socket, level, told, &mut buffer)?;
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    let data = control_message(&buffer[..length], (level, kind)).ok_or_else(unsupported)?;
    let index = data.get(at..).and_then(|data| data.first_chunk()).ok_or_else(unsupported)?;
    Ok(u32::from_ne_bytes(*index))
}

/// The data of the first control message of a kind: `struct cmsghdr` is its whole length, level and type.
fn control_message(mut bytes: &[u8], wanted: (libc::c_int, libc::c_int)) -> Option<&[u8]> {
    const LENGTH: usize = size_of::<usize>();
    const HEADER: usize = LENGTH + 2 * size_of::<libc::c_int>();
    loop {
        let length = usize::from_ne_bytes(*bytes.first_chunk()?);
        let message = bytes.get(..length)?;
        let level = libc::c_int::from_ne_bytes(*message.get(LENGTH..)?.first_chunk()?);
        let kind =
            libc::c_int::from_ne_bytes(*message.get(LENGTH + size_of::<libc::c_int>()..)?.first_chunk()?);
        let data = message.get(HEADER..)?;
        if (level, kind) == wanted {
            return Some(data);
        }
        bytes = bytes.get(length.next_multiple_of(LENGTH)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_from_here_came_by_the_loopback() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let index = arrival_interface(&accepted, address.contains("::")).unwrap();
            assert_eq!(index, 1, "{address}: lo is the first interface of every namespace");
        }
    }

    #[test]
    fn the_wanted_message_is_found_behind_others_and_nothing_in_what_is_cut_short() {
        let message = |kind: i32, data: &[u8]| {
            let length = size_of::<usize>() + 8 + data.len();
            let mut bytes = length.to_ne_bytes().to_vec();
            bytes.extend([0i32, kind].iter().flat_map(|number| number.to_ne_bytes()));
            bytes.extend(data);
            bytes.resize(length.next_multiple_of(size_of::<usize>()), 0);
            bytes
        };
        let both = [message(2, &[1; 5]), message(8, &[7, 0, 0, 0])].concat();
        assert_eq!(control_message(&both, (0, 8)), Some(&[7, 0, 0, 0][..]));
        assert_eq!(control_message(&both, (0, 9)), None);
        for cut in 0..both.len() - 4 {
            assert_eq!(control_message(&both[..cut], (0, 8)), None, "cut to {cut}");
        }
    }
}
