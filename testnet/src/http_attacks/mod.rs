//! Clients of HTTP that do harm, beside others that are asked how they fare: those wait no longer than twice as long, the daemon's memory
//! is bounded, and its BGP session notices nothing.
//!
//! ```text
//!  BIRD ──── proximad, app ──┬── clients      200 requests a second over TLS, one of ten over a connection of its own
//!                            └── attacker     a process of its own, that gives way to all others: here it has no machine of its own
//! ```

mod clients;
mod http2;
mod initials;
mod overlong;
mod slow;
mod strike;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use proxima_types::Prefix;
use rcgen::{CertificateParams, KeyPair};
use tokio::time::sleep;

pub use self::strike::{Attack, Strike, strike};
use self::{clients::Fared, strike::Tally};
use crate::{
    error::{Error, Result},
    figures,
    good_peer::{self, GoodPeer},
    link::{End, veth},
    measure::connect::Connector,
    netns::NetNs,
    process::{Process, memory},
    sandbox::Sandbox,
    wait::wait_until,
};

const POP_TO_BIRD: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 1);
const BIRD: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 2);
const POP_TO_CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 97, 2, 1);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 97, 2, 2);
const POP_TO_ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 1);
/// The attacker's own, and its gateway's to what it forges.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 2);
/// Addresses that an attacker forges: no answer to them arrives.
const FORGED: &str = "10.96.0.0/16";
/// The attacker's connections come from as many addresses, from this one on.
const SOURCES: u32 = 128;
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 100);
const PREFIX: &str = "203.0.113.0/24";
const START_LIMIT: Duration = Duration::from_secs(30);
/// How much the daemon may grow: 4000 connections, each with the most that it holds of a head, and all that a crowd of streams makes.
const GROWTH_LIMIT_KIB: u64 = 192 * 1024;

/// How to attack.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Which attacks; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<Attack>,
    /// Times that clients are asked how they fare, without the attack and under it; what counts is the median.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that they are asked for each time.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections of slow clients at once.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..))]
    slow: u32,
    /// How many times as long clients may wait, in the 99th percentile.
    #[arg(long, default_value_t = 2.0)]
    limit: f64,
    /// Milliseconds that they may wait in any case: what a machine is late by that does other things too.
    #[arg(long, default_value_t = 0.0)]
    grace: f64,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

/// Attacks in turn, each on a daemon of its own.
///
/// # Errors
/// With the attacks that did harm, and what it was.
#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<()> {
    let proximad = figures::proximad(options.proximad.as_deref())?;
    let attacks = if options.attacks.is_empty() { Attack::ALL.to_vec() } else { options.attacks.clone() };
    let mut harms = Vec::new();
    for attack in attacks {
        let dir = sandbox.dir().join(format!("{attack:?}"));
        fs::create_dir_all(&dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let scene = Scene::start(&proximad, &dir).await?;
        let mut outcomes = Vec::new();
        for round in 0..options.rounds {
            outcomes.push(scene.round(attack, round, &options, &dir).await?);
        }
        let median = |of: fn(&Outcome) -> f64| figures::median(outcomes.iter().map(of)).unwrap_or(f64::NAN);
        let (before, under) = (median(|outcome| outcome.before), median(|outcome| outcome.under));
        let memory = outcomes.iter().map(|outcome| outcome.grown).max().unwrap_or(0);
        let steps = median(|outcome| outcome.rate);
        println!(
            "{:<18} {steps:>9.0} {:<22} p99 {before:>7.2} ms before, {under:>7.2} ms under attack ({:.2} times)  grown by {:>5.1} MiB",
            format!("{attack:?}"),
            format!("{}/s", attack.unit()),
            under / before,
            memory as f64 / 1024.0,
        );
        if under > (options.limit * before).max(options.grace) {
            harms.push(format!("{attack:?}: clients wait {under:.2} ms instead of {before:.2} ms"));
        }
    }
    if harms.is_empty() { Ok(()) } else { Err(Error::Claim(harms.join("\n"))) }
}

/// What came of one round.
struct Outcome {
    /// The 99th percentile of what clients wait, in ms.
    before: f64,
    under: f64,
    /// Steps of the attack in a second.
    rate: f64,
    /// By so much more memory is resident at most than before, in KiB.
    grown: u64,
}

/// The daemon and everyone around it.
struct Scene {
    clients: NetNs,
    attacker: NetNs,
    _app: Process,
    daemon: Process,
    peer: GoodPeer,
    certificate: PathBuf,
    memory_before: u64,
}

impl Scene {
    async fn start(proximad: &Path, dir: &Path) -> Result<Self> {
        let [pop, router, clients, attacker] = [
            NetNs::create("pop")?,
            NetNs::create("router")?,
            NetNs::create("clients")?,
            NetNs::create("attacker")?,
        ];
        let connect = |interface: &str, (own, other): (Ipv4Addr, &NetNs), addresses: Vec<Ipv4Addr>| {
            let addresses = addresses.into_iter().map(|ip| (ip.into(), 24)).collect();
            veth(
                &End { ns: &pop, interface, addresses: vec![(own.into(), 24)] },
                &End { ns: other, interface: "pop", addresses },
            )
        };
        connect("router", (POP_TO_BIRD, &router), vec![BIRD])?;
        connect("clients", (POP_TO_CLIENTS, &clients), vec![CLIENTS])?;
        connect("attacker", (POP_TO_ATTACKER, &attacker), sources().chain([ATTACKER]).collect())?;
        forge(&pop, &attacker)?;
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
            Ok(path)
        };
        let app = app(&pop, dir)?;
        let certificate = certificate(dir)?;
        let mut peer = GoodPeer::start(&router, dir, (BIRD, POP_TO_BIRD), PREFIX)?;
        let mut command = Command::new(proximad);
        command.arg("--config").arg(write("proximad.toml", proximad_toml(dir))?);
        let daemon = Process::start(&pop, "proximad", command, &dir.join("proximad.log"))?;
        peer.wait_up(&daemon).await?;
        let memory_before = memory(daemon.pid(), "VmRSS")?;
        Ok(Self { clients, attacker, _app: app, daemon, peer, certificate, memory_before })
    }

    /// Asks clients how they fare, attacks, and asks again.
    async fn round(&self, attack: Attack, round: u32, options: &Options, dir: &Path) -> Result<Outcome> {
        let mut grown = 0;
        let before = self.ask(attack, options.seconds, &mut grown).await?;
        let strike = self.strike(attack, options.slow, &dir.join(format!("attacker-{round}.log")))?;
        wait_until(START_LIMIT, || {
            self.unharmed(attack, &mut grown)?;
            strike.check()?;
            let tally = Tally::last_in(strike.log());
            Ok(if attack.is_under_way(tally, options.slow.into()) {
                String::new()
            } else {
                format!("the attack {attack:?} to begin: {tally:?}")
            })
        })
        .await?;
        let first = Tally::last_in(strike.log());
        let under = self.ask(attack, options.seconds, &mut grown).await?;
        strike.check()?;
        let last = Tally::last_in(strike.log());
        drop(strike);
        // A hold time later the good peer would have noticed what happened at the end.
        sleep(good_peer::HOLD_TIME).await;
        self.unharmed(attack, &mut grown)?;
        let rate = (last.steps - first.steps) as f64 / f64::from(options.seconds);
        if rate <= 0.0 {
            return Err(Error::Claim(format!("{attack:?} came to nothing: {last:?}")));
        }
        Ok(Outcome { before: before.p99_ms, under: under.p99_ms, rate, grown })
    }

    /// Lets clients ask, and looks meanwhile whether anyone is harmed.
    async fn ask(&self, attack: Attack, seconds: u32, grown: &mut u64) -> Result<Fared> {
        let connector = Connector::new((POP_TO_CLIENTS, 443).into(), Some(&self.certificate))?;
        let ns = self.clients.clone();
        let asking = thread::spawn(move || ns.block_on(move || clients::ask(connector, seconds)));
        while !asking.is_finished() {
            self.unharmed(attack, grown)?;
            sleep(Duration::from_millis(100)).await;
        }
        let fared = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        fared?.map_err(|error| {
            Error::Claim(format!(
                "{attack:?}: {error}; the daemon's log ends with:\n{}",
                self.daemon.log_tail()
            ))
        })
    }

    fn strike(&self, attack: Attack, slow: u32, log: &Path) -> Result<Process> {
        let program = std::env::current_exe().map_err(Error::io("finding this program's own binary"))?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(program).args(["http-strike", "--connections", &slow.to_string()]);
        command.arg("--attack").arg(attack.name());
        Process::start(&self.attacker, "attacker", command, log)
    }

    fn unharmed(&self, attack: Attack, grown: &mut u64) -> Result<()> {
        self.daemon.check()?;
        *grown = memory(self.daemon.pid(), "VmRSS")?.saturating_sub(self.memory_before).max(*grown);
        let harm = match self.peer.harm() {
            Some(harm) => harm,
            None if *grown > GROWTH_LIMIT_KIB => format!("the daemon grew by {} MiB", *grown / 1024),
            None => return Ok(()),
        };
        Err(Error::Claim(format!(
            "{attack:?}: {harm}; the daemon's log ends with:\n{}",
            self.daemon.log_tail()
        )))
    }
}

/// Where the attacker's connections come from.
fn sources() -> impl Iterator<Item = Ipv4Addr> {
    (0..SOURCES).map(|number| Ipv4Addr::from_bits(FIRST_SOURCE.to_bits() + number))
}

/// Gives the attacker addresses that are not its own: what it sends from them arrives, and no answer does.
fn forge(pop: &NetNs, attacker: &NetNs) -> Result<()> {
    let prefix: Prefix = FORGED.parse().map_err(|error| Error::Claim(format!("{FORGED}: {error}")))?;
    pop.add_route(prefix, ATTACKER.into())?;
    let mut local = Command::new("ip");
    let mut child = attacker.spawn(local.args(["route", "add", "local", FORGED, "dev", "lo"]))?;
    let added = child.wait().map_err(Error::io("adding a local route"))?;
    if !added.success() {
        return Err(Error::Claim(format!("`ip route add local {FORGED}` failed: {added}")));
    }
    attacker.nft(&format!(
        "table ip forged {{ chain in {{ type filter hook prerouting priority 0; ip daddr {FORGED} drop; }}; }}"
    ))
}

/// The app, on the daemon's host: what is between them is not what is attacked.
fn app(pop: &NetNs, dir: &Path) -> Result<Process> {
    let program = std::env::current_exe().map_err(Error::io("finding this program's own binary"))?;
    let mut command = Command::new(program);
    command.args(["app", "--region", "here", "--name", "app", "--listen", "127.0.0.1:8080"]);
    Process::start(pop, "app", command, &dir.join("app.log"))
}

fn certificate(dir: &Path) -> Result<PathBuf> {
    let make = || {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    let (certificate, key) =
        make().map_err(|error| Error::Claim(format!("making a certificate: {error}")))?;
    let [pem, secret] = ["web.pem", "web.key"].map(|name| dir.join(name));
    let write = |path: &Path, text: String, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        let written =
            fs::write(path, text).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)));
        written.map_err(Error::io(format!("writing {}", path.display())))
    };
    write(&pem, certificate, 0o644)?;
    write(&secret, key, 0o600)?;
    Ok(pem)
}

fn proximad_toml(dir: &Path) -> String {
    let dir = dir.display();
    let hold = good_peer::HOLD_TIME.as_secs();
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
address = "{BIRD}"
remote-as = 65000
[announce.web]
prefixes = ["{PREFIX}"]
services = ["secure"]
vip = "none"
[services.secure]
listen = ["{POP_TO_CLIENTS}:443", "{POP_TO_ATTACKER}:443"]
protocol = "https"
tls = {{ certificate = "{dir}/web.pem", key = "{dir}/web.key" }}
[[services.secure.routes]]
pool = "app"
[services.plain]
listen = ["{POP_TO_ATTACKER}:80"]
protocol = "http"
[[services.plain.routes]]
pool = "app"
[pools.app]
# The app has the machine to share with all the others, and is not what is attacked.
probe = {{ http = "/healthz", timeout = "1s", fall = 10 }}
[[pools.app.backends]]
name = "app"
region = "here"
address = "127.0.0.1:8080"
[admin]
socket = "{dir}/admin.sock"
"#
    )
}
