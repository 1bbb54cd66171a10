//! Connections to what is measured: in plain text, or over TLS.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::{
    error::{Error, Result},
    load::http::Connection,
};

/// Whom to ask.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Target {
    /// Where it listens.
    #[arg(long)]
    to: SocketAddr,
    /// Speak TLS, and trust the certificates in this file; it has to be one for `localhost`.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Opens connections.
pub(crate) struct Connector {
    to: SocketAddr,
    tls: Option<TlsConnector>,
}

pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Target {
    pub(super) fn connector(&self) -> Result<Connector> {
        Connector::new(self.to, self.ca.as_deref())
    }
}

impl Connector {
    /// Over TLS, trusting the certificates in a file, where one is named.
    pub(crate) fn new(to: SocketAddr, ca: Option<&Path>) -> Result<Self> {
        let tls = match ca {
            None => None,
            Some(file) => {
                let doing = format!("reading {}", file.display());
                let roots = trusted(file).map_err(Error::io(doing))?;
                let provider = Arc::new(aws_lc_rs::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| Error::Claim(format!("this build has no TLS: {error}")))?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                Some(TlsConnector::from(Arc::new(config)))
            }
        };
        Ok(Self { to, tls })
    }

    /// A connection with its handshake behind it, from `from` or from wherever the system chooses.
    pub(crate) async fn connect(&self, from: Option<SocketAddr>) -> Result<Connection<Box<dyn Stream>>> {
        self.stream(from).await.map(Connection::new).map_err(Error::io(format!("connecting to {}", self.to)))
    }

    async fn stream(&self, from: Option<SocketAddr>) -> io::Result<Box<dyn Stream>> {
        let tcp = match from {
            None => TcpStream::connect(self.to).await?,
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind(from)?;
                socket.connect(self.to).await?
            }
        };
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Box::new(tcp)),
            Some(tls) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                Ok(Box::new(tls.connect(name, tcp).await?))
            }
        }
    }
}

fn trusted(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    Ok(roots)
}
