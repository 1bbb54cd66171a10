//! One way to write connection IDs.

use std::fmt;

use crate::{
    cipher::Cipher,
    octets::{ConnectionId, ServerId},
};

/// The fewest octets of a nonce.
const MIN_NONCE: u8 = 4;
/// The most octets of a server ID.
const MAX_SERVER_ID: u8 = 15;
/// The most octets of both: the longest connection ID without its first octet.
const MAX_BOTH: u8 = 19;

/// Which configuration a connection ID is written by: 0 to 6. The eighth code point says "none: route by addresses".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigId(u8);

impl ConfigId {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// `None` above 6.
    pub const fn new(id: u8) -> Option<Self> {
        if id < Self::COUNT as u8 { Some(Self(id)) } else { None }
    }

    /// The configuration that `connection_id` says it is written by.
    pub fn of(connection_id: &[u8]) -> Option<Self> {
        Self::new(connection_id.first()? >> 5)
    }

    /// 0 to 6.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the five low bits of the first octet are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LengthBits {
    /// The octets that follow the first one: for hardware that has to find the end of an ID.
    Length,
    /// Random.
    Random,
}

/// The lengths of what an ID is made of, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// 1 to 15.
    pub server_id: u8,
    /// At least 4, and at most 19 together with the server ID.
    pub nonce: u8,
    /// What else the first octet says.
    pub bits: LengthBits,
}

/// Why there is no such configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The server ID's length.
    #[error("a server ID has 1 to 15 octets, not {0}")]
    ServerId(u8),
    /// The nonce's length.
    #[error("a nonce has at least 4 octets, not {0}")]
    Nonce(u8),
    /// Both together.
    #[error("server ID and nonce have {0} octets together, of 19 at most; shorten one of them")]
    Both(u8),
}

/// Why no ID was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The server ID is not of the configured length.
    #[error("the server ID has {found} octets, {configured} are configured")]
    ServerId {
        /// What was given.
        found: usize,
        /// What the configuration says.
        configured: u8,
    },
    /// The nonce is not of the configured length.
    #[error("the nonce has {found} octets, {configured} are configured")]
    Nonce {
        /// What was given.
        found: usize,
        /// What the configuration says.
        configured: u8,
    },
}

/// Why an ID says nothing about its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is written by another configuration, by none, or is empty.
    #[error("the connection ID is not written by this configuration")]
    Configuration,
    /// It is shorter than the configuration's.
    #[error("the connection ID has {found} octets, the configuration's have {configured}")]
    Short {
        /// Octets of the ID.
        found: usize,
        /// Octets of the configuration's.
        configured: usize,
    },
}

/// One way to write connection IDs, shared by all who issue and all who read them.
#[derive(Clone)]
pub struct Config {
    id: ConfigId,
    form: Form,
    cipher: Cipher,
}

impl Config {
    /// IDs that anyone can read. All IDs of a connection show the same server: clients that change their address can be
    /// followed. For load balancers that can't decrypt.
    pub fn plaintext(id: ConfigId, form: Form) -> Result<Self, ConfigError> {
        form.check()?;
        Ok(Self { id, form, cipher: Cipher::Plaintext })
    }

    /// IDs that only holders of `key` can read.
    pub fn encrypted(id: ConfigId, form: Form, key: &[u8; 16]) -> Result<Self, ConfigError> {
        form.check()?;
        Ok(Self { id, form, cipher: Cipher::new(key, form.both()) })
    }

    /// The code point in the first octet.
    pub fn id(&self) -> ConfigId {
        self.id
    }

    /// The lengths.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Whether a key is needed to read the IDs.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self.cipher, Cipher::Plaintext)
    }

    /// Octets of a whole ID.
    pub fn length(&self) -> usize {
        1 + self.form.both()
    }

    /// Writes an ID. `nonce` must not have been used with this server ID and configuration before, and must look random
    /// where it isn't encrypted. Of `random`, five bits are used where the form asks for random ones.
    pub fn encode(&self, server_id: &[u8], nonce: &[u8], random: u8) -> Result<ConnectionId, EncodeError> {
        let Form { server_id: server_length, nonce: nonce_length, .. } = self.form;
        if server_id.len() != usize::from(server_length) {
            return Err(EncodeError::ServerId { found: server_id.len(), configured: server_length });
        }
        if nonce.len() != usize::from(nonce_length) {
            return Err(EncodeError::Nonce { found: nonce.len(), configured: nonce_length });
        }
        let mut octets = [0; 20];
        let whole = &mut octets[..self.length()];
        whole[0] = (self.id.0 << 5) | self.low_bits(random);
        whole[1..=server_id.len()].copy_from_slice(server_id);
        whole[1 + server_id.len()..].copy_from_slice(nonce);
        self.cipher.encrypt(&mut whole[1..]);
        Ok(ConnectionId::new(whole).expect("a configuration's IDs have 20 octets at most"))
    }

    /// An ID that says nothing about its server, as long as the others: who routes has to go by addresses. For a server that can't
    /// write any other, as when its nonces are used up. All of `random` has to be random.
    pub fn unroutable(&self, random: [u8; 20]) -> ConnectionId {
        let mut octets = random;
        octets[0] = ((ConfigId::COUNT as u8) << 5) | self.low_bits(random[0]);
        ConnectionId::new(&octets[..self.length()]).expect("a configuration's IDs have 20 octets at most")
    }

    fn low_bits(&self, random: u8) -> u8 {
        match self.form.bits {
            LengthBits::Length => self.form.server_id + self.form.nonce,
            LengthBits::Random => random & 0x1f,
        }
    }

    /// The server ID in `connection_id`. Octets beyond the configured length are ignored, and so is the length that the
    /// first octet may state: it is no business of who routes.
    pub fn decode(&self, connection_id: &[u8]) -> Result<ServerId, DecodeError> {
        if ConfigId::of(connection_id) != Some(self.id) {
            return Err(DecodeError::Configuration);
        }
        let configured = self.length();
        let found = connection_id.len();
        let hidden = connection_id.get(1..configured).ok_or(DecodeError::Short { found, configured })?;
        let wanted = usize::from(self.form.server_id);
        let mut octets = [0; MAX_BOTH as usize];
        let shown = &mut octets[..hidden.len()];
        shown.copy_from_slice(hidden);
        self.cipher.decrypt(shown, wanted);
        Ok(ServerId::new(&shown[..wanted]).expect("a configuration's server IDs have 15 octets at most"))
    }
}

impl Form {
    fn check(self) -> Result<(), ConfigError> {
        let Self { server_id, nonce, .. } = self;
        if !(1..=MAX_SERVER_ID).contains(&server_id) {
            return Err(ConfigError::ServerId(server_id));
        }
        if nonce < MIN_NONCE {
            return Err(ConfigError::Nonce(nonce));
        }
        let both = server_id.saturating_add(nonce);
        if both > MAX_BOTH { Err(ConfigError::Both(both)) } else { Ok(()) }
    }

    fn both(self) -> usize {
        usize::from(self.server_id) + usize::from(self.nonce)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, form, .. } = self;
        write!(f, "Config({}, {form:?}, encrypted: {})", id.0, self.is_encrypted())
    }
}
