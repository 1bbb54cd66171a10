//! The opening handshake of a WebSocket (RFC 6455 §4), for clients whose version of HTTP has another one (RFC 8441).

use std::hash::{BuildHasher, RandomState};

use base64::prelude::{BASE64_STANDARD, Engine};
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is sent to the backend, and what has to come back.
#[derive(Debug)]
pub(super) struct Handshake {
    key: String,
    accept: String,
}

impl Handshake {
    /// With a nonce of its own.
    pub(super) fn new() -> Self {
        // The hasher's keys are random.
        let random = RandomState::new();
        let nonce = u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1));
        Self::of(&nonce.to_be_bytes())
    }

    fn of(nonce: &[u8; 16]) -> Self {
        let key = BASE64_STANDARD.encode(nonce);
        let accept = BASE64_STANDARD.encode(Sha1::new().chain_update(&key).chain_update(GUID).finalize());
        Self { key, accept }
    }

    /// `Sec-WebSocket-Key`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether `accept`, a `Sec-WebSocket-Accept`, answers it.
    pub(super) fn is_answered_by(&self, accept: &[u8]) -> bool {
        self.accept.as_bytes() == accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_of_rfc_6455_is_answered_as_there() {
        let handshake = Handshake::of(b"the sample nonce");
        assert_eq!(handshake.key(), "dGhlIHNhbXBsZSBub25jZQ==");
        assert!(handshake.is_answered_by(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!handshake.is_answered_by(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOp="));
        assert_ne!(Handshake::new().key(), Handshake::new().key());
    }
}
