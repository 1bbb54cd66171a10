//! `tls` of a pool: whom its backends have to be, and who we are to them.

use std::path::PathBuf;

use super::{
    probe_kinds::{server_name, yes},
    server_tls::RawKeyPair,
};
use crate::{ClientTls, field::Field, reference::Absent, section::Section, value};

/// `tls = true`, or the table.
pub(super) struct RawClientTls {
    ca_file: Field<PathBuf>,
    server_name: Field<String>,
    identity: RawKeyPair,
}

impl Default for RawClientTls {
    fn default() -> Self {
        let identity = RawKeyPair { certificate: Field::Absent, key: Field::Absent };
        Self { ca_file: Field::Absent, server_name: Field::Absent, identity }
    }
}

impl RawClientTls {
    pub(super) fn read(pool: &mut Section<'_>) -> Field<Self> {
        pool.either(
            "tls",
            yes().map(|()| Self::default()),
            Absent::means("plain text"),
            "TLS to the backends; `true`: as an empty table. Certificates are always verified. Probes have \
            settings of their own. Not in a pool of a TCP service. A reload changes it for new \
            connections.",
            Self::keys,
        )
    }

    fn keys(mut tls: Section<'_>) -> Self {
        let identity = if tls.has("certificate") || tls.has("key") {
            RawKeyPair::read(&mut tls)
        } else {
            RawKeyPair::none(&mut tls)
        };
        let raw = Self {
            ca_file: tls.optional(
                "ca-file",
                value::absolute_path(),
                Absent::means("those of the system"),
                "A PEM file with the only certificate authorities that are trusted.",
            ),
            server_name: tls.optional(
                "server-name",
                server_name(),
                Absent::means("each backend's address"),
                "The name that is asked for by SNI and that certificates have to have, or an address.",
            ),
            identity,
        };
        tls.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<ClientTls> {
        Some(ClientTls {
            ca_file: self.ca_file.maybe()?,
            server_name: self.server_name.maybe()?,
            identity: self.identity.resolve_optional()?,
        })
    }
}
