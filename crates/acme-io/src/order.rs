//! One order, from the account to the certificate (RFC 8555 §7.4).
//!
//! ```text
//! account ─▶ newOrder ─▶ authorizations ─▶ challenges answered ─▶ told so ─▶ ready ─▶ key, CSR ─▶ finalized ─▶ chain
//! ```

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, Error as AcmeError, ExternalAccountKey, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use proxima_acme::Held;
use proxima_types::ServiceName;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, RsaKeySize};
use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use crate::{
    AcmeEvent, Answer, IssuerConfig, KeyType, Stored,
    challenge::{self, offer},
    error::OrderError,
    http::Https,
    store::{Kept, Store},
};

/// For a whole order.
const PATIENCE: Duration = Duration::from_mins(10);
/// How the server is asked whether it is done with a step.
const POLL: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(1.5).timeout(Duration::from_mins(3));
/// How often an order is begun anew at once, where that may help.
const TRIES: u32 = 8;

/// What an order works with.
#[derive(Clone)]
pub(crate) struct Orders {
    pub(crate) config: IssuerConfig,
    pub(crate) https: Https,
    pub(crate) store: Store,
    pub(crate) events: mpsc::Sender<AcmeEvent>,
}

/// A certificate that has come.
pub(crate) struct Issued {
    /// Certificates and key.
    pub(crate) pem: String,
    pub(crate) stored: Stored,
    /// Why it is not on disk.
    pub(crate) unsaved: Option<String>,
}

impl Orders {
    /// Orders a certificate for a service in place of `replaced`, as far as the server knows of that (RFC 9773 §5), and keeps
    /// it.
    ///
    /// # Errors
    /// Why nothing came of it.
    pub(crate) async fn order(
        &self,
        service: &ServiceName,
        mut replaced: Option<CertificateIdentifier<'static>>,
    ) -> Result<Issued, OrderError> {
        let names = &self.config.certificates[service];
        self.store.prepare().await?;
        let mut tries = 1;
        loop {
            let attempt = timeout(PATIENCE, self.attempt(names, replaced.as_ref())).await;
            offer(&self.events, &self.config.name, Vec::new()).await;
            match attempt.unwrap_or(Err(OrderError::Slow(PATIENCE))) {
                Ok((chain, key)) => {
                    let mut issued = issued(names, &chain, &key)?;
                    let kept = self.store.keep_certificate(service, &issued.pem).await;
                    issued.unsaved = kept.err().map(|error| error.to_string());
                    return Ok(issued);
                }
                Err(error) if tries == TRIES => return Err(error),
                Err(error) if error.is_of_the_nonce() => {}
                Err(error) if error.is_of_the_account() => self.store.forget_account().await?,
                Err(error) if replaced.is_some() && error.may_be_of_the_replaced() => replaced = None,
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    /// The account that is kept, or a new one.
    async fn account(&self) -> Result<Account, OrderError> {
        let config = &self.config;
        let contact: Vec<_> = config.contact.iter().map(String::as_str).collect();
        if let Some(account) = self.known_account().await? {
            return Ok(account);
        }
        let external =
            config.external_account.as_ref().map(|one| ExternalAccountKey::new(one.key_id.clone(), &one.key));
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let builder = Account::builder_with_http(Box::new(self.https.clone()));
        let (account, credentials) =
            builder.create(&new, config.directory.clone(), external.as_ref()).await?;
        self.store.keep_account(&Kept { contact: config.contact.clone(), credentials }).await?;
        tracing::info!(issuer = %config.name, account = account.id(), "ACME account made");
        Ok(account)
    }

    /// The account that is kept, if there is one.
    async fn known_account(&self) -> Result<Option<Account>, OrderError> {
        let config = &self.config;
        let Some(Kept { contact, credentials }) = self.store.account().await? else { return Ok(None) };
        let builder = Account::builder_with_http(Box::new(self.https.clone()));
        let account = builder.from_credentials(credentials).await?;
        if contact != config.contact {
            let now: Vec<_> = config.contact.iter().map(String::as_str).collect();
            account.update_contacts(&now).await?;
            if let Some(kept) = self.store.account().await? {
                self.store.keep_account(&Kept { contact: config.contact.clone(), ..kept }).await?;
            }
        }
        Ok(Some(account))
    }

    /// The chain and its key, both in PEM.
    async fn attempt(
        &self,
        names: &[String],
        replaced: Option<&CertificateIdentifier<'static>>,
    ) -> Result<(String, String), OrderError> {
        let account = self.account().await?;
        let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut new = NewOrder::new(&identifiers);
        if let Some(replaced) = replaced {
            new = new.replaces(replaced.clone());
        }
        let mut order = account.new_order(&new).await?;
        if order.state().status == OrderStatus::Pending {
            self.prove(&mut order).await?;
        }
        let (names, key_type) = (names.to_vec(), self.config.key_type);
        // An RSA key takes a while.
        let made = spawn_blocking(move || request(names, key_type)).await.map_err(|_| OrderError::Fault)?;
        let (csr, key) = made?;
        order.finalize_csr(&csr).await?;
        Ok((order.poll_certificate(&POLL).await?, key))
    }

    /// Proves that every name of the order is ours.
    async fn prove(&self, order: &mut Order) -> Result<(), OrderError> {
        let answers = self.answers(order).await?;
        if !offer(&self.events, &self.config.name, answers).await {
            return Err(OrderError::Stopping);
        }
        let state = match self.set_ready(order).await {
            Ok(()) => order.poll_ready(&POLL).await,
            Err(error) => Err(error),
        };
        match state {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
            Ok(state) => Err(unproven(order).await.unwrap_or_else(|| invalid(order, &format!("{state:?}")))),
            Err(error) => Err(unproven(order).await.unwrap_or(error.into())),
        }
    }

    /// Says that the answers are there. A server that looks at once may say already what it does not like of them.
    async fn set_ready(&self, order: &mut Order) -> Result<(), AcmeError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Pending
                && let Some(mut challenge) = authorization.challenge(self.config.challenge.acme())
            {
                challenge.set_ready().await?;
            }
        }
        Ok(())
    }

    /// What has to be answered for those names that the server wants proven.
    async fn answers(&self, order: &mut Order) -> Result<Vec<Answer>, OrderError> {
        let kind = self.config.challenge;
        let mut answers = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            let name = authorization.identifier().to_string();
            match authorization.status {
                AuthorizationStatus::Pending => {}
                // Proven not long ago.
                AuthorizationStatus::Valid => continue,
                state => return Err(OrderError::State { name, state: format!("{state:?}").to_lowercase() }),
            }
            let offered = authorization.challenges.iter().map(|one| challenge::name(&one.r#type)).collect();
            let Some(challenge) = authorization.challenge(kind.acme()) else {
                return Err(OrderError::NoChallenge { name, wanted: kind.name(), offered });
            };
            answers.push(kind.answer(&name, &challenge.token, &challenge.key_authorization())?);
        }
        Ok(answers)
    }
}

/// What the server did not like of a proof, as far as it says.
async fn unproven(order: &mut Order) -> Option<OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        let error = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(error) = error {
            let why = error.detail.clone().or_else(|| error.r#type.clone()).unwrap_or_default();
            return Some(OrderError::Unproven { name, why });
        }
    }
    None
}

fn invalid(order: &Order, state: &str) -> OrderError {
    OrderError::State { name: order.url().to_owned(), state: state.to_lowercase() }
}

/// A request for a certificate of these names (RFC 8555 §7.4: in PKCS #10), in DER, and its key in PEM.
fn request(names: Vec<String>, key_type: KeyType) -> Result<(Vec<u8>, String), OrderError> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let key = match key_type {
        KeyType::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyType::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
    }?;
    let mut parameters = CertificateParams::new(names)?;
    parameters.distinguished_name = DistinguishedName::new();
    let csr = parameters.serialize_request(&key)?;
    Ok((csr.der().to_vec(), key.serialize_pem()))
}

/// The certificate that came, if it is one, of this key, and for these names.
fn issued(names: &[String], chain: &str, key: &str) -> Result<Issued, OrderError> {
    let unusable = |error: &dyn std::fmt::Display| OrderError::Unusable(error.to_string());
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(&error))?;
    let own = certificates.first().ok_or_else(|| unusable(&"there is no certificate in it"))?.clone();
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(&error))?;
    CertifiedKey::from_der(certificates, private, &aws_lc_rs::default_provider())
        .map_err(|error| unusable(&error))?;
    let read = webpki::EndEntityCert::try_from(&own).map_err(|error| unusable(&error))?;
    // As they are read of the file at the next start: an authority may have added some.
    let held: BTreeSet<_> = read.valid_dns_names().map(str::to_ascii_lowercase).collect();
    let lacking: Vec<_> = names.iter().filter(|name| !held.contains(*name)).cloned().collect();
    if !lacking.is_empty() {
        return Err(OrderError::Lacks(lacking));
    }
    let validity = proxima_x509::validity(&own).ok_or_else(|| unusable(&"its validity can't be read"))?;
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let held = Held { not_before: at(validity.from), not_after: at(validity.until), names: held };
    let stored = Stored { held, certificate: own };
    Ok(Issued { pem: format!("{}\n{}", chain.trim_end(), key), stored, unsaved: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let make = || {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            (certificate.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let ((chain, key), (_, other)) = (make(), make());
        let names = ["a.example".to_owned()];
        let good = issued(&names, &chain, &key).unwrap();
        assert!(good.pem.starts_with("-----BEGIN CERTIFICATE-----") && good.pem.ends_with(&key));
        assert!(good.stored.held.not_before < good.stored.held.not_after);
        assert!(issued(&names, &chain, &other).is_err());
        assert!(issued(&names, "", &key).is_err());
    }

    #[test]
    fn a_certificate_is_for_the_names_in_it_and_one_that_lacks_any_is_refused() {
        let key = KeyPair::generate().unwrap();
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem()
        };
        let (names, key) = (["a.example".to_owned(), "b.example".to_owned()], key.serialize_pem());
        let more = issued(&names, &of(&["www.a.example", "B.example", "a.example"]), &key).unwrap();
        assert_eq!(
            more.stored.held.names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["a.example", "b.example", "www.a.example"]
        );
        let Err(lacks) = issued(&names, &of(&["a.example", "www.a.example"]), &key) else { panic!("taken") };
        assert!(lacks.to_string().starts_with("the certificate that came is not for b.example; "), "{lacks}");
    }

    #[test]
    fn every_kind_of_key_signs_its_request() {
        for key_type in [KeyType::P256, KeyType::P384, KeyType::Rsa2048] {
            let (csr, key) = request(vec!["a.example".to_owned()], key_type).unwrap();
            assert!(csr.windows(9).any(|window| window == b"a.example"));
            assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"), "{key_type:?}");
        }
    }
}
