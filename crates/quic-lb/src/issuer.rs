//! The connection IDs of one address, one after the other.

use crate::{Config, ConnectionId, EncodeError, ServerId};

/// Issues connection IDs of one server, with a fresh nonce each.
///
/// Encrypted nonces are counted from a random start, so that none comes twice. When all have come, IDs are
/// [unroutable](Config::unroutable). Nonces that anyone can read have to look random: they are drawn.
#[derive(Debug, Clone)]
pub struct Issuer {
    config: Config,
    server_id: ServerId,
    /// Of which the low octets are the next nonce.
    counter: u128,
    /// Nonces to count yet.
    left: u128,
}

impl Issuer {
    /// Issues by `config`, counting nonces from `start`, which has to be random.
    ///
    /// # Errors
    /// When the server ID is not of the configured length.
    pub fn new(config: Config, server_id: ServerId, start: u128) -> Result<Self, EncodeError> {
        let configured = config.form().server_id;
        if server_id.len() == usize::from(configured) {
            let left = nonces(config.form().nonce);
            Ok(Self { config, server_id, counter: start, left })
        } else {
            Err(EncodeError::ServerId { found: server_id.len(), configured })
        }
    }

    /// Octets of each ID.
    pub fn length(&self) -> usize {
        self.config.length()
    }

    /// Whether all nonces have come, and no ID says any more whose it is. Only another server ID or configuration mends that.
    pub fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// The next ID. All of `random` has to be random; how much of it is used depends on the configuration.
    pub fn issue(&mut self, random: [u8; 20]) -> ConnectionId {
        if self.is_spent() {
            return self.config.unroutable(random);
        }
        let [bits, random @ ..] = random;
        let length = usize::from(self.config.form().nonce);
        let counted;
        let nonce = if self.config.is_encrypted() {
            self.counter = self.counter.wrapping_add(1);
            self.left -= 1;
            counted = counted_nonce(self.counter);
            &counted[counted.len() - length..]
        } else {
            &random[..length]
        };
        self.config.encode(&self.server_id, nonce, bits).expect("both are of the configured lengths")
    }
}

/// How many nonces of `length` octets there are; of sixteen and more, all but one of those that can be counted.
fn nonces(length: u8) -> u128 {
    1u128.checked_shl(8 * u32::from(length)).unwrap_or(u128::MAX)
}

/// The counter as the last octets of the longest nonce.
fn counted_nonce(counter: u128) -> [u8; 18] {
    let mut nonce = [0; 18];
    nonce[2..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConfigId, Form, LengthBits};

    fn issuer(nonce: u8, bits: LengthBits) -> Issuer {
        let form = Form { server_id: 1, nonce, bits };
        let config = Config::encrypted(ConfigId::new(3).unwrap(), form, &[7; 16]).unwrap();
        Issuer::new(config, ServerId::new(&[9]).unwrap(), u128::MAX - 1).unwrap()
    }

    #[test]
    fn a_nonce_of_four_octets_is_there_two_to_the_32_times() {
        assert_eq!(issuer(4, LengthBits::Length).left, 1 << 32);
        assert_eq!(issuer(15, LengthBits::Length).left, 1 << 120);
        assert_eq!(issuer(16, LengthBits::Length).left, u128::MAX);
        assert_eq!(issuer(18, LengthBits::Length).left, u128::MAX);
    }

    #[test]
    fn when_all_nonces_have_come_no_id_says_whose_it_is() {
        for (bits, low) in [(LengthBits::Length, 5), (LengthBits::Random, 0x15)] {
            let mut issuer = issuer(4, bits);
            issuer.left = 3;
            let random = |octet: u8| {
                let mut random = [octet; 20];
                random[0] = 0xf5;
                random
            };
            for octet in 0..3 {
                assert!(!issuer.is_spent());
                let id = issuer.issue(random(octet));
                assert_eq!(issuer.config.decode(&id).unwrap()[..], [9]);
            }
            for octet in 0..3 {
                assert!(issuer.is_spent());
                let id = issuer.issue(random(octet));
                // The eighth code point; as long as the others, for whoever reads a short header.
                assert_eq!(id[..], [0xe0 | low, octet, octet, octet, octet, octet]);
                assert_eq!(ConfigId::of(&id), None);
            }
        }
    }
}
