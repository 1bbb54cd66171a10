//! UPDATEs like those of a full table, the same every time.
//!
//! Shaped after what route collectors see: few prefixes per message and now and then many, mostly /24 and /48; AS paths of
//! three to eight, some with prepends, one number in four beyond two octets; no communities, or some, or many.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use proxima_bgp_wire::{
    Aggregator, AsPath, Attributes, Message, Negotiated, NextHop, Nlri, Origin, RareAttributes, Reach, Update,
};
use proxima_types::{Asn, Community, LargeCommunity, Prefix};

/// Messages of each kind: about as much as a core's second-level cache holds.
const MESSAGES: usize = 1000;

/// Makes the messages of a kind.
type Maker = fn(Negotiated) -> Vec<Vec<u8>>;

/// What is measured by name.
pub(crate) const KINDS: [(&str, Maker); 4] =
    [("table", table), ("ipv4", ipv4), ("ipv6", ipv6), ("withdrawals", withdrawals)];

/// The mix: of twenty messages 16 announce IPv4, 3 IPv6, and one withdraws.
fn table(negotiated: Negotiated) -> Vec<Vec<u8>> {
    write(negotiated, |random| match random.below(20) {
        0..16 => announces_ipv4(random),
        16..19 => announces_ipv6(random),
        _ => withdraws(random),
    })
}

fn ipv4(negotiated: Negotiated) -> Vec<Vec<u8>> {
    write(negotiated, announces_ipv4)
}

fn ipv6(negotiated: Negotiated) -> Vec<Vec<u8>> {
    write(negotiated, announces_ipv6)
}

fn withdrawals(negotiated: Negotiated) -> Vec<Vec<u8>> {
    write(negotiated, withdraws)
}

fn write(negotiated: Negotiated, mut update: impl FnMut(&mut Random) -> Update) -> Vec<Vec<u8>> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let one = |_| {
        let mut octets = BytesMut::new();
        Message::Update(update(&mut random)).encode(negotiated, &mut octets).unwrap();
        octets.to_vec()
    };
    (0..MESSAGES).map(one).collect()
}

fn announces_ipv4(random: &mut Random) -> Update {
    let count = random.prefixes();
    let next_hop = NextHop::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1 + random.below(20) as u8)));
    let nlri = (0..count).map(|_| random.ipv4()).collect();
    Update { reach: vec![Reach { next_hop, nlri }], attributes: random.attributes(), ..Update::default() }
}

fn announces_ipv6(random: &mut Random) -> Update {
    let count = 1 + random.below(4);
    let low = u128::from(1 + random.below(20));
    let next_hop = NextHop {
        address: Ipv6Addr::from(0x2001_0db8 << 96 | low).into(),
        link_local: random.one_in(2).then_some(Ipv6Addr::from(0xfe80 << 112 | low)),
    };
    let nlri = (0..count).map(|_| random.ipv6()).collect();
    Update { reach: vec![Reach { next_hop, nlri }], attributes: random.attributes(), ..Update::default() }
}

fn withdraws(random: &mut Random) -> Update {
    let count = random.prefixes();
    let ipv6 = random.one_in(5);
    let withdrawn = (0..count).map(|_| if ipv6 { random.ipv6() } else { random.ipv4() }).collect();
    Update { withdrawn, ..Update::default() }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u32) -> u32 {
        (((self.next() >> 32) * u64::from(limit)) >> 32) as u32
    }

    fn one_in(&mut self, chances: u32) -> bool {
        self.below(chances) == 0
    }

    fn prefixes(&mut self) -> u32 {
        match self.below(100) {
            0..45 => 1,
            45..70 => 2 + self.below(2),
            70..90 => 4 + self.below(5),
            _ => 9 + self.below(12),
        }
    }

    fn ipv4(&mut self) -> Nlri {
        let length = match self.below(100) {
            0..60 => 24,
            60..85 => 22 + self.below(2) as u8,
            _ => 16 + self.below(6) as u8,
        };
        // 1.0.0.0 to 222.255.255.255.
        let address = Ipv4Addr::from(0x0100_0000 + self.below(0xde00_0000));
        Prefix::truncating(address.into(), length).into()
    }

    fn ipv6(&mut self) -> Nlri {
        let length = match self.below(100) {
            0..50 => 48,
            50..80 => 32 + self.below(16) as u8,
            _ => 29 + self.below(16) as u8,
        };
        let high = 0x2000_0000_0000_0000 | self.next() >> 3;
        Prefix::truncating(Ipv6Addr::from(u128::from(high) << 64).into(), length).into()
    }

    fn asn(&mut self) -> Asn {
        Asn(if self.one_in(4) { 65552 + self.below(350_000) } else { 1 + self.below(64000) })
    }

    fn as_path(&mut self) -> AsPath {
        let length = 3 + self.below(6);
        let mut asns: Vec<Asn> = (0..length).map(|_| self.asn()).collect();
        if self.one_in(7) {
            let last = asns[asns.len() - 1];
            asns.extend((0..=self.below(3)).map(|_| last));
        }
        AsPath::sequence(asns)
    }

    fn attributes(&mut self) -> Attributes {
        let communities = match self.below(10) {
            0..2 => 0,
            2..8 => 1 + self.below(6),
            _ => 7 + self.below(14),
        };
        let community = |random: &mut Self| Community(random.below(64000) << 16 | random.below(65536));
        let large = if self.one_in(10) { 1 + self.below(4) } else { 0 };
        let large_community = |random: &mut Self| LargeCommunity {
            global: random.asn().0,
            local1: random.below(100),
            local2: random.below(1000),
        };
        let aggregator = self
            .one_in(10)
            .then(|| Aggregator { asn: self.asn(), router_id: Ipv4Addr::from(self.next() as u32) });
        Attributes {
            origin: if self.one_in(8) { Origin::Incomplete } else { Origin::Igp },
            as_path: self.as_path(),
            med: self.one_in(3).then(|| self.below(1000)),
            atomic_aggregate: aggregator.is_some() && self.one_in(2),
            communities: (0..communities).map(|_| community(self)).collect(),
            large_communities: (0..large).map(|_| large_community(self)).collect(),
            rare: RareAttributes { aggregator, ..RareAttributes::default() }.into(),
            ..Attributes::default()
        }
    }
}
