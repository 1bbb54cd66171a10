//! Clients that others have written, over TLS to the whole daemon. Those in Python bring a backend of the same maker with them: each
//! `.py` file here is both sides of the proxy, so that either can wait for what the other has got.
//!
//! | module | client |
//! |---|---|
//! | [`browser`] | Chromium |
//! | [`load`] | curl, h2load, wrk, oha |
//! | [`python`] | the OpenAI SDK, websockets, grpcio |

mod browser;
mod load;
mod python;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use proxima_types::Health;
use rcgen::{CertificateParams, KeyPair};

use crate::support::{App, Daemon, Pop};

/// A running PoP with one backend, that shows a certificate of its own for this name and 127.0.0.1.
struct Edge {
    _daemon: Daemon,
    pop: Pop,
}

const NAME: &str = "web.example";

impl Edge {
    /// Before an app.
    fn before(app: &App) -> Self {
        Self::start(Pop::new().backend("eu", app), app.name)
    }

    /// Before a server that speaks this protocol, and is up when it takes connections.
    fn before_server(address: SocketAddr, protocol: &str) -> Self {
        let mut pop = Pop::new().backend_at("eu", "server", address);
        pop.probe = format!("{{ tcp = true }}\nprotocol = \"{protocol}\"");
        Self::start(pop, "server")
    }

    fn start(mut pop: Pop, backend: &str) -> Self {
        let directory = pop.directory().display();
        pop.protocol = format!(
            "protocol = \"https\"\ntls = {{ certificate = \"{directory}/web.pem\", key = \"{directory}/web.key\" }}"
        );
        pop.group = String::new();
        let key = KeyPair::generate().unwrap();
        let names = [NAME, "127.0.0.1"].map(str::to_owned);
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let [pem, secret] = ["web.pem", "web.key"].map(|file| pop.directory().join(file));
        fs::write(pem, certificate.pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let daemon = pop.start();
        daemon.wait_verdict(&format!("app/{backend}"), Health::Up);
        Self { _daemon: daemon, pop }
    }

    fn certificate(&self) -> PathBuf {
        self.pop.directory().join("web.pem")
    }

    fn port(&self) -> u16 {
        self.pop.web().port()
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port())
    }
}

/// A file of what `cargo xtask test` installs.
fn installed(file: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..").join(file);
    assert!(path.exists(), "{} is missing: `cargo xtask test --only packages` makes it", path.display());
    path
}

/// What a program prints that ends well.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `cargo xtask test` installs it"));
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(status.success(), "{command:?}: {status}\n{out}\n{err}");
    out
}
