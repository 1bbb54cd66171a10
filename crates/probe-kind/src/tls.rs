//! How the other side proves who it is.

use std::{path::PathBuf, time::Duration};

/// How a TLS server is spoken to and judged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tls {
    /// The name sent as SNI and looked for in the certificate. `None`: the address, which is then what the certificate has
    /// to name; no SNI is sent.
    pub server_name: Option<String>,
    /// Whose signature counts.
    pub trust: Trust,
    /// The least time the certificate has still to be valid for, not to fail. `None`: any.
    pub min_validity: Option<Duration>,
}

/// Whose signature on a certificate counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The system's certificate authorities.
    System,
    /// Those in this PEM file, and no others.
    File(PathBuf),
    /// Anybody's: the certificate proves nothing. Chain, name and dates are not looked at.
    Anyone,
}

/// A TLS handshake over TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsHandshake {
    /// How.
    pub tls: Tls,
    /// The protocols offered, the first preferred. The server has to choose one of them unless there are none.
    pub alpn: Vec<String>,
}

/// A QUIC handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quic {
    /// How.
    pub tls: Tls,
    /// The protocols offered; not empty.
    pub alpn: Vec<String>,
}
