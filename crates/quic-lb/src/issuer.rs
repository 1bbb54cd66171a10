//! The connection IDs of one address, one after the other.

use crate::{Config, ConnectionId, EncodeError, ServerId};

/// Issues connection IDs of one server, with a fresh nonce each.
///
/// Encrypted nonces are counted from a random start, so that none comes twice before all have come once. Nonces that
/// anyone can read have to look random: they are drawn.
#[derive(Debug, Clone)]
pub struct Issuer {
    config: Config,
    server_id: ServerId,
    /// Of which the low octets are the next nonce.
    counter: u128,
}

impl Issuer {
    /// Issues by `config`, counting nonces from `start`, which has to be random.
    ///
    /// # Errors
    /// When the server ID is not of the configured length.
    pub fn new(config: Config, server_id: ServerId, start: u128) -> Result<Self, EncodeError> {
        let configured = config.form().server_id;
        if server_id.len() == usize::from(configured) {
            Ok(Self { config, server_id, counter: start })
        } else {
            Err(EncodeError::ServerId { found: server_id.len(), configured })
        }
    }

    /// Octets of each ID.
    pub fn length(&self) -> usize {
        self.config.length()
    }

    /// The next ID. All of `random` has to be random; how much of it is used depends on the configuration.
    pub fn issue(&mut self, random: [u8; 20]) -> ConnectionId {
        let [bits, random @ ..] = random;
        let length = usize::from(self.config.form().nonce);
        let counted;
        let nonce = if self.config.is_encrypted() {
            self.counter = self.counter.wrapping_add(1);
            counted = counted_nonce(self.counter);
            &counted[counted.len() - length..]
        } else {
            &random[..length]
        };
        self.config.encode(&self.server_id, nonce, bits).expect("both are of the configured lengths")
    }
}

/// The counter as the last octets of the longest nonce.
fn counted_nonce(counter: u128) -> [u8; 18] {
    let mut nonce = [0; 18];
    nonce[2..].copy_from_slice(&counter.to_be_bytes());
    nonce
}
