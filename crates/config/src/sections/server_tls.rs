//! `tls` of a service: who it is to its clients, and which of them it takes.

use std::path::PathBuf;

use proxima_types::IssuerName;

use super::{Place, Raw, acme, distinct, element, refer, resolved};
use crate::{
    ClientAuth, ForwardedCertificate, KeyPair, Managed, ServerTls, TlsVersion,
    field::{Field, List},
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

/// As many as a public authority puts into one certificate.
const MOST_NAMES: usize = 100;
const MIN_VERSION: TlsVersion = TlsVersion::Tls12;
const CLIENTS_REQUIRED: bool = true;
const FORWARD: ForwardedCertificate = ForwardedCertificate::None;
const VERSIONS: [(&str, TlsVersion); 2] = [("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)];
const FORWARDED: [(&str, ForwardedCertificate); 3] = [
    ("none", ForwardedCertificate::None),
    ("certificate", ForwardedCertificate::Certificate),
    ("chain", ForwardedCertificate::Chain),
];
const CERTIFICATE: &str =
    "A PEM file: the own certificate, then those that lead to its authority. Not without `key`.";
const KEY: &str = "A PEM file: the private key of `certificate`.";
const CERTIFICATES: &str = "In place of `certificate` and `key`, several of them: the name that a client asks for \
    chooses, and the first is for clients that name none of theirs.";
const CLIENT_AUTH: [(&str, bool); 2] = [("required", true), ("optional", false)];

pub(super) struct RawServerTls {
    certificates: RawCertificates,
    issuer: Field<IssuerName>,
    names: Field<List<String>>,
    min_version: Field<TlsVersion>,
    client_ca: Field<PathBuf>,
    client_auth: Field<bool>,
    forward: Field<ForwardedCertificate>,
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
        let tls = service.required_section(
            "tls",
            "add `tls = { certificate = \"/etc/proxima/api.pem\", key = \"/etc/proxima/api.key\" }`",
            "Who the service is to its clients, and which of them it takes: `certificate` and `key`, or \
            `certificates`, or `acme` and `names`, alone or beside them. See [TLS](tls.md). A reload \
            changes it for the next handshake.",
        );
        tls.map(Self::keys)
    }

    fn keys(mut tls: Section<'_>) -> Self {
        let raw = Self {
            certificates: RawCertificates::read(&mut tls),
            issuer: tls.optional(
                "acme",
                value::parsed(),
                Absent::means("certificates are of files"),
                "The issuer, one of `[acme]`, that a certificate for `names` is ordered from.",
            ),
            names: Self::names(&mut tls),
            min_version: tls.optional(
                "min-version",
                value::word(&VERSIONS),
                Absent::word(&VERSIONS, &MIN_VERSION),
                "The least version of TLS that is taken.",
            ),
            client_ca: tls.optional(
                "client-ca",
                value::absolute_path(),
                Absent::means("anyone is taken"),
                "A PEM file with the authorities of clients' certificates, which clients are asked for.",
            ),
            client_auth: tls.optional(
                "client-auth",
                value::word(&CLIENT_AUTH),
                Absent::word(&CLIENT_AUTH, &CLIENTS_REQUIRED),
                "With `client-ca`: whether a client without a certificate is refused.",
            ),
            forward: tls.optional(
                "forward-client-cert",
                value::word(&FORWARDED),
                Absent::word(&FORWARDED, &FORWARD),
                "With `client-ca`: what backends are told of a client's certificate (RFC 9440). \
                `certificate`: itself, in `Client-Cert`. `chain`: also those it came with, in \
                `Client-Cert-Chain`.",
            ),
            ticket_keys: tls.optional(
                "ticket-keys",
                value::absolute_path(),
                Absent::means("random keys of this process"),
                "A file with the keys of session tickets, the same on all PoPs, so that sessions go on at \
                another; the first makes new tickets.",
            ),
            place: Place::of(&tls),
        };
        tls.close();
        raw
    }

    fn names(tls: &mut Section<'_>) -> Field<List<String>> {
        if tls.has("acme") {
            return tls.required_list(
                "names",
                "[\"api.example.com\"]",
                acme::name(),
                "With `acme`: the certificate's DNS names, at most 100, no wildcards.",
            );
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
        if let (Some(forward), Field::Absent) = (self.forward.given(), &self.client_ca) {
            let wrong =
                Wrong::new("`forward-client-cert` without `client-ca`: no client is asked for a certificate")
                    .hint("name the file of the clients' certificate authorities with `client-ca`");
            report.here(forward.span.clone(), &self.place.key("forward-client-cert"), wrong);
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
        let (required, forward) = (self.client_auth.or(CLIENTS_REQUIRED)?, self.forward.or(FORWARD)?);
        let managed = resolved(&self.issuer, |issuer| {
            Some(Managed { issuer: issuer.clone(), names: self.names.value()?.values()? })
        })?;
        Some(ServerTls {
            certificates: self.certificates.resolve()?,
            managed,
            min_version: self.min_version.or(MIN_VERSION)?,
            clients: resolved(&self.client_ca, |ca| Some(ClientAuth { ca: ca.clone(), required, forward }))?,
            ticket_keys: self.ticket_keys.maybe()?,
        })
    }
}

impl RawCertificates {
    fn read(tls: &mut Section<'_>) -> Self {
        if tls.has("acme") && !["certificates", "certificate", "key"].iter().any(|key| tls.has(key)) {
            // Known, and not there.
            RawKeyPair::none(tls);
            tls.sections("certificates", CERTIFICATES);
            return Self::None;
        }
        if !tls.has("certificates") {
            return Self::One(RawKeyPair::read(tls));
        }
        for key in ["certificate", "key"] {
            tls.refuse(key, "beside `certificates`", "write it as the first of `certificates`");
        }
        Self::List(tls.sections("certificates", CERTIFICATES).map(|pairs| {
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
        let mut file = |key, example, doc| section.required(key, example, value::absolute_path(), doc);
        Self {
            certificate: file("certificate", "\"/etc/proxima/api.pem\"", CERTIFICATE),
            key: file("key", "\"/etc/proxima/api.key\"", KEY),
        }
    }

    /// Knows the keys, which are not there.
    pub(super) fn none(section: &mut Section<'_>) -> Self {
        let mut file = |key, doc| section.optional(key, value::absolute_path(), Absent::means("none"), doc);
        Self { certificate: file("certificate", CERTIFICATE), key: file("key", KEY) }
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
