//! Which certificate a client gets (RFC 6066 §3, RFC 6125 §6.4.3).
//!
//! The exact name goes before a wildcard, which stands for one label. Among certificates of one name the first goes whose key
//! the client can check: one with ECDSA and one with RSA can serve the same name. Whoever names no server, or one that nobody
//! has, gets the first certificate, and decides.

use std::{collections::HashMap, sync::Arc};

use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::Identity;

/// The certificates of one service by their names.
#[derive(Debug)]
pub(super) struct ByName {
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For everyone else, in order.
    all: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    pub(super) fn new(identities: &[Identity]) -> Self {
        let mut names: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for identity in identities {
            for name in &identity.names {
                names.entry(name.clone()).or_default().push(identity.certified.clone());
            }
        }
        Self { names, all: identities.iter().map(|identity| identity.certified.clone()).collect() }
    }

    /// Those for `name`, which is in lower case; all when there is none.
    fn of(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        name.and_then(|name| self.names.get(name).or_else(|| self.names.get(&wildcard(name)?)))
            .unwrap_or(&self.all)
    }

    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let of_name = self.of(name);
        let usable = of_name.iter().find(|certified| certified.key.choose_scheme(schemes).is_some());
        // With none that the client could check, the handshake fails for the right reason.
        usable.or_else(|| of_name.first()).cloned()
    }
}

/// `*.example.com` for `api.example.com`.
fn wildcard(name: &str) -> Option<String> {
    name.split_once('.').map(|(_, parent)| format!("*.{parent}"))
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(str::to_ascii_lowercase);
        self.choose(name.as_deref(), hello.signature_schemes())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::{super::Chain, *};

    fn identity(algorithm: &'static rcgen::SignatureAlgorithm, names: &[&str]) -> Identity {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        Chain::from_pem(certificate.pem().as_bytes())
            .unwrap()
            .with_key(key.serialize_pem().as_bytes())
            .unwrap()
    }

    #[test]
    fn exact_names_go_before_wildcards_and_strangers_get_the_first() {
        let p256 = &rcgen::PKCS_ECDSA_P256_SHA256;
        let identities = [
            identity(p256, &["first.example"]),
            identity(p256, &["*.example.com"]),
            identity(p256, &["api.example.com", "example.com"]),
        ];
        let by_name = ByName::new(&identities);
        let index = |name: Option<&str>| {
            let chosen = by_name.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            identities.iter().position(|identity| Arc::ptr_eq(&identity.certified, &chosen)).unwrap()
        };
        for (name, expected) in [
            (Some("api.example.com"), 2),
            (Some("example.com"), 2),
            (Some("www.example.com"), 1),
            (Some("a.b.example.com"), 0),
            (Some("other.example"), 0),
            (Some("com"), 0),
            (None, 0),
        ] {
            assert_eq!(index(name), expected, "{name:?}");
        }
    }

    #[test]
    fn of_two_certificates_of_a_name_the_one_goes_that_the_client_can_check() {
        let identities = [
            identity(&rcgen::PKCS_ECDSA_P256_SHA256, &["a.example"]),
            identity(&rcgen::PKCS_ED25519, &["a.example"]),
        ];
        let by_name = ByName::new(&identities);
        let chosen = |schemes: &[SignatureScheme]| {
            let chosen = by_name.choose(Some("a.example"), schemes).unwrap();
            identities.iter().position(|identity| Arc::ptr_eq(&identity.certified, &chosen)).unwrap()
        };
        let (ecdsa, ed25519) = (SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519);
        assert_eq!(chosen(&[ed25519, ecdsa]), 0, "ours is the order");
        assert_eq!(chosen(&[ed25519]), 1);
        assert_eq!(chosen(&[SignatureScheme::RSA_PSS_SHA256]), 0);
    }
}
