//! Who withdraws and announces: how each is configured and started.

use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

use super::{APP_PORT, HOLD_DOWN, POP_AS, PREFIX, ROUTER_AS};
use crate::{
    error::{Error, Result},
    netns::NetNs,
    process::Process,
};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Subject {
    /// proximad with its defaults.
    Proxima,
    /// ExaBGP's healthcheck with its defaults.
    Exabgp,
    /// The same, as quick as it gets.
    ExabgpQuick,
    /// BIRD with a script that enables and disables its static route by the same check, as quickly.
    Bird,
}

/// The addresses around a subject.
pub(super) struct Ends {
    /// Its router.
    pub(super) router: Ipv4Addr,
    /// It, towards the router.
    pub(super) pop: Ipv4Addr,
    /// It, towards the app.
    pub(super) to_app: Ipv4Addr,
    /// The app.
    pub(super) app: Ipv4Addr,
}

impl Subject {
    pub(super) const ALL: [Self; 4] = [Self::Proxima, Self::Exabgp, Self::ExabgpQuick, Self::Bird];

    /// For the table.
    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Proxima => "proxima (hold-down 10 s, damping)",
            Self::Exabgp => "ExaBGP healthcheck (every 5 s, rise 3, fall 3)",
            Self::ExabgpQuick => "ExaBGP healthcheck (every 0.1 s, rise 1, fall 1)",
            Self::Bird => "BIRD and a script (every 0.1 s, rise 1, fall 1)",
        }
    }

    pub(super) fn start(self, host: &NetNs, ends: &Ends, proximad: &Path, dir: &Path) -> Result<Process> {
        match self {
            Self::Proxima => {
                let mut command = Command::new(proximad);
                let text = proxima(ends, &dir.join("admin.sock"));
                command.arg("--config").arg(write(dir, "proximad.toml", &text)?);
                Process::start(host, "proximad", command, &dir.join("proximad.log"))
            }
            Self::Exabgp => exabgp(host, ends, "", dir),
            Self::ExabgpQuick => {
                exabgp(host, ends, "--interval 0.1 --fast-interval 0.1 --rise 1 --fall 1", dir)
            }
            Self::Bird => bird(host, ends, dir),
        }
    }
}

/// A speaker that knows nothing of health, and the loop beside it that operators write.
fn bird(host: &NetNs, ends: &Ends, dir: &Path) -> Result<Process> {
    let config = format!(
        "router id {pop};\n\
         protocol device {{}}\n\
         protocol static site {{ ipv4; route {PREFIX} unreachable; }}\n\
         protocol bgp upstream {{\n  \
           local {pop} as {POP_AS};\n  \
           neighbor {router} as {ROUTER_AS};\n  \
           hold time 90;\n  \
           connect delay time 1;\n  \
           ipv4 {{ import none; export where proto = \"site\"; next hop self; }};\n}}\n",
        router = ends.router,
        pop = ends.pop,
    );
    let script = format!(
        "#!/bin/bash\n\
         bird -f -c {config} -s {socket} &\n\
         is=enable\n\
         while sleep 0.1; do\n  \
           if {check}; then wanted=enable; else wanted=disable; fi\n  \
           [ $wanted = $is ] || {{ birdc -s {socket} $wanted site && is=$wanted; }}\n\
         done\n",
        config = write(dir, "bird.conf", &config)?.display(),
        socket = dir.join("bird.ctl").display(),
        check = program(dir, "check.sh", &check(ends))?.display(),
    );
    let command = Command::new(program(dir, "watch.sh", &script)?);
    Process::start(host, "bird", command, &dir.join("bird.log"))
}

fn exabgp(host: &NetNs, ends: &Ends, pace: &str, dir: &Path) -> Result<Process> {
    let check = program(dir, "check.sh", &check(ends))?;
    let config = format!(
        "process watch {{\n  \
           run python3 -m exabgp healthcheck --no-syslog --withdraw-on-down --no-ip-setup {pace} --ip {PREFIX} \
             --next-hop {pop} --command {check};\n  \
           encoder text;\n}}\n\
         neighbor {router} {{\n  \
           router-id {pop};\n  \
           local-address {pop};\n  \
           local-as {POP_AS};\n  \
           peer-as {ROUTER_AS};\n  \
           hold-time 90;\n  \
           family {{ ipv4 unicast; }}\n  \
           api {{ processes [ watch ]; }}\n}}\n",
        router = ends.router,
        pop = ends.pop,
        check = check.display(),
    );
    let mut command = Command::new("exabgp");
    command
        .arg(write(dir, "exabgp.conf", &config)?)
        .env("exabgp.daemon.user", "root")
        .env("exabgp.daemon.drop", "false")
        .env("exabgp.api.cli", "false");
    Process::start(host, "exabgp", command, &dir.join("exabgp.log")).map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::Missing { what: "exabgp".to_owned(), remedy: "apt-get install exabgp".to_owned() }
        }
        other => other,
    })
}

/// Asks the app as this daemon's probe does.
fn check(ends: &Ends) -> String {
    format!(
        "#!/bin/bash\n\
         exec 3<>/dev/tcp/{app}/{APP_PORT} || exit 1\n\
         printf 'GET /healthz HTTP/1.1\\r\\nHost: app\\r\\nConnection: close\\r\\n\\r\\n' >&3\n\
         read -r -t 0.5 status <&3 && [[ $status == *' 200 '* ]]\n",
        app = ends.app
    )
}

fn proxima(ends: &Ends, socket: &Path) -> String {
    format!(
        r#"[pop]
name = "pop"
region = "here"
router-id = "{pop}"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = {POP_AS}
hold-time = "90s"
connect-retry = "1s"
[[bgp.peers]]
name = "router"
address = "{router}"
remote-as = {ROUTER_AS}
[announce.web]
prefixes = ["{PREFIX}"]
services = ["web"]
vip = "none"
[announce.web.withdrawn]
hold-down = "{hold_down}s"
[services.web]
listen = ["{to_app}:8080"]
protocol = "http"
[[services.web.routes]]
pool = "app"
[pools.app]
probe = {{ http = "/healthz", expect = 200 }}
[[pools.app.backends]]
name = "app"
region = "here"
address = "{app}:{APP_PORT}"
[admin]
socket = "{socket}"
"#,
        pop = ends.pop,
        router = ends.router,
        to_app = ends.to_app,
        app = ends.app,
        hold_down = HOLD_DOWN.as_secs(),
        socket = socket.display()
    )
}

/// Writes a script.
fn program(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = write(dir, name, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io(format!("making {} a program", path.display())))?;
    Ok(path)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    Ok(path)
}
