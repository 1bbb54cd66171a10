//! nginx, over HTTP/1.1 and HTTP/2, with TLS and without.

use std::{fs, net::SocketAddr};

use tempfile::TempDir;

use super::{
    certificates::{Authority, Certificate},
    server::{As, Server, address, program},
};

/// A running nginx.
pub(crate) struct Nginx {
    pub(crate) server: Server,
    /// HTTP/1.1 without TLS.
    pub(crate) http1: SocketAddr,
    /// HTTP/2 without TLS, by prior knowledge.
    pub(crate) http2: SocketAddr,
    /// TLS, and either.
    pub(crate) https: SocketAddr,
    pub(crate) authority: Authority,
    _directory: TempDir,
}

impl Nginx {
    /// One whose certificate is good.
    pub(crate) fn start() -> Self {
        Self::with(|authority| authority.sign(super::certificates::NAME, 2090))
    }

    /// One with this certificate.
    pub(crate) fn with(certificate: impl FnOnce(&Authority) -> Certificate) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(directory.path());
        let certificate = certificate(&authority);
        let (http1, http2, https) = (address(), address(), address());
        let answers = "location = /healthz { default_type text/plain; add_header X-Ready yes; return 200 'version 7\\nready\\n'; } \
                       location = /gone { return 503 'no'; } location = /moved { return 302 /healthz; }";
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", directory.path().join(kind).display()))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr notice; events {{}} \
             http {{ access_log off; {paths} \
             server {{ listen {http1}; {answers} }} \
             server {{ listen {http2} http2; {answers} }} \
             server {{ listen {https} ssl http2; ssl_certificate {chain}; ssl_certificate_key {key}; {answers} }} }}",
            pid = directory.path().join("pid").display(),
            chain = certificate.chain.display(),
            key = certificate.key.display(),
        );
        let file = directory.path().join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = As::Me.command(&program("nginx", "nginx-light"));
        command.arg("-e").arg("stderr").arg("-c").arg(&file);
        let server = Server::start(command, "event method");
        Self { server, http1, http2, https, authority, _directory: directory }
    }
}
