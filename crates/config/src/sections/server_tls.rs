//! `tls` of a service: who it is to its clients, and which of them it takes.

use std::path::PathBuf;

use proxima_types::IssuerName;

use super::{Place, Raw, acme, distinct, element, refer, resolved};
use crate::{
    ClientAuth, KeyPair, Managed, ServerTls, TlsVersion,
    report::{Report, Wrong},
    section::{Field, List, Section},
    value,
};

/// As many as a public authority puts into one certificate.
const MOST_NAMES: usize = 100;
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
const CLIENT_AUTH: [(&str, bool); 2] = [("required", true), ("optional", false)];

pub(super) struct RawServerTls {
    certificates: RawCertificates,
    issuer: Field<IssuerName>,
    names: Field<List<String>>,
    min_version: Field<TlsVersion>,
    client_ca: Field<PathBuf>,
    client_auth: Field<bool>,
    ticket_keys: Field<PathBuf>,
    place: Place,
}

/// One in short, or a list of them; none beside `acme`.
enum RawCertificates {
    None,
    One(RawKeyPair),
    List(Field<Vec<RawKeyPair>>),
}

pub(super) struct RawKeyPair {
    pub(super) certificate: Field<PathBuf>,
    pub(super) key: Field<PathBuf>,
}

impl RawServerTls {
    pub(super) fn read(service: &mut Section<'_>) -> Field<Self> {
        match service.section("tls") {
            Field::Absent => service.missing(
                "tls",
                "add `tls = { certificate = \"/etc/proxima/api.pem\", key = \"/etc/proxima/api.key\" }`",
            ),
            found => found.map(Self::keys),
        }
    }

    fn keys(mut tls: Section<'_>) -> Self {
        let raw = Self {
            certificates: RawCertificates::read(&mut tls),
            issuer: tls.optional("acme", value::parsed),
            names: Self::names(&mut tls),
            min_version: tls.optional("min-version", value::word(&VERSIONS)),
            client_ca: tls.optional("client-ca", value::absolute_path),
            client_auth: tls.optional("client-auth", value::word(&CLIENT_AUTH)),
            ticket_keys: tls.optional("ticket-keys", value::absolute_path),
            place: Place::of(&tls),
        };
        tls.close();
        raw
    }

    fn names(tls: &mut Section<'_>) -> Field<List<String>> {
        if tls.has("acme") {
            return tls.required_list("names", "[\"api.example.com\"]", acme::name);
        }
        tls.refuse(
            "names",
            "without `acme`",
            "say whom the certificate is ordered from with `acme = \"NAME\"`; certificates of files have their names in them",
        );
        Field::Absent
    }

    pub(super) fn check(&self, raw: &Raw, report: &Report) {
        if let Some(issuer) = self.issuer.given() {
            let known = raw.issuers.iter().filter_map(|issuer| issuer.name.value());
            refer(report, issuer, &self.place.key("acme"), "issuer", known);
        }
        if let Some(names) = self.names.given() {
            let (path, elements) = (self.place.key("names"), &names.value.elements);
            distinct(report, elements, &path);
            if elements.len() > MOST_NAMES {
                let wrong = Wrong::new(format!("{} names are more than a certificate takes", elements.len()))
                    .hint(format!("write {MOST_NAMES} at most, and the others in a service of their own"));
                report.here(names.span.clone(), &path, wrong);
            }
        }
        if let (Some(auth), Field::Absent) = (self.client_auth.given(), &self.client_ca) {
            let wrong = Wrong::new("`client-auth` without `client-ca` could check nobody")
                .hint("name the file of the clients' certificate authorities with `client-ca`");
            report.here(auth.span.clone(), &self.place.key("client-auth"), wrong);
        }
        let RawCertificates::List(list) = &self.certificates else { return };
        let pairs = list.value().map_or(&[][..], Vec::as_slice);
        for (index, pair) in pairs.iter().enumerate() {
            let Some(file) = pair.certificate.given() else { continue };
            if pairs[..index].iter().any(|earlier| earlier.certificate.value() == Some(&file.value)) {
                let wrong = Wrong::new(format!("{} is listed twice", file.value.display()))
                    .hint("remove one of the two");
                let path = element(&self.place.path, "certificates", index);
                report.here(file.span.clone(), &format!("{path}.certificate"), wrong);
            }
        }
    }

    pub(super) fn resolve(&self) -> Option<ServerTls> {
        let required = self.client_auth.or(true)?;
        let managed = resolved(&self.issuer, |issuer| {
            Some(Managed { issuer: issuer.clone(), names: self.names.value()?.values()? })
        })?;
        Some(ServerTls {
            certificates: self.certificates.resolve()?,
            managed,
            min_version: self.min_version.or(TlsVersion::Tls12)?,
            clients: resolved(&self.client_ca, |ca| Some(ClientAuth { ca: ca.clone(), required }))?,
            ticket_keys: self.ticket_keys.maybe()?,
        })
    }
}

impl RawCertificates {
    fn read(tls: &mut Section<'_>) -> Self {
        if tls.has("acme") && !["certificates", "certificate", "key"].iter().any(|key| tls.has(key)) {
            // Known, and not there.
            RawKeyPair::none(tls);
            tls.sections("certificates");
            return Self::None;
        }
        if !tls.has("certificates") {
            return Self::One(RawKeyPair::read(tls));
        }
        for key in ["certificate", "key"] {
            tls.refuse(key, "beside `certificates`", "write it as the first of `certificates`");
        }
        Self::List(tls.sections("certificates").map(|pairs| {
            let read = |mut pair: Section<'_>| {
                let raw = RawKeyPair::read(&mut pair);
                pair.close();
                raw
            };
            pairs.into_iter().map(read).collect()
        }))
    }

    fn resolve(&self) -> Option<Vec<KeyPair>> {
        match self {
            Self::None => Some(Vec::new()),
            Self::One(pair) => Some(vec![pair.resolve()?]),
            Self::List(pairs) => pairs.value()?.iter().map(RawKeyPair::resolve).collect(),
        }
    }
}

impl RawKeyPair {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            certificate: section.required("certificate", "\"/etc/proxima/api.pem\"", value::absolute_path),
            key: section.required("key", "\"/etc/proxima/api.key\"", value::absolute_path),
        }
    }

    /// Knows the keys, which are not there.
    pub(super) fn none(section: &mut Section<'_>) -> Self {
        Self {
            certificate: section.optional("certificate", value::absolute_path),
            key: section.optional("key", value::absolute_path),
        }
    }

    /// The pair where there may be none; nothing at all when it is wrong.
    pub(super) fn resolve_optional(&self) -> Option<Option<KeyPair>> {
        match (&self.certificate, &self.key) {
            (Field::Absent, Field::Absent) => Some(None),
            _ => self.resolve().map(Some),
        }
    }

    pub(super) fn resolve(&self) -> Option<KeyPair> {
        Some(KeyPair { certificate: self.certificate.value()?.clone(), key: self.key.value()?.clone() })
    }
}
