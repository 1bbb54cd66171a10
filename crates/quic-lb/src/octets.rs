//! A few octets, kept where they lie.

use std::{fmt, ops::Deref};

/// At most `MAX` octets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Octets<const MAX: usize> {
    length: u8,
    /// Zero from `length` on, so that equal octets are equal values.
    octets: [u8; MAX],
}

/// A connection ID of QUIC version 1: at most 20 octets (RFC 9000 §17.2).
pub type ConnectionId = Octets<20>;
/// A server ID: at most 15 octets, which leaves room for the shortest nonce.
pub type ServerId = Octets<15>;

impl<const MAX: usize> Octets<MAX> {
    /// These octets; `None` if they are more than `MAX`.
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut kept = [0; MAX];
        kept.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(Self { length: u8::try_from(octets.len()).ok()?, octets: kept })
    }
}

impl<const MAX: usize> Deref for Octets<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }
}

impl<const MAX: usize> fmt::Debug for Octets<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}
