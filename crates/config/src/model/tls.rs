//! TLS of services and of pools.

use std::path::PathBuf;

use super::Managed;

/// `tls` of a service of `protocol = "https"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerTls {
    /// By the names they have; the first is for clients that name none of them. No file twice; not empty without
    /// [`Self::managed`].
    pub certificates: Vec<KeyPair>,
    /// One more certificate, the last of them, which is ordered and renewed; absent: none.
    pub managed: Option<Managed>,
    /// The least version taken. Default [`TlsVersion::Tls12`].
    pub min_version: TlsVersion,
    /// Whose clients are taken; absent: anyone's.
    pub clients: Option<ClientAuth>,
    /// An absolute path of a file with the keys of session tickets, the same on all PoPs; the first makes new tickets. Absent:
    /// random keys of this process.
    pub ticket_keys: Option<PathBuf>,
}

/// `certificate` and `key`: absolute paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPair {
    /// The own certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// `1.2`.
    Tls12,
    /// `1.3`.
    Tls13,
}

/// `client-ca` and `client-auth` of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuth {
    /// An absolute path of a PEM file with the certificate authorities of clients.
    pub ca: PathBuf,
    /// Whether a client without a certificate is refused. Default true.
    pub required: bool,
}

/// `tls` of a pool. Certificates are always verified.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// An absolute path of a PEM file with the only certificate authorities trusted. Absent: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The name asked for by SNI and that certificates have to have, or an address. Absent: each backend's address.
    pub server_name: Option<String>,
    /// `certificate` and `key`: what is shown to backends that ask for it.
    pub identity: Option<KeyPair>,
}
