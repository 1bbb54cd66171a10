//! The addressing plan: who has which address, from nothing but the description.
//!
//! With `r` the region's number from 1 and `k` the app's:
//!
//! ```text
//! router – PoP      10.r.1.0/24       fd00:r:1::/64       router .1   PoP .2
//! router – app k    10.r.(10+k).0/24  fd00:r:(10+k)::/64  router .1   app .2
//! router – client   10.r.20.0/24      fd00:r:20::/64      router .1   client .2
//! WAN i – j, i < j  10.100.ij.0/24    fd00:100:ij::/64    i .1        j .2
//! ```
//!
//! IPv6 groups show the same digits as the IPv4 ones, so both read alike.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proxima_types::Prefix;

use super::spec::WorldSpec;

/// Prefix length of every IPv4 link network.
pub const V4_LENGTH: u8 = 24;
/// Prefix length of every IPv6 link network.
pub const V6_LENGTH: u8 = 64;
/// The AS number of every PoP: one product, one AS.
pub const POP_ASN: u32 = 64512;
/// Where the app servers listen for HTTP.
pub const APP_HTTP_PORT: u16 = 8080;
/// Where the app servers echo TCP.
pub const APP_ECHO_PORT: u16 = 9000;
/// From one BFD packet to the next, both ways, where a world has BFD.
pub const BFD_INTERVAL: Duration = Duration::from_millis(100);
/// So many missed in a row mean that the other side is gone.
pub const BFD_MULTIPLIER: u8 = 5;
/// The proxied TCP service on the anycast VIP.
pub const RAW_PORT: u16 = 5000;

/// A host's two addresses on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The IPv4 address.
    pub v4: Ipv4Addr,
    /// The IPv6 address.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// The address of the same family as `like`.
    pub fn of_family(&self, like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => self.v4.into(),
            IpAddr::V6(_) => self.v6.into(),
        }
    }

    /// Both with the prefix lengths of the plan.
    pub fn with_lengths(&self) -> Vec<(IpAddr, u8)> {
        vec![(self.v4.into(), V4_LENGTH), (self.v6.into(), V6_LENGTH)]
    }
}

/// A link's two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The router's end, or on a WAN link that of the region with the lower number.
    pub near: Addresses,
    /// The host's end, or on a WAN link that of the region with the higher number.
    pub far: Addresses,
}

impl Ends {
    /// The networks of the link.
    pub fn networks(&self) -> [Prefix; 2] {
        [
            Prefix::truncating(self.near.v4.into(), V4_LENGTH),
            Prefix::truncating(self.near.v6.into(), V6_LENGTH),
        ]
    }
}

/// Between a region's router and its PoP host.
pub fn pop_link(region: usize) -> Ends {
    lan(region, 1)
}

/// Between a region's router and its app server `app`, counted from 1.
pub fn app_link(region: usize, app: u8) -> Ends {
    lan(region, 10 + u16::from(app))
}

/// Between a region's router and its client host.
pub fn client_link(region: usize) -> Ends {
    lan(region, 20)
}

/// Between two regions' routers; `near` is the end of the lower number.
pub fn wan_link(one: usize, other: usize) -> Ends {
    let (low, high) = (one.min(other) as u16, one.max(other) as u16);
    network(100, low * 10 + high)
}

/// The BGP identifier of a region's router.
pub fn router_id(region: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, region as u8, 0, 1)
}

/// The BGP identifier of a region's PoP.
pub fn pop_id(region: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, region as u8, 0, 2)
}

/// The address of a prefix that the PoPs listen on: the first after the network address.
pub fn vip(prefix: Prefix) -> IpAddr {
    match prefix.address() {
        IpAddr::V4(a) => IpAddr::V4(Ipv4Addr::from(u32::from(a) | 1)),
        IpAddr::V6(a) => IpAddr::V6(Ipv6Addr::from(u128::from(a) | 1)),
    }
}

/// The anycast VIPs of a world.
pub fn anycast_vips(spec: &WorldSpec) -> Vec<IpAddr> {
    spec.anycast.prefixes.iter().copied().map(vip).collect()
}

fn lan(region: usize, link: u16) -> Ends {
    network(region as u16, link)
}

fn network(second: u16, third: u16) -> Ends {
    let end = |host: u16| Addresses {
        v4: Ipv4Addr::new(10, second as u8, third as u8, host as u8),
        v6: Ipv6Addr::new(0xfd00, as_digits(second), as_digits(third), 0, 0, 0, 0, host),
    };
    Ends { near: end(1), far: end(2) }
}

/// The number whose hexadecimal digits read like `n`'s decimal ones.
fn as_digits(n: u16) -> u16 {
    n % 10 + (n / 10 % 10) * 16 + (n / 100 % 10) * 256
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ipv6_reads_like_ipv4() {
        assert_eq!(app_link(2, 1).far.v4.to_string(), "10.2.11.2");
        assert_eq!(app_link(2, 1).far.v6.to_string(), "fd00:2:11::2");
        assert_eq!(wan_link(3, 1).near.v4.to_string(), "10.100.13.1");
        assert_eq!(wan_link(1, 3).far.v6.to_string(), "fd00:100:13::2");
    }

    #[test]
    fn no_address_is_given_twice() {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for region in 1..=9 {
            all.extend([pop_link(region), client_link(region)]);
            all.extend((1..=9).map(|app| app_link(region, app)));
            all.extend((region + 1..=9).map(|other| wan_link(region, other)));
        }
        for end in all.iter().flat_map(|ends| [ends.near, ends.far]) {
            assert!(seen.insert(IpAddr::V4(end.v4)) && seen.insert(IpAddr::V6(end.v6)), "{end:?}");
        }
    }
}
