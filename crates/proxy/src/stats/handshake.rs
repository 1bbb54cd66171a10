//! Kinds of TLS handshakes, and why some fail.

/// A handshake that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Handshake {
    /// TLS 1.2, with certificates.
    Full12,
    /// TLS 1.2, going on with an earlier session.
    Resumed12,
    /// TLS 1.3, with certificates.
    Full13,
    /// TLS 1.3, going on with an earlier session.
    Resumed13,
}

impl Handshake {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Full12, Self::Resumed12, Self::Full13, Self::Resumed13];

    /// The version, for metrics.
    pub fn version(self) -> &'static str {
        match self {
            Self::Full12 | Self::Resumed12 => "1.2",
            Self::Full13 | Self::Resumed13 => "1.3",
        }
    }

    /// Whether it went on with an earlier session.
    pub fn is_resumed(self) -> bool {
        matches!(self, Self::Resumed12 | Self::Resumed13)
    }
}

/// Why a client's handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandshakeFailure {
    /// It took too long.
    Slow,
    /// The client left, or its connection broke.
    Gone,
    /// What came is no TLS, or malformed.
    NotTls,
    /// No version, cipher suite, group or signature scheme in common.
    Incompatible,
    /// No protocol in common (ALPN).
    Alpn,
    /// The client has no certificate, or one that is not trusted.
    ClientCertificate,
    /// The service has no certificate yet.
    NoCertificate,
    /// The client refused: mostly, it does not trust our certificate.
    Alert,
    /// The client broke the protocol in another way.
    Protocol,
}

impl HandshakeFailure {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::Slow,
        Self::Gone,
        Self::NotTls,
        Self::Incompatible,
        Self::Alpn,
        Self::ClientCertificate,
        Self::NoCertificate,
        Self::Alert,
        Self::Protocol,
    ];

    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Gone => "gone",
            Self::NotTls => "not-tls",
            Self::Incompatible => "incompatible",
            Self::Alpn => "alpn",
            Self::ClientCertificate => "client-certificate",
            Self::NoCertificate => "no-certificate",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
        }
    }
}
