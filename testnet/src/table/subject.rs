//! The programs that take a full table: how each is configured, started, and asked how far it is.
//!
//! All have one external IPv4 peer, accept every route, export nothing and write nothing to the kernel.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::ValueEnum;
use nix::unistd::Pid;
use serde::Serialize;
use serde_json::Value;

use super::{FEEDER, FEEDER_AS, SUBJECT, SUBJECT_AS};
use crate::{
    error::{Error, Result},
    netns::NetNs,
    process::Process,
    router::{frr, private, vty},
    world::bird::converse,
};

/// Who takes the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// proximad.
    Proxima,
    /// BIRD 2.
    Bird,
    /// FRR's bgpd, with a zebra that resolves next hops.
    Frr,
    /// GoBGP.
    Gobgp,
}

impl Subject {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proxima => "proxima",
            Self::Bird => "BIRD",
            Self::Frr => "FRR",
            Self::Gobgp => "GoBGP",
        }
    }
}

/// A running subject. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    subject: Subject,
    dir: PathBuf,
    /// The one whose time and memory count.
    main: Process,
    /// What it needs beside it.
    _helpers: Vec<Process>,
    ns: NetNs,
}

impl Running {
    /// Starts `subject` on a host; its files go to `dir`, which is its own.
    pub fn start(subject: Subject, proximad: &Path, ns: &NetNs, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let mut helpers = Vec::new();
        let log = |name: &str| dir.join(format!("{name}.log"));
        let start = |name: &str, command: Command| Process::start(ns, name, command, &log(name));
        let main = match subject {
            Subject::Proxima => {
                let mut command = Command::new(proximad);
                command.arg("--config").arg(write(dir, "proximad.toml", &proxima(dir))?);
                start("proximad", command)?
            }
            Subject::Bird => {
                let mut command = Command::new("bird");
                command.arg("-f").arg("-c").arg(write(dir, "bird.conf", &bird())?);
                command.arg("-s").arg(dir.join("bird.ctl"));
                start("bird", command)?
            }
            Subject::Frr => {
                private::prepare(dir)?;
                write(dir, "zebra.conf", "")?;
                write(dir, "bgpd.conf", &bgpd())?;
                helpers.push(start("zebra", frr::daemon("zebra", dir))?);
                let mut bgpd = frr::daemon("bgpd", dir);
                bgpd.args(["--no_kernel", "--listenon", &SUBJECT.to_string()]);
                start("bgpd", bgpd)?
            }
            Subject::Gobgp => {
                let mut command = Command::new("gobgpd");
                command.arg("-f").arg(write(dir, "gobgpd.toml", &gobgp())?);
                command.args(["--log-level", "warn", "--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
                start("gobgpd", command)?
            }
        };
        Ok(Self { subject, dir: dir.to_owned(), main, _helpers: helpers, ns: ns.clone() })
    }

    /// The process that counts.
    pub fn pid(&self) -> Pid {
        self.main.pid()
    }

    /// An error if it has ended.
    pub fn check(&self) -> Result<()> {
        self.main.check()
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        self.main.log_tail()
    }

    /// How many routes it has; `None` while it can't be asked yet. Where it selects as they arrive, through selection.
    pub fn routes(&self) -> Option<u32> {
        match self.subject {
            Subject::Proxima => proxima_routes(&self.dir),
            Subject::Bird => bird_routes(&self.dir),
            Subject::Frr => frr_routes(&self.dir),
            Subject::Gobgp => gobgp_routes(&self.ns),
        }
    }

    /// Has it choose a best path for every prefix, and says for how many there is one; `None` where it does so as routes arrive.
    pub fn select(&self) -> Option<u32> {
        match self.subject {
            Subject::Proxima => Some(proxima_selected(&self.dir).unwrap_or(0)),
            Subject::Bird | Subject::Frr | Subject::Gobgp => None,
        }
    }

    /// Where it takes the session.
    pub fn address() -> SocketAddr {
        (SUBJECT, 179).into()
    }
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
    Ok(path)
}

fn proxima(dir: &Path) -> String {
    format!(
        r#"[pop]
name = "table"
region = "here"
router-id = "{SUBJECT}"
[regions.here]
jurisdiction = "XX"
[bgp]
local-as = {SUBJECT_AS}
listen = ["{SUBJECT}:179"]
[[bgp.peers]]
name = "feeder"
address = "{FEEDER}"
remote-as = {FEEDER_AS}
import = "all"
passive = true
max-prefixes = 10000000
[services.none]
listen = ["127.0.0.1:8081"]
protocol = "tcp"
pool = "none"
[pools.none]
probe = {{ tcp = true, interval = "1h" }}
[[pools.none.backends]]
name = "none"
region = "here"
address = "127.0.0.1:9"
[data-plane]
workers = 1
[admin]
socket = "{}"
[log]
level = "warn"
"#,
        dir.join("admin.sock").display()
    )
}

fn proxima_routes(dir: &Path) -> Option<u32> {
    let body = crate::world::pop::ask(&dir.join("admin.sock"), "/v1/peers/feeder").ok()?;
    let peer: Value = serde_json::from_str(body.split_once("\r\n\r\n")?.1).ok()?;
    number(peer.pointer("/received")?)
}

/// For how many prefixes a best path is chosen: it chooses for all of them.
fn proxima_selected(dir: &Path) -> Option<u32> {
    let body = crate::world::pop::ask(&dir.join("admin.sock"), "/v1/routes/summary").ok()?;
    let summary: Value = serde_json::from_str(body.split_once("\r\n\r\n")?.1).ok()?;
    number(summary.pointer("/selected")?)
}

fn bird() -> String {
    format!(
        "router id {SUBJECT};\nprotocol device {{}}\nprotocol bgp feeder {{\n  local {SUBJECT} as {SUBJECT_AS};\n  \
         neighbor {FEEDER} as {FEEDER_AS};\n  passive;\n  ipv4 {{ import all; export none; }};\n}}\n"
    )
}

/// `Routes: 1000000 imported, …`, a counter: looking at the table itself would hold BIRD up.
fn bird_routes(dir: &Path) -> Option<u32> {
    let (_, text) = converse(&dir.join("bird.ctl"), "show protocols all feeder").ok()?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Routes:"));
    Some(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}

fn bgpd() -> String {
    let mut text =
        format!("router bgp {SUBJECT_AS}\n bgp router-id {SUBJECT}\n no bgp ebgp-requires-policy\n");
    for line in [format!("remote-as {FEEDER_AS}"), "passive".to_owned()] {
        writeln!(text, " neighbor {FEEDER} {line}").expect("a string takes all");
    }
    text
}

/// All received, and none waits to be selected.
fn frr_routes(dir: &Path) -> Option<u32> {
    let ask = |line| vty::ask(&frr::socket("bgpd", dir), &[line]).ok();
    let summary: Value = serde_json::from_str(&ask("show bgp ipv4 unicast summary json")?).ok()?;
    let received = number(summary.pointer(&format!("/peers/{FEEDER}/pfxRcd"))?)?;
    let queues = ask("show work-queues")?;
    let waiting: u32 = queues
        .lines()
        .find(|line| line.contains("process_queue"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()?;
    Some(received.saturating_sub(waiting))
}

fn gobgp() -> String {
    format!(
        r#"[global.config]
as = {SUBJECT_AS}
router-id = "{SUBJECT}"
local-address-list = ["{SUBJECT}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "{FEEDER}"
peer-as = {FEEDER_AS}
[neighbors.transport.config]
passive-mode = true
"#
    )
}

fn gobgp_routes(ns: &NetNs) -> Option<u32> {
    let mut command = Command::new("gobgp");
    command.args(["neighbor", &FEEDER.to_string(), "-j"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = ns.spawn(&mut command).ok()?.wait_with_output().ok()?;
    let peer: Value = serde_json::from_slice(&output.stdout).ok()?;
    // Protocol buffers leave out what is zero.
    Some(peer.pointer("/afi_safis/0/state/accepted").and_then(number).unwrap_or(0))
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64()?.try_into().ok(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Programs that are not here, with the Debian package of each.
pub(super) fn missing(subjects: &[Subject]) -> Vec<&'static str> {
    let needs = |subject: &Subject| match subject {
        Subject::Proxima => None,
        Subject::Bird => Some(("/usr/sbin/bird", "bird2")),
        Subject::Frr => Some(("/usr/lib/frr/bgpd", "frr")),
        Subject::Gobgp => Some(("/usr/bin/gobgpd", "gobgpd")),
    };
    subjects
        .iter()
        .filter_map(needs)
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| package)
        .collect()
}
