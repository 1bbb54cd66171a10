//! A region's PoP host: the daemon's configuration, starting and killing it.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};
use proxima_api::{Backends, paths};
use proxima_types::Prefix;

use super::{
    Host, Options, plan,
    spec::{ProbeSpec, RegionSpec, WorldSpec},
};
use crate::{
    error::{Error, Result},
    process::Process,
};

/// Where PoPs hand over running connections, on UDP.
const CATCHMENT_PORT: u16 = 7078;
/// An octet of the secret all PoPs of a world share.
const CATCHMENT_KEY: &str = "7a";

/// An admin interface that does not answer in this time is stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// A PoP host with its daemon.
#[derive(Debug)]
pub struct Pop {
    /// The host it runs on.
    pub host: Host,
    proximad: Option<PathBuf>,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

impl Pop {
    pub(super) fn new(host: Host, spec: &WorldSpec, number: usize, options: &Options) -> Result<Self> {
        let dir = &options.work_dir;
        let config = dir.join("etc").join(format!("{}.toml", host.name));
        let socket = dir.join("run").join(format!("{}.sock", host.name));
        let key = dir.join("etc").join("catchment.key");
        for (file, text) in
            [(&config, configuration(spec, number, &socket, &key)), (&key, CATCHMENT_KEY.repeat(32))]
        {
            fs::write(file, text).map_err(Error::io(format!("writing {}", file.display())))?;
        }
        Ok(Self {
            log: dir.join("logs").join(format!("{}.log", host.name)),
            proximad: options.proximad.clone(),
            process: Mutex::new(None),
            host,
            config,
            socket,
        })
    }

    /// Starts the daemon unless it runs. It is ready when its routes are in the FIB:
    /// [`super::World::wait_converged`].
    pub fn start(&self) -> Result<()> {
        let mut process = self.process();
        if process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let Some(program) = &self.proximad else {
            return Err(Error::Spec(format!(
                "{} has no daemon: none was given in the options",
                self.host.name
            )));
        };
        let mut command = Command::new(program);
        command.arg("--config").arg(&self.config);
        *process = Some(Process::start(&self.host.ns, &self.host.name, command, &self.log)?);
        Ok(())
    }

    /// Kills the daemon with a signal; the moment just before.
    pub fn kill(&self, signal: Signal) -> Result<Instant> {
        self.process().as_ref().map_or_else(|| Ok(Instant::now()), |process| process.signal(signal))
    }

    /// The daemon's process; `None` when it does not run.
    pub fn pid(&self) -> Option<Pid> {
        self.process().as_ref().filter(|process| process.is_running()).map(Process::pid)
    }

    /// Waits for the daemon's end. `None` when it still runs after `within`, or never ran.
    pub async fn wait_ended(&self, within: Duration) -> Option<ExitStatus> {
        let exit = self.process().as_ref().map(Process::exit)?;
        exit.wait(within).await
    }

    /// Whether the daemon runs.
    pub fn is_running(&self) -> bool {
        self.process().as_ref().is_some_and(Process::is_running)
    }

    /// An error if the daemon has ended, which only [`Pop::kill`] should make it do.
    pub fn check(&self) -> Result<()> {
        self.process().as_ref().map_or(Ok(()), Process::check)
    }

    /// The backends as the daemon sees them, from its admin interface.
    pub fn backends(&self) -> Result<Backends> {
        let doing = format!("asking the daemon of {} for its backends", self.host.name);
        let answer = ask(&self.socket, paths::BACKENDS).map_err(Error::io(doing.clone()))?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| Error::Io { doing, source: error.into() })
    }

    /// The daemon's admin socket.
    pub fn admin_socket(&self) -> &Path {
        &self.socket
    }

    /// Where the daemon serves its metrics; reachable from inside the host's namespace only.
    pub fn metrics_address(&self) -> SocketAddr {
        metrics_address()
    }

    /// The daemon's configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The file the daemon's output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines the daemon wrote.
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.log)
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a GET over a Unix socket; the answer with its head.
pub(crate) fn ask(socket: &Path, target: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn metrics_address() -> SocketAddr {
    ([127, 0, 0, 1], 9179).into()
}

/// The daemon's configuration in region `number`.
fn configuration(spec: &WorldSpec, number: usize, socket: &Path, key: &Path) -> String {
    let region = &spec.regions[number - 1];
    let link = plan::pop_link(number);
    let mut text = format!(
        "[pop]\nname = \"{name}1\"\nregion = \"{name}\"\nrouter-id = \"{id}\"\n\n",
        name = region.name,
        id = plan::pop_id(number),
    );
    for region in &spec.regions {
        let _ = writeln!(text, "[regions.{}]\njurisdiction = \"{}\"", region.name, region.jurisdiction);
    }
    let _ = write!(
        text,
        "\n[bgp]\n\
         local-as = {local_as}\n\
         hold-time = \"9s\"\n\
         connect-retry = \"1s\"\n\
         [[bgp.peers]]\n\
         name = \"router\"\n\
         address = \"{router}\"\n\
         remote-as = {remote_as}\n\
         families = [\"ipv4\", \"ipv6\"]\n\
         next-hop-ipv6 = \"{next_hop}\"\n",
        local_as = plan::POP_ASN,
        router = link.near.v4,
        remote_as = region.asn,
        next_hop = link.far.v6,
    );
    if spec.daemon.bfd {
        let _ = writeln!(
            text,
            "bfd = {{ interval = \"{}ms\", multiplier = {} }}",
            plan::BFD_INTERVAL.as_millis(),
            plan::BFD_MULTIPLIER
        );
    }
    let pinned: Vec<_> = spec.pinned.iter().filter(|group| group.region == region.name).collect();
    if spec.daemon.guard.is_some() {
        text += "add-path = true\n";
    }
    text += &anycast_group(spec, region);
    text += &anycast_service(spec, &fenced_jurisdictions(spec));
    for group in pinned {
        text += &pinned_group(&group.name, &group.prefixes, &region.jurisdiction);
    }
    text += &raw_service(&spec.anycast.prefixes);
    text += &pools(spec, &region.probe);
    text += &catchment(spec, number, key);
    let _ = write!(
        text,
        "\n[drain]\ngraceful-shutdown = \"1s\"\nwithdrawn = \"1s\"\nstreams = \"10s\"\n\n\
         [admin]\nsocket = \"{}\"\n\n\
         [metrics]\nlisten = \"{}\"\n\n\
         [log]\nformat = \"text\"\nlevel = \"info\"\n",
        socket.display(),
        metrics_address(),
    );
    text
}

/// Running connections are handed over to and from every other PoP.
fn catchment(spec: &WorldSpec, number: usize, key: &Path) -> String {
    let address = |number| SocketAddr::new(plan::pop_link(number).far.v4.into(), CATCHMENT_PORT);
    let others = (1..=spec.regions.len()).filter(|other| *other != number).map(address);
    let others: Vec<_> = others.map(|address| address.to_string()).collect();
    if others.is_empty() {
        return String::new();
    }
    format!(
        "\n[catchment]\nlisten = \"{}\"\npeers = {}\nkey-file = \"{}\"\n",
        address(number),
        quoted(&others),
        key.display()
    )
}

fn anycast_group(spec: &WorldSpec, region: &RegionSpec) -> String {
    let (name, below) = (&spec.anycast.name, spec.daemon.degraded_below);
    let mut text = format!(
        "\n[announce.{name}]\n\
         prefixes = {prefixes}\n\
         services = [\"{name}\"]\n\
         communities = [\"64512:100\"]\n\
         vip = \"anyip\"\n\
         when-down = \"withdraw\"\n\
         {damping}\
         [announce.{name}.degraded]\n\
         below = {below:?}\nabove = 0.9\nprepend = 2\nmed = 200\ncommunities = [\"64512:666\"]\n\
         [announce.{name}.withdrawn]\n\
         below = 0.4\nabove = 0.6\nhold-down = \"{hold_down}ms\"\n",
        prefixes = quoted(&spec.anycast.prefixes),
        hold_down = region.hold_down.as_millis(),
        damping = if region.damped {
            "damping = { half-life = \"10s\", suppress = 1.5, reuse = 1.0 }\n"
        } else {
            "damping = \"none\"\n"
        },
    );
    if let Some(quiet) = spec.daemon.guard {
        let quiet = quiet.as_millis();
        let _ = write!(text, "[announce.{name}.guard]\nobserve = [\"router\"]\nquiet = \"{quiet}ms\"\n");
    }
    text
}

/// The anycast service: anything goes to the nearest app, `/fenced…` stays in the fence's jurisdiction.
fn anycast_service(spec: &WorldSpec, fence: &[&str]) -> String {
    let (name, prefixes) = (&spec.anycast.name, &spec.anycast.prefixes);
    let mut text = format!(
        "\n[services.{name}]\nlisten = {listen}\nprotocol = \"http\"\n",
        listen = listen(prefixes, 80),
    );
    if !fence.is_empty() {
        let _ = write!(
            text,
            "  [[services.{name}.routes]]\n  \
               match = {{ path-prefix = \"/fenced\" }}\n  \
               pool = \"app\"\n  \
               residency = {{ allow = {} }}\n",
            quoted(fence),
        );
    }
    let _ = write!(text, "  [[services.{name}.routes]]\n  pool = \"app\"\n");
    if let Some(first_byte) = spec.daemon.first_byte {
        let _ = writeln!(text, "  timeouts = {{ first-byte = \"{}ms\" }}", first_byte.as_millis());
    }
    text
}

/// The jurisdictions of the pinned groups' regions: what `/fenced` allows.
fn fenced_jurisdictions(spec: &WorldSpec) -> Vec<&str> {
    let mut fence: Vec<&str> = spec
        .pinned
        .iter()
        .filter_map(|group| spec.regions.iter().find(|region| region.name == group.region))
        .map(|region| region.jurisdiction.as_str())
        .collect();
    fence.dedup();
    fence
}

fn pinned_group(name: &str, prefixes: &[Prefix], jurisdiction: &str) -> String {
    format!(
        "\n[announce.{name}]\n\
         prefixes = {prefixes}\n\
         services = [\"{name}\"]\n\
         when-down = \"stay\"\n\n\
         [services.{name}]\n\
         listen = {listen}\n\
         protocol = \"http\"\n  \
           [[services.{name}.routes]]\n  \
           pool = \"app\"\n  \
           residency = {{ allow = [\"{jurisdiction}\"] }}\n",
        prefixes = quoted(prefixes),
        listen = listen(prefixes, 80),
    )
}

fn raw_service(prefixes: &[Prefix]) -> String {
    format!(
        "\n[services.raw]\nlisten = {}\nprotocol = \"tcp\"\npool = \"raw\"\n",
        listen(prefixes, plan::RAW_PORT)
    )
}

/// Both pools, with every backend of every region.
fn pools(spec: &WorldSpec, probing: &ProbeSpec) -> String {
    let pace = format!(
        "interval = \"{}ms\", timeout = \"{}ms\", rise = 2, fall = {}",
        probing.interval.as_millis(),
        probing.timeout.as_millis(),
        probing.fall
    );
    let probes = [
        ("app", "http = \"/healthz\", expect = 200, expect-body = \"^ok\"", plan::APP_HTTP_PORT),
        ("raw", "tcp = true", plan::APP_ECHO_PORT),
    ];
    let mut text = String::new();
    for (pool, probe, port) in probes {
        let _ = write!(
            text,
            "\n[pools.{pool}]\n\
             probe = {{ {probe}, {pace} }}\n"
        );
        for (number, region) in (1..).zip(&spec.regions) {
            for app in 1..=region.apps {
                let _ = write!(
                    text,
                    "  [[pools.{pool}.backends]]\n  \
                       name = \"{name}-{app}\"\n  \
                       region = \"{name}\"\n  \
                       address = \"{address}\"\n",
                    name = region.name,
                    address = SocketAddr::new(plan::app_link(number, app).far.v4.into(), port),
                );
            }
        }
    }
    text
}

fn listen(prefixes: &[Prefix], port: u16) -> String {
    let addresses: Vec<SocketAddr> =
        prefixes.iter().map(|prefix| SocketAddr::new(plan::vip(*prefix), port)).collect();
    quoted(&addresses)
}

/// A TOML array of strings.
fn quoted<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("\"{}\"", value.to_string())).collect();
    format!("[{}]", values.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(number: usize) -> toml::Table {
        let text = configuration(
            &WorldSpec::three_regions(),
            number,
            Path::new("/run/x.sock"),
            Path::new("/etc/x.key"),
        );
        text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn every_pop_lists_all_backends_and_only_eu_announces_the_pinned_group() {
        for (number, groups) in [(1, vec!["web"]), (2, vec!["web", "eu-only"]), (3, vec!["web"])] {
            let config = parsed(number);
            for pool in ["app", "raw"] {
                assert_eq!(config["pools"][pool]["backends"].as_array().unwrap().len(), 6);
            }
            let announced: Vec<_> = config["announce"].as_table().unwrap().keys().cloned().collect();
            assert_eq!(announced, groups);
        }
    }

    #[test]
    fn fenced_routes_come_first_and_allow_the_eu_only() {
        let config = parsed(1);
        let routes = config["services"]["web"]["routes"].as_array().unwrap().clone();
        assert_eq!(routes[0]["match"]["path-prefix"].as_str(), Some("/fenced"));
        assert_eq!(routes[0]["residency"]["allow"][0].as_str(), Some("EU"));
        assert!(routes[1].get("residency").is_none());
        assert_eq!(
            parsed(2)["services"]["eu-only"]["routes"][0]["residency"]["allow"][0].as_str(),
            Some("EU")
        );
    }
}
