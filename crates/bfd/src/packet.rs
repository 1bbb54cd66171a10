//! Control packets (RFC 5880 §4.1): bytes ↔ types.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Vers |  Diag   |Sta|P|F|C|A|D|M|  Detect Mult  |    Length     |
//! |                       My Discriminator                        |
//! |                      Your Discriminator                       |
//! |                    Desired Min TX Interval                    |
//! |                   Required Min RX Interval                    |
//! |                 Required Min Echo RX Interval                 |
//! |   Auth Type   |   Auth Len    |    Authentication Data...     |
//! ```

use std::{
    fmt,
    num::{NonZeroU8, NonZeroU32},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    auth::{AuthSection, SHA1_SECTION},
    discard::Discard,
    machine::{Diagnostic, State},
};

const VERSION: u8 = 1;
/// Octets of a packet without authentication.
pub(crate) const HEADER: usize = 24;
/// Octets of the longest packet that is sent: signed with SHA1.
pub const MAX_PACKET: usize = HEADER + SHA1_SECTION;

const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
const CONTROL_PLANE_INDEPENDENT: u8 = 0x08;
pub(crate) const AUTHENTICATION: u8 = 0x04;
const DEMAND: u8 = 0x02;
const MULTIPOINT: u8 = 0x01;

/// Names a session on one of its two systems; unique there, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Discriminator(pub NonZeroU32);

impl Discriminator {
    /// None for zero.
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }
}

impl fmt::Display for Discriminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// A time as packets carry it, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Interval(pub u32);

impl Interval {
    /// Rounded down to microseconds; what does not fit becomes the greatest.
    pub fn from_duration(duration: Duration) -> Self {
        Self(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX))
    }

    /// The same time.
    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}

/// A control packet without its authentication section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "the bits of RFC 5880 §4.1, by their names")]
pub struct Packet {
    /// Why the sender's session changed its state the last time.
    pub diagnostic: Diagnostic,
    /// The state of the sender's session.
    pub state: State,
    /// P: answer this at once.
    pub poll: bool,
    /// F: this answers a packet with the P bit.
    pub finished: bool,
    /// C: the sender's BFD goes on when its control plane fails.
    pub control_plane_independent: bool,
    /// D: the sender asks not to be sent packets periodically.
    pub demand: bool,
    /// Packets in a row that may get lost.
    pub multiplier: NonZeroU8,
    /// The sender's session.
    pub my_discriminator: Discriminator,
    /// The receiver's session, when the sender knows it.
    pub your_discriminator: Option<Discriminator>,
    /// The least interval the sender wants to send at.
    pub desired_min_tx: Interval,
    /// The least interval the sender can receive at; zero: it wants no periodic packets.
    pub required_min_rx: Interval,
    /// The least interval the sender can loop echo packets back at; zero: it doesn't.
    pub required_min_echo_rx: Interval,
}

/// A received packet that holds by itself (the rules of RFC 5880 §6.8.6 that need no session).
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// What it says.
    pub packet: Packet,
    /// Present when the A bit is set.
    pub auth: Option<AuthSection>,
    /// As many octets as its length field says.
    pub(crate) octets: &'a [u8],
}

impl<'a> Received<'a> {
    /// Parses the payload of a datagram. Octets beyond the packet's own length are ignored.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn decode(payload: &'a [u8]) -> Result<Self, Discard> {
        let &[first, flags, multiplier, length, ..] = payload else { return Err(Discard::Truncated) };
        if first >> 5 != VERSION {
            return Err(Discard::Version);
        }
        let authenticated = flags & AUTHENTICATION != 0;
        if usize::from(length) < if authenticated { HEADER + 2 } else { HEADER } {
            return Err(Discard::LengthTooSmall);
        }
        let octets = payload.get(..usize::from(length)).ok_or(Discard::LengthTooGreat)?;
        let multiplier = NonZeroU8::new(multiplier).ok_or(Discard::ZeroMultiplier)?;
        if flags & MULTIPOINT != 0 {
            return Err(Discard::Multipoint);
        }
        let my_discriminator = Discriminator::new(word(octets, 1)).ok_or(Discard::ZeroMyDiscriminator)?;
        let your_discriminator = Discriminator::new(word(octets, 2));
        let state = State::from_code(flags >> 6);
        if your_discriminator.is_none() && !matches!(state, State::Down | State::AdminDown) {
            return Err(Discard::ZeroYourDiscriminator);
        }
        let packet = Packet {
            diagnostic: Diagnostic::from_code(first),
            state,
            poll: flags & POLL != 0,
            finished: flags & FINAL != 0,
            control_plane_independent: flags & CONTROL_PLANE_INDEPENDENT != 0,
            demand: flags & DEMAND != 0,
            multiplier,
            my_discriminator,
            your_discriminator,
            desired_min_tx: Interval(word(octets, 3)),
            required_min_rx: Interval(word(octets, 4)),
            required_min_echo_rx: Interval(word(octets, 5)),
        };
        let auth = authenticated.then(|| AuthSection { kind: octets[HEADER], length: octets[HEADER + 1] });
        Ok(Self { packet, auth, octets })
    }
}

/// The `n`th word of a packet that is at least a header long.
fn word(octets: &[u8], n: usize) -> u32 {
    let at = n * 4;
    u32::from_be_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
}

/// The payload of a datagram to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    pub(crate) octets: [u8; MAX_PACKET],
    pub(crate) length: usize,
}

impl Datagram {
    /// Without authentication.
    pub fn encode(packet: &Packet) -> Self {
        let mut octets = [0; MAX_PACKET];
        octets[0] = (VERSION << 5) | packet.diagnostic.code();
        octets[1] = (packet.state.code() << 6)
            | flag(packet.poll, POLL)
            | flag(packet.finished, FINAL)
            | flag(packet.control_plane_independent, CONTROL_PLANE_INDEPENDENT)
            | flag(packet.demand, DEMAND);
        octets[2] = packet.multiplier.get();
        octets[3] = HEADER as u8;
        let words = [
            packet.my_discriminator.0.get(),
            packet.your_discriminator.map_or(0, |discriminator| discriminator.0.get()),
            packet.desired_min_tx.0,
            packet.required_min_rx.0,
            packet.required_min_echo_rx.0,
        ];
        for (target, word) in octets[4..HEADER].chunks_exact_mut(4).zip(words) {
            target.copy_from_slice(&word.to_be_bytes());
        }
        Self { octets, length: HEADER }
    }

    /// The octets to send.
    pub fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

fn flag(on: bool, bit: u8) -> u8 {
    if on { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By hand from RFC 5880 §4.1: version 1, diagnostic 3, Up, P, C, D, multiplier 5.
    const GOLDEN: [u8; 24] = [
        0x23, 0xea, 0x05, 0x18, // version and diagnostic, state and flags, multiplier, length
        0x12, 0x34, 0x56, 0x78, // my discriminator
        0x9a, 0xbc, 0xde, 0xf0, // your discriminator
        0x00, 0x0f, 0x42, 0x40, // 1 s
        0x00, 0x00, 0xc3, 0x50, // 50 ms
        0x00, 0x00, 0x00, 0x00, // no echo
    ];

    fn golden() -> Packet {
        Packet {
            diagnostic: Diagnostic::NeighborSignaledSessionDown,
            state: State::Up,
            poll: true,
            finished: false,
            control_plane_independent: true,
            demand: true,
            multiplier: NonZeroU8::new(5).unwrap(),
            my_discriminator: Discriminator::new(0x1234_5678).unwrap(),
            your_discriminator: Discriminator::new(0x9abc_def0),
            desired_min_tx: Interval(1_000_000),
            required_min_rx: Interval(50_000),
            required_min_echo_rx: Interval(0),
        }
    }

    #[test]
    fn packets_have_the_layout_of_rfc_5880() {
        assert_eq!(Received::decode(&GOLDEN).unwrap().packet, golden());
        assert_eq!(Datagram::encode(&golden()).as_bytes(), GOLDEN);
    }

    /// Octets changed, and octets left over.
    type Damage = (&'static [(usize, u8)], usize);

    fn damaged((changes, length): Damage) -> Option<Discard> {
        let mut octets = GOLDEN.to_vec();
        for (at, value) in changes {
            octets[*at] = *value;
        }
        octets.resize(length, 0);
        Received::decode(&octets).err()
    }

    #[test]
    fn each_rule_that_needs_no_session_has_its_reason() {
        let table: &[(Damage, Option<Discard>)] = &[
            ((&[], 0), Some(Discard::Truncated)),
            ((&[], 3), Some(Discard::Truncated)),
            ((&[(0, 0x03)], 24), Some(Discard::Version)),
            ((&[(0, 0x43)], 24), Some(Discard::Version)),
            ((&[(3, 23)], 24), Some(Discard::LengthTooSmall)),
            ((&[(1, 0xc4), (3, 25)], 26), Some(Discard::LengthTooSmall)),
            ((&[(1, 0xc4), (3, 26)], 26), None),
            ((&[(3, 25)], 24), Some(Discard::LengthTooGreat)),
            ((&[], 23), Some(Discard::LengthTooGreat)),
            ((&[(2, 0)], 24), Some(Discard::ZeroMultiplier)),
            ((&[(1, 0xc1)], 24), Some(Discard::Multipoint)),
            ((&[(4, 0), (5, 0), (6, 0), (7, 0)], 24), Some(Discard::ZeroMyDiscriminator)),
            ((&[(8, 0), (9, 0), (10, 0), (11, 0)], 24), Some(Discard::ZeroYourDiscriminator)),
            ((&[(1, 0x80), (8, 0), (9, 0), (10, 0), (11, 0)], 24), Some(Discard::ZeroYourDiscriminator)),
            ((&[(1, 0x40), (8, 0), (9, 0), (10, 0), (11, 0)], 24), None),
            ((&[(1, 0x00), (8, 0), (9, 0), (10, 0), (11, 0)], 24), None),
            // Padding behind the packet is not part of it.
            ((&[], 60), None),
        ];
        for (damage, discard) in table {
            assert_eq!(damaged(*damage), *discard, "{damage:?}");
        }
    }

    #[test]
    fn of_several_broken_rules_the_first_is_told() {
        let table: &[(Damage, Discard)] = &[
            ((&[(0, 0), (3, 0), (2, 0)], 24), Discard::Version),
            ((&[(3, 0), (2, 0)], 24), Discard::LengthTooSmall),
            ((&[(3, 99), (2, 0)], 24), Discard::LengthTooGreat),
            ((&[(2, 0), (1, 0xc1)], 24), Discard::ZeroMultiplier),
            ((&[(1, 0xc1), (4, 0), (5, 0), (6, 0), (7, 0)], 24), Discard::Multipoint),
        ];
        for (damage, discard) in table {
            assert_eq!(damaged(*damage), Some(*discard), "{damage:?}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_parsed_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(received) = Received::decode(&octets) {
                prop_assert!(received.octets.len() >= HEADER);
            }
        }

        #[test]
        fn what_is_parsed_is_written_alike(mut octets in proptest::array::uniform24(any::<u8>())) {
            octets[0] = 0x20 | octets[0] & 0x1f;
            octets[1] &= !(AUTHENTICATION | MULTIPOINT);
            octets[3] = 24;
            if let Ok(received) = Received::decode(&octets) {
                let written = Datagram::encode(&received.packet);
                prop_assert_eq!(written.as_bytes(), octets.as_slice());
            }
        }
    }
}
