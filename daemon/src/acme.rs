//! Certificates that are ordered: who is asked, what is answered to challenges, and what comes into force.
//!
//! ```text
//! configuration, stored certificates ─▶ Acme (a thread) ─▶ challenges ─▶ snapshot (workers) ─▶ told that they are answered
//!                                                       └─▶ certificate ─▶ Tls ─▶ snapshot
//! ```
//!
//! Nothing of it concerns what is announced: a service without a certificate refuses its clients, and the PoP keeps its routes.
//! The proof of a name needs them: the server's question comes by them, which is why nothing is ordered before the daemon is
//! ready.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proxima_acme_io::{
    Acme, AcmeEvent, Answer, ChallengeKind, ExternalAccount, Issuer, IssuerConfig, KeyType,
};
use proxima_api::{self as api, EventKind, Timestamp};
use proxima_config::{Challenge, Config, HttpService, Protocol, ServerTls, Service};
use proxima_proxy::Challenges;
use proxima_types::{IssuerName, ServiceName};

use crate::{
    admin::CommandRefusal,
    control::Control,
    tls::{Files, Tls, TlsFileError, Wrong, ordered_file},
};

/// Where an issuer's files are.
pub(crate) fn state(issuer: &proxima_config::Issuer) -> PathBuf {
    issuer.state_directory.join(issuer.name.as_str())
}

/// The issuers that `config` has and that something is ordered from; what is in files is read.
///
/// # Errors
/// When a file can't be read or used.
pub(crate) fn issuers(config: &Config) -> Result<Vec<IssuerConfig>, TlsFileError> {
    let issuers = config.issuers.values().map(|issuer| {
        let mut files = Files::new(format!("acme.{}", issuer.name));
        let roots = issuer.ca_file.as_ref().map(|path| files.chain(path)).transpose()?;
        let external_account = issuer.external_account.as_ref().map(|account| {
            let text = files.secret(&account.key_file)?;
            let key =
                external_key(&text).ok_or_else(|| files.wrong(&account.key_file, Wrong::ExternalKey))?;
            Ok::<_, TlsFileError>(ExternalAccount { key_id: account.key_id.clone(), key })
        });
        let certificates = of_issuer(config, &issuer.name);
        warn_of_ports(config, issuer, &certificates);
        Ok(IssuerConfig {
            name: issuer.name.clone(),
            directory: issuer.directory.clone(),
            contact: issuer.contact.clone(),
            external_account: external_account.transpose()?,
            roots: roots.map(|roots| roots.certificates().to_vec()),
            challenge: match issuer.challenge {
                Challenge::Http01 => ChallengeKind::Http01,
                Challenge::TlsAlpn01 => ChallengeKind::TlsAlpn01,
            },
            key_type: match issuer.key_type {
                proxima_config::KeyType::P256 => KeyType::P256,
                proxima_config::KeyType::P384 => KeyType::P384,
                proxima_config::KeyType::Rsa2048 => KeyType::Rsa2048,
                proxima_config::KeyType::Rsa4096 => KeyType::Rsa4096,
            },
            state: state(issuer),
            certificates,
        })
    });
    let issuers = issuers.collect::<Result<Vec<_>, TlsFileError>>()?;
    Ok(issuers.into_iter().filter(|issuer| !issuer.certificates.is_empty()).collect())
}

fn of_issuer(config: &Config, issuer: &IssuerName) -> BTreeMap<ServiceName, Vec<String>> {
    let managed = config.services.values().filter_map(|service| Some((service, managed(service)?)));
    managed
        .filter(|(_, managed)| managed.issuer == *issuer)
        .map(|(service, managed)| (service.name.clone(), managed.names.clone()))
        .collect()
}

/// The ports are the server's choice: something else has to lead them here where nobody listens there.
fn warn_of_ports(
    config: &Config,
    issuer: &proxima_config::Issuer,
    certificates: &BTreeMap<ServiceName, Vec<String>>,
) {
    let (port, is_https) = match issuer.challenge {
        Challenge::Http01 => (80, false),
        Challenge::TlsAlpn01 => (443, true),
    };
    let answers = |service: &Service| {
        let is_http = matches!(service.protocol, Protocol::Http(_)) && tls(service).is_some() == is_https;
        is_http && service.listen.iter().any(|address| address.port() == port)
    };
    if !certificates.is_empty() && !config.services.values().any(answers) {
        let what = if is_https { "https" } else { "http" };
        tracing::warn!(
            issuer = %issuer.name,
            "no service of `protocol = \"{what}\"` listens on port {port}, where the ACME server asks: lead that port to one"
        );
    }
}

fn tls(service: &Service) -> Option<&ServerTls> {
    match &service.protocol {
        Protocol::Http(HttpService { tls, .. }) => tls.as_ref(),
        Protocol::Tcp(_) => None,
    }
}

fn managed(service: &Service) -> Option<&proxima_config::Managed> {
    tls(service)?.managed.as_ref()
}

/// Base64url, as RFC 8555 §7.3.4 has it; or in the other alphabet, as some hand it out.
fn external_key(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim().trim_end_matches('=');
    let text = text.replace('+', "-").replace('/', "_");
    URL_SAFE_NO_PAD.decode(text).ok().filter(|key| !key.is_empty())
}

/// What is ordered, and where that stands.
pub(crate) struct Ordering {
    acme: Acme,
    /// What is asked for once it has begun.
    waiting: Option<Vec<IssuerConfig>>,
    pending: BTreeMap<IssuerName, Vec<Answer>>,
    challenges: Arc<Challenges>,
    standing: BTreeMap<ServiceName, Standing>,
}

/// Where the orders of a service's certificate stand.
#[derive(Debug, Clone, Default)]
struct Standing {
    next: Option<SystemTime>,
    failures: u32,
    error: Option<String>,
}

impl Ordering {
    /// Nothing is ordered before [`Self::begin`].
    pub(crate) fn new(acme: Acme, issuers: Vec<IssuerConfig>) -> Self {
        let (pending, challenges, standing) = (BTreeMap::new(), Arc::default(), BTreeMap::new());
        Self { acme, waiting: Some(issuers), pending, challenges, standing }
    }

    /// Orders from now on what is not in `tls`: the ACME servers' questions find their way here.
    pub(crate) fn begin(&mut self, tls: &Tls) {
        if let Some(issuers) = self.waiting.take() {
            self.set(issuers, tls);
        }
    }

    /// What workers answer ACME servers.
    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        Arc::clone(&self.challenges)
    }

    /// From now on these are asked, for what is not in `tls`.
    pub(crate) fn set(&mut self, issuers: Vec<IssuerConfig>, tls: &Tls) {
        if let Some(waiting) = &mut self.waiting {
            *waiting = issuers;
            return;
        }
        self.standing
            .retain(|service, _| issuers.iter().any(|issuer| issuer.certificates.contains_key(service)));
        let issuers = issuers.into_iter().map(|config| {
            let stored = config.certificates.keys();
            let stored = stored.filter_map(|service| Some((service.clone(), tls.stored(service)?))).collect();
            Issuer { config, stored }
        });
        if let Err(error) = self.acme.set(issuers.collect()) {
            tracing::error!(%error, "no thread for ACME: no certificate is ordered or renewed before a reload has one");
        }
    }

    fn answer(&mut self, issuer: IssuerName, answers: Vec<Answer>) {
        if answers.is_empty() {
            self.pending.remove(&issuer);
        } else {
            self.pending.insert(issuer, answers);
        }
        let mut challenges = Challenges::default();
        for answer in self.pending.values().flatten() {
            match answer {
                Answer::Http01 { token, key_authorization } => {
                    challenges.add_http(token.clone(), key_authorization.clone());
                }
                Answer::TlsAlpn01 { name, certificate, key } => {
                    if let Err(error) = challenges.add_tls_alpn(name, certificate.clone(), key) {
                        tracing::error!(%error, name, "TLS-ALPN-01 can't be answered");
                    }
                }
            }
        }
        self.challenges = Arc::new(challenges);
    }
}

impl Control {
    /// Does what the driver of ACME asks for, and tells what came of its orders.
    pub(crate) fn handle_acme(&mut self, event: AcmeEvent) {
        match event {
            AcmeEvent::Challenges { issuer, answers, answered } => {
                self.ordering.answer(issuer, answers);
                self.serve();
                answered.send(()).ok(); // who asked may have been ended by a reload
            }
            AcmeEvent::Obtained { issuer, service, pem, unsaved } => {
                self.obtained(issuer, service, &pem, unsaved);
            }
            AcmeEvent::Failed { issuer, service, error, retry_at, failures } => {
                let standing = self.ordering.standing.entry(service.clone()).or_default();
                *standing = Standing { next: Some(retry_at), failures, error: Some(error.clone()) };
                self.tell_failed(issuer, service, error, Some(timestamp(retry_at)));
            }
            AcmeEvent::Planned { service, at } => {
                self.ordering.standing.entry(service).or_default().next = at;
            }
        }
    }

    /// A certificate has come. A reload may have changed its mind meanwhile: then it is somebody's who is not asked any more.
    fn obtained(&mut self, issuer: IssuerName, service: ServiceName, pem: &str, unsaved: Option<String>) {
        let wanted = self.config.services.get(&service).and_then(managed);
        if wanted.is_none_or(|managed| managed.issuer != issuer) {
            return;
        }
        match self.tls.renew(&self.config, &service, pem) {
            Ok(in_use) => {
                let ends = in_use.valid.map_or(Timestamp::from_unix_micros(0), |(_, until)| timestamp(until));
                let standing = self.ordering.standing.entry(service.clone()).or_default();
                *standing = Standing { next: standing.next, ..Standing::default() };
                self.serve();
                let (of, from, names) = (service.clone(), issuer.clone(), in_use.names);
                self.journal.publish(EventKind::CertificateObtained {
                    service: of,
                    issuer: from,
                    names,
                    ends,
                });
                if let Some(error) = unsaved {
                    let error = format!("it is in use, but gone with this process: {error}");
                    self.tell_failed(issuer, service, error, None);
                }
            }
            Err(wrong) => self.tell_failed(issuer, service, wrong.to_string(), None),
        }
    }

    fn tell_failed(
        &mut self,
        issuer: IssuerName,
        service: ServiceName,
        error: String,
        retry_at: Option<Timestamp>,
    ) {
        let ends =
            self.tls.managed(&service).and_then(|in_use| in_use.valid).map(|(_, until)| timestamp(until));
        self.journal.publish(EventKind::CertificateFailed { service, issuer, error, retry_at, ends });
    }

    /// Tells of services that have no certificate, but of those in `told`.
    pub(crate) fn tell_missing(&mut self, told: &[ServiceName]) {
        for service in self.tls.missing().into_iter().filter(|service| !told.contains(service)) {
            self.journal.publish(EventKind::CertificateMissing { service });
        }
    }

    /// An operator wants another certificate for a service now.
    pub(crate) fn renew(&mut self, service: &ServiceName) -> Result<api::Renewing, CommandRefusal> {
        let managed_by = |service: &Service| managed(service).map(|managed| managed.issuer.clone());
        let Some(issuer) = self.config.services.get(service).and_then(managed_by) else {
            let all = self.config.services.values().filter(|service| managed(service).is_some());
            let all: Vec<_> = all.map(|service| service.name.as_str()).collect();
            let hint = match all.as_slice() {
                [] => "no service has `acme` in its `tls`".to_owned(),
                all => format!("services that have one: {}", all.join(", ")),
            };
            return Err(CommandRefusal::unknown(format!("no certificate is ordered for `{service}`"), hint));
        };
        if self.is_stopping() {
            return Err(CommandRefusal::Stopping);
        }
        if self.ordering.waiting.is_some() {
            let hint =
                "it is when every gating service has its first verdicts; what is missing is ordered then";
            return Err(CommandRefusal::conflict("the daemon is not ready", hint));
        }
        if !self.ordering.acme.renew(service) {
            return Err(CommandRefusal::conflict(
                "too many orders wait already, or there is no thread for them",
                "see `proxima certificates`, and the log; a reload tries again to have one",
            ));
        }
        Ok(api::Renewing { service: service.clone(), issuer })
    }

    /// The certificates of all services.
    pub(crate) fn certificates(&self) -> api::Certificates {
        let mut certificates = Vec::new();
        for service in self.config.services.values() {
            let Some(tls) = tls(service) else { continue };
            let (files, managed_in_use) = self.tls.in_use(&service.name);
            certificates.extend(files.iter().map(|in_use| certificate(&service.name, in_use, None)));
            let Some(managed) = &tls.managed else { continue };
            let standing = self.ordering.standing.get(&service.name).cloned().unwrap_or_default();
            let order = api::CertificateOrder {
                issuer: managed.issuer.clone(),
                next: standing.next.map(timestamp),
                failures: standing.failures,
                error: standing.error,
            };
            certificates.push(match managed_in_use {
                Some(in_use) => certificate(&service.name, &in_use, Some(order)),
                None => api::Certificate {
                    service: service.name.clone(),
                    file: ordered_file(&self.config, service).unwrap_or_default().display().to_string(),
                    names: managed.names.clone(),
                    ends: None,
                    order: Some(order),
                },
            });
        }
        api::Certificates { certificates }
    }
}

fn certificate(
    service: &ServiceName,
    in_use: &crate::tls::InUse,
    order: Option<api::CertificateOrder>,
) -> api::Certificate {
    api::Certificate {
        service: service.clone(),
        file: in_use.file.display().to_string(),
        names: in_use.names.clone(),
        ends: in_use.valid.map(|(_, until)| timestamp(until)),
        order,
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let micros = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Timestamp::from_unix_micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_accounts_key_is_read_in_either_alphabet() {
        for text in ["-_-_AQ", "+/+/AQ==\n", " -_-_AQ== "] {
            assert_eq!(external_key(text.as_bytes()), Some(vec![0xfb, 0xff, 0xbf, 1]), "{text:?}");
        }
        for text in ["", "\n", "not base64", "é"] {
            assert_eq!(external_key(text.as_bytes()), None, "{text:?}");
        }
    }
}
