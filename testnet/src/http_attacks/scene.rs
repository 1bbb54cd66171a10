//! The victims and everyone around them.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use proxima_types::Prefix;
use tokio::time::sleep;

use super::{
    Options,
    clients::{self, Fared},
    strike::{Attack, Tally},
    victim::{self, APP, PREFIX, Victim},
};
use crate::{
    error::{Error, Result},
    good_peer::{self, GoodPeer},
    link::{End, veth},
    measure::connect::Connector,
    netns::NetNs,
    process::{Process, memory},
    wait::wait_until,
};

pub(super) const POP_TO_BIRD: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 1);
pub(super) const BIRD: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 2);
pub(super) const POP_TO_CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 97, 2, 1);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 97, 2, 2);
pub(super) const POP_TO_ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 1);
/// The attacker's own, and its gateway's to what it forges.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 2);
/// Addresses that an attacker forges: no answer to them arrives.
const FORGED: &str = "10.96.0.0/16";
/// The attacker's connections come from as many addresses, from this one on.
const SOURCES: u32 = 128;
const FIRST_SOURCE: Ipv4Addr = Ipv4Addr::new(10, 97, 3, 100);
const START_LIMIT: Duration = Duration::from_secs(30);
/// How much the daemon may grow: 4000 connections, each with the most that it holds of a head, and all that a crowd of streams makes.
const GROWTH_LIMIT_KIB: u64 = 192 * 1024;

/// What came of one round.
pub(super) struct Outcome {
    /// The 99th percentile of what clients wait, in ms.
    pub(super) before: f64,
    pub(super) under: f64,
    /// Steps of the attack in a second.
    pub(super) rate: f64,
    /// By so much more of the daemon's memory is resident at most than before, in KiB.
    pub(super) grown: u64,
}

/// The daemon, other proxies if any, and what they need.
pub(super) struct Scene {
    clients: NetNs,
    attacker: NetNs,
    _app: Process,
    daemon: Process,
    peer: GoodPeer,
    others: Vec<(Victim, Process)>,
    certificate: PathBuf,
    memory_before: u64,
}

impl Scene {
    pub(super) async fn start(options: &Options, proximad: &Path, dir: &Path) -> Result<Self> {
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
        let app = app(&pop, dir)?;
        let certificate = victim::certificate(dir)?;
        let start = |victim: Victim| {
            let log = dir.join(format!("{}.log", victim.name()));
            Process::start(&pop, victim.name(), victim.command(dir, proximad)?, &log)
        };
        let mut peer = GoodPeer::start(&router, dir, (BIRD, POP_TO_BIRD), PREFIX)?;
        let daemon = start(Victim::Proximad)?;
        let others = options.victims().filter(|victim| *victim != Victim::Proximad);
        let others = others.map(|victim| Ok((victim, start(victim)?))).collect::<Result<_>>()?;
        peer.wait_up(&daemon).await?;
        let memory_before = memory(daemon.pid(), "VmRSS")?;
        Ok(Self { clients, attacker, _app: app, daemon, peer, others, certificate, memory_before })
    }

    /// Asks clients how they fare, attacks, and asks again.
    pub(super) async fn round(
        &self,
        (attack, victim): (Attack, Victim),
        round: u32,
        options: &Options,
        dir: &Path,
    ) -> Result<Outcome> {
        let mut grown = 0;
        let before = self.ask((attack, victim), options.seconds, &mut grown).await?;
        let log = dir.join(format!("attacker-{}-{round}.log", victim.name()));
        let strike = self.strike((attack, victim), options.slow, &log)?;
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
        let begun = Instant::now();
        // The attacker runs when nobody else wants to: on a busy machine it may take a while until it did anything meanwhile.
        let (under, last) = loop {
            let under = self.ask((attack, victim), options.seconds, &mut grown).await?;
            strike.check()?;
            let last = Tally::last_in(strike.log());
            if last.steps > first.steps {
                break (under, last);
            }
            if begun.elapsed() > START_LIMIT {
                return Err(Error::Claim(format!("{attack:?} came to nothing: {last:?}")));
            }
        };
        let rate = (last.steps - first.steps) as f64 / begun.elapsed().as_secs_f64();
        drop(strike);
        if victim == Victim::Proximad {
            // A hold time later the good peer would have noticed what happened at the end.
            sleep(good_peer::HOLD_TIME).await;
        }
        self.unharmed(attack, &mut grown)?;
        Ok(Outcome { before: before.p99_ms, under: under.p99_ms, rate, grown })
    }

    /// Lets clients ask, and looks meanwhile whether anyone is harmed.
    async fn ask(&self, (attack, victim): (Attack, Victim), seconds: u32, grown: &mut u64) -> Result<Fared> {
        let address = (POP_TO_CLIENTS, victim.ports().secure).into();
        let connector = Connector::new(address, Some(&self.certificate))?;
        let ns = self.clients.clone();
        let asking = thread::spawn(move || ns.block_on(move || clients::ask(connector, seconds)));
        while !asking.is_finished() {
            self.unharmed(attack, grown)?;
            sleep(Duration::from_millis(100)).await;
        }
        let fared = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        fared?.map_err(|error| {
            Error::Claim(format!(
                "{attack:?}: {error}; the log of {} ends with:\n{}",
                victim.name(),
                self.process(victim).log_tail()
            ))
        })
    }

    fn process(&self, victim: Victim) -> &Process {
        let other = self.others.iter().find(|(other, _)| *other == victim);
        other.map_or(&self.daemon, |(_, process)| process)
    }

    fn strike(&self, (attack, victim): (Attack, Victim), slow: u32, log: &Path) -> Result<Process> {
        let program = std::env::current_exe().map_err(Error::io("finding this program's own binary"))?;
        // By SCHED_IDLE: whoever wakes goes before it at once. A nice value has them wait for the end of its slice.
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(program);
        command.args(["http-strike", "--connections", &slow.to_string()]);
        command.args(["--attack", &attack.name()]).args(victim.ports().arguments());
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
pub(super) fn sources() -> impl Iterator<Item = Ipv4Addr> {
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

/// The app, on the victims' host: what is between them is not what is attacked.
fn app(pop: &NetNs, dir: &Path) -> Result<Process> {
    let program = std::env::current_exe().map_err(Error::io("finding this program's own binary"))?;
    let mut command = Command::new(program);
    command.args(["app", "--region", "here", "--name", "app", "--listen", APP]);
    Process::start(pop, "app", command, &dir.join("app.log"))
}
