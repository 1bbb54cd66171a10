//! TLS to a backend: whose certificates are trusted, and what a handshake that fails says.
//!
//! rustls with aws-lc-rs. Configurations are shared by all probes that want the same; sessions are never resumed, so that
//! each new connection shows the certificate anew. The files of authorities are read when they are first needed, on a thread that may
//! wait, and again after [`TrustFiles::read_again`]; one that can't be read is tried again from time to time, not by every probe.

mod words;

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use proxima_health::{Failure, Phase};
use proxima_probe_kind::{Tls, Trust};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio::{net::TcpStream, task::spawn_blocking, time::Instant};
use tokio_rustls::TlsConnector;

use crate::{
    path::{Deadline, failure},
    shared::Shared,
    wire::{Secured, Wire},
};

/// A file that could not be read is tried again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// TLS configurations, made when they are first needed and shared from then on.
#[derive(Debug, Default)]
pub(crate) struct TlsConfigs(Mutex<HashMap<Offer, Arc<Place>>>);

/// Who is trusted, and the protocols offered.
type Offer = (Trust, Vec<String>);

/// One configuration. Whoever needs it first makes it, the others wait for that.
type Place = tokio::sync::Mutex<Option<Made>>;

#[derive(Debug)]
struct Made {
    config: Result<Arc<ClientConfig>, String>,
    at: Instant,
}

impl Made {
    fn is_good(&self) -> bool {
        self.config.is_ok() || self.at.elapsed() < AGAIN
    }
}

/// The files that certificates of backends are judged by; cheap to clone.
#[derive(Debug, Clone)]
pub struct TrustFiles(pub(crate) Arc<Shared>);

impl TrustFiles {
    /// New connections are judged by what is in the files from now on, the system's authorities included. Those that stand are not
    /// touched.
    pub fn read_again(&self) {
        self.0.tls.forget();
    }
}

impl TlsConfigs {
    /// A handshake over `stream`. The certificate has to name `tls.server_name`, or `address` when there is none.
    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        address: IpAddr,
        tls: &Tls,
        alpn: &[String],
        deadline: Deadline,
    ) -> Result<Wire, Failure> {
        let config = self.config(&tls.trust, alpn).await?;
        let connector = TlsConnector::from(config);
        let connecting = connector.connect(server_name(tls, address)?, stream);
        let stream = deadline
            .run(Phase::Handshake, async { connecting.await.map_err(|error| handshake_failure(&error)) })
            .await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let ends = certificate.and_then(certificate_ends);
        let secured = Wire::Tls(Box::new(Secured { stream, ends }));
        judge_validity(ends, tls.min_validity)?;
        Ok(secured)
    }

    /// The configuration for these, read from their files unless it is there already. A file that can't be read is this
    /// host's fault, not the backend's.
    pub(crate) async fn config(&self, trust: &Trust, alpn: &[String]) -> Result<Arc<ClientConfig>, Failure> {
        let offer = (trust.clone(), alpn.to_vec());
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(offer).or_default().clone();
        let mut place = place.lock().await;
        let made = match place.take().filter(Made::is_good) {
            Some(made) => made,
            None => make(trust.clone(), alpn.to_vec()).await,
        };
        place.insert(made).config.clone().map_err(|error| Failure::Local { error })
    }

    /// Makes all of them anew when they are needed again.
    fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn make(trust: Trust, alpn: Vec<String>) -> Made {
    let config = spawn_blocking(move || configure(&trust, &alpn).map(Arc::new)).await;
    Made { config: config.unwrap_or_else(|error| Err(error.to_string())), at: Instant::now() }
}

/// The name a certificate has to have.
pub(crate) fn server_name(tls: &Tls, address: IpAddr) -> Result<ServerName<'static>, Failure> {
    match &tls.server_name {
        None => Ok(ServerName::from(address)),
        Some(name) => ServerName::try_from(name.clone())
            .map_err(|_| Failure::Local { error: format!("`{name}` is not a server name") }),
    }
}

/// Fails where a certificate ends sooner than it may.
pub(crate) fn judge_validity(ends: Option<u64>, min_validity: Option<Duration>) -> Result<(), Failure> {
    let Some(least) = min_validity else { return Ok(()) };
    let Some(ends) = ends else {
        return Err(Failure::Certificate { detail: "its dates can't be read".to_owned() });
    };
    let left = ends.saturating_sub(unix_now());
    if left >= least.as_secs() {
        return Ok(());
    }
    let detail = format!("it ends in {}, sooner than in {}", words::span(left), words::span(least.as_secs()));
    Err(Failure::Certificate { detail })
}

fn unix_now() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "certificates know calendar time only")]
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// When the certificate in `der` ends, in seconds since the Unix epoch.
pub(crate) fn certificate_ends(der: &CertificateDer<'_>) -> Option<u64> {
    proxima_x509::validity(der).map(|validity| validity.until)
}

fn configure(trust: &Trust, alpn: &[String]) -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth(),
        Trust::System => builder.with_root_certificates(system_roots()?).with_no_client_auth(),
        Trust::File(file) => builder.with_root_certificates(roots_in(file)?).with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The system's authorities.
fn system_roots() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or_else(String::new, |error| format!(": {error}"));
        return Err(format!(
            "this host has no certificate authorities{why}; install ca-certificates or name a `ca-file`"
        ));
    }
    Ok(roots)
}

pub(crate) fn roots_in(file: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: String| format!("ca-file {}: {why}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("no certificate in it".to_owned())) } else { Ok(roots) }
}

/// What an error of a handshake says.
fn handshake_failure(error: &io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(error) => words::failure(error),
        None => failure(error),
    }
}

/// Takes any certificate, but only from who has its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> String {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[tokio::test]
    async fn a_file_is_read_once_and_again_when_that_is_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let (configs, trust) = (TlsConfigs::default(), Trust::File(file.clone()));
        let error = configs.config(&trust, &[]).await.unwrap_err();
        assert!(error.is_local() && error.to_string().contains("ca.pem"), "{error}");
        std::fs::write(&file, authority()).unwrap();
        assert!(configs.config(&trust, &[]).await.is_err(), "not by every probe");
        configs.forget();
        let first = configs.config(&trust, &[]).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(Arc::ptr_eq(&first, &configs.config(&trust, &[]).await.unwrap()));
        configs.forget();
        assert!(configs.config(&trust, &[]).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_was_missing_is_looked_for_again_after_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let (configs, trust) = (TlsConfigs::default(), Trust::File(file.clone()));
        assert!(configs.config(&trust, &[]).await.is_err());
        std::fs::write(&file, authority()).unwrap();
        tokio::time::advance(AGAIN).await;
        assert!(configs.config(&trust, &[]).await.is_ok());
    }
}
