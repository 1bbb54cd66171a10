//! Why a packet was not taken: each rule of RFC 5880 §6.8.6, in its order, and those of RFC 5881 §5 and 5883.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// The rule a packet failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Discard {
    /// RFC 5881 §5, RFC 5883 §5.
    #[error("it came too far: its TTL or hop limit is less than the least one allowed")]
    TtlTooLow,
    /// Less than the four octets that say what follows.
    #[error("shorter than any BFD packet")]
    Truncated,
    /// Not version 1.
    #[error("unknown BFD version")]
    Version,
    /// Less than 24 octets, or than 26 with authentication.
    #[error("its length field is less than the shortest packet")]
    LengthTooSmall,
    /// The length field is greater than the datagram.
    #[error("its length field is greater than the datagram")]
    LengthTooGreat,
    /// Detect Mult is zero.
    #[error("its detection multiplier is zero")]
    ZeroMultiplier,
    /// The M bit is set.
    #[error("the multipoint bit is set")]
    Multipoint,
    /// My Discriminator is zero.
    #[error("its own discriminator is zero")]
    ZeroMyDiscriminator,
    /// Your Discriminator names no session of ours.
    #[error("no session has the discriminator it names")]
    UnknownDiscriminator,
    /// Your Discriminator is zero although the state is Init or Up.
    #[error("it names no discriminator of ours although its state needs one")]
    ZeroYourDiscriminator,
    /// Your Discriminator is zero and no session fits the addresses and the interface.
    #[error("no session watches this neighbour")]
    NoSession,
    /// The session it names watches another path: another interface, or single hop instead of multihop.
    #[error("the session it names watches another path")]
    WrongPath,
    /// The A bit is set, the session is configured without authentication.
    #[error("it is authenticated, but no key is configured here")]
    UnexpectedAuthentication,
    /// The A bit is clear, the session is configured with authentication.
    #[error("it is not authenticated, but a key is configured here")]
    MissingAuthentication,
    /// Of another authentication type than configured.
    #[error("it is authenticated in another way than is configured here")]
    AuthenticationType,
    /// Auth Len does not fit the type or the packet.
    #[error("its authentication section has the wrong length")]
    AuthenticationLength,
    /// A key ID that is not configured.
    #[error("it is signed with another key ID than is configured here")]
    KeyId,
    /// Outside of the window of sequence numbers: replayed, or after too great a loss.
    #[error("its sequence number is outside of the window")]
    SequenceNumber,
    /// The hash is wrong: another key, or forged.
    #[error("its hash is wrong: another key, or forged")]
    Digest,
    /// Our session is administratively down.
    #[error("the session is administratively down here")]
    AdminDown,
}

impl Discard {
    /// All reasons, in the order of the checks.
    pub const ALL: [Self; 20] = [
        Self::TtlTooLow,
        Self::Truncated,
        Self::Version,
        Self::LengthTooSmall,
        Self::LengthTooGreat,
        Self::ZeroMultiplier,
        Self::Multipoint,
        Self::ZeroMyDiscriminator,
        Self::UnknownDiscriminator,
        Self::ZeroYourDiscriminator,
        Self::NoSession,
        Self::WrongPath,
        Self::UnexpectedAuthentication,
        Self::MissingAuthentication,
        Self::AuthenticationType,
        Self::AuthenticationLength,
        Self::KeyId,
        Self::SequenceNumber,
        Self::Digest,
        Self::AdminDown,
    ];

    /// A short name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TtlTooLow => "ttl",
            Self::Truncated => "truncated",
            Self::Version => "version",
            Self::LengthTooSmall => "length-too-small",
            Self::LengthTooGreat => "length-too-great",
            Self::ZeroMultiplier => "zero-multiplier",
            Self::Multipoint => "multipoint",
            Self::ZeroMyDiscriminator => "zero-my-discriminator",
            Self::UnknownDiscriminator => "unknown-discriminator",
            Self::ZeroYourDiscriminator => "zero-your-discriminator",
            Self::NoSession => "no-session",
            Self::WrongPath => "wrong-path",
            Self::UnexpectedAuthentication => "unexpected-authentication",
            Self::MissingAuthentication => "missing-authentication",
            Self::AuthenticationType => "authentication-type",
            Self::AuthenticationLength => "authentication-length",
            Self::KeyId => "key-id",
            Self::SequenceNumber => "sequence-number",
            Self::Digest => "digest",
            Self::AdminDown => "admin-down",
        }
    }
}

/// How many packets were discarded, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Discards([u64; Discard::ALL.len()]);

impl Discards {
    pub(crate) fn add(&mut self, reason: Discard) {
        self.0[reason as usize] += 1;
    }

    /// Those discarded for one reason.
    pub fn count(&self, reason: Discard) -> u64 {
        self.0[reason as usize]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, with their counts, in the order of the checks.
    pub fn iter(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.into_iter().map(|reason| (reason, self.count(reason))).filter(|(_, count)| *count > 0)
    }
}

/// By name, for another release may know other reasons.
impl Serialize for Discards {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

/// Unknown reasons are left out.
impl<'de> Deserialize<'de> for Discards {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let counts = BTreeMap::<String, u64>::deserialize(deserializer)?;
        Ok(Self(Discard::ALL.map(|reason| counts.get(reason.name()).copied().unwrap_or(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_written_by_reason_and_unknown_reasons_are_left_out() {
        let mut discards = Discards::default();
        discards.add(Discard::Digest);
        discards.add(Discard::TtlTooLow);
        discards.add(Discard::TtlTooLow);
        let text = serde_json::to_string(&discards).unwrap();
        assert_eq!(text, r#"{"ttl":2,"digest":1}"#);
        let read: Discards = serde_json::from_str(r#"{"digest":1,"of-another-release":9,"ttl":2}"#).unwrap();
        assert_eq!(read, discards);
    }

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        let mut discards = Discards::default();
        for (n, reason) in Discard::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, n);
            for _ in 0..=n {
                discards.add(reason);
            }
        }
        assert!(discards.iter().enumerate().all(|(n, (_, count))| count == n as u64 + 1));
        assert_eq!(discards.total(), 20 * 21 / 2);
    }
}
