//! Who is attacked: the daemon, and other proxies that do the same for the same app, to compare with.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;
use rcgen::{CertificateParams, KeyPair};

use super::scene::{POP_TO_ATTACKER, POP_TO_BIRD, POP_TO_CLIENTS};
use crate::{
    error::{Error, Result},
    good_peer,
};

pub(super) const PREFIX: &str = "203.0.113.0/24";
/// Where the app listens.
pub(super) const APP: &str = "127.0.0.1:8080";

/// A proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Victim {
    /// The daemon, which is judged.
    Proximad,
    /// Its defaults, and room for as many connections as there are.
    Nginx,
    /// The same.
    Haproxy,
}

/// Where it listens: for attackers at all of them, for clients at the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub(super) struct Ports {
    /// TLS; QUIC too if it speaks that.
    #[arg(long)]
    pub(super) secure: u16,
    /// HTTP/1.1 in plain text.
    #[arg(long)]
    pub(super) http1: u16,
    /// HTTP/2 in plain text by prior knowledge.
    #[arg(long)]
    pub(super) http2: u16,
}

impl Victim {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Proximad => "proximad",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
        }
    }

    pub(super) fn ports(self) -> Ports {
        match self {
            Self::Proximad => Ports { secure: 443, http1: 80, http2: 80 },
            Self::Nginx => Ports { secure: 1443, http1: 1080, http2: 1081 },
            Self::Haproxy => Ports { secure: 2443, http1: 2080, http2: 2080 },
        }
    }

    pub(super) fn speaks_quic(self) -> bool {
        self == Self::Proximad
    }

    /// How to start it, with what it reads in `dir`, which has a certificate already.
    pub(super) fn command(self, dir: &Path, proximad: &Path) -> Result<Command> {
        let program = if self == Self::Proximad { proximad } else { Path::new(self.name()) };
        let mut command = Command::new(program);
        match self {
            Self::Proximad => {
                command.arg("--config").arg(write(dir, "proximad.toml", &proximad_toml(dir))?);
            }
            Self::Nginx => {
                command.arg("-e").arg(dir.join("nginx.error"));
                command.arg("-c").arg(write(dir, "nginx.conf", &nginx_conf(dir))?);
            }
            Self::Haproxy => {
                command.args(["-db", "-f"]).arg(write(dir, "haproxy.cfg", &haproxy_cfg(dir))?);
            }
        }
        Ok(command)
    }
}

impl Ports {
    pub(super) fn arguments(self) -> [String; 6] {
        let Self { secure, http1, http2 } = self;
        ["--secure", &secure.to_string(), "--http1", &http1.to_string(), "--http2", &http2.to_string()]
            .map(str::to_owned)
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    Ok(path)
}

/// Makes a certificate for `localhost`, with its key in a file of its own and, for HAProxy, in one with both.
pub(super) fn certificate(dir: &Path) -> Result<PathBuf> {
    let make = || {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) =
        make().map_err(|error| Error::Claim(format!("making a certificate: {error}")))?;
    for (name, text) in [("web.key", key.clone()), ("web.both", format!("{certificate}{key}"))] {
        let path = write(dir, name, &text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .map_err(Error::io(format!("setting the mode of {}", path.display())))?;
    }
    write(dir, "web.pem", &certificate)
}

fn proximad_toml(dir: &Path) -> String {
    let (dir, Ports { secure, http1, .. }) = (dir.display(), Victim::Proximad.ports());
    let hold = good_peer::HOLD_TIME.as_secs();
    let bird = super::scene::BIRD;
    format!(
        r#"[pop]
name = "pop"
region = "here"
router-id = "{POP_TO_BIRD}"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = 64512
hold-time = "{hold}s"
connect-retry = "1s"
[[bgp.peers]]
name = "bird"
address = "{bird}"
remote-as = 65000
[announce.web]
prefixes = ["{PREFIX}"]
services = ["secure"]
vip = "none"
[services.secure]
listen = ["{POP_TO_CLIENTS}:{secure}", "{POP_TO_ATTACKER}:{secure}"]
protocol = "https"
tls = {{ certificate = "{dir}/web.pem", key = "{dir}/web.key" }}
[[services.secure.routes]]
pool = "app"
[services.plain]
listen = ["{POP_TO_ATTACKER}:{http1}"]
protocol = "http"
[[services.plain.routes]]
pool = "app"
[pools.app]
# The app has the machine to share with all the others, and is not what is attacked.
probe = {{ http = "/healthz", timeout = "1s", fall = 10 }}
[[pools.app.backends]]
name = "app"
region = "here"
address = "{APP}"
[admin]
socket = "{dir}/admin.sock"
"#
    )
}

fn nginx_conf(dir: &Path) -> String {
    let (dir, Ports { secure, http1, http2 }) = (dir.display(), Victim::Nginx.ports());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {dir}/nginx-{kind}; "))
        .concat();
    let server = |listen: &str| format!("  server {{ {listen} location / {{ proxy_pass http://app; }} }}\n");
    let servers = [
        server(&format!(
            "listen {POP_TO_CLIENTS}:{secure} ssl; listen {POP_TO_ATTACKER}:{secure} ssl; ssl_certificate {dir}/web.pem; \
             ssl_certificate_key {dir}/web.key;"
        )),
        server(&format!("listen {POP_TO_ATTACKER}:{http1};")),
        server(&format!("listen {POP_TO_ATTACKER}:{http2} http2;")),
    ]
    .concat();
    format!(
        "user root; worker_processes auto; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.error;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off; {temporary}\n  upstream app {{ server {APP}; keepalive 64; }}\n  \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n{servers}}}\n"
    )
}

fn haproxy_cfg(dir: &Path) -> String {
    let (dir, Ports { secure, http1, .. }) = (dir.display(), Victim::Haproxy.ports());
    format!(
        "global\n  maxconn 8192\ndefaults\n  mode http\n  timeout connect 5s\n  timeout http-request 15s\n  \
         timeout client 75s\n  timeout server 60s\n\
         frontend in\n  bind {POP_TO_CLIENTS}:{secure} ssl crt {dir}/web.both\n  \
         bind {POP_TO_ATTACKER}:{secure} ssl crt {dir}/web.both\n  bind {POP_TO_ATTACKER}:{http1}\n  default_backend app\n\
         backend app\n  server app {APP}\n"
    )
}
