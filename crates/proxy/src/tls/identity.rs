//! A certificate chain with its private key.

use std::sync::Arc;

use rustls::{
    InconsistentKeys,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::{CertifiedKey, SigningKey},
};

/// Why there is no certificate chain in what was given for one.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// It is not PEM.
    #[error("not PEM: {0}; write certificates between `-----BEGIN CERTIFICATE-----` and its END line")]
    Pem(pem::Error),
    /// There is none.
    #[error("no certificate in it; write the server's own first, then those that lead to its authority")]
    Empty,
    /// One of them can't be read.
    #[error("certificate {number} in it can't be read: {error}")]
    Unreadable {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        error: webpki::Error,
    },
}

/// Why a private key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It is not PEM.
    #[error("not PEM: {0}")]
    Pem(pem::Error),
    /// There is none.
    #[error("no private key in it; keys encrypted with a passphrase are not supported")]
    Empty,
    /// Its kind is not supported, or it is broken.
    #[error("the private key can't be used: {0}; RSA, ECDSA (P-256, P-384, P-521) and Ed25519 are supported")]
    Unusable(rustls::Error),
    /// It is another one's.
    #[error("the private key does not match the certificate")]
    Mismatch,
}

/// Certificates, the own one first. Not empty, and each is readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Vec<CertificateDer<'static>>);

impl Chain {
    /// The certificates in PEM.
    ///
    /// # Errors
    /// When there is none, or one can't be read.
    pub fn from_pem(pem: &[u8]) -> Result<Self, ChainError> {
        let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| {
            if matches!(error, pem::Error::NoItemsFound) { ChainError::Empty } else { ChainError::Pem(error) }
        })?;
        if chain.is_empty() {
            return Err(ChainError::Empty);
        }
        for (index, certificate) in chain.iter().enumerate() {
            webpki::EndEntityCert::try_from(certificate)
                .map_err(|error| ChainError::Unreadable { number: index + 1, error })?;
        }
        Ok(Self(chain))
    }

    /// The certificates in DER, the own one first.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.0
    }

    /// The DNS names of the own certificate, wildcards among them; in lower case.
    pub fn names(&self) -> Vec<String> {
        let own = self.0.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
        own.map(|own| own.valid_dns_names().map(str::to_ascii_lowercase).collect()).unwrap_or_default()
    }

    /// The chain with its key, in PEM: PKCS #8, PKCS #1 or SEC1.
    ///
    /// # Errors
    /// When the key can't be used, or is that of another certificate.
    pub fn with_key(self, pem: &[u8]) -> Result<Identity, KeyError> {
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
            pem::Error::NoItemsFound => KeyError::Empty,
            error => KeyError::Pem(error),
        })?;
        let key: Arc<dyn SigningKey> =
            aws_lc_rs::sign::any_supported_type(&key).map_err(KeyError::Unusable)?;
        let names = self.names();
        let certified = CertifiedKey::new(self.0, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => return Err(KeyError::Mismatch),
            Err(error) => return Err(KeyError::Unusable(error)),
        }
        Ok(Identity { certified: Arc::new(certified), names })
    }
}

/// Who a server, or a client, is: certificates and the key to the first of them.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) names: Vec<String>,
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_with_its_key_knows_its_names() {
        let (certificate, key) = certificate(&["API.example.com", "*.example.net", "127.0.0.1"]);
        let identity = Chain::from_pem(certificate.as_bytes()).unwrap().with_key(key.as_bytes()).unwrap();
        assert_eq!(identity.names, ["api.example.com", "*.example.net"]);
    }

    #[test]
    fn what_is_wrong_with_a_chain_is_said() {
        let (certificate, key) = certificate(&["a"]);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let second = format!("{certificate}{broken}");
        for (pem, said) in [
            ("", "no certificate in it"),
            (key.as_str(), "no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "not PEM"),
            (second.as_str(), "certificate 2 in it can't be read"),
        ] {
            let error = Chain::from_pem(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_key_is_said_and_the_key_is_not() {
        let (certificate, _) = certificate(&["a"]);
        let (_, other) = self::certificate(&["a"]);
        let secret = "MC4CAQAwBQYDK2VwBCIEIAAA";
        let broken = format!("-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
        for (pem, said) in [
            ("", "no private key in it"),
            (certificate.as_str(), "no private key in it"),
            (broken.as_str(), "the private key can't be used"),
            (other.as_str(), "the private key does not match the certificate"),
        ] {
            let chain = Chain::from_pem(certificate.as_bytes()).unwrap();
            let error = chain.with_key(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(said) && !error.contains(secret), "{error}");
        }
    }
}
