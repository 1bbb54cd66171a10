//! A certificate authority of one's own, and files with what it has made.

#![allow(unreachable_pub, reason = "a module of test binaries")]

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use proxima_proxy::{Chain, Clients, Identity, MinVersion, TicketKeys, TlsServer, TlsServerOptions};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, ServerName},
    },
};

use crate::common::{Peer, World, service_name, soon};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    directory: TempDir,
}

/// A certificate and its key, in PEM and as files.
pub struct Issued {
    pub certificate: String,
    pub key: String,
    pub files: (PathBuf, PathBuf),
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "an authority of tests");
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let authority = Self {
            issuer: Issuer::new(parameters, key),
            certificate,
            directory: tempfile::tempdir().unwrap(),
        };
        std::fs::write(authority.file(), authority.certificate.pem()).unwrap();
        authority
    }

    /// A file with its own certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub fn chain(&self) -> Chain {
        Chain::from_pem(self.certificate.pem().as_bytes()).unwrap()
    }

    /// A certificate of these names.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, None)
    }

    /// The same that ends then, if that is said.
    pub fn issue_until(&self, names: &[&str], end: Option<SystemTime>) -> Issued {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        if let Some(end) = end {
            parameters.not_after = end.into();
        }
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap().pem();
        let key = key.serialize_pem();
        let number = std::fs::read_dir(self.directory.path()).unwrap().count();
        let file = |kind: &str| self.directory.path().join(format!("{number}.{kind}"));
        let files = (file("pem"), file("key"));
        std::fs::write(&files.0, &certificate).unwrap();
        std::fs::write(&files.1, &key).unwrap();
        Issued { certificate, key, files }
    }

    /// A path for what a client writes.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A client that trusts this authority.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

impl Issued {
    pub fn identity_der(&self) -> CertificateDer<'static> {
        Chain::from_pem(self.certificate.as_bytes()).unwrap().certificates()[0].clone()
    }

    pub fn identity(&self) -> Identity {
        let chain = Chain::from_pem(self.certificate.as_bytes()).unwrap();
        chain.with_key(self.key.as_bytes()).unwrap()
    }
}

/// What a test wants of TLS, with the usual for the rest.
pub struct Wanted {
    pub identities: Vec<Identity>,
    pub min_version: MinVersion,
    pub clients: Clients,
    pub tickets: TicketKeys,
}

impl Wanted {
    pub fn new(certificates: &[&Issued]) -> Self {
        let identities = certificates.iter().map(|issued| issued.identity()).collect();
        let tickets = TicketKeys::own().unwrap();
        Self { identities, min_version: MinVersion::Tls12, clients: Clients::Any, tickets }
    }

    pub fn server(&self) -> TlsServer {
        TlsServer::new(&TlsServerOptions {
            service: &service_name(),
            identities: &self.identities,
            min_version: self.min_version,
            clients: &self.clients,
            tickets: &self.tickets,
        })
        .unwrap()
    }
}

impl World {
    /// A connection over which TLS is spoken, to `name`.
    pub async fn tls_client(&self, connector: &TlsConnector, name: &str) -> Peer<TlsStream<TcpStream>> {
        self.try_tls_client(connector, name).await.unwrap()
    }

    pub async fn try_tls_client(
        &self,
        connector: &TlsConnector,
        name: &str,
    ) -> std::io::Result<Peer<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Ok(Peer::over(soon("a handshake", connector.connect(name, stream)).await?))
    }
}
