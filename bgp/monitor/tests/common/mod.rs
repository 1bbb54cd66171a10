//! Octets as people write them down, and a session to tell of.
#![allow(dead_code, reason = "each test file uses a part")]

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use proxima_bgp_monitor::bmp::PeerHeader;
use proxima_bgp_wire::{AsPath, Attributes, Origin};
use proxima_types::{Asn, Community};

/// Octets from hexadecimal digits; white space and what follows a `#` in a line do not count.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter(|character| !character.is_whitespace())
        .collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// 2024-01-02 03:04:05.000678 UTC: 0x65937d25 seconds and 0x2a6 microseconds.
pub(crate) fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_704_164_645, 678_000)
}

pub(crate) fn header() -> PeerHeader {
    PeerHeader {
        address: "192.0.2.2".parse().unwrap(),
        asn: Asn(65550),
        router_id: Ipv4Addr::new(10, 0, 0, 2),
        post_policy: false,
        two_octet_as: false,
        time: time(),
    }
}

pub(crate) fn attributes() -> Attributes {
    Attributes {
        origin: Origin::Igp,
        as_path: AsPath::sequence([Asn(65550), Asn(64496)]),
        med: Some(50),
        communities: [Community(0xfbf0_0001)].into(),
        ..Attributes::default()
    }
}

/// The OPEN of AS 64512: hold time 9 s, four-octet AS and IPv4.
pub(crate) const SENT_OPEN: &str = "
    ffffffffffffffffffffffffffffffff 002d 01 04 fc00 0009 0a000001 10
    02 06 01 04 0001 00 01     # multiprotocol IPv4 unicast
    02 06 41 04 0000fc00       # four-octet AS
";

/// The OPEN of AS 65550.
pub(crate) const RECEIVED_OPEN: &str = "
    ffffffffffffffffffffffffffffffff 0025 01 04 5ba0 00b4 0a000002 08
    02 06 41 04 0001000e       # four-octet AS
";

/// 203.0.113.0/24 by 192.0.2.2, AS path 65550.
pub(crate) const UPDATE: &str = "
    ffffffffffffffffffffffffffffffff 002f 02 0000 0014
    40 01 01 00
    40 02 06 02 01 0001000e
    40 03 04 c0000202
    18 cb0071
";

/// Cease, administrative shutdown.
pub(crate) const NOTIFICATION: &str = "ffffffffffffffffffffffffffffffff 0015 03 06 02";
