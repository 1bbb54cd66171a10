//! A hostile peer beside a good one: the daemon lives, its memory is bounded, the good peer notices nothing.
//!
//! ```text
//!  BIRD ──── proximad ──── attacker        hold time 3 s: a stall of the daemon would end the good session
//! ```

pub mod attacks;

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use proxima_types::Asn;

pub use self::attacks::{Attack, Tally, Target};
use crate::{
    error::{Error, Result},
    figures,
    good_peer::{self, GoodPeer},
    link::{End, veth},
    netns::NetNs,
    process::{Process, cpu_time, memory},
    sandbox::Sandbox,
};

const POP_TO_BIRD: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 1);
const BIRD: Ipv4Addr = Ipv4Addr::new(10, 98, 1, 2);
const POP_TO_ATTACKER: Ipv4Addr = Ipv4Addr::new(10, 98, 2, 1);
const ATTACKERS: &[Ipv4Addr] = &{
    let mut addresses = [Ipv4Addr::UNSPECIFIED; 64];
    let mut n = 0;
    while n < addresses.len() {
        addresses[n] = Ipv4Addr::new(10, 98, 2, 10 + n as u8);
        n += 1;
    }
    addresses
};
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 98, 2, 2);
const DEAF: Ipv4Addr = Ipv4Addr::new(10, 98, 2, 3);
/// Half-open connections that there have to have been at once, where they are the attack. The kernel keeps no more than some 64 before
/// it answers without keeping any.
const HALF_OPEN: usize = 50;
const ATTACKER_AS: u32 = 65099;
const PREFIX: &str = "203.0.113.0/24";
/// How much the daemon may grow under attack. One attacker floods at a time and may leave 50 000 routes, whose paths have up
/// to 200 numbers, for every 800 of them.
const GROWTH_LIMIT_KIB: u64 = 192 * 1024;
/// The share of a core it may use when the attack is over.
const IDLE_SHARE: f64 = 0.05;
const IDLE_WINDOW: Duration = Duration::from_secs(1);
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// How to attack.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Which attacks; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    attacks: Vec<Attack>,
    /// How long each lasts.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Connections a second that a flood of them has to bring about.
    #[arg(long, default_value_t = 1000, overrides_with = "connects")]
    connects: u32,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
}

/// Attacks in turn and checks after each that nobody else was harmed.
///
/// # Errors
/// With the attack that did harm, and what it did.
#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<()> {
    let proximad = figures::proximad(options.proximad.as_deref())?;
    let attacks = if options.attacks.is_empty() { Attack::ALL.to_vec() } else { options.attacks };
    for (index, attack) in attacks.into_iter().enumerate() {
        let dir = sandbox.dir().join(index.to_string());
        fs::create_dir_all(&dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let scene = Scene::start(&proximad, &dir).await?;
        let lasts = Duration::from_secs(options.seconds.into());
        let Tally { steps, sessions } = scene.attack(attack, (lasts, options.connects), index as u64).await?;
        let share = scene.becomes_idle().await?;
        println!(
            "{:<14} {:>8.0} {:<13} {sessions:>6} sessions   {:>6.1} MiB resident, {:.1} % of a core afterwards",
            format!("{attack:?}"),
            steps as f64 / lasts.as_secs_f64(),
            format!("{}/s", attack.unit()),
            scene.memory()? as f64 / 1024.0,
            share * 100.0
        );
    }
    Ok(())
}

/// The daemon between its good peer and the attacker.
struct Scene {
    pop: NetNs,
    attacker: NetNs,
    daemon: Process,
    peer: GoodPeer,
    memory_before: u64,
}

impl Scene {
    async fn start(proximad: &Path, dir: &Path) -> Result<Self> {
        let [pop, router, attacker] =
            [NetNs::create("pop")?, NetNs::create("router")?, NetNs::create("attacker")?];
        veth(
            &End { ns: &pop, interface: "router", addresses: vec![(POP_TO_BIRD.into(), 24)] },
            &End { ns: &router, interface: "pop", addresses: vec![(BIRD.into(), 24)] },
        )?;
        veth(
            &End { ns: &pop, interface: "attacker", addresses: vec![(POP_TO_ATTACKER.into(), 24)] },
            &End {
                ns: &attacker,
                interface: "pop",
                addresses: ATTACKERS.iter().chain([&STRANGER, &DEAF]).map(|ip| ((*ip).into(), 24)).collect(),
            },
        )?;
        attacker.nft(&format!(
            "table ip hostile {{ chain in {{ type filter hook prerouting priority 0; ip daddr {DEAF} tcp sport 179 drop; }}; }}"
        ))?;
        let socket = dir.join("admin.sock");
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
            Ok(path)
        };
        let mut peer = GoodPeer::start(&router, dir, (BIRD, POP_TO_BIRD), PREFIX)?;
        let mut command = Command::new(proximad);
        command.arg("--config").arg(write("proximad.toml", proximad_toml(&socket))?);
        let daemon = Process::start(&pop, "proximad", command, &dir.join("proximad.log"))?;
        peer.wait_up(&daemon).await?;
        let mut scene = Self { pop, attacker, daemon, peer, memory_before: 0 };
        scene.memory_before = scene.memory()?;
        Ok(scene)
    }

    /// Attacks for a while, and looks every moment whether anyone else is harmed.
    async fn attack(&self, attack: Attack, (lasts, connects): (Duration, u32), seed: u64) -> Result<Tally> {
        let target = Target {
            victim: (POP_TO_ATTACKER, 179).into(),
            from: ATTACKERS,
            asn: Asn(ATTACKER_AS),
            stranger: STRANGER,
            deaf: DEAF,
        };
        let ns = self.attacker.clone();
        let deadline = Instant::now() + lasts;
        let attacking = thread::spawn(move || ns.run(|| attack.run(&target, deadline, seed)));
        let mut half_open = 0;
        while !attacking.is_finished() {
            self.unharmed(attack)?;
            half_open = half_open.max(self.half_open()?);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let tally = attacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        // A hold time later the good peer would have noticed what happened at the end.
        let settled = Instant::now() + good_peer::HOLD_TIME;
        while Instant::now() < settled {
            self.unharmed(attack)?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if attack.needs_a_session() && tally.sessions == 0 {
            return Err(Error::Late {
                within: lasts,
                missing: format!("{attack:?} to get a session, without which it shows nothing"),
            });
        }
        if attack == Attack::HalfOpen && half_open < HALF_OPEN {
            let missing =
                format!("{HALF_OPEN} half-open connections at once: there were {half_open} at most");
            return Err(Error::Late { within: lasts, missing });
        }
        let least = attack.least_rate(connects) * lasts.as_secs();
        if tally.steps < least {
            let missing = format!("{least} {} of {attack:?}: {} were made", attack.unit(), tally.steps);
            return Err(Error::Late { within: lasts, missing });
        }
        Ok(tally)
    }

    /// How many connections with the daemon have begun and not come about.
    fn half_open(&self) -> Result<usize> {
        let doing = "reading the PoP's TCP connections";
        let table =
            self.pop.run(|| fs::read_to_string("/proc/thread-self/net/tcp"))?.map_err(Error::io(doing))?;
        // The fourth column is the state; 03 is SYN-RECEIVED.
        Ok(table.lines().filter(|line| line.split_whitespace().nth(3) == Some("03")).count())
    }

    fn unharmed(&self, attack: Attack) -> Result<()> {
        self.daemon.check()?;
        let grown = self.memory()?.saturating_sub(self.memory_before);
        let harm = match self.peer.harm() {
            Some(harm) => harm,
            None if grown > GROWTH_LIMIT_KIB => format!("the daemon grew by {} MiB", grown / 1024),
            None => return Ok(()),
        };
        Err(Error::Late {
            within: Duration::ZERO,
            missing: format!("{attack:?}: {harm}; the daemon's log ends with:\n{}", self.daemon.log_tail()),
        })
    }

    /// Waits until the daemon uses hardly any CPU; the share of a core it then uses.
    async fn becomes_idle(&self) -> Result<f64> {
        let start = Instant::now();
        loop {
            let (before, at) = (cpu_time(self.daemon.pid())?, Instant::now());
            tokio::time::sleep(IDLE_WINDOW).await;
            let used = cpu_time(self.daemon.pid())?.saturating_sub(before);
            let share = used.as_secs_f64() / at.elapsed().as_secs_f64();
            if share <= IDLE_SHARE {
                return Ok(share);
            }
            if start.elapsed() > IDLE_LIMIT {
                let missing = format!("the daemon to become idle: it uses {:.0} % of a core", share * 100.0);
                return Err(Error::Late { within: IDLE_LIMIT, missing });
            }
        }
    }

    fn memory(&self) -> Result<u64> {
        memory(self.daemon.pid(), "VmRSS")
    }
}

fn attacker(address: Ipv4Addr) -> String {
    format!(
        "[[bgp.peers]]\nname = \"attacker-{}\"\naddress = \"{address}\"\nremote-as = {ATTACKER_AS}\npassive = true\n\
         max-prefixes = 50000\n",
        address.octets()[3]
    )
}

fn proximad_toml(socket: &Path) -> String {
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
listen = ["{POP_TO_ATTACKER}:179"]
[[bgp.peers]]
name = "bird"
address = "{BIRD}"
remote-as = 65000
{attackers}
[announce.web]
prefixes = ["{PREFIX}"]
services = ["none"]
when-down = "stay"
vip = "none"
[services.none]
listen = ["127.0.0.1:8081"]
protocol = "tcp"
pool = "none"
[pools.none]
probe = {{ tcp = true }}
[[pools.none.backends]]
name = "none"
region = "here"
address = "127.0.0.1:9"
[data-plane]
workers = 1
[admin]
socket = "{socket}"
"#,
        hold = good_peer::HOLD_TIME.as_secs(),
        attackers = ATTACKERS.iter().copied().map(attacker).collect::<String>(),
        socket = socket.display()
    )
}
