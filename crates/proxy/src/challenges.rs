//! Challenges of ACME servers, answered while they are pending and by nobody else.
//!
//! | challenge | who answers | what the client gets |
//! |---|---|---|
//! | HTTP-01 (RFC 8555 §8.3) | every service of plain HTTP, before its routes | the key authorization |
//! | TLS-ALPN-01 (RFC 8737) | every service of HTTPS, to a client that offers `acme-tls/1` alone | a handshake with the challenge's certificate, and nothing after it |
//!
//! What is asked for and not pending goes the way of any other request or client.

use std::{collections::HashMap, fmt, sync::Arc};

use proxima_http1::Method;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};

use crate::{TlsError, tls::ACME_TLS};

/// Where the files of HTTP-01 are.
const WELL_KNOWN: &[u8] = b"/.well-known/acme-challenge/";

/// What is pending, and what is answered.
#[derive(Clone, Default)]
pub struct Challenges {
    /// By token.
    http: HashMap<String, String>,
    /// By name in lower case.
    tls_alpn: HashMap<String, Arc<ServerConfig>>,
}

/// Key authorizations are for whoever asks by their token.
impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (http, tls_alpn) = (self.http.len(), self.tls_alpn.len());
        f.debug_struct("Challenges").field("http", &http).field("tls_alpn", &tls_alpn).finish()
    }
}

impl Challenges {
    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.http.is_empty() && self.tls_alpn.is_empty()
    }

    /// Answers a token of HTTP-01 by its key authorization (RFC 8555 §8.1).
    pub fn add_http(&mut self, token: String, key_authorization: String) {
        self.http.insert(token, key_authorization);
    }

    /// Answers whoever asks for `name` by TLS-ALPN-01 with this certificate (RFC 8737 §3).
    ///
    /// # Errors
    /// When the key can't be used.
    pub fn add_tls_alpn(
        &mut self,
        name: &str,
        certificate: CertificateDer<'static>,
        key: &PrivateKeyDer<'_>,
    ) -> Result<(), TlsError> {
        let other = |error: rustls::Error| TlsError::Other(error.to_string());
        let key = aws_lc_rs::sign::any_supported_type(key).map_err(other)?;
        let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(certified));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        self.tls_alpn.insert(name.to_ascii_lowercase(), Arc::new(config));
        Ok(())
    }

    /// What is answered to a request for `path`, which is resolved.
    pub(crate) fn key_authorization(&self, method: Method, path: &[u8]) -> Option<&str> {
        if !matches!(method, Method::Get | Method::Head) {
            return None;
        }
        let token = std::str::from_utf8(path.strip_prefix(WELL_KNOWN)?).ok()?;
        self.http.get(token).map(String::as_str)
    }

    /// How the handshake of a client goes on that offers `acme-tls/1` alone.
    pub(crate) fn tls_alpn(&self, server_name: &str) -> Option<&Arc<ServerConfig>> {
        self.tls_alpn.get(&server_name.to_ascii_lowercase())
    }

    /// Whether a handshake may be one of TLS-ALPN-01.
    pub(crate) fn has_tls_alpn(&self) -> bool {
        !self.tls_alpn.is_empty()
    }
}
