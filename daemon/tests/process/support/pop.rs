//! The configuration of a PoP, and what of it a test wants otherwise.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{App, Daemon, Port, Router, bgp::ROUTER_AS};

/// A PoP in the region `eu` with one service `web`, one pool `app` and one group `web`. Fields hold TOML that tests
/// may replace.
#[derive(Debug)]
pub(crate) struct Pop {
    directory: TempDir,
    web: Port,
    metrics: Port,
    peers: String,
    backends: String,
    /// The lines of `[announce.web]` and its sections; empty for none.
    pub(crate) group: String,
    /// What the service speaks, with what goes with it.
    pub(crate) protocol: String,
    /// The routes of the service, in order.
    pub(crate) routes: String,
    /// The pool's probe.
    pub(crate) probe: String,
    /// The lines of `[drain]`.
    pub(crate) drain: String,
    /// Whole sections.
    pub(crate) more: String,
}

const GROUP: &str = r#"
[announce.web]
prefixes = ["203.0.113.0/24", "2001:db8:ac::/48"]
services = ["web"]
communities = ["64512:100"]
vip = "none"
  [announce.web.degraded]
  below = 0.8
  above = 0.9
  prepend = 2
  med = 200
  communities = ["64512:666"]
  [announce.web.withdrawn]
  below = 0.4
  above = 0.6
  hold-down = "1s"
"#;

const ROUTES: &str = r#"
  [[services.web.routes]]
  pool = "app"
"#;

/// Soft evidence needs two seconds of silence, more than a busy machine brings about by itself.
const PROBE: &str = r#"{ http = "/healthz", interval = "200ms", timeout = "200ms", rise = 2, fall = 10 }"#;

const DRAIN: &str = r#"
graceful-shutdown = "300ms"
withdrawn = "300ms"
streams = "20s"
"#;

impl Pop {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            web: Port::reserve(),
            metrics: Port::reserve(),
            peers: String::new(),
            backends: String::new(),
            group: GROUP.to_owned(),
            protocol: "protocol = \"http\"".to_owned(),
            routes: ROUTES.to_owned(),
            probe: PROBE.to_owned(),
            drain: DRAIN.to_owned(),
            more: String::new(),
        }
    }

    /// Adds a BGP peer.
    pub(crate) fn peer(self, name: &str, router: &Router) -> Self {
        self.peer_at(name, router.address)
    }

    /// Adds a BGP peer where nobody may be.
    pub(crate) fn peer_at(mut self, name: &str, address: SocketAddr) -> Self {
        let (ip, port) = (address.ip(), address.port());
        let section = format!(
            r#"
[[bgp.peers]]
name = "{name}"
address = "{ip}"
port = {port}
remote-as = {ROUTER_AS}
families = ["ipv4", "ipv6"]
next-hop-ipv6 = "2001:db8:ffff::2"
import = "all"
"#
        );
        self.peers.push_str(&section);
        self
    }

    /// Adds a backend.
    pub(crate) fn backend(self, region: &str, app: &App) -> Self {
        self.backend_at(region, app.name, app.address())
    }

    /// Adds a backend that is no [`App`].
    pub(crate) fn backend_at(mut self, region: &str, name: &str, address: SocketAddr) -> Self {
        let section = format!(
            r#"
  [[pools.app.backends]]
  name = "{name}"
  region = "{region}"
  address = "{address}"
"#
        );
        self.backends.push_str(&section);
        self
    }

    /// Adds a backend that every region uses.
    pub(crate) fn shared_backend(mut self, region: &str, app: &App) -> Self {
        self = self.backend(region, app);
        self.backends.push_str("  shared = true\n");
        self
    }

    /// Where the service listens.
    pub(crate) fn web(&self) -> SocketAddr {
        self.web.address
    }

    /// Where the metrics are.
    pub(crate) fn metrics(&self) -> SocketAddr {
        self.metrics.address
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory().join("admin.sock")
    }

    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let Self { peers, backends, group, protocol, routes, probe, drain, more, .. } = self;
        let (web, metrics, socket) = (self.web(), self.metrics(), self.socket());
        let socket = socket.display();
        format!(
            r#"
[pop]
name = "eu1"
region = "eu"
router-id = "192.0.2.11"

[regions.eu]
jurisdiction = "EU"
[regions.us]
jurisdiction = "US"

[bgp]
local-as = 64512
hold-time = "9s"
connect-retry = "50ms"
{peers}
{group}
[services.web]
listen = ["{web}"]
{protocol}
{routes}
[pools.app]
probe = {probe}
{backends}
[data-plane]
workers = 2
[drain]
{drain}
[admin]
socket = "{socket}"
[metrics]
listen = "{metrics}"
{more}
"#
        )
    }

    /// Writes the file and returns its path.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.directory().join("proxima.toml");
        fs::write(&path, self.text()).unwrap();
        path
    }

    /// Starts a daemon; it answers at its admin socket when this returns.
    pub(crate) fn start(&self) -> Daemon {
        Daemon::start(&self.write(), &self.socket())
    }

    /// Starts a daemon and waits until everything is announced to this router.
    pub(crate) fn start_announced(&self, router: &Router) -> Daemon {
        let daemon = self.start();
        router.wait_complete(0);
        daemon
    }
}
