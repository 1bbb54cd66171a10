//! Authentication (RFC 5880 §4.4, §6.7.4): keyed SHA1 and meticulous keyed SHA1.
//!
//! The hash covers the packet with the key in the hash's place. The sequence number makes replay useless: meticulous
//! means that each packet has a greater one than the packet before.
//!
//! ```text
//!  24 Auth Type │ 25 Auth Len │ 26 Key ID │ 27 reserved │ 28..32 sequence number │ 32..52 hash
//! ```

use std::{
    fmt,
    num::NonZeroU8,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use thiserror::Error;

use crate::{
    discard::Discard,
    packet::{AUTHENTICATION, Datagram, HEADER, MAX_PACKET, Received},
};

/// Octets of the longest key.
pub const MAX_KEY: usize = 20;
/// Octets of a SHA1 authentication section.
pub(crate) const SHA1_SECTION: usize = 28;
const KEY_ID: usize = HEADER + 2;
const SEQUENCE: usize = HEADER + 4;
const HASH: usize = HEADER + 8;

/// How packets are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthenticationKind {
    /// Sequence numbers may repeat, so packets can be replayed for a while. For neighbours that know nothing better.
    KeyedSha1,
    /// Each packet has its own sequence number.
    MeticulousKeyedSha1,
}

impl AuthenticationKind {
    /// Auth Type.
    const fn code(self) -> u8 {
        match self {
            Self::KeyedSha1 => 4,
            Self::MeticulousKeyedSha1 => 5,
        }
    }
}

impl fmt::Display for AuthenticationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeyedSha1 => "keyed SHA1",
            Self::MeticulousKeyedSha1 => "meticulous keyed SHA1",
        })
    }
}

/// A shared secret of 1 to [`MAX_KEY`] octets. Never printed; written out only for the process that a session is handed to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key([u8; MAX_KEY]);

/// Not a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a BFD SHA1 key has 1 to {MAX_KEY} octets, not {0}")]
pub struct KeyError(
    /// The length it has.
    pub usize,
);

impl Key {
    /// Shorter keys are padded with zeros (RFC 5880 §4.4).
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn new(secret: &[u8]) -> Result<Self, KeyError> {
        let mut key = [0; MAX_KEY];
        match key.get_mut(..secret.len()) {
            Some(start) if !secret.is_empty() => start.copy_from_slice(secret),
            _ => return Err(KeyError(secret.len())),
        }
        Ok(Self(key))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// How a session authenticates what it sends, and what it asks of what it receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// Both ends use the same.
    pub kind: AuthenticationKind,
    /// Names the key.
    pub key_id: u8,
    /// The key.
    pub key: Key,
}

/// How an authentication section begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthSection {
    /// Auth Type.
    pub kind: u8,
    /// Auth Len: octets of the section.
    pub length: u8,
}

impl Authentication {
    /// Signs what was encoded without authentication.
    pub(crate) fn sign(&self, datagram: &mut Datagram, sequence: u32) {
        let octets = &mut datagram.octets;
        octets[1] |= AUTHENTICATION;
        octets[3] = MAX_PACKET as u8;
        octets[HEADER] = self.kind.code();
        octets[HEADER + 1] = SHA1_SECTION as u8;
        octets[KEY_ID] = self.key_id;
        octets[SEQUENCE..HASH].copy_from_slice(&sequence.to_be_bytes());
        octets[HASH..].copy_from_slice(&self.key.0);
        let hash = Sha1::digest(octets.as_slice());
        octets[HASH..].copy_from_slice(&hash);
        datagram.length = MAX_PACKET;
    }

    /// The sequence number of a packet that is signed as configured.
    fn verify(&self, received: &Received<'_>, window: impl Fn(u32) -> bool) -> Result<u32, Discard> {
        let section = received.auth.ok_or(Discard::MissingAuthentication)?;
        if section.kind != self.kind.code() {
            return Err(Discard::AuthenticationType);
        }
        // The hash covers the whole packet, so nothing may follow the section.
        let Ok(octets) = <&[u8; MAX_PACKET]>::try_from(received.octets) else {
            return Err(Discard::AuthenticationLength);
        };
        if usize::from(section.length) != SHA1_SECTION {
            return Err(Discard::AuthenticationLength);
        }
        if octets[KEY_ID] != self.key_id {
            return Err(Discard::KeyId);
        }
        let sequence = u32::from_be_bytes([
            octets[SEQUENCE],
            octets[SEQUENCE + 1],
            octets[SEQUENCE + 2],
            octets[SEQUENCE + 3],
        ]);
        if !window(sequence) {
            return Err(Discard::SequenceNumber);
        }
        let mut keyed = *octets;
        keyed[HASH..].copy_from_slice(&self.key.0);
        let hash = Sha1::digest(keyed);
        let difference =
            hash.iter().zip(&octets[HASH..]).fold(0, |sum, (ours, theirs)| sum | (ours ^ theirs));
        if difference == 0 { Ok(sequence) } else { Err(Discard::Digest) }
    }
}

/// The sequence numbers of a session (RFC 5880 §6.8.1: bfd.XmitAuthSeq, bfd.RcvAuthSeq, bfd.AuthSeqKnown).
#[derive(Debug, Clone)]
pub(crate) struct Sequences {
    next: u32,
    /// The last one received, and until when it counts.
    received: Option<(u32, Instant)>,
}

/// [`Sequences`] on their way to another process: how long the last one received still counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SequenceNumbers {
    next: u32,
    received: Option<(u32, Duration)>,
}

impl Sequences {
    /// `first` is random (RFC 5880 §6.8.1).
    pub(crate) fn new(first: u32) -> Self {
        Self { next: first, received: None }
    }

    /// For a process that leaves out as many numbers as are `reserved` for this one.
    pub(crate) fn numbers(&self, now: Instant, reserved: u32) -> SequenceNumbers {
        let received = self.received.map(|(last, until)| (last, until.saturating_duration_since(now)));
        SequenceNumbers { next: self.next.wrapping_add(reserved), received }
    }

    /// Goes on with those of another process. `longest` is as long as any number counts, whatever is said of it.
    pub(crate) fn resume(now: Instant, numbers: &SequenceNumbers, longest: Duration) -> Self {
        let received = numbers.received.map(|(last, left)| (last, now + left.min(longest)));
        Self { next: numbers.next, received }
    }

    /// After `pause`, in which nothing was looked at and another process may have used the next `skipped` numbers.
    pub(crate) fn take_back(&mut self, pause: Duration, skipped: u32) {
        self.next = self.next.wrapping_add(skipped);
        if let Some((_, until)) = &mut self.received {
            *until += pause;
        }
    }

    /// With the number that the next packet has as well: for [`AuthenticationKind::KeyedSha1`] only.
    pub(crate) fn sign_ahead(&self, auth: &Authentication, datagram: &mut Datagram) {
        auth.sign(datagram, self.next);
    }

    pub(crate) fn sign(&mut self, auth: &Authentication, datagram: &mut Datagram) {
        auth.sign(datagram, self.next);
        self.next = self.next.wrapping_add(1);
    }

    /// Checks what `auth`, the session's setting, says about `received`.
    pub(crate) fn verify(
        &mut self,
        now: Instant,
        auth: Option<&Authentication>,
        received: &Received<'_>,
    ) -> Result<(), Discard> {
        let Some(auth) = auth else {
            return if received.auth.is_some() { Err(Discard::UnexpectedAuthentication) } else { Ok(()) };
        };
        if self.received.is_some_and(|(_, until)| now >= until) {
            self.received = None;
        }
        let last = self.received.map(|(last, _)| last);
        let multiplier = received.packet.multiplier;
        let sequence = auth.verify(received, |sequence| {
            last.is_none_or(|last| in_window(auth.kind, last, sequence, multiplier))
        })?;
        // How long it counts is set once the packet has told its detection time.
        self.received = Some((sequence, now));
        Ok(())
    }

    /// What has been verified last counts for twice the detection time (RFC 5880 §6.8.1: bfd.AuthSeqKnown), so that a
    /// neighbour that was restarted finds its way back.
    pub(crate) fn keep(&mut self, now: Instant, detection_time: Duration) {
        if let Some((_, until)) = &mut self.received {
            *until = now + detection_time * 2;
        }
    }

    /// After another key was configured.
    pub(crate) fn forget(&mut self) {
        self.received = None;
    }
}

/// RFC 5880 §6.7.4, in a circular number space.
fn in_window(kind: AuthenticationKind, last: u32, sequence: u32, multiplier: NonZeroU8) -> bool {
    let ahead = sequence.wrapping_sub(last);
    let least = match kind {
        AuthenticationKind::KeyedSha1 => 0,
        AuthenticationKind::MeticulousKeyedSha1 => 1,
    };
    (least..=3 * u32::from(multiplier.get())).contains(&ahead)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::{Diagnostic, State},
        packet::{Discriminator, Interval, Packet},
    };

    const THREE: NonZeroU8 = NonZeroU8::new(3).unwrap();

    fn packet() -> Packet {
        Packet {
            diagnostic: Diagnostic::None,
            state: State::Down,
            poll: false,
            finished: false,
            control_plane_independent: false,
            demand: false,
            multiplier: THREE,
            my_discriminator: Discriminator::new(0x1234_5678).unwrap(),
            your_discriminator: None,
            desired_min_tx: Interval(1_000_000),
            required_min_rx: Interval(50_000),
            required_min_echo_rx: Interval(0),
        }
    }

    fn auth(kind: AuthenticationKind, key_id: u8, key: &[u8]) -> Authentication {
        Authentication { kind, key_id, key: Key::new(key).unwrap() }
    }

    fn signed(auth: &Authentication, sequence: u32) -> Datagram {
        let mut datagram = Datagram::encode(&packet());
        auth.sign(&mut datagram, sequence);
        datagram
    }

    /// Python: hashlib.sha1(bytes.fromhex("20440334" "12345678" "00000000" "000f4240" "0000c350" "00000000" "051c0700"
    /// "fffffffe") + b"secret".ljust(20, b"\0")).hexdigest()
    const GOLDEN: &str = "1bec254467cfd8d8822886ea015f8b61bb7b6146";

    #[test]
    fn the_hash_is_the_one_another_sha1_makes() {
        let datagram = signed(&auth(AuthenticationKind::MeticulousKeyedSha1, 7, b"secret"), 0xffff_fffe);
        let hex: String =
            datagram.as_bytes().iter().fold(String::new(), |text, octet| text + &format!("{octet:02x}"));
        assert_eq!(hex, format!("204403341234567800000000000f42400000c35000000000051c0700fffffffe{GOLDEN}"));
    }

    #[test]
    fn what_is_signed_as_configured_is_taken_and_everything_else_has_its_reason() {
        use AuthenticationKind::{KeyedSha1, MeticulousKeyedSha1};
        let ours = auth(MeticulousKeyedSha1, 7, b"secret");
        let with = |at: usize, value: u8| {
            let mut datagram = signed(&ours, 5);
            datagram.octets[at] = value;
            datagram
        };
        let longer = {
            let mut octets = signed(&ours, 5).as_bytes().to_vec();
            octets.push(0);
            octets[3] += 1;
            octets
        };
        let table = [
            (signed(&ours, 5).as_bytes().to_vec(), Ok(())),
            (Datagram::encode(&packet()).as_bytes().to_vec(), Err(Discard::MissingAuthentication)),
            (signed(&auth(KeyedSha1, 7, b"secret"), 5).as_bytes().to_vec(), Err(Discard::AuthenticationType)),
            (with(HEADER + 1, 24).as_bytes().to_vec(), Err(Discard::AuthenticationLength)),
            (longer, Err(Discard::AuthenticationLength)),
            (signed(&auth(MeticulousKeyedSha1, 8, b"secret"), 5).as_bytes().to_vec(), Err(Discard::KeyId)),
            (signed(&auth(MeticulousKeyedSha1, 7, b"secrets"), 5).as_bytes().to_vec(), Err(Discard::Digest)),
            (with(0, 0x21).as_bytes().to_vec(), Err(Discard::Digest)),
            (with(SEQUENCE + 3, 6).as_bytes().to_vec(), Err(Discard::Digest)),
        ];
        for (octets, expected) in table {
            let received = Received::decode(&octets).unwrap();
            let result = Sequences::new(0).verify(Instant::now(), Some(&ours), &received);
            assert_eq!(result, expected, "{octets:02x?}");
        }
        let signed = signed(&ours, 5);
        let received = Received::decode(signed.as_bytes()).unwrap();
        let result = Sequences::new(0).verify(Instant::now(), None, &received);
        assert_eq!(result, Err(Discard::UnexpectedAuthentication));
    }

    #[test]
    fn sequence_numbers_must_lie_within_three_multipliers_ahead_in_a_circle() {
        use AuthenticationKind::{KeyedSha1, MeticulousKeyedSha1};
        let last = u32::MAX - 3;
        for (ahead, meticulous, plain) in [
            (0, false, true),
            (1, true, true),
            (4, true, true),
            (9, true, true),
            (10, false, false),
            (1 << 31, false, false),
            (u32::MAX, false, false),
        ] {
            let sequence = last.wrapping_add(ahead);
            assert_eq!(in_window(MeticulousKeyedSha1, last, sequence, THREE), meticulous, "{ahead}");
            assert_eq!(in_window(KeyedSha1, last, sequence, THREE), plain, "{ahead}");
        }
    }

    #[test]
    fn a_replayed_packet_is_refused_until_twice_the_detection_time_has_passed_in_silence() {
        let ours = auth(AuthenticationKind::MeticulousKeyedSha1, 7, b"secret");
        let start = Instant::now();
        let detection = Duration::from_millis(150);
        let mut sequences = Sequences::new(0);
        let mut receive = |after_ms: u64, sequence: u32| {
            let now = start + Duration::from_millis(after_ms);
            let signed = signed(&ours, sequence);
            let result = sequences.verify(now, Some(&ours), &Received::decode(signed.as_bytes()).unwrap());
            if result.is_ok() {
                sequences.keep(now, detection);
            }
            result
        };
        assert_eq!(receive(0, 100), Ok(()));
        assert_eq!(receive(50, 100), Err(Discard::SequenceNumber));
        assert_eq!(receive(100, 103), Ok(()));
        assert_eq!(receive(150, 102), Err(Discard::SequenceNumber));
        assert_eq!(receive(399, 7), Err(Discard::SequenceNumber));
        assert_eq!(receive(400, 7), Ok(()));
    }

    #[test]
    fn keys_have_1_to_20_octets_and_are_not_printed() {
        assert_eq!(Key::new(b"").unwrap_err(), KeyError(0));
        assert_eq!(
            Key::new(&[b'x'; 21]).unwrap_err().to_string(),
            "a BFD SHA1 key has 1 to 20 octets, not 21"
        );
        assert_eq!(format!("{:?}", Key::new(&[b'x'; 20]).unwrap()), "Key(…)");
    }
}
