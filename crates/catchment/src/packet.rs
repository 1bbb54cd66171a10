//! The few facts of an IP packet that decide where it goes.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

const TCP: u8 = 6;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A TCP connection between a client and a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The VIP and the service's port.
    pub vip: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.client, self.vip)
    }
}

/// A TCP segment's addresses and flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    flags: u8,
}

impl Segment {
    /// Reads the headers of an IPv4 or IPv6 packet.
    ///
    /// `None` for anything but an unfragmented TCP segment; for IPv6 also when extension headers come before
    /// the TCP header.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (source, destination, tcp) = match packet.first()? >> 4 {
            4 => {
                let header = packet.get(..20)?;
                let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff;
                if header[9] != TCP || fragment != 0 {
                    return None;
                }
                let address = |at: usize| -> Option<IpAddr> {
                    Some(Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).ok()?).into())
                };
                (address(12)?, address(16)?, packet.get(usize::from(header[0] & 0x0f) * 4..)?)
            }
            6 => {
                let header = packet.get(..40)?;
                if header[6] != TCP {
                    return None;
                }
                let address = |at: usize| -> Option<IpAddr> {
                    Some(Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).ok()?).into())
                };
                (address(8)?, address(24)?, packet.get(40..)?)
            }
            _ => return None,
        };
        let tcp = tcp.get(..20)?;
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Some(Self {
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
            flags: tcp[13],
        })
    }

    /// The kernel's answer to a segment of a connection it does not know: a reset without an ACK.
    pub fn is_reset_for_want_of_a_socket(&self) -> bool {
        self.flags & (RST | ACK) == RST
    }

    /// The first segment of a new connection.
    pub fn opens(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Captured by tcpdump: the kernel's resets for segments of unknown connections, IPv4 and IPv6.
    pub(crate) const RESET_V4: &str =
        "4500002800004000400626bc0a0900020a090001005004d2000007d000000000500400008eda0000";
    pub(crate) const RESET_V6: &str = "600996c300140640fd090000000000000000000000000002fd0900000000000000000000000\
        00001005004d3000007d00000000050040000a8d70000";

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn resets_the_kernel_made_are_recognised_in_both_families() {
        let v4 = Segment::parse(&bytes(RESET_V4)).unwrap();
        assert_eq!(v4.source, "10.9.0.2:80".parse().unwrap());
        assert_eq!(v4.destination, "10.9.0.1:1234".parse().unwrap());
        assert!(v4.is_reset_for_want_of_a_socket() && !v4.opens());
        let v6 = Segment::parse(&bytes(RESET_V6)).unwrap();
        assert_eq!(v6.source, "[fd09::2]:80".parse().unwrap());
        assert_eq!(v6.destination, "[fd09::1]:1235".parse().unwrap());
        assert!(v6.is_reset_for_want_of_a_socket());
    }

    #[test]
    fn a_reset_of_a_living_connection_is_another_thing() {
        let mut packet = bytes(RESET_V4);
        packet[33] = RST | ACK;
        assert!(!Segment::parse(&packet).unwrap().is_reset_for_want_of_a_socket());
    }

    #[test]
    fn fragments_and_other_protocols_are_nothing() {
        let mut fragment = bytes(RESET_V4);
        fragment[7] = 1;
        assert_eq!(Segment::parse(&fragment), None);
        let mut udp = bytes(RESET_V4);
        udp[9] = 17;
        assert_eq!(Segment::parse(&udp), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(packet: Vec<u8>) {
            let _ = Segment::parse(&packet);
        }
    }
}
