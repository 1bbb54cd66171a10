//! AS numbers, communities and address families.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An autonomous system number of four octets (RFC 6793).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(pub u32);

impl Asn {
    /// Stands for a four-octet number towards a speaker of two octets (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);

    /// The number in two octets, `AS_TRANS` when it does not fit.
    pub fn two_octets(self) -> u16 {
        u16::try_from(self.0).unwrap_or(Self::TRANS.0 as u16)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A BGP community (RFC 1997), written `64512:100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

/// A text that is not a community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a community; write two numbers from 0 to 65535 as in `64512:100`")]
pub struct CommunityError(String);

impl Community {
    /// GRACEFUL_SHUTDOWN (RFC 8326 §5).
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// NO_EXPORT (RFC 1997).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// NO_ADVERTISE (RFC 1997).
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);

    const WELL_KNOWN: [(&'static str, Self); 3] = [
        ("graceful-shutdown", Self::GRACEFUL_SHUTDOWN),
        ("no-export", Self::NO_EXPORT),
        ("no-advertise", Self::NO_ADVERTISE),
    ];
}

impl FromStr for Community {
    type Err = CommunityError;

    fn from_str(text: &str) -> Result<Self, CommunityError> {
        if let Some((_, community)) = Self::WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(*community);
        }
        let half =
            |digits: &str| digits.parse::<u16>().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()));
        text.split_once(':')
            .and_then(|(high, low)| Some((half(high)?, half(low)?)))
            .map(|(high, low)| Self(u32::from(high) << 16 | u32::from(low)))
            .ok_or_else(|| CommunityError(text.to_owned()))
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0 >> 16, self.0 & 0xffff)
    }
}

impl Serialize for Community {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Community {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A large BGP community (RFC 8092), written `64512:1:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    /// Global administrator: the AS that gives it meaning.
    pub global: u32,
    /// First local part.
    pub local1: u32,
    /// Second local part.
    pub local2: u32,
}

impl LargeCommunity {
    /// Its wire form (RFC 8092 §3).
    pub fn octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        for (chunk, word) in octets.chunks_exact_mut(4).zip([self.global, self.local1, self.local2]) {
            chunk.copy_from_slice(&word.to_be_bytes());
        }
        octets
    }
}

/// From its wire form.
impl From<[u8; 12]> for LargeCommunity {
    fn from(octets: [u8; 12]) -> Self {
        let word = |at| u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self { global: word(0), local1: word(4), local2: word(8) }
    }
}

/// A text that is not a large community.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a large community; write three numbers from 0 to 4294967295 as in `64512:1:2`")]
pub struct LargeCommunityError(String);

impl FromStr for LargeCommunity {
    type Err = LargeCommunityError;

    fn from_str(text: &str) -> Result<Self, LargeCommunityError> {
        let part = |digits: &str| {
            digits.parse::<u32>().ok().filter(|part| part.to_string() == digits) // RFC 8092 §5: no leading zeros
        };
        let mut parts = text.split(':').map(part);
        match [parts.next(), parts.next(), parts.next(), parts.next()] {
            [Some(Some(global)), Some(Some(local1)), Some(Some(local2)), None] => {
                Ok(Self { global, local1, local2 })
            }
            _ => Err(LargeCommunityError(text.to_owned())),
        }
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global, self.local1, self.local2)
    }
}

impl Serialize for LargeCommunity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LargeCommunity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An address family with unicast routes (AFI 1 or 2, SAFI 1; RFC 4760).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// AFI 1, SAFI 1.
    Ipv4,
    /// AFI 2, SAFI 1.
    Ipv6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The address family identifier.
    pub fn afi(self) -> u16 {
        match self {
            Self::Ipv4 => 1,
            Self::Ipv6 => 2,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_written_as_two_halves_or_a_well_known_name() {
        assert_eq!("64512:100".parse(), Ok(Community(0xfc00_0064)));
        assert_eq!("graceful-shutdown".parse(), Ok(Community::GRACEFUL_SHUTDOWN));
        assert_eq!(Community::GRACEFUL_SHUTDOWN.to_string(), "65535:0");
        for text in ["64512", "65536:1", "1:65536", "1:2:3", "-1:2", "+1:2", "a:b", ""] {
            assert!(text.parse::<Community>().is_err(), "{text}");
        }
    }

    #[test]
    fn large_communities_are_written_as_three_numbers() {
        let community = LargeCommunity { global: 4_200_000_000, local1: 0, local2: u32::MAX };
        assert_eq!("4200000000:0:4294967295".parse(), Ok(community));
        assert_eq!(community.to_string(), "4200000000:0:4294967295");
        for text in ["64512:1", "1:2:3:4", "1:2:4294967296", "01:2:3", "+1:2:3", "1::3", "a:b:c", ""] {
            assert!(text.parse::<LargeCommunity>().is_err(), "{text}");
        }
    }

    #[test]
    fn large_as_numbers_become_as_trans_in_two_octets() {
        assert_eq!(Asn(64512).two_octets(), 64512);
        assert_eq!(Asn(65536).two_octets(), 23456);
    }
}
