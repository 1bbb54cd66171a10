//! The opening handshake of a WebSocket between versions of HTTP.
//!
//! ```text
//! HTTP/1.1 (RFC 6455 §4)                    HTTP/2 (RFC 8441), HTTP/3 (RFC 9220)
//! GET, Upgrade, Sec-WebSocket-Key     ◀──▶  CONNECT with `:protocol`, no key
//! 101, Upgrade, Sec-WebSocket-Accept  ◀──▶  2xx, no accept
//! ```
//!
//! In between it is that of HTTP/1.1, as all heads are. So a client of another version is given a key here, and what the backend makes
//! of it is checked; and a backend of another version is let off it, and what it agrees to is signed here with the client's key.

use std::hash::{BuildHasher, RandomState};

use base64::prelude::{BASE64_STANDARD, Engine};
use proxima_http1::{Fault, field_lines};
use sha1::{Digest, Sha1};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// What asks for a WebSocket, and what has to come back.
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
        Self::of(BASE64_STANDARD.encode(nonce.to_be_bytes()))
    }

    /// That which the head of a request, `text`, asks for.
    ///
    /// # Errors
    /// When there is not one key, or it is no nonce (RFC 6455 §4.2.1).
    pub(super) fn asked_for(text: &[u8]) -> Result<Self, Fault> {
        let key = only(text, KEY).ok_or(Fault::WebSocketKey)?;
        let nonce = BASE64_STANDARD.decode(key).map_err(|_| Fault::WebSocketKey)?;
        if nonce.len() != 16 {
            return Err(Fault::WebSocketKey);
        }
        // The alphabet allows one encoding of each nonce.
        Ok(Self::of(BASE64_STANDARD.encode(nonce)))
    }

    fn of(key: String) -> Self {
        let accept = BASE64_STANDARD.encode(Sha1::new().chain_update(&key).chain_update(GUID).finalize());
        Self { key, accept }
    }

    /// `Sec-WebSocket-Key`.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Whether the head of a response, `text`, answers it.
    pub(super) fn is_answered_by(&self, text: &[u8]) -> bool {
        only(text, ACCEPT) == Some(self.accept.as_bytes())
    }

    /// What `text`, the head of a response of status 2xx in another version, says in HTTP/1.1. What that has of lengths is void: a
    /// tunnel begins behind it (RFC 9110 §9.3.6).
    pub(super) fn agreement(&self, text: &[u8]) -> Vec<u8> {
        let section = text.iter().position(|octet| *octet == b'\n').map_or(&text[..0], |at| &text[at + 1..]);
        let mut out = Vec::with_capacity(text.len() + 128);
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        );
        let void: [&[u8]; 3] = [b"content-length", b"transfer-encoding", ACCEPT];
        let is_kept = |name: &[u8]| !void.iter().any(|void| name.eq_ignore_ascii_case(void));
        let own = (&b"Sec-WebSocket-Accept"[..], self.accept.as_bytes());
        for (name, value) in field_lines(section).filter(|(name, _)| is_kept(name)).chain([own]) {
            for piece in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(piece);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// The value of a field that there is one of.
fn only<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut values = field_lines(text).filter(|(other, _)| other.eq_ignore_ascii_case(name));
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample of RFC 6455 §1.3.
    const SAMPLE: &[u8] =
        b"GET /chat HTTP/1.1\r\nHost: a\r\nsec-websocket-key:  dGhlIHNhbXBsZSBub25jZQ== \r\n\r\n";

    fn answer(fields: &str) -> Vec<u8> {
        format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n").into_bytes()
    }

    #[test]
    fn the_sample_of_rfc_6455_is_answered_as_there() {
        let handshake = Handshake::asked_for(SAMPLE).unwrap();
        assert_eq!(handshake.key(), "dGhlIHNhbXBsZSBub25jZQ==");
        let good = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
        assert!(handshake.is_answered_by(&answer(good)));
        for wrong in ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n", &good.repeat(2)] {
            assert!(!handshake.is_answered_by(&answer(wrong)), "{wrong}");
        }
        assert_ne!(Handshake::new().key(), Handshake::new().key());
    }

    #[test]
    fn a_key_is_one_nonce_of_sixteen_octets() {
        let asked = |fields: &str| Handshake::asked_for(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
        let good = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        assert!(asked(good).is_ok());
        for wrong in [
            "",
            &good.repeat(2),
            "Sec-WebSocket-Key:\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZWU=\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n",
            "Sec-WebSocket-Key: of the client\r\n",
        ] {
            assert_eq!(asked(wrong).unwrap_err(), Fault::WebSocketKey, "{wrong}");
        }
    }

    #[test]
    fn an_agreement_of_another_version_is_signed_and_freed_of_lengths() {
        let handshake = Handshake::asked_for(SAMPLE).unwrap();
        let text = b"HTTP/1.1 200 \r\nsec-websocket-protocol: chat\r\ncontent-length: 7\r\nsec-websocket-accept: x\r\n\
            sec-websocket-extensions: permessage-deflate\r\nTransfer-Encoding: chunked\r\n\r\n";
        let signed = handshake.agreement(text);
        assert!(handshake.is_answered_by(&signed));
        assert_eq!(
            String::from_utf8(signed).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             sec-websocket-protocol: chat\r\nsec-websocket-extensions: permessage-deflate\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
    }
}
