//! What proves to the server that a name is ours.

use instant_acme::{ChallengeType, KeyAuthorization};
use proxima_types::IssuerName;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::sync::{mpsc, oneshot};

use crate::{AcmeEvent, Answer, ChallengeKind};

impl ChallengeKind {
    pub(crate) fn acme(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }

    /// What the server has to find.
    pub(crate) fn answer(
        self,
        name: &str,
        token: &str,
        key_authorization: &KeyAuthorization,
    ) -> Result<Answer, rcgen::Error> {
        match self {
            Self::Http01 => Ok(Answer::Http01 {
                token: token.to_owned(),
                key_authorization: key_authorization.as_str().to_owned(),
            }),
            Self::TlsAlpn01 => certificate(name, key_authorization.digest().as_ref()),
        }
    }
}

/// The name of a challenge as servers write it.
pub(crate) fn name(kind: &ChallengeType) -> String {
    match kind {
        ChallengeType::Http01 => "http-01".to_owned(),
        ChallengeType::Dns01 => "dns-01".to_owned(),
        ChallengeType::TlsAlpn01 => "tls-alpn-01".to_owned(),
        ChallengeType::Unknown(name) => name.clone(),
        other => format!("{other:?}"),
    }
}

/// The certificate of RFC 8737 §3: of that name alone, with the digest in an extension, signed by itself.
fn certificate(name: &str, digest: &[u8]) -> Result<Answer, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
    parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = parameters.self_signed(&key)?.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    Ok(Answer::TlsAlpn01 { name: name.to_ascii_lowercase(), certificate, key })
}

/// Has the answers given, and no others of this issuer; done when they are. False when nobody listens any more.
pub(crate) async fn offer(
    events: &mpsc::Sender<AcmeEvent>,
    issuer: &IssuerName,
    answers: Vec<Answer>,
) -> bool {
    let (answered, done) = oneshot::channel();
    let event = AcmeEvent::Challenges { issuer: issuer.clone(), answers, answered };
    events.send(event).await.is_ok() && done.await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_has_the_name_and_the_digest_in_a_critical_extension() {
        let digest: Vec<u8> = (0..32).collect();
        let Answer::TlsAlpn01 { name, certificate, .. } = certificate("A.example", &digest).unwrap() else {
            panic!("a certificate")
        };
        assert_eq!(name, "a.example");
        // 1.3.6.1.5.5.7.1.31, critical, an OCTET STRING within the one of every extension (RFC 8737 §3 and §6.1).
        let extension = [
            &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x1f, 0x01, 0x01, 0xff, 0x04, 0x22][..],
            &[0x04, 0x20],
            &digest,
        ]
        .concat();
        assert!(certificate.windows(extension.len()).any(|window| window == extension));
        assert!(certificate.windows(9).any(|window| window == b"A.example"));
    }
}
