//! IP address prefixes in canonical form: no bit set beyond the mask.

use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Family;

/// An IPv4 or IPv6 prefix such as `203.0.113.0/24`. Host bits are always zero.
///
/// Ordered by family, then address, then length, so that sorted lists read naturally.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

/// Why a text or an address with a length is not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// No `/length`. The length is never guessed: a guessed one has leaked routes before.
    #[error("`{0}` has no prefix length; write `{0}/{max}` for one address", max = if .0.contains(':') { 128 } else { 32 })]
    MissingLength(String),
    /// The part before the slash is not an IP address.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// The part after the slash is not a number or too large for the family.
    #[error("`/{length}` is not a prefix length for {address}; it goes from 0 to {max}")]
    Length {
        /// The address the length was given for.
        address: IpAddr,
        /// The text after the slash.
        length: String,
        /// 32 or 128.
        max: u8,
    },
    /// A bit is set beyond the mask.
    #[error("{address}/{length} has host bits set; did you mean {meant}?")]
    HostBits {
        /// The address as given.
        address: IpAddr,
        /// The length as given.
        length: u8,
        /// The same prefix with the host bits cleared.
        meant: Prefix,
    },
}

impl Prefix {
    /// A prefix of exactly this address and length.
    ///
    /// # Errors
    /// When the length is too large for the family or a host bit is set.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let max = max_length(address);
        if length > max {
            return Err(PrefixError::Length { address, length: length.to_string(), max });
        }
        let masked = Self::truncating(address, length);
        if masked.address == address {
            Ok(masked)
        } else {
            Err(PrefixError::HostBits { address, length, meant: masked })
        }
    }

    /// The prefix of `length` that holds `address`; a length beyond the family's is taken as a host prefix.
    pub fn truncating(address: IpAddr, length: u8) -> Self {
        let length = length.min(max_length(address));
        let address = match address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(a) & mask))
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(a) & mask))
            }
        };
        Self { address, length }
    }

    /// The prefix of one address: /32 or /128.
    pub fn host(address: IpAddr) -> Self {
        Self { address, length: max_length(address) }
    }

    /// The network address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The mask length in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The address family.
    pub fn family(&self) -> Family {
        match self.address {
            IpAddr::V4(_) => Family::Ipv4,
            IpAddr::V6(_) => Family::Ipv6,
        }
    }

    /// Whether `address` lies within.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4() && Self::truncating(address, self.length) == *self
    }
}

fn max_length(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let Some((address, length)) = text.split_once('/') else {
            return Err(match text.parse::<IpAddr>() {
                Ok(_) => PrefixError::MissingLength(text.to_owned()),
                Err(_) => PrefixError::Address(text.to_owned()),
            });
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address(address.to_owned()))?;
        let bits = length.parse::<u8>().ok().filter(|_| length.bytes().all(|b| b.is_ascii_digit()));
        let Some(bits) = bits else {
            return Err(PrefixError::Length { address, length: length.to_owned(), max: max_length(address) });
        };
        Self::new(address, bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.family()
            .cmp(&other.family())
            .then_with(|| self.address.cmp(&other.address))
            .then_with(|| self.length.cmp(&other.length))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_without_a_length_is_refused_with_the_remedy() {
        let error = "203.0.113.1".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`203.0.113.1` has no prefix length; write `203.0.113.1/32` for one address"
        );
        let error = "2001:db8::1".parse::<Prefix>().unwrap_err();
        assert!(error.to_string().ends_with("write `2001:db8::1/128` for one address"), "{error}");
    }

    #[test]
    fn host_bits_are_refused_and_the_meant_prefix_named() {
        let error = "203.0.113.9/24".parse::<Prefix>().unwrap_err();
        assert_eq!(error.to_string(), "203.0.113.9/24 has host bits set; did you mean 203.0.113.0/24?");
    }

    #[test]
    fn lengths_out_of_range_or_not_numbers_are_refused() {
        for text in ["10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.0/256", "::/129", "10.0.0.0/8 "] {
            assert!(matches!(text.parse::<Prefix>(), Err(PrefixError::Length { .. })), "{text}");
        }
    }

    #[test]
    fn containment_stays_within_the_family_and_the_mask() {
        assert!(prefix("203.0.113.0/24").contains("203.0.113.255".parse().unwrap()));
        assert!(!prefix("203.0.113.0/24").contains("203.0.112.255".parse().unwrap()));
        assert!(!prefix("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(prefix("::/0").contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn order_is_family_then_address_then_length() {
        let mut list =
            [prefix("2001:db8::/32"), prefix("10.0.0.0/16"), prefix("10.0.0.0/8"), prefix("9.0.0.0/8")];
        list.sort();
        assert_eq!(list.map(|p| p.to_string()), ["9.0.0.0/8", "10.0.0.0/8", "10.0.0.0/16", "2001:db8::/32"]);
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(address: IpAddr, length in 0u8..=128) {
            let prefix = Prefix::truncating(address, length);
            prop_assert_eq!(prefix.to_string().parse::<Prefix>().unwrap(), prefix);
            prop_assert!(prefix.contains(address));
        }
    }
}
