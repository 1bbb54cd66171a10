//! The PoP's host: the daemon, its configuration, and two apps that are nothing but listening sockets.

use std::{
    env, fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use proxima_api::{SessionState, paths};
use proxima_testnet::{netns::NetNs, process::Process};
use proxima_types::Prefix;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::{PATIENCE, POP_IPV6, ROUTER, ROUTER_AS, wait};

/// The PoP's AS: one that needs four octets.
pub(super) const LOCAL_AS: u32 = 4_200_000_001;
/// The peer's name in the configuration.
pub(crate) const PEER: &str = "router";
pub(crate) const APP_PORTS: [u16; 2] = [8081, 8082];

/// What tests look at of a peer as the admin interface shows it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Peer {
    pub(crate) state: SessionState,
    pub(crate) hold_time_s: Option<u16>,
    pub(crate) established_count: u64,
    /// Everything else.
    #[serde(flatten)]
    pub(crate) more: Value,
}

/// What tests look at of a received route.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Route {
    pub(crate) prefix: Prefix,
    pub(crate) next_hop: IpAddr,
    pub(crate) as_path: Vec<u32>,
    pub(crate) med: Option<u32>,
    pub(crate) communities: Vec<String>,
    /// Everything else.
    #[serde(flatten)]
    pub(crate) more: Value,
}

/// The daemon's host.
pub(crate) struct Pop {
    ns: NetNs,
    dir: PathBuf,
    process: Option<Process>,
    apps: [Option<Socket>; 2],
    /// The whole file, instead of one made from what follows.
    pub(crate) whole: Option<String>,
    /// Its BGP identifier.
    pub(crate) router_id: &'static str,
    /// What it announces.
    pub(crate) prefixes: Vec<&'static str>,
    /// `hold-time` of `[bgp]`.
    pub(crate) hold_time: &'static str,
    /// More lines of `[bgp]`.
    pub(crate) bgp: String,
    /// The lines that say who the peer is.
    pub(crate) remote: String,
    /// More lines of `[[bgp.peers]]`.
    pub(crate) peer: String,
    /// More lines of `[announce.web]`, sections included.
    pub(crate) group: String,
    /// More lines of `[announce.web.degraded]`.
    pub(crate) degraded: String,
    /// The lines of `[drain]`.
    pub(crate) drain: String,
}

impl Pop {
    /// The PoP announces 203.0.113.0/24 and 2001:db8:ac::/48: as they are while both apps run, with two prepended
    /// ASes, MED 200 and 64512:666 with one app, not at all without any.
    pub(super) fn new(ns: NetNs, dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let mut pop = Self {
            ns,
            dir,
            process: None,
            apps: [None, None],
            whole: None,
            router_id: "10.0.0.2",
            prefixes: vec!["203.0.113.0/24", "2001:db8:ac::/48"],
            hold_time: "9s",
            bgp: String::new(),
            remote: format!("address = \"{ROUTER}\"\nremote-as = {ROUTER_AS}"),
            peer: format!(
                "families = [\"ipv4\", \"ipv6\"]\nnext-hop-ipv6 = \"{POP_IPV6}\"\nimport = \"all\"\n"
            ),
            group: "med = 50\ncommunities = [\"64512:100\"]\n".to_owned(),
            degraded: String::new(),
            drain: "graceful-shutdown = \"2s\"\nwithdrawn = \"200ms\"\nstreams = \"200ms\"\n".to_owned(),
        };
        pop.start_apps();
        pop
    }

    /// Starts the daemon with the configuration as it is now.
    pub(crate) fn start(&mut self) {
        let proximad = Path::new(env!("CARGO_BIN_EXE_proxima-testnet")).with_file_name("proximad");
        assert!(proximad.exists(), "{} is missing: cargo build --package proximad", proximad.display());
        fs::write(self.config(), self.whole.clone().unwrap_or_else(|| self.text())).unwrap();
        let mut command = Command::new(proximad);
        command.arg("--config").arg(self.config()).env_remove("PROXIMA_LOG");
        // A socket that a killed one left behind.
        fs::remove_file(self.socket()).ok();
        self.process = Some(Process::start(&self.ns, "proximad", command, &self.log_file()).unwrap());
        wait("answer of the daemon", || {
            self.check();
            UnixStream::connect(self.socket()).map(drop).map_err(|error| format!("{error}\n{}", self.log()))
        });
    }

    /// Has the daemon take the configuration as it is now.
    pub(crate) fn reload(&self) {
        fs::write(self.config(), self.whole.clone().unwrap_or_else(|| self.text())).unwrap();
        self.post(paths::RELOAD, "{}");
    }

    /// Adds a line to `[[bgp.peers]]`.
    pub(crate) fn set(&mut self, line: impl AsRef<str>) {
        self.peer.push_str(line.as_ref());
        self.peer.push('\n');
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("proximad.toml")
    }

    /// Writes a file beside the configuration, for its owner only, and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("admin.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("proximad.log")
    }

    /// What the daemon has written so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// The daemon runs.
    pub(crate) fn check(&self) {
        if let Some(process) = &self.process {
            process.check().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("started").signal(signal).unwrap();
    }

    /// Sends the daemon a signal that ends it and waits for its end.
    pub(crate) fn end(&mut self, signal: Signal) {
        let process = self.process.take().expect("started");
        process.signal(signal).unwrap();
        wait("end of the daemon", || if process.is_running() { Err("it runs".to_owned()) } else { Ok(()) });
    }

    /// Makes every app listen.
    pub(crate) fn start_apps(&mut self) {
        for (port, app) in APP_PORTS.into_iter().zip(&mut self.apps) {
            if app.is_none() {
                // Nobody takes the probes' connections: the kernel accepts them, and resets them when the socket is
                // closed.
                *app = Some(self.ns.run(|| listener(port)).unwrap());
            }
        }
    }

    /// Ends this many apps.
    pub(crate) fn stop_apps(&mut self, count: usize) {
        self.apps.iter_mut().filter(|app| app.is_some()).take(count).for_each(|app| *app = None);
    }

    /// The session as the daemon sees it: the only peer, or the only member of a range.
    pub(crate) fn peer(&self) -> Peer {
        wait("peer", || {
            let answer: Value = self.ask(paths::PEERS);
            serde_json::from_value(answer["peers"][0].clone()).map_err(|error| format!("{error}: {answer}"))
        })
    }

    /// What was said with the end of a session by a NOTIFICATION: `sent` or `received`, code and subcode.
    pub(crate) fn ended(&self, way: &str, code: u8, subcode: u8) -> Option<String> {
        let because = format!("notification-{way}");
        self.events().iter().map(|event| &event["reason"]).find_map(|reason| {
            let matches = reason["because"] == because.as_str()
                && reason["code"] == code
                && reason["subcode"] == subcode;
            matches.then(|| reason["meaning"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Waits for such an end, and returns what was said.
    pub(crate) fn wait_ended(&self, way: &str, code: u8, subcode: u8) -> String {
        wait(&format!("NOTIFICATION {code}/{subcode} {way}"), || {
            self.ended(way, code, subcode).ok_or_else(|| format!("{:?}", self.events()))
        })
    }

    /// The routes the router sent.
    pub(crate) fn received(&self) -> Vec<Route> {
        let (mut routes, mut page) = (Vec::new(), paths::RECEIVED.to_owned());
        loop {
            let answer: Value = self.ask(&page);
            let found: Vec<Route> = serde_json::from_value(answer["routes"].clone())
                .unwrap_or_else(|error| panic!("{error}: {answer}"));
            routes.extend(found);
            let Some(next) = answer["next"].as_str() else { return routes };
            page = format!("{}?after={next}", paths::RECEIVED);
        }
    }

    /// What happened since the daemon started.
    pub(crate) fn events(&self) -> Vec<Value> {
        let answer: Value = self.ask(&format!("{}?since=0", paths::EVENTS));
        answer["events"].as_array().cloned().unwrap_or_default()
    }

    /// What `GET` of this path answers.
    pub(crate) fn ask<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.request("GET", path, "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The same of a daemon that may be away just now.
    pub(crate) fn try_ask(&self, path: &str) -> Option<Value> {
        let (status, body) = self.try_request("GET", path, "").ok()?;
        (status == 200).then(|| serde_json::from_str(&body).ok())?
    }

    /// It has begun more than once since it was started here.
    pub(crate) fn has_restarted(&self) -> bool {
        self.log().matches("started, pid").count() > 1
    }

    /// Does `POST` to this path.
    pub(crate) fn post(&self, path: &str, body: &str) {
        let (status, answer) = self.request("POST", path, body);
        assert_eq!(status, 200, "{path}: {answer}");
    }

    /// Has another process take over, and waits until the one that was started first has ended, as it may.
    pub(crate) fn upgrade(&mut self) {
        let before: Value = self.ask(paths::STATUS);
        self.post(paths::UPGRADE, "");
        let after: Value = self.ask(paths::STATUS);
        assert_ne!(before["pid"], after["pid"]);
        if let Some(process) = self.process.take() {
            wait("end of the process before", || {
                if process.is_running() { Err("it runs".to_owned()) } else { Ok(()) }
            });
        }
    }

    /// Commands the peer: `up`, `shutdown`, `refresh`, `reset`.
    pub(crate) fn command_peer(&self, command: &str, body: &str) {
        self.post(&format!("{}/{PEER}/{command}", paths::PEERS), body);
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        self.try_request(method, path, body).unwrap()
    }

    fn try_request(&self, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
    }

    fn text(&self) -> String {
        let Self { router_id, prefixes, hold_time, bgp, remote, peer, group, degraded, drain, .. } = self;
        let listen: Vec<String> = prefixes.iter().map(|prefix| vip(prefix).to_string()).collect();
        let socket = self.socket();
        let backends = [1, 2].map(|number| {
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), APP_PORTS[number - 1]);
            format!(
                "[[pools.app.backends]]\nname = \"app-{number}\"\nregion = \"eu\"\naddress = \"{address}\"\n"
            )
        });
        let backends = backends.concat();
        format!(
            r#"
[pop]
name = "eu1"
region = "eu"
router-id = "{router_id}"

[regions.eu]
jurisdiction = "EU"

[bgp]
local-as = {LOCAL_AS}
hold-time = "{hold_time}"
connect-retry = "200ms"
{bgp}

[[bgp.peers]]
name = "{PEER}"
{remote}
{peer}

[announce.web]
prefixes = {prefixes:?}
services = ["web"]
{group}
[announce.web.degraded]
below = 0.8
above = 0.9
prepend = 2
med = 200
communities = ["64512:666"]
{degraded}
[announce.web.withdrawn]
below = 0.4
above = 0.45
hold-down = "100ms"

[services.web]
listen = {listen:?}
protocol = "tcp"
pool = "app"

[pools.app]
probe = {{ tcp = true, interval = "200ms", timeout = "200ms", rise = 1, fall = 10 }}
{backends}

[drain]
{drain}

[admin]
socket = "{socket}"

[log]
format = "text"
level = "debug"
"#,
            socket = socket.display()
        )
    }
}

/// A listening socket with room for all connections a test may see.
fn listener(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port).into()).unwrap();
    socket.listen(4096).unwrap();
    socket
}

/// The service's address in a prefix: its first host.
fn vip(prefix: &str) -> SocketAddr {
    let address = match prefix.parse::<Prefix>().unwrap().address() {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() + 1).into(),
        IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() + 1).into(),
    };
    SocketAddr::new(address, 80)
}
