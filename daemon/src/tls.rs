//! Certificates and keys of services and pools, read at the start and at each reload.
//!
//! A reload reads every file again, whatever the configuration says. What is the same as before goes on being used, with its
//! sessions; what is not holds for new handshakes, and no connection is touched.

mod service;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    fs::{File, Metadata},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use nix::unistd::geteuid;
use proxima_acme_io::Stored;
use proxima_config::{ClientTls, Config, HttpService, KeyPair, Pool, Protocol, Service};
use proxima_proxy::{
    Authorities, Chain, ChainError, Identity, KeyError, TicketKeys, TicketKeysError, TlsClient,
    TlsClientOptions, TlsError, TlsServer,
};
use proxima_types::{PoolName, ServiceName};

pub(crate) use self::service::InUse;
use self::service::{Server, managed_file};
use crate::routing::spoken;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsFileError {
    #[error("{setting}: {path}: {wrong}")]
    File { setting: String, path: PathBuf, wrong: Box<Wrong> },
    #[error("TLS can't be set up: {0}")]
    System(String),
}

/// What is wrong with a file, with the remedy.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Wrong {
    #[error("can't be read: {0}; correct the path, or let the daemon's user read it")]
    Read(io::Error),
    #[error("more than its owner may use it (mode {mode:04o}); chmod {least:04o} it")]
    Mode { mode: u32, least: u32 },
    #[error(transparent)]
    Chain(ChainError),
    #[error("{error} ({certificate})")]
    Key { certificate: PathBuf, error: KeyError },
    #[error(transparent)]
    Authorities(TlsError),
    #[error(transparent)]
    Tickets(TicketKeysError),
    #[error("no key in base64url in it; write the HMAC key as the ACME server's operator gave it out")]
    ExternalKey,
}

/// The TLS of everything in a configuration.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    /// The keys of tickets where no file has them: of this process and those that succeed it.
    own_tickets: TicketKeys,
    services: BTreeMap<ServiceName, Loaded<Server>>,
    pools: BTreeMap<PoolName, Loaded<TlsClient>>,
}

/// What was made of files.
#[derive(Debug, Clone)]
struct Loaded<T> {
    made: T,
    /// Of what it was made of: what is in the files, and the settings.
    digest: u64,
}

impl Tls {
    /// The TLS that `config` asks for; with the keys of tickets that the process before this one has drawn, if there was one.
    ///
    /// # Errors
    /// When a file can't be read or used.
    pub(crate) fn load(config: &Config, tickets: Option<TicketKeys>) -> Result<Self, TlsFileError> {
        let own_tickets = tickets.map_or_else(TicketKeys::own, Ok);
        let own_tickets = own_tickets.map_err(|error| TlsFileError::System(error.to_string()))?;
        Self { own_tickets, services: BTreeMap::new(), pools: BTreeMap::new() }.again(config)
    }

    /// The keys of tickets that no file has.
    pub(crate) fn own_tickets(&self) -> &TicketKeys {
        &self.own_tickets
    }

    /// The TLS that `config` asks for, with every file read again.
    ///
    /// # Errors
    /// When a file can't be read or used.
    pub(crate) fn again(&self, config: &Config) -> Result<Self, TlsFileError> {
        let mut services = BTreeMap::new();
        for service in config.services.values() {
            if let Protocol::Http(http) = &service.protocol
                && let Some(tls) = &http.tls
            {
                let before = self.services.get(&service.name);
                let loaded = Server::load(config, &service.name, tls, &self.own_tickets, before)?;
                services.insert(service.name.clone(), loaded);
            }
        }
        let mut pools = BTreeMap::new();
        for (name, pool) in &config.pools {
            if let Some(tls) = &pool.tls {
                pools.insert(name.clone(), client(pool, tls, self.pools.get(name))?);
            }
        }
        Ok(Self { own_tickets: self.own_tickets.clone(), services, pools })
    }

    /// How a pool's backends are spoken to; `None` where it is in plain text.
    pub(crate) fn client(&self, pool: &PoolName) -> Option<&TlsClient> {
        self.pools.get(pool).map(|loaded| &loaded.made)
    }

    /// What a service is told; `None` where it has no TLS.
    pub(crate) fn server(&self, service: &ServiceName) -> Option<&TlsServer> {
        self.services.get(service).map(|loaded| &loaded.made.made)
    }

    /// Puts a certificate into force that has just been ordered for a service.
    ///
    /// # Errors
    /// When it can't be used; the one before stays.
    pub(crate) fn renew(
        &mut self,
        config: &Config,
        service: &ServiceName,
        pem: &str,
    ) -> Result<InUse, Wrong> {
        let gone = || Wrong::Read(io::ErrorKind::NotFound.into());
        let file = config.services.get(service).and_then(|service| ordered_file(config, service));
        let file = file.ok_or_else(gone)?;
        let loaded = self.services.get_mut(service).ok_or_else(gone)?;
        *loaded = loaded.made.renewed(&file, pem)?;
        self.managed(service).cloned().ok_or_else(gone)
    }

    /// Takes over those ordered certificates of `now` that have come since this was read.
    pub(crate) fn keep_newer(&mut self, now: &Self) {
        for (name, loaded) in &mut self.services {
            let newer = now.services.get(name).and_then(|now| loaded.made.not_older_than(&now.made));
            if let Some(newer) = newer {
                *loaded = newer;
            }
        }
    }

    /// The services without any certificate.
    pub(crate) fn missing(&self) -> Vec<ServiceName> {
        let services = self.services.iter().filter(|(_, loaded)| !loaded.made.is_someone());
        services.map(|(name, _)| name.clone()).collect()
    }

    /// The certificates of a service: those of files, and the one that is ordered.
    pub(crate) fn in_use(&self, service: &ServiceName) -> (Vec<InUse>, Option<InUse>) {
        let Some(loaded) = self.services.get(service) else { return (Vec::new(), None) };
        let (files, managed) = loaded.made.in_use();
        (files.cloned().collect(), managed.cloned())
    }

    /// The certificate of a service that is ordered, if it has come.
    pub(crate) fn managed(&self, service: &ServiceName) -> Option<&InUse> {
        self.services.get(service)?.made.in_use().1
    }

    /// The same as whoever orders it wants to know it.
    pub(crate) fn stored(&self, service: &ServiceName) -> Option<Stored> {
        self.services.get(service)?.made.stored()
    }

    /// What is another than `before`, by its key in the configuration.
    pub(crate) fn differing(&self, before: &Self) -> Vec<String> {
        let mut differ = differing("services", &self.services, &before.services);
        differ.extend(differing("pools", &self.pools, &before.pools));
        differ
    }
}

/// Where the certificate is kept that is ordered for a service; `None` where none is.
pub(crate) fn ordered_file(config: &Config, service: &Service) -> Option<PathBuf> {
    match &service.protocol {
        Protocol::Http(HttpService { tls, .. }) => managed_file(config, &service.name, tls.as_ref()?),
        Protocol::Tcp(_) => None,
    }
}

/// The TLS to a pool's backends, or that of before where nothing is another.
fn client(
    pool: &Pool,
    tls: &ClientTls,
    before: Option<&Loaded<TlsClient>>,
) -> Result<Loaded<TlsClient>, TlsFileError> {
    let setting = format!("pools.{}.tls", pool.name);
    let mut files = Files::new(setting.clone());
    let authorities = match &tls.ca_file {
        None => Authorities::System,
        Some(path) => Authorities::Only(files.chain(path)?),
    };
    let identity = tls.identity.as_ref().map(|pair| {
        let (chain, identity) = files.identity(pair)?;
        warn_of_dates(&pair.certificate, &chain);
        Ok::<_, TlsFileError>(identity)
    });
    let identity = identity.transpose()?;
    let made = TlsClient::new(&TlsClientOptions {
        authorities: &authorities,
        server_name: tls.server_name.as_deref(),
        protocol: spoken(pool.protocol),
        identity: identity.as_ref(),
    })
    .map_err(|error| match &tls.ca_file {
        Some(path) => files.wrong(path, Wrong::Authorities(error)),
        None => TlsFileError::System(format!("{setting}: {error}")),
    })?;
    (tls, pool.protocol).hash(&mut files.digest);
    let digest = files.digest.finish();
    Ok(match before {
        Some(before) if before.digest == digest => before.clone(),
        _ => Loaded { made, digest },
    })
}

/// Names whose TLS is another than before.
fn differing<N: Ord + fmt::Display, T>(
    kind: &str,
    now: &BTreeMap<N, Loaded<T>>,
    before: &BTreeMap<N, Loaded<T>>,
) -> Vec<String> {
    let digest = |loaded: Option<&Loaded<T>>| loaded.map(|loaded| loaded.digest);
    let names: BTreeSet<_> = now.keys().chain(before.keys()).collect();
    let names = names.into_iter().filter(|name| digest(now.get(*name)) != digest(before.get(*name)));
    names.map(|name| format!("{kind}.{name}.tls")).collect()
}

/// Reads the files of one table, and takes a digest of them.
pub(crate) struct Files {
    setting: String,
    digest: DefaultHasher,
}

impl Files {
    pub(crate) fn new(setting: String) -> Self {
        Self { setting, digest: DefaultHasher::new() }
    }

    fn identity(&mut self, pair: &KeyPair) -> Result<(Chain, Identity), TlsFileError> {
        let KeyPair { certificate, key } = pair;
        let chain = self.chain(certificate)?;
        let pem = self.secret(key)?;
        let identity = chain.clone().with_key(&pem).map_err(|error| {
            let certificate = certificate.clone();
            self.wrong(key, Wrong::Key { certificate, error })
        })?;
        Ok((chain, identity))
    }

    pub(crate) fn chain(&mut self, path: &Path) -> Result<Chain, TlsFileError> {
        let pem = self.read(path, |_| Ok(()))?;
        Chain::from_pem(&pem).map_err(|error| self.wrong(path, Wrong::Chain(error)))
    }

    fn tickets(&mut self, path: &Path) -> Result<TicketKeys, TlsFileError> {
        let keys = self.secret(path)?;
        TicketKeys::shared(&keys).map_err(|error| self.wrong(path, Wrong::Tickets(error)))
    }

    /// What is in a file that nobody but the daemon may read, or that the service manager has handed over.
    pub(crate) fn secret(&mut self, path: &Path) -> Result<Vec<u8>, TlsFileError> {
        let is_credential = env::var_os("CREDENTIALS_DIRECTORY")
            .is_some_and(|directory| !directory.is_empty() && path.starts_with(directory));
        self.read(path, |metadata| {
            if is_credential {
                Ok(())
            } else {
                is_secret(metadata.mode(), metadata.uid() == geteuid().as_raw())
            }
        })
    }

    fn read(
        &mut self,
        path: &Path,
        judge: impl FnOnce(&Metadata) -> Result<(), Wrong>,
    ) -> Result<Vec<u8>, TlsFileError> {
        let mut bytes = Vec::new();
        let metadata = File::open(path)
            .and_then(|mut file| {
                file.read_to_end(&mut bytes)?;
                file.metadata()
            })
            .map_err(|error| self.wrong(path, Wrong::Read(error)))?;
        judge(&metadata).map_err(|wrong| self.wrong(path, wrong))?;
        bytes.hash(&mut self.digest);
        Ok(bytes)
    }

    pub(crate) fn wrong(&self, path: &Path, wrong: Wrong) -> TlsFileError {
        TlsFileError::File { setting: self.setting.clone(), path: path.to_owned(), wrong: Box::new(wrong) }
    }
}

/// Whether nobody but the daemon may read a file. Where it is not the owner it reads by the group.
fn is_secret(mode: u32, is_owner: bool) -> Result<(), Wrong> {
    let least = if is_owner { 0o600 } else { 0o640 };
    let mode = mode & 0o777;
    let beyond = mode & !least & 0o077;
    if beyond == 0 { Ok(()) } else { Err(Wrong::Mode { mode, least }) }
}

/// A certificate that is not valid is still better than none: clients that go on all the same exist.
fn warn_of_dates(file: &Path, chain: &Chain) {
    let own = chain.certificates().first();
    let Some(validity) = own.and_then(|own| proxima_x509::validity(own)) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now > validity.until {
        tracing::warn!(file = %file.display(), "the certificate has ended; clients refuse it: renew it and reload");
    } else if now < validity.from {
        tracing::warn!(file = %file.display(), "the certificate is not valid yet; clients refuse it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_for_its_owner_or_for_one_group_where_the_daemon_is_not_the_owner() {
        for (mode, of_owner, of_group) in [
            (0o100_600, true, true),
            (0o100_400, true, true),
            (0o100_640, false, true),
            (0o100_440, false, true),
            (0o100_660, false, false),
            (0o100_644, false, false),
            (0o100_604, false, false),
        ] {
            assert_eq!(
                (is_secret(mode, true).is_ok(), is_secret(mode, false).is_ok()),
                (of_owner, of_group),
                "{mode:o}"
            );
        }
        assert_eq!(
            is_secret(0o100_644, false).unwrap_err().to_string(),
            "more than its owner may use it (mode 0644); chmod 0640 it"
        );
    }
}
