//! `tls` of a pool: whom its backends have to be, and who we are to them.

use std::path::PathBuf;

use super::{
    probe_kinds::{either, server_name, yes},
    server_tls::RawKeyPair,
};
use crate::{
    ClientTls,
    section::{Field, Section},
    value,
};

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
        either(pool, "tls", |value| yes(value).map(|()| Self::default()), Self::keys)
    }

    fn keys(mut tls: Section<'_>) -> Self {
        let identity = if tls.has("certificate") || tls.has("key") {
            RawKeyPair::read(&mut tls)
        } else {
            RawKeyPair::none(&mut tls)
        };
        let raw = Self {
            ca_file: tls.optional("ca-file", value::absolute_path),
            server_name: tls.optional("server-name", server_name),
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
