//! `[acme.NAME]`: whom certificates are ordered from.

use std::{net::IpAddr, path::PathBuf};

use proxima_types::IssuerName;
use toml::de::DeValue;

use super::{Place, Raw, distinct, probe_kinds, resolved, services::RawService};
use crate::{
    Challenge, ExternalAccount, Issuer, KeyType,
    report::{Report, Wrong},
    section::{Field, List, Read, Section},
    value,
};

const STATE_DIRECTORY: &str = "/var/lib/proximad/acme";
const CHALLENGES: [(&str, Challenge); 2] =
    [("http-01", Challenge::Http01), ("tls-alpn-01", Challenge::TlsAlpn01)];
const KEY_TYPES: [(&str, KeyType); 4] = [
    ("p256", KeyType::P256),
    ("p384", KeyType::P384),
    ("rsa2048", KeyType::Rsa2048),
    ("rsa4096", KeyType::Rsa4096),
];

pub(super) struct RawIssuer {
    pub(super) name: Field<IssuerName>,
    directory: Field<String>,
    accepted: Field<()>,
    contact: Field<List<String>>,
    external_account: Field<RawExternalAccount>,
    ca_file: Field<PathBuf>,
    challenge: Field<Challenge>,
    key_type: Field<KeyType>,
    state_directory: Field<PathBuf>,
    place: Place,
}

struct RawExternalAccount {
    key_id: Field<String>,
    key_file: Field<PathBuf>,
}

impl RawIssuer {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        let issuers = file.named("acme").into_iter();
        issuers
            .map(|(name, mut issuer)| {
                let raw = Self {
                    name,
                    directory: issuer.required(
                        "directory",
                        "\"https://acme-v02.api.letsencrypt.org/directory\"",
                        directory,
                    ),
                    accepted: issuer.required("accept-terms-of-service", "true", accepted),
                    contact: issuer.optional_list("contact", contact),
                    external_account: issuer.section("external-account").map(|mut account| {
                        let raw = RawExternalAccount {
                            key_id: account.required("key-id", "\"kid-1\"", value::text),
                            key_file: account.required(
                                "key-file",
                                "\"/etc/proxima/eab.key\"",
                                value::absolute_path,
                            ),
                        };
                        account.close();
                        raw
                    }),
                    ca_file: issuer.optional("ca-file", value::absolute_path),
                    challenge: issuer.required("challenge", "\"tls-alpn-01\"", value::word(&CHALLENGES)),
                    key_type: issuer.optional("key-type", value::word(&KEY_TYPES)),
                    state_directory: issuer.optional("state-directory", value::absolute_path),
                    place: Place::of(&issuer),
                };
                issuer.close();
                raw
            })
            .collect()
    }

    pub(super) fn resolve(&self) -> Option<(IssuerName, Issuer)> {
        self.accepted.value()?;
        let name = self.name.value()?.clone();
        let issuer = Issuer {
            name: name.clone(),
            directory: self.directory.value()?.clone(),
            contact: resolved(&self.contact, List::values)?.unwrap_or_default(),
            external_account: resolved(&self.external_account, |account| {
                let (key_id, key_file) = (account.key_id.value()?.clone(), account.key_file.value()?.clone());
                Some(ExternalAccount { key_id, key_file })
            })?,
            ca_file: self.ca_file.maybe()?,
            challenge: *self.challenge.value()?,
            key_type: self.key_type.or(KeyType::P256)?,
            state_directory: self.state_directory.or(STATE_DIRECTORY.into())?,
        };
        Some((name, issuer))
    }
}

pub(super) fn check(raw: &Raw, report: &Report) {
    for issuer in &raw.issuers {
        if let Some(contact) = issuer.contact.value() {
            distinct(report, &contact.elements, &issuer.place.key("contact"));
        }
        let Some(challenge) = issuer.challenge.given() else { continue };
        if challenge.value == Challenge::Http01 && !raw.services.iter().any(RawService::may_be_http) {
            let wrong = Wrong::new("no service could answer HTTP-01, which is asked for over plain HTTP").hint(
                "add a service of `protocol = \"http\"` that port 80 of these names leads to, or write `challenge = \"tls-alpn-01\"`",
            );
            report.elsewhere(challenge.span.clone(), &issuer.place.key("challenge"), wrong);
        }
    }
}

/// The URL of a directory (RFC 8555 §6.1: https).
fn directory(found: &DeValue<'_>) -> Read<String> {
    let text = value::text(found)?;
    let rest = text.strip_prefix("https://");
    let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'#'));
    if plain && authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@')) {
        return Ok(text);
    }
    let hint = if text.starts_with("http://") {
        "ACME servers are asked over https only (RFC 8555 §6.1); name a private authority with `ca-file`"
    } else {
        "write the URL of its directory, as in \"https://acme-v02.api.letsencrypt.org/directory\""
    };
    Err(Wrong::new(format!("`{}` can't be an ACME server's directory", text.escape_debug())).hint(hint))
}

fn accepted(found: &DeValue<'_>) -> Read<()> {
    if value::boolean(found)? {
        return Ok(());
    }
    Err(Wrong::new("without its terms of service accepted an ACME server gives no account")
        .hint("read them, then write `true`; or take certificates from files"))
}

/// `mailto:` with one address (RFC 8555 §7.3).
fn contact(found: &DeValue<'_>) -> Read<String> {
    let text = value::text(found)?;
    let address = text.strip_prefix("mailto:").and_then(|address| address.split_once('@'));
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'?'));
    if plain && address.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()) {
        return Ok(text);
    }
    let hint = "write one address in each, as in \"mailto:ops@example.com\"";
    Err(Wrong::new(format!("`{}` is no contact", text.escape_debug())).hint(hint))
}

/// A DNS name that HTTP-01 or TLS-ALPN-01 can prove to be ours; in lower case.
pub(super) fn name(found: &DeValue<'_>) -> Read<String> {
    let text = value::text(found)?.to_ascii_lowercase();
    let elsewhere = "or get the certificate elsewhere and name its files with `certificate` and `key`";
    if text.starts_with("*.") {
        return Err(Wrong::new(format!(
            "`{text}` is a wildcard, which only DNS-01 can prove; that is not supported"
        ))
        .hint(format!("name each host, {elsewhere}")));
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(Wrong::new(format!("`{text}` is an address; only names are ordered"))
            .hint(format!("name the host, {elsewhere}")));
    }
    if text.contains('_') || !probe_kinds::is_name(&text) {
        return Err(Wrong::new(format!("`{}` is not a host name", text.escape_debug()))
            .hint("write a name such as \"api.example.com\", one that is not ASCII in its form of `xn--`"));
    }
    Ok(text)
}
