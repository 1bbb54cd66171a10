//! The source address and the interface of a datagram, as `sendmsg` takes them: a control message, IP_PKTINFO (ip(7)) or
//! IPV6_PKTINFO (RFC 3542 §6). Written once per session, so that sending allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;

/// `struct cmsghdr`: a length of a word's size, level, type.
const HEADER: usize = size_of::<usize>() + 2 * size_of::<libc::c_int>();
/// The longer of `struct in_pktinfo` and `struct in6_pktinfo`, in whole words.
const DATA: usize = 24;

/// A control message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    octets: [u8; HEADER + DATA],
    length: usize,
}

impl Control {
    /// Sends from `local`, or from what the kernel chooses, by `interface`, or by what the routes say.
    pub(crate) fn packet_info(remote: IpAddr, local: Option<IpAddr>, interface: Option<u32>) -> Self {
        let index = interface.unwrap_or(0).to_ne_bytes();
        match remote {
            IpAddr::V4(_) => {
                let local = match local {
                    Some(IpAddr::V4(local)) => local,
                    _ => Ipv4Addr::UNSPECIFIED,
                };
                // ipi_ifindex, ipi_spec_dst, ipi_addr.
                let mut data = [0; 12];
                data[..4].copy_from_slice(&index);
                data[4..8].copy_from_slice(&local.octets());
                Self::new(libc::IPPROTO_IP, libc::IP_PKTINFO, &data)
            }
            IpAddr::V6(_) => {
                let local = match local {
                    Some(IpAddr::V6(local)) => local,
                    _ => Ipv6Addr::UNSPECIFIED,
                };
                // ipi6_addr, ipi6_ifindex.
                let mut data = [0; 20];
                data[..16].copy_from_slice(&local.octets());
                data[16..].copy_from_slice(&index);
                Self::new(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &data)
            }
        }
    }

    fn new(level: libc::c_int, kind: libc::c_int, data: &[u8]) -> Self {
        let word = size_of::<usize>();
        let mut octets = [0; HEADER + DATA];
        octets[..word].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
        octets[word..word + 4].copy_from_slice(&level.to_ne_bytes());
        octets[word + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        octets[HEADER..HEADER + data.len()].copy_from_slice(data);
        Self { octets, length: (HEADER + data.len()).next_multiple_of(word) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}
