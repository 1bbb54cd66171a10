//! `[acme.NAME]`: whom certificates are ordered from.

use std::{net::IpAddr, path::PathBuf};

use super::{Place, Raw, distinct, probe_kinds, resolved, services::RawService};
use crate::{
    Challenge, ExternalAccount, Issuer, KeyType,
    field::{Field, List},
    reader::Reader,
    reference::{Absent, Shape},
    report::{Report, Wrong},
    section::Section,
    value,
};
use proxima_types::IssuerName;

const STATE_DIRECTORY: &str = "/var/lib/proximad/acme";
const KEY_TYPE: KeyType = KeyType::P256;
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
        let issuers = file.named(
            "acme",
            "An ACME server (RFC 8555) that certificates are ordered from, and the account there; `acme` \
            of a service's `tls` names it. See [ACME](acme.md). A reload asks an issuer that differs at \
            once, and begins its orders anew.",
        );
        issuers.into_iter().map(|(name, issuer)| Self::keys(name, issuer)).collect()
    }

    fn keys(name: Field<IssuerName>, mut issuer: Section<'_>) -> Self {
        let raw = Self {
            name,
            directory: issuer.required(
                "directory",
                "\"https://acme-v02.api.letsencrypt.org/directory\"",
                directory(),
                "The URL of the server's directory.",
            ),
            accepted: issuer.required(
                "accept-terms-of-service",
                "true",
                accepted(),
                "That the server's terms of service are accepted. Read them first.",
            ),
            contact: issuer.optional_list(
                "contact",
                contact(),
                Absent::means("no address is given"),
                "Where the server may write to: a `mailto:` URL with one address in each.",
            ),
            external_account: issuer
                .section(
                    "external-account",
                    Absent::means("no tie"),
                    "Ties the account to one elsewhere (RFC 8555 §7.3.4), as the server's operator gave it \
                    out.",
                )
                .map(RawExternalAccount::keys),
            ca_file: issuer.optional(
                "ca-file",
                value::absolute_path(),
                Absent::means("those of the system"),
                "A PEM file with the only authorities that vouch for the server.",
            ),
            challenge: issuer.required(
                "challenge",
                "\"tls-alpn-01\"",
                value::word(&CHALLENGES),
                "How names are proven: `tls-alpn-01` (RFC 8737) at port 443, by the service itself, or \
                `http-01` at port 80, by every service of plain HTTP.",
            ),
            key_type: issuer.optional(
                "key-type",
                value::word(&KEY_TYPES),
                Absent::word(&KEY_TYPES, &KEY_TYPE),
                "What certificates' keys are: ECDSA on a curve, or RSA.",
            ),
            state_directory: issuer.optional(
                "state-directory",
                value::absolute_path(),
                Absent::is(STATE_DIRECTORY),
                "The directory for accounts, keys and certificates; the daemon writes to it.",
            ),
            place: Place::of(&issuer),
        };
        issuer.close();
        raw
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
            key_type: self.key_type.or(KEY_TYPE)?,
            state_directory: self.state_directory.or(STATE_DIRECTORY.into())?,
        };
        Some((name, issuer))
    }
}

impl RawExternalAccount {
    fn keys(mut account: Section<'_>) -> Self {
        let raw = Self {
            key_id: account.required("key-id", "\"kid-1\"", value::string("a text"), "The key's name."),
            key_file: account.required(
                "key-file",
                "\"/etc/proxima/eab.key\"",
                value::absolute_path(),
                "A file with the key in base64url.",
            ),
        };
        account.close();
        raw
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
fn directory() -> Reader<String> {
    Reader::text("an `https` URL", "^https://[^/?#@]", |found| {
        let text = value::text(found)?;
        let rest = text.strip_prefix("https://");
        let authority = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
        let plain =
            text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'<' | b'>' | b'\\' | b'#'));
        if plain && authority.is_some_and(|authority| !authority.is_empty() && !authority.contains('@')) {
            return Ok(text);
        }
        let hint = if text.starts_with("http://") {
            "ACME servers are asked over https only (RFC 8555 §6.1); name a private authority with `ca-file`"
        } else {
            "write the URL of its directory, as in \"https://acme-v02.api.letsencrypt.org/directory\""
        };
        Err(Wrong::new(format!("`{}` can't be an ACME server's directory", text.escape_debug())).hint(hint))
    })
}

fn accepted() -> Reader<()> {
    let reader = value::boolean().then(|accepted| {
        if accepted {
            return Ok(());
        }
        Err(Wrong::new("without its terms of service accepted an ACME server gives no account")
            .hint("read them, then write `true`; or take certificates from files"))
    });
    reader.described(Shape::True)
}

/// `mailto:` with one address (RFC 8555 §7.3).
fn contact() -> Reader<String> {
    Reader::text("a `mailto:` URL", "^mailto:[^@,?]+@[^,?]+$", |found| {
        let text = value::text(found)?;
        let address = text.strip_prefix("mailto:").and_then(|address| address.split_once('@'));
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'?'));
        if plain && address.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty()) {
            return Ok(text);
        }
        let hint = "write one address in each, as in \"mailto:ops@example.com\"";
        Err(Wrong::new(format!("`{}` is no contact", text.escape_debug())).hint(hint))
    })
}

/// A DNS name that HTTP-01 or TLS-ALPN-01 can prove to be ours; in lower case.
pub(super) fn name() -> Reader<String> {
    Reader::text("a host name", "^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$", |found| {
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
            return Err(Wrong::new(format!("`{}` is not a host name", text.escape_debug())).hint(
                "write a name such as \"api.example.com\", one that is not ASCII in its form of `xn--`",
            ));
        }
        Ok(text)
    })
}
