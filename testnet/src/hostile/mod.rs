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
    link::{End, veth},
    netns::NetNs,
    process::{Process, cpu_time, memory},
    sandbox::Sandbox,
    wait::wait_until,
    world::bird::converse,
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
const HOLD_TIME: Duration = Duration::from_secs(3);
const START_LIMIT: Duration = Duration::from_secs(30);
/// How much the daemon may grow under attack. One attacker floods at a time and may leave 50 000 routes, whose paths have up
/// to 200 numbers, for every 800 of them.
const GROWTH_LIMIT_KIB: u64 = 192 * 1024;
/// The share of a core it may use when the attack is over.
const IDLE_SHARE: f64 = 0.05;
const IDLE_WINDOW: Duration = Duration::from_secs(1);
const IDLE_LIMIT: Duration = Duration::from_secs(20);
/// BIRD computes the time of day of a past event anew each time it is asked, so that it is told with a millisecond more or less. A
/// session that was lost takes a second to come back.
const SAME_MOMENT: Duration = Duration::from_millis(100);
const DAY: Duration = Duration::from_hours(24);

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
    bird: Process,
    bird_socket: PathBuf,
    memory_before: u64,
    /// The time of day when the session with BIRD came up, as BIRD tells it.
    up_since: Duration,
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
        let (socket, bird_socket) = (dir.join("admin.sock"), dir.join("bird.ctl"));
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
            Ok(path)
        };
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(write("bird.conf", bird_conf())?).arg("-s").arg(&bird_socket);
        let bird = Process::start(&router, "bird", command, &dir.join("bird.log"))?;
        let mut command = Command::new(proximad);
        command.arg("--config").arg(write("proximad.toml", proximad_toml(&socket))?);
        let daemon = Process::start(&pop, "proximad", command, &dir.join("proximad.log"))?;
        let mut scene =
            Self { pop, attacker, daemon, bird, bird_socket, memory_before: 0, up_since: Duration::ZERO };
        wait_until(START_LIMIT, || {
            scene.daemon.check()?;
            scene.bird.check()?;
            Ok(scene.harm().unwrap_or_default())
        })
        .await?;
        scene.up_since = scene.since().unwrap_or_default();
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
        let settled = Instant::now() + HOLD_TIME;
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
        let harm = match self.harm() {
            Some(harm) => harm,
            None if self.since().is_some_and(|since| apart(since, self.up_since) > SAME_MOMENT) => {
                "the session with BIRD was lost and came back".to_owned()
            }
            None if grown > GROWTH_LIMIT_KIB => format!("the daemon grew by {} MiB", grown / 1024),
            None => return Ok(()),
        };
        Err(Error::Late {
            within: Duration::ZERO,
            missing: format!("{attack:?}: {harm}; the daemon's log ends with:\n{}", self.daemon.log_tail()),
        })
    }

    /// What is wrong with the good session, as BIRD sees it.
    fn harm(&self) -> Option<String> {
        let Ok((_, session)) = converse(&self.bird_socket, "show protocols pop") else {
            return Some("BIRD does not answer".to_owned());
        };
        if !session.contains("Established") {
            return Some(format!("BIRD has no session with the daemon: {session}"));
        }
        match converse(&self.bird_socket, &format!("show route {PREFIX}")) {
            Ok((_, route)) if route.contains(PREFIX) => None,
            _ => Some(format!("{PREFIX} is gone from BIRD")),
        }
    }

    fn since(&self) -> Option<Duration> {
        let (_, session) = converse(&self.bird_socket, "show protocols pop").ok()?;
        let line = session.lines().find(|line| line.starts_with("pop "))?;
        time_of_day(line.split_whitespace().nth(4)?)
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

/// `13:04:07.768`, as the time since midnight.
fn time_of_day(text: &str) -> Option<Duration> {
    let (clock, millis) = text.split_once('.')?;
    let mut parts = clock.split(':').map(str::parse::<u64>);
    let (hours, minutes, seconds) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let seconds = Duration::from_secs((hours * 60 + minutes) * 60 + seconds);
    Some(seconds + Duration::from_millis(millis.parse().ok()?))
}

/// How far two times of day lie from each other, the short way round midnight.
fn apart(one: Duration, other: Duration) -> Duration {
    let difference = one.abs_diff(other);
    difference.min(DAY.saturating_sub(difference))
}

fn bird_conf() -> String {
    let hold = HOLD_TIME.as_secs();
    format!(
        "router id {BIRD};\nprotocol device {{}}\nprotocol bgp pop {{\n  local {BIRD} as 65000;\n  neighbor {POP_TO_BIRD} as 64512;\n  \
         hold time {hold}; connect delay time 1; connect retry time 1; error wait time 1, 2;\n  \
         ipv4 {{ import all; export none; }};\n}}\n"
    )
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
        hold = HOLD_TIME.as_secs(),
        attackers = ATTACKERS.iter().copied().map(attacker).collect::<String>(),
        socket = socket.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_told_a_millisecond_apart_is_the_same_also_at_midnight() {
        let told = |text| time_of_day(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(told("13:04:07.768"), Duration::from_millis(47_047_768));
        assert_eq!(apart(told("23:59:59.999"), told("00:00:00.000")), Duration::from_millis(1));
        assert!(apart(told("13:04:07.768"), told("13:04:07.769")) <= SAME_MOMENT);
        assert!(apart(told("13:04:07.768"), told("13:04:08.768")) > SAME_MOMENT);
        assert_eq!(time_of_day("2026-11-27"), None);
    }
}
