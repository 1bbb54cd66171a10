//! TCP MD5 signatures (RFC 2385).

use std::{io, mem, net::IpAddr, os::fd::AsFd};

use crate::option;

/// The longest key the kernel takes, in octets.
pub const MAX_MD5_KEY: usize = libc::TCP_MD5SIG_MAXKEYLEN;

/// Whose segments a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Md5Scope {
    /// The peer's address, or the first of its range.
    pub address: IpAddr,
    /// How many bits of it count; all of them for a single peer.
    pub prefix_length: u8,
    /// Only on this interface (a VRF device, by index); on any when absent.
    pub interface: Option<u32>,
}

impl Md5Scope {
    /// A single peer.
    pub fn host(address: IpAddr) -> Self {
        Self { address, prefix_length: if address.is_ipv4() { 32 } else { 128 }, interface: None }
    }
}

/// Signs what is sent to `scope` and drops what comes from there without the right signature. On a listening socket it
/// holds for the connections it accepts; other peers are not affected. An empty key takes the key of exactly this
/// scope away.
///
/// # Errors
/// `InvalidInput` for a key longer than [`MAX_MD5_KEY`] or a prefix longer than the address; `NotFound` when there is no key
/// to take away; what the kernel says, such as `EPERM` or a kernel without TCP_MD5SIG.
pub fn set_tcp_md5(socket: impl AsFd, scope: Md5Scope, key: &[u8]) -> io::Result<()> {
    let bits = if scope.address.is_ipv4() { 32 } else { 128 };
    if key.len() > MAX_MD5_KEY {
        let error = format!("a TCP MD5 key has at most {MAX_MD5_KEY} octets, not {}", key.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    if scope.prefix_length > bits {
        let error = format!("{}/{} has more bits than the address", scope.address, scope.prefix_length);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
    }
    let mut signature = TcpMd5Sig {
        addr: storage(scope.address),
        flags: TCP_MD5SIG_FLAG_PREFIX,
        prefixlen: scope.prefix_length,
        keylen: u16::try_from(key.len()).map_err(io::Error::other)?,
        ifindex: 0,
        key: [0; MAX_MD5_KEY],
    };
    if let Some(interface) = scope.interface {
        signature.flags |= TCP_MD5SIG_FLAG_IFINDEX;
        signature.ifindex = interface.try_into().map_err(io::Error::other)?;
    }
    signature.key[..key.len()].copy_from_slice(key);
    option::set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG_EXT, &signature)
}

/// `struct tcp_md5sig` (linux/tcp.h).
#[derive(Clone, Copy)]
#[repr(C)]
struct TcpMd5Sig {
    addr: libc::sockaddr_storage,
    flags: u8,
    prefixlen: u8,
    keylen: u16,
    ifindex: libc::c_int,
    key: [u8; MAX_MD5_KEY],
}

/// The prefix length counts.
const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
/// The interface index counts.
const TCP_MD5SIG_FLAG_IFINDEX: u8 = 2;

fn storage(address: IpAddr) -> libc::sockaddr_storage {
    // SAFETY: all-zero octets are a valid sockaddr_storage: it holds integers only.
    #[allow(unsafe_code, reason = "the structure has private padding and no constructor")]
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let target = std::ptr::from_mut(&mut storage);
    match address {
        IpAddr::V4(address) => {
            let address = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: 0,
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is at least as large and as aligned as any other sockaddr.
            #[allow(unsafe_code, reason = "see above")]
            unsafe {
                target.cast::<libc::sockaddr_in>().write(address);
            }
        }
        IpAddr::V6(address) => {
            let address = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: 0,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: as above.
            #[allow(unsafe_code, reason = "see above")]
            unsafe {
                target.cast::<libc::sockaddr_in6>().write(address);
            }
        }
    }
    storage
}

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    fn client(to: std::net::SocketAddr, key: Option<&[u8]>) -> io::Result<TcpStream> {
        let domain = socket2::Domain::for_address(to);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        if let Some(key) = key {
            set_tcp_md5(&socket, Md5Scope::host(to.ip()), key)?;
        }
        socket.connect_timeout(&to.into(), Duration::from_millis(300))?;
        Ok(socket.into())
    }

    #[test]
    fn a_listener_with_a_key_takes_only_those_who_sign() {
        for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let listener = TcpListener::bind((address, 0)).unwrap();
            set_tcp_md5(&listener, Md5Scope::host(address), b"right").unwrap();
            let to = listener.local_addr().unwrap();
            client(to, Some(b"right")).unwrap();
            assert_eq!(client(to, Some(b"wrong")).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(client(to, None).unwrap_err().kind(), ErrorKind::TimedOut);
            set_tcp_md5(&listener, Md5Scope::host(address), b"").unwrap();
            client(to, None).unwrap();
        }
    }

    #[test]
    fn a_key_for_a_range_holds_for_all_of_it() {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let scope = Md5Scope { address: "127.0.0.0".parse().unwrap(), prefix_length: 8, interface: None };
        set_tcp_md5(&listener, scope, b"right").unwrap();
        let port = listener.local_addr().unwrap().port();
        client((Ipv4Addr::new(127, 0, 0, 9), port).into(), Some(b"right")).unwrap();
        client((Ipv4Addr::new(127, 0, 0, 9), port).into(), None).unwrap_err();
    }

    #[test]
    fn what_the_kernel_could_not_take_is_refused_with_the_limit() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let scope = Md5Scope::host(Ipv4Addr::LOCALHOST.into());
        let error = set_tcp_md5(&listener, scope, &[b'x'; 81]).unwrap_err();
        assert_eq!(error.to_string(), "a TCP MD5 key has at most 80 octets, not 81");
        let error = set_tcp_md5(&listener, Md5Scope { prefix_length: 33, ..scope }, b"key").unwrap_err();
        assert_eq!(error.to_string(), "127.0.0.1/33 has more bits than the address");
    }
}
