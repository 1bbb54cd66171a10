//! Certificates that are ordered from ACME servers.

use std::path::PathBuf;

use proxima_types::IssuerName;

/// `[acme.NAME]`: an ACME server (RFC 8555), and the account there. Its terms of service have been accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The issuer's name.
    pub name: IssuerName,
    /// The URL of the server's directory; https.
    pub directory: String,
    /// Where the server may write to the account's owner: `mailto:` URLs. May be empty.
    pub contact: Vec<String>,
    /// What ties the account to one elsewhere (RFC 8555 §7.3.4); absent: nothing.
    pub external_account: Option<ExternalAccount>,
    /// An absolute path of a PEM file with the only authorities that vouch for the server. Absent: those of the system.
    pub ca_file: Option<PathBuf>,
    /// How names are proven. [`Challenge::Http01`] only where a service of plain HTTP is there.
    pub challenge: Challenge,
    /// What certificates' keys are. Default [`KeyType::P256`].
    pub key_type: KeyType,
    /// An absolute path of the directory for accounts and certificates. Default `/var/lib/proximad/acme`.
    pub state_directory: PathBuf,
}

/// `external-account` of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's name.
    pub key_id: String,
    /// An absolute path of a file with the key in base64url, as the server's operator gave it out.
    pub key_file: PathBuf,
}

/// `challenge` of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Challenge {
    /// `http-01` (RFC 8555 §8.3).
    Http01,
    /// `tls-alpn-01` (RFC 8737).
    TlsAlpn01,
}

/// `key-type` of an issuer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `p256`: ECDSA.
    P256,
    /// `p384`: ECDSA.
    P384,
    /// `rsa2048`.
    Rsa2048,
    /// `rsa4096`.
    Rsa4096,
}

/// `acme` and `names` of a service's `tls`: a certificate that is ordered and renewed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Managed {
    /// From whom, one of [`crate::Config::issuers`].
    pub issuer: IssuerName,
    /// Its DNS names, in lower case; 1 to 100, each once, no wildcards.
    pub names: Vec<String>,
}
