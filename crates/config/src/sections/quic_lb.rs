//! `[quic-lb]`: how connection IDs of HTTP/3 are written.

use std::path::PathBuf;

use crate::{
    QuicLb,
    section::{Field, Section},
    value,
};

/// With the five octets of a server ID, one block of AES.
const NONCE_LENGTH: u8 = 11;

pub(super) struct RawQuicLb {
    config_id: Field<u8>,
    pop: Field<u16>,
    host: Field<u8>,
    nonce_length: Field<u8>,
    key_file: Field<PathBuf>,
}

impl RawQuicLb {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        file.section("quic-lb").map(|mut section| {
            let raw = Self {
                config_id: section.optional("config-id", value::integer(0..=6)),
                pop: section.required("pop", "17", value::integer(0..=65535)),
                host: section.optional("host", value::integer(0..=255)),
                nonce_length: section.optional("nonce-length", value::integer(4..=14)),
                key_file: section.required("key-file", "\"/etc/proxima/quic-lb.key\"", value::absolute_path),
            };
            section.close();
            raw
        })
    }

    pub(super) fn resolve(&self) -> Option<QuicLb> {
        Some(QuicLb {
            config_id: self.config_id.or(0)?,
            pop: *self.pop.value()?,
            host: self.host.or(0)?,
            nonce_length: self.nonce_length.or(NONCE_LENGTH)?,
            key_file: self.key_file.value()?.clone(),
        })
    }
}
