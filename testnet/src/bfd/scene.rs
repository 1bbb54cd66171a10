//! A PoP and its router, with BFD between them.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use proxima_api::{BfdState, Event, EventKind, Events};
use proxima_types::Prefix;

use super::{Common, Peer};
use crate::{
    error::{Error, Result},
    figures::proximad,
    link::{End, veth},
    netns::NetNs,
    observe::{
        clock::instant,
        fib::{FibWatch, Points},
    },
    process::Process,
    router::{self, Make, Peering, Router, Site},
    wait::wait_until,
    world::pop::ask,
};

const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 97, 0, 1), Ipv6Addr::new(0xfd00, 0x97, 0, 0, 0, 0, 0, 1));
const POP: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 97, 0, 2), Ipv6Addr::new(0xfd00, 0x97, 0, 0, 0, 0, 0, 2));
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 1);
pub(super) const POP_TO_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 97, 1, 2);
const ROUTER_AS: u32 = 65000;
const POP_AS: u32 = 64512;
const PREFIX: &str = "203.0.113.0/24";
const MULTIPLIER: u8 = 3;
/// Both ends wait longer before each new attempt, up to half a minute.
const START_LIMIT: Duration = Duration::from_mins(3);
/// A route that is still there after this time was not taken away by BFD.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A PoP and its router, with BFD between them, and the route in the router's kernel.
pub(super) struct Scene {
    pub(super) fib: FibWatch,
    pub(super) router: Box<dyn Router>,
    pub(super) daemon: Process,
    app: Process,
    socket: PathBuf,
    /// What both ends are to agree on: the multiplier times the interval.
    detection_us: u64,
    pub(super) client: NetNs,
}

impl Scene {
    pub(super) async fn start(peer: Peer, interval_ms: u32, common: &Common, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(Error::io(format!("making {}", dir.display())))?;
        let [host, pop, client] = [NetNs::create("router")?, NetNs::create("pop")?, NetNs::create("client")?];
        veth(
            &End {
                ns: &host,
                interface: "pop",
                addresses: vec![(ROUTER.0.into(), 24), (ROUTER.1.into(), 64)],
            },
            &End { ns: &pop, interface: "router", addresses: vec![(POP.0.into(), 24), (POP.1.into(), 64)] },
        )?;
        veth(
            &End { ns: &pop, interface: "client", addresses: vec![(POP_TO_CLIENT.into(), 24)] },
            &End { ns: &client, interface: "pop", addresses: vec![(CLIENT.into(), 24)] },
        )?;
        let fib = FibWatch::start(&host, "pop").await?;
        let mut router = Make::from(peer).at(Site { ns: host, dir: dir.join("router") })?;
        let bfd = Some(router::Bfd { interval_ms, multiplier: MULTIPLIER });
        router.start(&Peering {
            hold_time: 90,
            bfd,
            ..Peering::new(ROUTER_AS, POP_AS, ROUTER, POP.0.into())
        })?;

        let this = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut app = Command::new(this);
        app.args(["app", "--region", "here", "--name", "app"]);
        let app = Process::start(&client, "app", app, &dir.join("app.log"))?;

        let (config, socket) = (dir.join("proximad.toml"), dir.join("admin.sock"));
        fs::write(&config, proximad_toml(&socket, interval_ms))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        let mut command = Command::new(proximad(common.proximad.as_deref())?);
        command.arg("--config").arg(&config);
        let daemon = Process::start(&pop, "proximad", command, &dir.join("proximad.log"))?;
        let detection_us = u64::from(MULTIPLIER) * u64::from(interval_ms) * 1000;
        let scene = Self { fib, router, daemon, app, socket, detection_us, client };
        scene.wait_until_up().await?;
        Ok(scene)
    }

    async fn wait_until_up(&self) -> Result<()> {
        wait_until(START_LIMIT, || {
            self.daemon.check()?;
            self.router.check()?;
            self.app.check()?;
            if self.fib.points(prefix()) != Points::ToPop {
                return Ok(format!(
                    "the route in the router's kernel; the router says:\n{}",
                    self.router.log()
                ));
            }
            if !self.bfd_is_up() {
                return Ok(format!(
                    "BFD up and failing after {} us; it is {:?}, and the daemon says:\n{}",
                    self.detection_us,
                    self.bfd(),
                    self.daemon.log_tail()
                ));
            }
            Ok(String::new())
        })
        .await
    }

    /// Freezes the PoP, waits until its route is gone, and lets it go on: when it was frozen, and when the route went.
    pub(super) async fn freeze_once(&self) -> Result<(Instant, Instant)> {
        self.app.signal(Signal::SIGSTOP)?;
        let frozen = self.daemon.signal(Signal::SIGSTOP)?;
        let gone = self.fib.left_pop(prefix(), frozen, frozen + GIVE_UP).await;
        self.daemon.signal(Signal::SIGCONT)?;
        self.app.signal(Signal::SIGCONT)?;
        let Some(gone) = gone else {
            let missing = format!("the route to go; the router says:\n{}", self.router.log());
            return Err(Error::Late { within: GIVE_UP, missing });
        };
        self.wait_until_up().await?;
        Ok((frozen, gone))
    }

    fn bfd(&self) -> Option<serde_json::Value> {
        let answer = ask(&self.socket, "/v1/bfd").ok()?;
        let all: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        all.pointer("/sessions/0").cloned()
    }

    fn bfd_is_up(&self) -> bool {
        self.bfd()
            .is_some_and(|session| session["state"] == "up" && session["detection_us"] == self.detection_us)
    }

    /// When the daemon saw BFD fail, since it started.
    pub(super) fn failures(&self) -> Result<Vec<Instant>> {
        let answer =
            ask(&self.socket, "/v1/events").map_err(Error::io("asking the daemon for its events"))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let told: Events = serde_json::from_str(body)
            .map_err(|error| Error::Spec(format!("the daemon's events are not as expected: {error}")))?;
        let failed = |event: &Event| {
            matches!(event.kind, EventKind::BfdState { from: BfdState::Up, to: BfdState::Down, .. })
        };
        Ok(told.events.iter().filter(|event| failed(event)).map(|event| instant(event.mono_ns)).collect())
    }
}

/// Gives programs of the sandbox real-time priority: a router has a host of its own, where our load does not delay it.
pub(crate) fn put_first(names: &[&str]) -> Result<()> {
    let processes = fs::read_dir("/proc").map_err(Error::io("reading /proc"))?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let named = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        names.contains(&name.trim())
    };
    for pid in pids.filter(named) {
        let doing = format!("giving process {pid} real-time priority");
        let status = Command::new("chrt").args(["--fifo", "--all-tasks", "--pid", "50", &pid]).status();
        if !status.map_err(Error::io(doing.clone()))?.success() {
            return Err(Error::Sandbox { reason: doing, remedy: "run as root".to_owned() });
        }
    }
    Ok(())
}

pub(super) fn prefix() -> Prefix {
    PREFIX.parse().expect("a constant")
}

fn proximad_toml(socket: &Path, interval_ms: u32) -> String {
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
connect-retry = "10ms"
listen = ["{pop}:179"]
[[bgp.peers]]
name = "router"
address = "{router}"
remote-as = {ROUTER_AS}
families = ["ipv4", "ipv6"]
next-hop-ipv6 = "{pop6}"
bfd = {{ interval = "{interval_ms}ms", multiplier = {MULTIPLIER} }}
[announce.web]
prefixes = ["{PREFIX}"]
services = ["web"]
when-down = "stay"
vip = "none"
[services.web]
listen = ["{POP_TO_CLIENT}:8080"]
protocol = "http"
[[services.web.routes]]
pool = "app"
[pools.app]
probe = {{ tcp = true }}
[[pools.app.backends]]
name = "app"
region = "here"
address = "{CLIENT}:8080"
[admin]
socket = "{socket}"
"#,
        pop = POP.0,
        pop6 = POP.1,
        router = ROUTER.0,
        socket = socket.display()
    )
}
