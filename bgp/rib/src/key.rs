//! Prefixes as the table keeps them: 8 octets for IPv4, 24 for IPv6, in the order of [`Prefix`].

use std::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use proxima_types::{Family, Prefix};

/// A prefix of one family.
pub(crate) trait Key: Copy + Ord + Debug {
    /// The least key: the default route.
    const LEAST: Self;
    /// Greater than all prefixes.
    const BEYOND: Self;
    const FAMILY: Family;

    /// The key of a prefix of this family.
    fn of(prefix: Prefix) -> Option<Self>;

    /// The prefix of `length` whose address begins with the upper bits of `bits`, all others being zero.
    fn from_bits(bits: u128, length: u8) -> Self;

    /// The address, in the upper bits.
    fn bits(self) -> u128;

    fn length(self) -> u8;

    /// The prefix of `length` that covers this one.
    fn truncated(self, length: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
        Self::from_bits(self.bits() & mask, length)
    }

    /// How many bits this prefix and `other` begin with alike.
    fn common_length(self, other: Self) -> u8 {
        let alike = (self.bits() ^ other.bits()).leading_zeros() as u8;
        alike.min(self.length()).min(other.length())
    }

    /// Whether `other` lies within this prefix.
    fn covers(self, other: Self) -> bool {
        self.common_length(other) == self.length()
    }

    fn prefix(self) -> Prefix {
        let address = match Self::FAMILY {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::from((self.bits() >> 96) as u32)),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(self.bits())),
        };
        Prefix::truncating(address, self.length())
    }
}

/// The address in the upper 32 of 40 bits, the length in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct V4(u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct V6 {
    high: u64,
    low: u64,
    length: u8,
}

impl Key for V4 {
    const LEAST: Self = Self(0);
    const BEYOND: Self = Self(u64::MAX);
    const FAMILY: Family = Family::Ipv4;

    fn of(prefix: Prefix) -> Option<Self> {
        match AnyKey::from(prefix) {
            AnyKey::V4(key) => Some(key),
            AnyKey::V6(_) => None,
        }
    }

    fn from_bits(bits: u128, length: u8) -> Self {
        Self((bits >> 96 << 8) as u64 | u64::from(length))
    }

    fn bits(self) -> u128 {
        u128::from(self.0 >> 8) << 96
    }

    fn length(self) -> u8 {
        self.0 as u8
    }
}

impl Key for V6 {
    const LEAST: Self = Self { high: 0, low: 0, length: 0 };
    const BEYOND: Self = Self { high: u64::MAX, low: u64::MAX, length: u8::MAX };
    const FAMILY: Family = Family::Ipv6;

    fn of(prefix: Prefix) -> Option<Self> {
        match AnyKey::from(prefix) {
            AnyKey::V4(_) => None,
            AnyKey::V6(key) => Some(key),
        }
    }

    fn from_bits(bits: u128, length: u8) -> Self {
        Self { high: (bits >> 64) as u64, low: bits as u64, length }
    }

    fn bits(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    fn length(self) -> u8 {
        self.length
    }
}

/// A prefix of either family.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AnyKey {
    V4(V4),
    V6(V6),
}

impl From<Prefix> for AnyKey {
    fn from(prefix: Prefix) -> Self {
        let length = prefix.length();
        match prefix.address() {
            IpAddr::V4(address) => Self::V4(V4(u64::from(u32::from(address)) << 8 | u64::from(length))),
            IpAddr::V6(address) => Self::V6(V6::from_bits(u128::from(address), length)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixes() -> impl Strategy<Value = Prefix> {
        (any::<IpAddr>(), 0..=128u8).prop_map(|(address, length)| Prefix::truncating(address, length))
    }

    fn check<K: Key>(key: K, other: K) -> Result<(), TestCaseError> {
        let (prefix, other_prefix) = (key.prefix(), other.prefix());
        prop_assert_eq!(key.cmp(&other), prefix.cmp(&other_prefix));
        let covers = prefix.length() <= other_prefix.length() && prefix.contains(other_prefix.address());
        prop_assert_eq!(key.covers(other), covers);
        let shorter = prefix.length() / 2;
        prop_assert_eq!(key.truncated(shorter).prefix(), Prefix::truncating(prefix.address(), shorter));
        prop_assert!(key.truncated(shorter).covers(key));
        Ok(())
    }

    proptest! {
        #[test]
        fn keys_order_cover_and_truncate_as_prefixes_do(one in prefixes(), two in prefixes(), length in 0..=128u8) {
            let near = Prefix::truncating(one.address(), length);
            for other in [two, near] {
                match (AnyKey::from(one), AnyKey::from(other)) {
                    (AnyKey::V4(one), AnyKey::V4(other)) => check(one, other)?,
                    (AnyKey::V6(one), AnyKey::V6(other)) => check(one, other)?,
                    _ => {}
                }
            }
        }
    }
}
