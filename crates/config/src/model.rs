//! The resolved configuration: typed, complete, checked.
//!
//! Every name that refers to something (a pool, a region, a service) is known to exist, every default is filled
//! in, and every range given here has been enforced. Nothing below can be half-configured: the only way to get a
//! [`Config`] is [`Config::parse`].

mod access_log;
mod acme;
mod announce;
mod bgp;
mod limits;
mod passive;
mod tls;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    path::PathBuf,
    time::Duration,
};

use proxima_probe_kind::{Notice, ProbeKind};
use proxima_types::{
    BackendId, GroupName, IssuerName, Jurisdiction, PoolName, PopName, Prefix, ProviderName, RegionName,
    ServiceName, Weight,
};

pub use access_log::{AccessLog, AccessLogTarget};
pub use acme::{Challenge, ExternalAccount, Issuer, KeyType, Managed};
pub use announce::{Damping, Degraded, Group, Guard, Slo, Vip, WhenDown, Withdrawals, Withdrawn};
pub use bgp::{
    BestPath, Bfd, BfdAuth, Bgp, Bmp, GracefulRestart, Import, MaxPrefixes, Mrt, Peer, PrefixAction, Remote,
    Role,
};
pub use limits::{BodyRate, ConnectionsPerIp, Limits};
pub use passive::Passive;
pub use tls::{ClientAuth, ClientTls, ForwardedCertificate, KeyPair, ServerTls, TlsVersion};

/// Everything the daemon is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Who this PoP is.
    pub pop: Pop,
    /// Every region of the deployment, the own one included.
    pub regions: BTreeMap<RegionName, Region>,
    /// The BGP speaker.
    pub bgp: Bgp,
    /// What is announced. Prefixes of different groups never overlap.
    pub groups: BTreeMap<GroupName, Group>,
    /// What is served. No two services share a listen address.
    pub services: BTreeMap<ServiceName, Service>,
    /// Where it is served from.
    pub pools: BTreeMap<PoolName, Pool>,
    /// Whom certificates are ordered from.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// The hand-over of running connections between PoPs; absent: none.
    pub catchment: Option<Catchment>,
    /// `[quic-lb]`; absent: connection IDs that this process alone can read.
    pub quic_lb: Option<QuicLb>,
    /// The worker threads.
    pub data_plane: DataPlane,
    /// What all groups together, and clients, are held to.
    pub limits: Limits,
    /// The pace of an orderly stop.
    pub drain: Drain,
    /// The admin socket.
    pub admin: Admin,
    /// The Prometheus endpoint; absent: none.
    pub metrics: Option<Metrics>,
    /// What is logged, and how.
    pub log: Log,
    /// The log of requests; absent: none.
    pub access_log: Option<AccessLog>,
}

/// `[pop]`: who this PoP is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pop {
    /// The PoP's name.
    pub name: PopName,
    /// Its region, one of [`Config::regions`].
    pub region: RegionName,
    /// The BGP identifier; never 0.0.0.0 (RFC 6286 §2.1).
    pub router_id: Ipv4Addr,
}

/// `[regions.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// The jurisdiction that data in this region is under.
    pub jurisdiction: Jurisdiction,
}

/// `[services.NAME]`: listeners, and what they serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The service's name.
    pub name: ServiceName,
    /// Where it listens, as written; not empty, no duplicates, ports not 0.
    pub listen: Vec<SocketAddr>,
    /// What it speaks, and where to.
    pub protocol: Protocol,
}

impl Service {
    /// The pools behind the service.
    pub fn pools(&self) -> BTreeSet<&PoolName> {
        match &self.protocol {
            Protocol::Tcp(tcp) => BTreeSet::from([&tcp.pool]),
            Protocol::Http(http) => http.routes.iter().map(|route| &route.pool).collect(),
        }
    }
}

/// `protocol` of a service, with what only that protocol has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// `tcp`: bytes relayed.
    Tcp(TcpService),
    /// `http`, or `https`: HTTP/1.1, in plain text or over TLS.
    Http(HttpService),
}

/// A service of `protocol = "tcp"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpService {
    /// Where connections go.
    pub pool: PoolName,
    /// The jurisdictions connections may go to; absent: any. Not empty, and the pool has backends there.
    pub residency: Option<BTreeSet<Jurisdiction>>,
    /// The deadlines.
    pub timeouts: TcpTimeouts,
}

/// `timeouts` of a TCP service; each 1 ms to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimeouts {
    /// For connecting to a backend. Default 1 s.
    pub connect: Duration,
    /// Without a byte either way. Default 60 s.
    pub idle: Duration,
}

/// A service of `protocol = "http"` or `"https"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpService {
    /// The first that matches takes the request. Not empty; none is hidden by an earlier one.
    pub routes: Vec<Route>,
    /// `https`: how TLS is spoken. Absent: `http`.
    pub tls: Option<ServerTls>,
    /// `https`: whether HTTP/3 is spoken too, over UDP at the same addresses. Default true. False in `http`.
    pub http3: bool,
}

/// `[[services.NAME.routes]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Which requests the route takes. `match` in the file.
    pub matches: Match,
    /// Where they go.
    pub pool: PoolName,
    /// The jurisdictions they may go to; absent: any. Not empty, and the pool has backends there.
    pub residency: Option<BTreeSet<Jurisdiction>>,
    /// The deadlines.
    pub timeouts: HttpTimeouts,
}

/// `match` of a route: all that is given must hold. Nothing given takes every request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// The request's host without its port, in lower case.
    pub host: Option<String>,
    /// The beginning of the request's path, decoded, in whole segments: `/v1` takes `/v1` and `/v1/chat`, not `/v12`.
    /// Begins with `/`; a `/` at its end has been removed, so that `/` alone is empty here.
    pub path_prefix: Option<String>,
    /// The methods, in upper case; empty: any.
    pub methods: Vec<String>,
}

/// `timeouts` of a route; each 1 ms to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// For connecting to a backend. Default 1 s.
    pub connect: Duration,
    /// From the request sent to the first byte of the response. Default 30 s.
    pub first_byte: Duration,
    /// Without a byte either way. Default 60 s.
    pub idle: Duration,
    /// For the whole exchange; absent: none.
    pub total: Option<Duration>,
}

/// `[pools.NAME]`: backends that serve the same thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The pool's name.
    pub name: PoolName,
    /// How a level's backends share the load. Default [`Balance::LeastRequest`].
    pub balance: Balance,
    /// What its backends speak, for HTTP services. Default [`PoolProtocol::Http1`].
    pub protocol: PoolProtocol,
    /// How TLS is spoken to the backends; absent: plain text. Probes have settings of their own. No pool of a TCP service has it.
    pub tls: Option<ClientTls>,
    /// How each backend is probed.
    pub probe: Probe,
    /// What of real traffic is evidence about a backend; absent: nothing (`observe = false`).
    pub passive: Option<Passive>,
    /// Who says that a backend goes away, so that it is drained before. Absent: nobody. `lead` is up to 24 h, default 30 s;
    /// `interval` 100 ms to 1 h, default 5 s.
    pub notice: Option<Notice>,
    /// The backends, as written; not empty. Names differ, and so do addresses.
    pub backends: Vec<Backend>,
}

/// A balancing policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Balance {
    /// `round-robin`, by weight.
    RoundRobin,
    /// `least-request`: the less loaded of two at random, by weight.
    LeastRequest,
}

/// `protocol` of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolProtocol {
    /// `http/1.1`.
    Http1,
    /// `h2`: HTTP/2, many requests at once on a connection; by prior knowledge (RFC 9113 §3.3), or by ALPN where there is TLS.
    Http2,
    /// `h3`: HTTP/3 (RFC 9114), many requests at once on a QUIC connection. The pool has `tls`.
    Http3,
}

/// `probe` of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// From one probe to the next while all is settled, 10 ms to 1 h. Default 1 s.
    pub interval: Duration,
    /// The same while undecided: without a verdict, or with a last outcome against it. 10 ms to `interval`. Default 50 ms, 1 s for
    /// programs and PostgreSQL, or `interval` when that is shorter.
    pub fast_interval: Duration,
    /// The same while down, and while this host can't probe. 10 ms to `interval`. Default 250 ms, `fast-interval` when that is
    /// longer, or `interval` when that is shorter.
    pub down_interval: Duration,
    /// By how many percent a pause between probes is longer or shorter at most, 0 to 50; a share in the file. Default 10.
    pub jitter: u8,
    /// For the whole probe, 1 ms to `interval`. Default 500 ms, or `interval` when that is shorter.
    pub timeout: Duration,
    /// Successes in a row that make a backend up, 1 or more. Default 2.
    pub rise: NonZeroU16,
    /// Soft failures in a row that make it down, 1 or more. Default 3.
    pub fall: NonZeroU16,
    /// The own address to probe from, of the family of every backend. Absent: the system's choice.
    pub source: Option<IpAddr>,
    /// The way to the backends. Default [`Via::Direct`].
    pub via: Via,
}

impl Probe {
    /// From the end of one probe to the end of the next, at most, while all is settled.
    pub fn pace(&self) -> Duration {
        self.interval + self.interval * u32::from(self.jitter) / 100 + self.timeout
    }
}

/// `via` of a probe: the way to its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Via {
    /// `direct`: straight.
    #[default]
    Direct,
    /// `service`: through this PoP's own data plane, past routes and balancing. Only where the probe is over TCP, and without
    /// [`Probe::source`].
    Service,
}

/// `[[pools.NAME.backends]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// `pool/backend`.
    pub id: BackendId,
    /// Where it is, one of [`Config::regions`].
    pub region: RegionName,
    /// The jurisdiction of that region.
    pub jurisdiction: Jurisdiction,
    /// Where it listens.
    pub address: SocketAddr,
    /// 0 is tried first, up to 255. Default 0.
    pub tier: u8,
    /// The share of traffic and of the region's capacity, 0 to 65535. Default 100.
    pub weight: Weight,
    /// Every region uses it: its loss de-prefers the groups it gates and never withdraws them, and it is no part of a region's
    /// capacity. Default false.
    pub shared: bool,
    /// A label for people.
    pub provider: Option<ProviderName>,
}

/// `[catchment]`: running TCP connections are handed over when routers move their clients between PoPs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catchment {
    /// The UDP address other PoPs know this one by; never unspecified.
    pub listen: SocketAddr,
    /// The other PoPs; not empty, of the family of `listen`, each address once and none the own.
    pub peers: Vec<SocketAddr>,
    /// An absolute path of a file with 64 hexadecimal digits, the same on all PoPs.
    pub key_file: PathBuf,
    /// How long a reset waits for the other PoPs' answers: at least a round trip to the farthest. 10 ms to 10 s, default
    /// 500 ms.
    pub answer_within: Duration,
}

/// `[quic-lb]`: connection IDs of HTTP/3 that whoever has the key can read (draft-ietf-quic-load-balancers). A server ID has
/// five octets: the PoP's number (16 bits), the host's (8), the process (6) and the worker (10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuicLb {
    /// The configuration that the first three bits of each ID name, 0 to 6. Default 0.
    pub config_id: u8,
    /// This PoP's number, another one for each PoP.
    pub pop: u16,
    /// This host's number, another one for each host of the PoP. Default 0.
    pub host: u8,
    /// Octets of the nonce, 4 to 14. Default 11, with which server ID and nonce are one block of AES.
    pub nonce_length: u8,
    /// An absolute path of a file with 32 hexadecimal digits, which its owner alone may read: the key, the same on all hosts.
    pub key_file: PathBuf,
}

/// `[data-plane]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPlane {
    /// Worker threads, 1 to 1024. Absent: one per core of the affinity mask.
    pub workers: Option<NonZeroU32>,
    /// What makes another region near. Default [`Distance::Rtt`].
    pub distance: Distance,
}

/// `distance` of `[data-plane]`: in which order other regions are tried; the own one always comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distance {
    /// `rtt`: by the round-trip time that probes measure.
    Rtt,
    /// `bgp`: by the best BGP path to the address of a region's backend; equals by round-trip time. A region that no path
    /// leads to is the farthest.
    Bgp,
    /// `configured`: in the order in which the file has the `[regions]`, all of them.
    Configured(Vec<RegionName>),
}

/// `[drain]`: the pace of an orderly stop; each zero to 24 h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// From GRACEFUL_SHUTDOWN announced to the withdrawal. Default 5 s.
    pub graceful_shutdown: Duration,
    /// From the withdrawal to the end of accepting. Default 5 s.
    pub withdrawn: Duration,
    /// Then for exchanges to end by themselves. Default 30 s.
    pub streams: Duration,
}

/// `[admin]`: the socket the CLI talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// An absolute path of at most 107 bytes. Default `/run/proximad/admin.sock`.
    pub socket: PathBuf,
    /// Permission bits; the owner may always read and write, others never write. Default 0660.
    pub mode: u32,
    /// The group that owns the socket; absent: the daemon's own.
    pub group: Option<String>,
}

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Where the endpoint listens.
    pub listen: SocketAddr,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Default [`LogFormat::Text`].
    pub format: LogFormat,
    /// Default [`LogLevel::Info`].
    pub level: LogLevel,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Errors only.
    Error,
    /// And warnings.
    Warn,
    /// And what happens in normal life.
    Info,
    /// And what helps to find a fault.
    Debug,
    /// And everything.
    Trace,
}

impl LogLevel {
    /// The level as it is written in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Config {
    /// Every prefix of every group, sorted: what may be announced at all.
    pub fn prefixes(&self) -> Vec<Prefix> {
        let mut prefixes: Vec<_> =
            self.groups.values().flat_map(|group| group.prefixes.iter().copied()).collect();
        prefixes.sort_unstable();
        prefixes
    }

    /// The jurisdiction of the own region.
    pub fn own_jurisdiction(&self) -> &Jurisdiction {
        &self.regions[&self.pop.region].jurisdiction
    }
}
