//! The TLS of one service: what it is made of, so that one certificate can be another without the files of the others being read
//! again.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use proxima_acme_io::{Stored, certificate_file};
use proxima_config::{Config, ServerTls, TlsVersion};
use proxima_proxy::{
    Chain, Clients, Identity, MinVersion, TicketKeys, TlsError, TlsServer, TlsServerOptions,
};
use proxima_types::ServiceName;

use super::{Files, Loaded, TlsFileError, Wrong, warn_of_dates};

/// The TLS of a service.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) made: TlsServer,
    service: ServiceName,
    /// Of files, in their order.
    files: Vec<Certified>,
    /// The one that is ordered, where one is and has come.
    managed: Option<Managed>,
    min_version: MinVersion,
    clients: Clients,
    tickets: TicketKeys,
    /// Of everything but `managed`.
    digest: u64,
}

#[derive(Debug, Clone)]
struct Certified {
    identity: Identity,
    in_use: InUse,
}

/// A certificate that is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InUse {
    /// The file it is in.
    pub(crate) file: PathBuf,
    /// Its DNS names.
    pub(crate) names: Vec<String>,
    /// From when until when it is valid, where that can be read.
    pub(crate) valid: Option<(SystemTime, SystemTime)>,
}

impl InUse {
    fn of(file: &Path, chain: &Chain) -> Self {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let validity = chain.certificates().first().and_then(|own| proxima_x509::validity(own));
        let valid = validity.map(|validity| (at(validity.from), at(validity.until)));
        Self { file: file.to_owned(), names: chain.names(), valid }
    }
}

/// A certificate that was ordered.
#[derive(Debug, Clone)]
pub(super) struct Managed {
    certified: Certified,
    chain: Chain,
    digest: u64,
}

impl Managed {
    /// The certificate and its key, both in one file.
    ///
    /// # Errors
    /// When they are not, with the reason.
    fn parse(file: &Path, pem: &[u8]) -> Result<Self, Wrong> {
        let chain = Chain::from_pem(pem).map_err(Wrong::Chain)?;
        let in_use = InUse::of(file, &chain);
        let identity = chain.clone().with_key(pem).map_err(|error| {
            let certificate = file.to_owned();
            Wrong::Key { certificate, error }
        })?;
        let mut digest = DefaultHasher::new();
        pem.hash(&mut digest);
        Ok(Self { certified: Certified { identity, in_use }, chain, digest: digest.finish() })
    }

    /// The one in its file. Where that can't be used the one before goes on being used, or none: it is ordered anew.
    fn read(service: &ServiceName, file: &Path, before: Option<&Self>) -> Option<Self> {
        let before = before.filter(|before| before.certified.in_use.file == file);
        let read = Files::new(format!("services.{service}.tls"))
            .secret(file)
            .map_err(|error| match error {
                TlsFileError::File { wrong, .. } => *wrong,
                error @ TlsFileError::System(_) => Wrong::Read(io::Error::other(error)),
            })
            .and_then(|pem| Self::parse(file, &pem));
        match read {
            Ok(read) => return Some(read),
            Err(Wrong::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(wrong) => {
                let goes_on =
                    if before.is_some() { "the one before stays in use" } else { "it is ordered anew" };
                tracing::warn!(%service, file = %file.display(), %wrong, "the stored certificate can't be used; {goes_on}");
            }
        }
        before.cloned()
    }

    fn began(&self) -> Option<SystemTime> {
        self.certified.in_use.valid.map(|(from, _)| from)
    }
}

impl Server {
    /// The TLS of a service; the files are read.
    ///
    /// # Errors
    /// When one can't be read or used, but for that of a certificate that is ordered.
    pub(super) fn load(
        config: &Config,
        service: &ServiceName,
        tls: &ServerTls,
        own_tickets: &TicketKeys,
        before: Option<&Loaded<Self>>,
    ) -> Result<Loaded<Self>, TlsFileError> {
        let mut files = Files::new(format!("services.{service}.tls"));
        let certified = tls.certificates.iter().map(|pair| {
            let (chain, identity) = files.identity(pair)?;
            warn_of_dates(&pair.certificate, &chain);
            Ok(Certified { identity, in_use: InUse::of(&pair.certificate, &chain) })
        });
        let certified = certified.collect::<Result<Vec<_>, TlsFileError>>()?;
        let clients = match &tls.clients {
            None => Clients::Any,
            Some(auth) => {
                let authorities = files.chain(&auth.ca)?;
                if auth.required { Clients::Required(authorities) } else { Clients::Optional(authorities) }
            }
        };
        let tickets = match &tls.ticket_keys {
            None => own_tickets.clone(),
            Some(path) => files.tickets(path)?,
        };
        let min_version = match tls.min_version {
            TlsVersion::Tls12 => MinVersion::Tls12,
            TlsVersion::Tls13 => MinVersion::Tls13,
        };
        let managed_file = managed_file(config, service, tls);
        let managed = managed_file.and_then(|file| {
            Managed::read(service, &file, before.and_then(|before| before.made.managed.as_ref()))
        });
        let made = make(service, &certified, managed.as_ref(), min_version, &clients, &tickets);
        let made = made.map_err(|error| match &tls.clients {
            Some(auth) => files.wrong(&auth.ca, Wrong::Authorities(error)),
            None => TlsFileError::System(error.to_string()),
        })?;
        tls.hash(&mut files.digest);
        let (service, digest) = (service.clone(), files.digest.finish());
        let server = Self { made, service, files: certified, managed, min_version, clients, tickets, digest };
        Ok(match before {
            Some(before) if before.digest == server.whole_digest() => before.clone(),
            _ => Loaded { digest: server.whole_digest(), made: server },
        })
    }

    fn whole_digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        (self.digest, self.managed.as_ref().map(|managed| managed.digest)).hash(&mut digest);
        digest.finish()
    }

    /// The same with another certificate for that which is ordered.
    fn with(&self, managed: Managed) -> Result<Loaded<Self>, TlsError> {
        let Self { service, files, min_version, clients, tickets, .. } = self;
        let made = make(service, files, Some(&managed), *min_version, clients, tickets)?;
        let server = Self { made, managed: Some(managed), ..self.clone() };
        Ok(Loaded { digest: server.whole_digest(), made: server })
    }

    /// The same with this certificate, which has just been ordered.
    ///
    /// # Errors
    /// When it can't be used, with the reason.
    pub(super) fn renewed(&self, file: &Path, pem: &str) -> Result<Loaded<Self>, Wrong> {
        self.with(Managed::parse(file, pem.as_bytes())?).map_err(Wrong::Authorities)
    }

    /// The same with the ordered certificate of `now`, if that is of the same file and was ordered since.
    pub(super) fn not_older_than(&self, now: &Self) -> Option<Loaded<Self>> {
        let (own, newer) = (self.managed.as_ref(), now.managed.as_ref()?);
        let is_same = own.is_some_and(|own| own.certified.in_use.file == newer.certified.in_use.file);
        let is_newer = own.and_then(Managed::began) < newer.began();
        if is_same && is_newer { self.with(newer.clone()).ok() } else { None }
    }

    /// Whether there is any certificate.
    pub(super) fn is_someone(&self) -> bool {
        !self.files.is_empty() || self.managed.is_some()
    }

    /// The certificates in use, that which is ordered apart.
    pub(super) fn in_use(&self) -> (impl Iterator<Item = &InUse>, Option<&InUse>) {
        let managed = self.managed.as_ref().map(|managed| &managed.certified.in_use);
        (self.files.iter().map(|certified| &certified.in_use), managed)
    }

    /// The ordered certificate as whoever orders it wants to know it.
    pub(super) fn stored(&self) -> Option<Stored> {
        let managed = self.managed.as_ref()?;
        let certificate = managed.chain.certificates().first()?.clone();
        let InUse { names, valid, .. } = &managed.certified.in_use;
        let (not_before, not_after) = (*valid)?;
        let held = proxima_acme::Held { not_before, not_after, names: names.iter().cloned().collect() };
        Some(Stored { held, certificate })
    }
}

/// Where the certificate is kept that is ordered for a service.
pub(super) fn managed_file(config: &Config, service: &ServiceName, tls: &ServerTls) -> Option<PathBuf> {
    let issuer = &config.issuers[&tls.managed.as_ref()?.issuer];
    Some(certificate_file(&crate::acme::state(issuer), &issuer.directory, service))
}

fn make(
    service: &ServiceName,
    files: &[Certified],
    managed: Option<&Managed>,
    min_version: MinVersion,
    clients: &Clients,
    tickets: &TicketKeys,
) -> Result<TlsServer, TlsError> {
    let certified = files.iter().chain(managed.map(|managed| &managed.certified));
    let identities: Vec<_> = certified.map(|certified| certified.identity.clone()).collect();
    TlsServer::new(&TlsServerOptions { service, identities: &identities, min_version, clients, tickets })
}
