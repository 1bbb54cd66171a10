//! Session tickets that every PoP with the same keys takes (RFC 5077, RFC 8446 §4.6.1).
//!
//! ```text
//! ticket = key name (16) ‖ IV (16) ‖ AES-256-CBC(state ‖ context) ‖ HMAC-SHA-256 of all before (32)      RFC 5077 §4
//! ```
//!
//! The context is the service and whose clients it takes: a session that began where no certificate was asked for must not
//! go on where one is.
//!
//! Where no keys are given a process draws its own, anew every six hours. A process that succeeds it goes on with them, so that sessions do.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::{
    cipher::{
        AES_256, AES_CBC_IV_LEN, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
        UnboundCipherKey,
    },
    digest, hmac, iv, rand,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use rustls::{pki_types::UnixTime, server::ProducesTickets};
use serde::{Deserialize, Serialize};

/// A key as it is written: its name, the key of the HMAC, and that of AES. The order is that of nginx.
const KEY: usize = NAME + 32 + 32;
const NAME: usize = 16;
const TAG: usize = 32;
const CONTEXT: usize = 16;
/// What clients are told, in seconds; as long as keys of our own are good for.
const LIFETIME: u32 = 2 * ROTATION as u32;
/// How long a key of our own makes tickets, in seconds; it opens them for as long again.
const ROTATION: u64 = 6 * 60 * 60;
/// More than any state takes that we write: a client's certificates are in there.
const LONGEST: usize = 1 << 16;

/// Why ticket keys can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TicketKeysError {
    /// The file has neither the form of lines nor that of bare keys.
    #[error(
        "line {line} is not a ticket key: {KEY} random bytes in base64, as `openssl rand -base64 {KEY} | tr -d '\\n'` makes them"
    )]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// There is none.
    #[error("no ticket key in it; make one with `openssl rand -base64 {KEY} | tr -d '\\n'`")]
    Empty,
    /// Two have the same name, so that one of them would never be used.
    #[error("keys {first} and {second} begin with the same 16 bytes, their name; make one of them anew")]
    SameName {
        /// Counted from 1.
        first: usize,
        /// Counted from 1.
        second: usize,
    },
    /// What a process before this one has left is malformed.
    #[error("what the running proximad hands over is no ticket keys")]
    Inherited,
    /// The system gave no random octets.
    #[error("the system gives no random octets")]
    Random,
}

/// The keys of tickets: the first makes new ones, all of them open what clients bring.
#[derive(Clone)]
pub struct TicketKeys {
    keys: Arc<dyn ProducesTickets>,
    /// The same, if they are of this process.
    own: Option<Arc<Own>>,
}

/// The keys that a process has drawn, for the one that succeeds it. Not for logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnTicketKeys {
    /// What makes tickets, and what did before.
    keys: Vec<Vec<u8>>,
    /// Until when the first makes them, in seconds of Unix time.
    until: u64,
}

/// Keys are never shown.
impl fmt::Debug for OwnTicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnTicketKeys").field("until", &self.until).finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// The keys in a file: one a line in base64, or bare, one after the other. Empty lines and those that begin with `#` are
    /// passed over.
    ///
    /// # Errors
    /// When there is none, or one is malformed.
    pub fn shared(file: &[u8]) -> Result<Self, TicketKeysError> {
        let keys = parse(file)?;
        for (second, key) in keys.iter().enumerate() {
            if let Some(first) = keys[..second].iter().position(|other| other[..NAME] == key[..NAME]) {
                return Err(TicketKeysError::SameName { first: first + 1, second: second + 1 });
            }
        }
        let keys = keys.iter().map(Key::new).collect::<Option<Vec<_>>>();
        // AES and HMAC take keys of these lengths, whatever is in them.
        let keys = Arc::new(Shared(keys.ok_or(TicketKeysError::Empty)?));
        Ok(Self { keys, own: None })
    }

    /// Random keys of this process, made anew every six hours; tickets are good for twelve at most.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn own() -> Result<Self, TicketKeysError> {
        Rotating::new(now()).map(Self::of_process).ok_or(TicketKeysError::Random)
    }

    /// The keys that a process before this one has drawn and left ([`TicketKeys::bequeath`]), to go on with.
    ///
    /// # Errors
    /// When they are malformed.
    pub(crate) fn succeeding(keys: &OwnTicketKeys) -> Result<Self, TicketKeysError> {
        Rotating::of(keys).map(Self::of_process).ok_or(TicketKeysError::Inherited)
    }

    /// For a process that succeeds this one; `None` for keys from a file, which it has as well.
    pub(crate) fn bequeath(&self) -> Option<OwnTicketKeys> {
        self.own.as_ref().map(|own| own.with(now(), Rotating::bequeath))
    }

    fn of_process(keys: Rotating) -> Self {
        let own = Arc::new(Own(Mutex::new(keys)));
        Self { keys: own.clone(), own: Some(own) }
    }

    /// The same keys, for tickets that are good in this context only.
    pub(super) fn within(&self, context: &[u8]) -> Arc<dyn ProducesTickets> {
        let mut short = [0; CONTEXT];
        short.copy_from_slice(&digest::digest(&digest::SHA256, context).as_ref()[..CONTEXT]);
        Arc::new(Within { keys: self.keys.clone(), context: short })
    }
}

/// Keys are never shown.
impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

fn parse(file: &[u8]) -> Result<Vec<[u8; KEY]>, TicketKeysError> {
    let text = std::str::from_utf8(file).ok().filter(|text| text.is_ascii() && !text.contains('\0'));
    let Some(text) = text else {
        let (keys, rest) = file.as_chunks::<KEY>();
        return if rest.is_empty() { Ok(keys.to_vec()) } else { Err(TicketKeysError::Line { line: 1 }) };
    };
    let lines = text.lines().map(str::trim).enumerate();
    let keys = lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| base64(line).ok_or(TicketKeysError::Line { line: index + 1 }))
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(TicketKeysError::Empty) } else { Ok(keys) }
}

/// RFC 4648 §4; the padding may be left out.
fn base64(text: &str) -> Option<[u8; KEY]> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok()?.try_into().ok()
}

/// The recommended construction of RFC 5077 §4.
struct Key {
    name: [u8; NAME],
    encrypting: PaddedBlockEncryptingKey,
    decrypting: PaddedBlockDecryptingKey,
    mac: hmac::Key,
}

impl Key {
    fn new(bytes: &[u8; KEY]) -> Option<Self> {
        let (name, rest) = bytes.split_first_chunk::<NAME>()?;
        let (mac, aes) = rest.split_at(32);
        let aes = || UnboundCipherKey::new(&AES_256, aes).ok();
        Some(Self {
            name: *name,
            encrypting: PaddedBlockEncryptingKey::cbc_pkcs7(aes()?).ok()?,
            decrypting: PaddedBlockDecryptingKey::cbc_pkcs7(aes()?).ok()?,
            mac: hmac::Key::new(hmac::HMAC_SHA256, mac),
        })
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut encrypted = plain.to_vec();
        let context = self.encrypting.encrypt(&mut encrypted).ok()?;
        let iv: &[u8] = (&context).try_into().ok()?;
        let tag = hmac::sign(&self.mac, &signed(&self.name, iv, &encrypted)?);
        Some([&self.name, iv, &encrypted, tag.as_ref()].concat())
    }

    /// What is in a ticket of this key.
    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (iv, rest) = rest.split_first_chunk::<AES_CBC_IV_LEN>()?;
        let (encrypted, tag) = rest.split_last_chunk::<TAG>()?;
        hmac::verify(&self.mac, &signed(name, iv, encrypted)?, tag).ok()?;
        let context = DecryptionContext::Iv128(iv::FixedLength::from(iv));
        let mut plain = encrypted.to_vec();
        self.decrypting.decrypt(&mut plain, context).ok().map(|plain| plain.to_vec())
    }
}

/// What the HMAC is of: the name, the IV, the length of the encrypted state in two octets, and the state.
fn signed(name: &[u8], iv: &[u8], encrypted: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(encrypted.len()).ok()?.to_be_bytes();
    Some([name, iv, &length, encrypted].concat())
}

/// Keys from outside; not empty.
struct Shared(Vec<Key>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("keys", &self.0.len()).finish()
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.encrypt(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        let name = ticket.first_chunk::<NAME>()?;
        self.0.iter().find(|key| key.name == *name)?.decrypt(ticket)
    }
}

/// Keys of this process.
struct Own(Mutex<Rotating>);

impl Own {
    /// What `of` makes of the keys as they are at `now`.
    fn with<T>(&self, now: u64, of: impl FnOnce(&Rotating) -> T) -> T {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.rotate(now);
        of(&keys)
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").finish_non_exhaustive()
    }
}

impl ProducesTickets for Own {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.with(now(), |keys| keys.current.key.encrypt(plain))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > LONGEST {
            return None;
        }
        self.with(now(), |keys| keys.opener(ticket)?.decrypt(ticket))
    }
}

/// In seconds of Unix time, so that another process can go on with it.
fn now() -> u64 {
    UnixTime::now().as_secs()
}

/// Keys that follow one another.
struct Rotating {
    current: Drawn,
    previous: Option<Drawn>,
    /// When the current one stops making tickets, in seconds of Unix time.
    until: u64,
}

/// A key, and what it was made of.
struct Drawn {
    octets: [u8; KEY],
    key: Key,
}

impl Rotating {
    fn new(now: u64) -> Option<Self> {
        Some(Self { current: Drawn::new()?, previous: None, until: now + ROTATION })
    }

    fn of(inherited: &OwnTicketKeys) -> Option<Self> {
        let [current, previous @ ..] = &inherited.keys[..] else { return None };
        let previous = match previous {
            [] => None,
            [previous] => Some(Drawn::of(previous)?),
            _ => return None,
        };
        Some(Self { current: Drawn::of(current)?, previous, until: inherited.until })
    }

    fn bequeath(&self) -> OwnTicketKeys {
        let keys = [Some(&self.current), self.previous.as_ref()];
        let keys = keys.into_iter().flatten().map(|drawn| drawn.octets.to_vec()).collect();
        OwnTicketKeys { keys, until: self.until }
    }

    /// Takes a new key when it is time. Without random numbers the old one stays, and it is tried again.
    fn rotate(&mut self, now: u64) {
        if now < self.until {
            return;
        }
        if let Some(new) = Drawn::new() {
            let old = std::mem::replace(&mut self.current, new);
            self.previous = (now < self.until.saturating_add(ROTATION)).then_some(old);
            self.until = now + ROTATION;
        }
    }

    /// The key that a ticket says it is of.
    fn opener(&self, ticket: &[u8]) -> Option<&Key> {
        let name = ticket.first_chunk::<NAME>()?;
        let mut keys = [Some(&self.current), self.previous.as_ref()].into_iter().flatten();
        keys.find(|drawn| drawn.key.name == *name).map(|drawn| &drawn.key)
    }
}

impl Drawn {
    fn new() -> Option<Self> {
        let mut octets = [0; KEY];
        rand::fill(&mut octets).ok()?;
        Self::of(&octets)
    }

    fn of(octets: &[u8]) -> Option<Self> {
        let octets = octets.try_into().ok()?;
        Some(Self { octets, key: Key::new(&octets)? })
    }
}

/// Tickets that are good in one context only.
#[derive(Debug)]
struct Within {
    keys: Arc<dyn ProducesTickets>,
    context: [u8; CONTEXT],
}

impl ProducesTickets for Within {
    fn enabled(&self) -> bool {
        self.keys.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.keys.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.encrypt(&[plain, &self.context].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.keys.decrypt(ticket)?;
        let length = plain.strip_suffix(&self.context)?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `openssl rand -base64 80` would have it, from bytes that count up.
    fn line(first: u8) -> String {
        let bytes: Vec<u8> = (first..).take(KEY).collect();
        base64::engine::general_purpose::STANDARD.encode(bytes)
    }

    #[test]
    fn the_first_key_makes_tickets_and_each_opens_its_own() {
        let (old, new) = (line(0), line(100));
        let before = TicketKeys::shared(old.as_bytes()).unwrap().keys;
        let during = TicketKeys::shared(format!("# rotated\n{new}\n\n{old}\n").as_bytes()).unwrap().keys;
        let after = TicketKeys::shared(new.as_bytes()).unwrap().keys;
        let (of_old, of_new) = (before.encrypt(b"state").unwrap(), during.encrypt(b"state").unwrap());
        assert_eq!(during.decrypt(&of_old).unwrap(), b"state");
        assert_eq!(after.decrypt(&of_new).unwrap(), b"state");
        assert_eq!(after.decrypt(&of_old), None);
        assert_eq!(before.decrypt(&of_new), None);
    }

    #[test]
    fn a_ticket_is_what_rfc_5077_recommends() {
        // Made with Python's `cryptography` from the key of bytes 0 to 79 in nginx's order and an IV of 16 times 0x42.
        let ticket = [
            "000102030405060708090a0b0c0d0e0f",
            "42424242424242424242424242424242",
            "cec458818e4f14c9f63eb342e23c1ca9b4127ec1a8b6bbc73a298140ef2cde11",
            "9f20abf0193efc3bc3620b6e5f0702e33fccf3aa74a64c9fe3d083f2a229c1a3",
        ]
        .concat();
        let ticket: Vec<u8> = (0..ticket.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&ticket[at..at + 2], 16).unwrap())
            .collect();
        let keys = TicketKeys::shared(line(0).as_bytes()).unwrap().keys;
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"the state of a session");
    }

    #[test]
    fn a_ticket_with_any_bit_changed_or_any_end_missing_is_none() {
        let keys = TicketKeys::shared(line(0).as_bytes()).unwrap().keys;
        let ticket = keys.encrypt(b"state").unwrap();
        for at in 0..ticket.len() {
            assert_eq!(keys.decrypt(&ticket[..at]), None, "{at}");
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(keys.decrypt(&changed), None, "{at}");
        }
    }

    #[test]
    fn a_ticket_is_good_in_its_own_context_only_with_keys_of_either_kind() {
        for keys in [TicketKeys::shared(line(0).as_bytes()).unwrap(), TicketKeys::own().unwrap()] {
            let (api, admin) = (keys.within(b"api"), keys.within(b"admin"));
            let ticket = api.encrypt(b"state").unwrap();
            assert_eq!(api.decrypt(&ticket).unwrap(), b"state");
            assert_eq!(keys.within(b"api").decrypt(&ticket).unwrap(), b"state");
            assert_eq!(admin.decrypt(&ticket), None);
        }
    }

    #[test]
    fn a_key_of_our_own_makes_tickets_for_six_hours_and_opens_them_for_six_more() {
        let mut keys = Rotating::new(1000).unwrap();
        let opens = |keys: &Rotating, ticket: &[u8]| keys.opener(ticket).and_then(|key| key.decrypt(ticket));
        let first = keys.current.key.encrypt(b"state").unwrap();
        keys.rotate(1000 + ROTATION - 1);
        assert_eq!(keys.current.key.encrypt(b"state").unwrap()[..NAME], first[..NAME]);
        keys.rotate(1000 + ROTATION);
        let second = keys.current.key.encrypt(b"state").unwrap();
        assert_ne!(second[..NAME], first[..NAME]);
        for ticket in [&first, &second] {
            assert_eq!(opens(&keys, ticket).unwrap(), b"state");
        }
        keys.rotate(1000 + 2 * ROTATION);
        assert_eq!((opens(&keys, &first), opens(&keys, &second)), (None, Some(b"state".to_vec())));
        // After a long rest nothing of before is good.
        keys.rotate(1000 + 10 * ROTATION);
        assert_eq!(opens(&keys, &second), None);
    }

    #[test]
    fn a_process_goes_on_with_the_keys_of_the_one_it_succeeds() {
        let mut before = Rotating::new(1000).unwrap();
        let old = before.current.key.encrypt(b"state").unwrap();
        before.rotate(1000 + ROTATION);
        let new = before.current.key.encrypt(b"state").unwrap();
        let handed_over = serde_json::to_vec(&before.bequeath()).unwrap();
        let mut after = Rotating::of(&serde_json::from_slice(&handed_over).unwrap()).unwrap();
        assert_eq!(after.current.key.encrypt(b"state").unwrap()[..NAME], new[..NAME]);
        assert!(after.opener(&old).is_some() && after.opener(&new).is_some());
        after.rotate(1000 + 2 * ROTATION);
        assert!(after.opener(&old).is_none() && after.opener(&new).is_some(), "at the same time");

        let own = TicketKeys::own().unwrap();
        let kept = TicketKeys::succeeding(&own.bequeath().unwrap()).unwrap();
        assert_eq!(kept.keys.decrypt(&own.keys.encrypt(b"state").unwrap()).unwrap(), b"state");
        assert!(TicketKeys::shared(line(0).as_bytes()).unwrap().bequeath().is_none());
        let key = vec![7; KEY];
        for keys in [vec![], vec![vec![7; KEY - 1]], vec![key.clone(), vec![]], vec![key.clone(); 3]] {
            let error = TicketKeys::succeeding(&OwnTicketKeys { keys, until: 0 }).unwrap_err();
            assert!(matches!(error, TicketKeysError::Inherited));
        }
        let shown = format!("{:?} {own:?}", OwnTicketKeys { keys: vec![key], until: 9 });
        assert!(!shown.contains("7, 7"), "{shown}");
    }

    #[test]
    fn keys_are_read_in_base64_and_bare_and_what_is_none_is_told_by_its_line() {
        let bare: Vec<u8> = (100..=255).chain(0..4).collect();
        assert_eq!(parse(&bare).unwrap().len(), 2);
        assert_eq!(parse(format!("{}\r\n", line(7)).as_bytes()).unwrap()[0][0], 7);
        let (short, twice) = (format!("\n{}", &line(0)[4..]), format!("{0}\n{0}", line(0)));
        for (file, said) in [
            (&b""[..], "no ticket key in it"),
            (b"# none\n", "no ticket key in it"),
            (short.as_bytes(), "line 2 is not a ticket key"),
            (&bare[1..], "line 1 is not a ticket key"),
            (twice.as_bytes(), "keys 1 and 2 begin with the same 16 bytes"),
        ] {
            let error = TicketKeys::shared(file).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }
}
