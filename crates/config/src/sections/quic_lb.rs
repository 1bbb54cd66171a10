//! `[quic-lb]`: how connection IDs of HTTP/3 are written.

use std::path::PathBuf;

use crate::{QuicLb, field::Field, reference::Absent, section::Section, value};

const CONFIG_ID: u8 = 0;
const HOST: u8 = 0;
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
        let doc = "Connection IDs of HTTP/3 that all hosts, and load balancers before them, can read \
            (draft-ietf-quic-load-balancers). See [QUIC](quic.md). A change needs a restart.";
        file.section("quic-lb", Absent::means("IDs that this process alone can read"), doc).map(Self::keys)
    }

    fn keys(mut section: Section<'_>) -> Self {
        let raw = Self {
            config_id: section.optional(
                "config-id",
                value::integer(0..=6),
                Absent::is(CONFIG_ID),
                "The configuration that the first three bits of each ID name.",
            ),
            pop: section.required(
                "pop",
                "17",
                value::integer(0..=65535),
                "This PoP's number, another one for each PoP.",
            ),
            host: section.optional(
                "host",
                value::integer(0..=255),
                Absent::is(HOST),
                "This host's number, another one for each host of the PoP.",
            ),
            nonce_length: section.optional(
                "nonce-length",
                value::integer(4..=14),
                Absent::is(NONCE_LENGTH),
                "Octets of the nonce. Eight and more last for ever; see [QUIC](quic.md).",
            ),
            key_file: section.required(
                "key-file",
                "\"/etc/proxima/quic-lb.key\"",
                value::absolute_path(),
                "A file with 32 hexadecimal digits that its owner alone may read: the key, the same on all \
                hosts.",
            ),
        };
        section.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<QuicLb> {
        Some(QuicLb {
            config_id: self.config_id.or(CONFIG_ID)?,
            pop: *self.pop.value()?,
            host: self.host.or(HOST)?,
            nonce_length: self.nonce_length.or(NONCE_LENGTH)?,
            key_file: self.key_file.value()?.clone(),
        })
    }
}
