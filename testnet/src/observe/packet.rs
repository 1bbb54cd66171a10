//! From a captured frame to a TCP segment: Ethernet, IPv4 or IPv6, TCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const PROTOCOL_TCP: u8 = 6;

/// One direction of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it is for.
    pub destination: SocketAddr,
}

/// A TCP segment within a captured frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// The direction it belongs to.
    pub flow: Flow,
    /// Sequence number of its first octet (of SYN when that is set).
    pub sequence: u32,
    /// SYN is set.
    pub syn: bool,
    /// RST is set.
    pub reset: bool,
    /// The data; empty for bare acknowledgements.
    pub payload: &'a [u8],
}

/// The TCP segment in a frame; `None` when it holds something else, a fragment, or too little to tell.
pub fn tcp_segment(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(14..)?;
    let (source, destination, segment) = match u16::from_be_bytes([frame[12], frame[13]]) {
        ETHERTYPE_IPV4 => ipv4(packet)?,
        ETHERTYPE_IPV6 => ipv6(packet)?,
        _ => return None,
    };
    let fixed = segment.get(..20)?;
    let header_length = usize::from(fixed[12] >> 4) * 4;
    let port = |offset: usize| u16::from_be_bytes([fixed[offset], fixed[offset + 1]]);
    Some(Segment {
        flow: Flow {
            source: SocketAddr::new(source, port(0)),
            destination: SocketAddr::new(destination, port(2)),
        },
        sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
        syn: fixed[13] & 0x02 != 0,
        reset: fixed[13] & 0x04 != 0,
        payload: segment.get(header_length.max(20)..)?,
    })
}

fn ipv4(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = packet.get(..20)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header[9] != PROTOCOL_TCP || fragment_offset != 0 {
        return None;
    }
    // Zero stands for a super-segment too long for the field, which the kernel never cut up.
    let total = match u16::from_be_bytes([header[2], header[3]]) {
        0 => packet.len(),
        total => usize::from(total).min(packet.len()),
    };
    let address = |offset: usize| {
        IpAddr::V4(Ipv4Addr::new(header[offset], header[offset + 1], header[offset + 2], header[offset + 3]))
    };
    Some((address(12), address(16), packet.get(header_length.max(20)..total)?))
}

fn ipv6(packet: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = packet.get(..40)?;
    let address = |offset: usize| {
        let octets: [u8; 16] = header[offset..offset + 16].try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let end = match u16::from_be_bytes([header[4], header[5]]) {
        0 => packet.len(),
        payload => (40 + usize::from(payload)).min(packet.len()),
    };
    let mut next = header[6];
    let mut rest = packet.get(40..end)?;
    // Hop-by-hop, routing and destination options may stand before TCP.
    while matches!(next, 0 | 43 | 60) {
        let length = 8 + usize::from(*rest.get(1)?) * 8;
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    (next == PROTOCOL_TCP).then_some(())?;
    Some((address(8)?, address(24)?, rest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An Ethernet frame with a TCP segment, laid out octet by octet.
    pub(crate) fn frame(
        source: SocketAddr,
        destination: SocketAddr,
        sequence: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(destination.port().to_be_bytes());
        tcp.extend(sequence.to_be_bytes());
        tcp.extend([0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(payload);
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((20 + tcp.len() as u16).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((tcp.len() as u16).to_be_bytes());
                frame.extend([6, 64]);
                frame.extend(from.octets());
                frame.extend(to.octets());
            }
            _ => panic!("one family only"),
        }
        frame.extend(tcp);
        frame
    }

    #[test]
    fn segments_of_both_families_are_found_with_their_payload() {
        for (from, to) in [("10.2.1.2:4000", "10.2.1.1:179"), ("[fd00::2]:4000", "[fd00::1]:179")] {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            let frame = frame(from, to, 7, 0x18, b"data");
            let segment = tcp_segment(&frame).unwrap();
            assert_eq!(segment.flow, Flow { source: from, destination: to });
            assert_eq!((segment.sequence, segment.syn, segment.payload), (7, false, &b"data"[..]));
        }
    }

    #[test]
    fn ethernet_padding_is_not_payload() {
        let mut frame = frame("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), 1, 0x10, b"");
        frame.resize(60, 0);
        assert_eq!(tcp_segment(&frame).unwrap().payload, b"");
    }

    #[test]
    fn other_protocols_fragments_and_stumps_are_left_alone() {
        let whole = frame("10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap(), 1, 0x10, b"x");
        for cut in 0..whole.len() - 1 {
            let _ = tcp_segment(&whole[..cut]);
        }
        let mut udp = whole.clone();
        udp[14 + 9] = 17;
        assert_eq!(tcp_segment(&udp), None);
        let mut fragment = whole;
        fragment[14 + 7] = 8;
        assert_eq!(tcp_segment(&fragment), None);
    }
}
