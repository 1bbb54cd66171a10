//! `[services.NAME]` and `[[services.NAME.routes]]`: listeners, and where what they take goes.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use proxima_types::{Jurisdiction, PoolName, ServiceName};

use super::{Place, Raw, distinct, element, place, refer, resolved, server_tls::RawServerTls};
use crate::{
    HttpService, HttpTimeouts, Match, Protocol, Route, Service, TcpService, TcpTimeouts,
    field::{At, Field, List},
    http,
    reader::Reader,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const CONNECT: Duration = Duration::from_secs(1);
const FIRST_BYTE: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_mins(1);
/// Where TLS is spoken.
const HTTP3: bool = true;
const PROTOCOLS: [(&str, Spoken); 3] =
    [("tcp", Spoken::Tcp), ("http", Spoken::Http), ("https", Spoken::Https)];

#[derive(Debug, Clone, Copy)]
enum Spoken {
    Tcp,
    Http,
    Https,
}

impl Spoken {
    /// What a service looks like whose protocol can't be read, so that its other mistakes are told as well.
    fn resembled(service: &Section<'_>) -> Option<Self> {
        match (service.has("pool"), service.has("routes")) {
            (true, false) => Some(Self::Tcp),
            (false, true) if service.has("tls") => Some(Self::Https),
            (false, true) => Some(Self::Http),
            (true, true) | (false, false) => None,
        }
    }
}

pub(super) struct RawService {
    pub(super) name: Field<ServiceName>,
    pub(super) path: String,
    pub(super) listen: Field<List<SocketAddr>>,
    spoken: Field<Spoken>,
    /// None when nothing tells which keys belong.
    protocol: Option<RawProtocol>,
}

enum RawProtocol {
    Tcp(RawTcp),
    Http(Box<RawHttp>),
}

struct RawHttp {
    routes: Field<Vec<RawRoute>>,
    /// None in plain text.
    tls: Option<Field<RawServerTls>>,
    http3: Field<bool>,
}

struct RawTcp {
    target: RawTarget,
    connect: Field<Duration>,
    idle: Field<Duration>,
}

/// A pool behind a fence: what a TCP service and a route have in common.
struct RawTarget {
    pool: Field<PoolName>,
    /// The allow list, when there is a fence.
    residency: Field<Field<List<Jurisdiction>>>,
    place: Place,
}

struct RawRoute {
    target: RawTarget,
    host: Field<String>,
    path_prefix: Field<String>,
    methods: Field<List<String>>,
    timeouts: RawTimeouts,
}

struct RawTimeouts {
    connect: Field<Duration>,
    first_byte: Field<Duration>,
    idle: Field<Duration>,
    total: Field<Duration>,
}

impl RawService {
    pub(super) fn read(file: &mut Section<'_>) -> Vec<Self> {
        let doc = "A service: where it listens, and where what comes goes. A reload binds new addresses \
            before anything else changes, and lets what runs at old ones end; see \
            [reloads](reload.md).";
        file.named("services", doc).into_iter().map(|(name, service)| Self::keys(name, service)).collect()
    }

    fn keys(name: Field<ServiceName>, mut service: Section<'_>) -> Self {
        let listen = service.required_list(
            "listen",
            "[\"203.0.113.1:80\"]",
            value::listen(),
            "Where it listens; no other service has one of these addresses.",
        );
        let spoken = service.required(
            "protocol",
            "\"http\"",
            value::word(&PROTOCOLS),
            "What it speaks. `tcp`: bytes are relayed to `pool`. `http`: HTTP/1.1 and HTTP/2 in plain \
            text, by `routes`. `https`: the same over `tls`, and HTTP/3.",
        );
        let path = service.path().to_owned();
        let resembled = spoken.value().copied().or_else(|| Spoken::resembled(&service));
        let protocol = resembled.map(|spoken| RawProtocol::read(service, spoken));
        Self { name, path, listen, spoken, protocol }
    }

    pub(super) fn listens(&self) -> impl Iterator<Item = &At<SocketAddr>> {
        self.listen.value().into_iter().flat_map(|list| &list.elements)
    }

    /// Whether it speaks plain HTTP, or may be meant to.
    pub(super) fn may_be_http(&self) -> bool {
        !matches!(self.spoken.value(), Some(Spoken::Tcp | Spoken::Https))
    }

    /// The pools behind the service; nothing when not all of them are known.
    pub(super) fn pools(&self) -> Option<Vec<&PoolName>> {
        self.targets()?.into_iter().map(|target| target.pool.value()).collect()
    }

    fn targets(&self) -> Option<Vec<&RawTarget>> {
        Some(match self.protocol.as_ref()? {
            RawProtocol::Tcp(tcp) => vec![&tcp.target],
            RawProtocol::Http(http) => http.routes.value()?.iter().map(|route| &route.target).collect(),
        })
    }

    pub(super) fn resolve(&self) -> Option<(ServiceName, Service)> {
        let name = self.name.value()?.clone();
        self.spoken.value()?;
        let protocol = match self.protocol.as_ref()? {
            RawProtocol::Tcp(tcp) => Protocol::Tcp(TcpService {
                pool: tcp.target.pool.value()?.clone(),
                residency: tcp.target.fence()?,
                timeouts: TcpTimeouts { connect: tcp.connect.or(CONNECT)?, idle: tcp.idle.or(IDLE)? },
            }),
            RawProtocol::Http(http) => Protocol::Http(HttpService {
                routes: http.routes.value()?.iter().map(RawRoute::resolve).collect::<Option<_>>()?,
                tls: match &http.tls {
                    None => None,
                    Some(tls) => Some(tls.value()?.resolve()?),
                },
                http3: http.http3.or(HTTP3)? && http.tls.is_some(),
            }),
        };
        Some((name.clone(), Service { name, listen: self.listen.value()?.values()?, protocol }))
    }
}

impl RawProtocol {
    /// Reads what the protocol has, and refuses what only the other has.
    fn read(mut service: Section<'_>, spoken: Spoken) -> Self {
        let protocol = match spoken {
            Spoken::Tcp => {
                service.refuse(
                    "routes",
                    "in a TCP service",
                    "a TCP service sees no requests: name its `pool` directly, or write `protocol = \"http\"`",
                );
                service.refuse(
                    "tls",
                    "in a TCP service",
                    "a TCP service relays bytes as they are: remove it, or write `protocol = \"https\"`",
                );
                service.refuse(
                    "http3",
                    "in a TCP service",
                    "a TCP service sees no requests: write `protocol = \"https\"`",
                );
                let target = RawTarget::read(&mut service);
                let mut timeouts = service.defaulted("timeouts", "The deadlines of relayed connections.");
                for key in ["first-byte", "total"] {
                    timeouts.refuse(key, "in a TCP service", "a TCP service has `connect` and `idle`");
                }
                let tcp = RawTcp {
                    target,
                    connect: connect_timeout(&mut timeouts),
                    idle: idle_timeout(&mut timeouts),
                };
                timeouts.close();
                Self::Tcp(tcp)
            }
            Spoken::Http | Spoken::Https => {
                let (tls, http3) = if matches!(spoken, Spoken::Https) {
                    let tls = RawServerTls::read(&mut service);
                    let http3 = service.optional(
                        "http3",
                        value::boolean(),
                        Absent::is(HTTP3),
                        "Whether HTTP/3 is spoken too, over UDP at the same addresses, and offered by \
                        `Alt-Svc`.",
                    );
                    (Some(tls), http3)
                } else {
                    for key in ["tls", "http3"] {
                        service.refuse(key, "in a service of plain HTTP", "write `protocol = \"https\"`");
                    }
                    (None, Field::Absent)
                };
                for key in ["pool", "residency", "timeouts"] {
                    service.refuse(
                        key,
                        "in an HTTP service",
                        &format!("write it in a route: `[[{}.routes]]`", service.path()),
                    );
                }
                let hint = format!("add `[[{}.routes]]` with `pool`", service.path());
                let routes = service
                    .required_sections(
                        "routes",
                        &hint,
                        "Where requests go: the first route that matches takes the request. A reload \
                        changes it for the next request.",
                    )
                    .map(|routes| routes.into_iter().map(RawRoute::read).collect());
                Self::Http(Box::new(RawHttp { routes, tls, http3 }))
            }
        };
        service.close();
        protocol
    }
}

impl RawTarget {
    fn read(section: &mut Section<'_>) -> Self {
        Self {
            pool: section.required("pool", "\"app\"", value::parsed(), "Where it goes, one of `[pools]`."),
            residency: section
                .section(
                    "residency",
                    Absent::means("anywhere"),
                    "The fence: where data may go. With nothing left inside it the answer is 503 (over TCP \
                    a reset), never another jurisdiction.",
                )
                .map(|mut residency| {
                    let allow = residency.required_list(
                        "allow",
                        "[\"EU\"]",
                        value::parsed(),
                        "The jurisdictions it may go to; the pool has backends in one of them.",
                    );
                    residency.close();
                    allow
                }),
            place: Place::of(section),
        }
    }

    fn allow(&self) -> Option<&At<List<Jurisdiction>>> {
        self.residency.value()?.given()
    }

    fn fence(&self) -> Option<Option<BTreeSet<Jurisdiction>>> {
        resolved(&self.residency, |allow| Some(allow.value()?.values()?.into_iter().collect()))
    }

    /// That the pool of a TCP service has no TLS, which only HTTP is spoken over.
    fn check_relayed(&self, raw: &Raw, report: &Report) {
        let Some(at) = self.pool.given() else { return };
        let pool = raw.pools.iter().find(|pool| pool.name.value() == Some(&at.value));
        if pool.is_some_and(|pool| pool.tls.given().is_some()) {
            let wrong = Wrong::new(format!(
                "pool `{}` has `tls`, and a TCP service relays bytes as they are",
                at.value
            ))
            .hint("give the service a pool of its own, without `tls`");
            report.elsewhere(at.span.clone(), &self.place.key("pool"), wrong);
        }
    }

    fn check(&self, raw: &Raw, report: &Report) {
        if let Some(pool) = self.pool.given() {
            let known = raw.pools.iter().filter_map(|pool| pool.name.value());
            refer(report, pool, &self.place.key("pool"), "pool", known);
        }
        let Some(allow) = self.allow() else { return };
        let path = self.place.key("residency");
        distinct(report, &allow.value.elements, &format!("{path}.allow"));
        for (index, jurisdiction) in allow.value.elements.iter().enumerate() {
            let known = raw.regions.iter().filter_map(|region| region.jurisdiction.value());
            refer(report, jurisdiction, &element(&path, "allow", index), "jurisdiction", known);
        }
        self.check_fence(raw, report, allow);
    }

    /// A fence that no backend is in would answer every request with 503.
    fn check_fence(&self, raw: &Raw, report: &Report, allow: &At<List<Jurisdiction>>) {
        let Some(name) = self.pool.value() else { return };
        let Some(pool) = raw.pools.iter().find(|pool| pool.name.value() == Some(name)) else { return };
        let Some(allowed) = allow.value.values() else { return };
        let jurisdictions = pool.backends().and_then(|backends| {
            let of = |region| place::jurisdiction(&raw.regions, region);
            backends.iter().map(|backend| of(backend.region.value()?)).collect::<Option<BTreeSet<_>>>()
        });
        let Some(jurisdictions) = jurisdictions else { return };
        let unknown = |name| raw.regions.iter().all(|region| region.jurisdiction.value() != Some(name));
        if jurisdictions.iter().any(|name| allowed.contains(name)) || allowed.iter().any(unknown) {
            return;
        }
        let list = jurisdictions.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let wrong = Wrong::new(format!(
            "no backend of pool `{name}` is inside the fence: every request would get a 503"
        ))
        .hint(format!("the pool's backends are in {list}; allow one of these, or add a backend inside"));
        report.elsewhere(allow.span.clone(), &self.place.key("residency.allow"), wrong);
    }
}

impl RawRoute {
    fn read(mut route: Section<'_>) -> Self {
        let mut matches = route.defaulted(
            "match",
            "Which requests the route takes: all that is given has to hold. Nothing given takes every \
            request.",
        );
        let host = matches.optional(
            "host",
            http::readers::host(),
            Absent::means("any"),
            "The request's host, without a port.",
        );
        let path_prefix = matches.optional(
            "path-prefix",
            http::readers::path_prefix(),
            Absent::means("any"),
            "The beginning of its path, decoded, in whole segments: `/v1` takes `/v1` and `/v1/chat`, not \
            `/v12`.",
        );
        let methods =
            matches.optional_list("methods", http::readers::method(), Absent::means("any"), "Its methods.");
        matches.close();
        let target = RawTarget::read(&mut route);
        let timeouts = RawTimeouts::read(route.defaulted(
            "timeouts",
            "The deadlines of its requests; see [limits for clients](limits.md#deadlines).",
        ));
        route.close();
        Self { target, host, path_prefix, methods, timeouts }
    }

    fn matches(&self) -> Option<Match> {
        Some(Match {
            host: self.host.maybe()?,
            path_prefix: self.path_prefix.maybe()?,
            methods: resolved(&self.methods, List::values)?.unwrap_or_default(),
        })
    }

    fn resolve(&self) -> Option<Route> {
        Some(Route {
            matches: self.matches()?,
            pool: self.target.pool.value()?.clone(),
            residency: self.target.fence()?,
            timeouts: HttpTimeouts {
                connect: self.timeouts.connect.or(CONNECT)?,
                first_byte: self.timeouts.first_byte.or(FIRST_BYTE)?,
                idle: self.timeouts.idle.or(IDLE)?,
                total: self.timeouts.total.maybe()?,
            },
        })
    }
}

impl RawTimeouts {
    fn read(mut timeouts: Section<'_>) -> Self {
        let raw = Self {
            connect: connect_timeout(&mut timeouts),
            first_byte: timeouts.optional(
                "first-byte",
                timeout(),
                Absent::is(FIRST_BYTE),
                "From the request sent to the first byte of the response; then the next backend is tried, \
                or the answer is 504.",
            ),
            idle: idle_timeout(&mut timeouts),
            total: timeouts.optional(
                "total",
                timeout(),
                Absent::means("none"),
                "For the whole exchange, streams included.",
            ),
        };
        timeouts.close();
        raw
    }
}

pub(super) fn check(raw: &Raw, report: &Report) {
    check_loops(raw, report);
    for service in &raw.services {
        for target in service.targets().unwrap_or_default() {
            target.check(raw, report);
        }
        if let Some(RawProtocol::Tcp(tcp)) = &service.protocol {
            tcp.target.check_relayed(raw, report);
        }
        if let Some(RawProtocol::Http(http)) = &service.protocol {
            check_reachable(report, http.routes.value().map_or(&[], Vec::as_slice));
            if let Some(tls) = http.tls.as_ref().and_then(Field::value) {
                tls.check(raw, report);
            }
        }
        if let Some(RawProtocol::Tcp(tcp)) = &service.protocol {
            check_relayed(raw, report, &service.path, &tcp.target);
        }
    }
}

/// Reports a version of HTTP for backends that connections are relayed to.
fn check_relayed(raw: &Raw, report: &Report, service: &str, target: &RawTarget) {
    let pool =
        raw.pools.iter().find(|pool| pool.name.value().is_some() && pool.name.value() == target.pool.value());
    let Some((pool, protocol)) = pool.and_then(|pool| Some((pool, pool.protocol.given()?))) else { return };
    let wrong = Wrong::new(format!("`{service}` relays bytes to this pool, whatever they speak"))
        .hint("leave `protocol` out, or give the service a pool of its own");
    report.elsewhere(protocol.span.clone(), &pool.place.key("protocol"), wrong);
}

/// Reports every backend that is a listener of this daemon.
fn check_loops(raw: &Raw, report: &Report) {
    let listens =
        || raw.services.iter().flat_map(|service| service.listens().map(move |at| (service, at.value)));
    for backend in raw.pools.iter().flat_map(|pool| pool.backends().unwrap_or_default()) {
        let Some(at) = backend.address.given() else { continue };
        let Some((service, _)) = listens().find(|(_, listen)| takes(*listen, at.value)) else { continue };
        let wrong = Wrong::new(format!("{} is where `{}` listens itself", at.value, service.path)).hint(
            "its probes would always pass, and its requests come back here: write the app's own address",
        );
        report.elsewhere(at.span.clone(), &backend.place.key("address"), wrong);
    }
}

/// Whether a listener takes connections to `address`; which addresses are this host's is not known.
fn takes(listen: SocketAddr, address: SocketAddr) -> bool {
    let any = listen.ip().is_unspecified() && listen.is_ipv4() == address.is_ipv4();
    listen.port() == address.port() && (listen.ip() == address.ip() || (any && address.ip().is_loopback()))
}

/// Reports every route that an earlier one leaves nothing for.
fn check_reachable(report: &Report, routes: &[RawRoute]) {
    let matches: Vec<Option<Match>> = routes.iter().map(RawRoute::matches).collect();
    for (index, route) in routes.iter().enumerate() {
        if let Some(methods) = route.methods.value() {
            distinct(report, &methods.elements, &route.target.place.key("match.methods"));
        }
        let Some(own) = &matches[index] else { continue };
        let hides = |earlier: &Option<Match>| earlier.as_ref().is_some_and(|earlier| covers(earlier, own));
        if let Some(earlier) = matches[..index].iter().position(hides) {
            let wrong = Wrong::new(format!(
                "no request reaches this route: route {} takes them all",
                earlier + 1
            ))
            .hint("the first route that matches wins: move the narrower route up, or remove one of the two");
            report.section(route.target.place.span.clone(), &route.target.place.path, wrong);
        }
    }
}

/// Whether every request that `narrow` takes is taken by `wide` as well.
fn covers(wide: &Match, narrow: &Match) -> bool {
    let host = wide.host.is_none() || wide.host == narrow.host;
    let path = match (&wide.path_prefix, &narrow.path_prefix) {
        (None, _) => true,
        // `OPTIONS *` has no path.
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => http::covers(wide, narrow),
    };
    let methods = wide.methods.is_empty()
        || (!narrow.methods.is_empty() && narrow.methods.iter().all(|method| wide.methods.contains(method)));
    host && path && methods
}

fn connect_timeout(timeouts: &mut Section<'_>) -> Field<Duration> {
    let doc = "For connecting to a backend; then the next one is tried.";
    timeouts.optional("connect", timeout(), Absent::is(CONNECT), doc)
}

fn idle_timeout(timeouts: &mut Section<'_>) -> Field<Duration> {
    timeouts.optional("idle", timeout(), Absent::is(IDLE), "Without a byte either way.")
}

fn timeout() -> Reader<Duration> {
    value::duration(Duration::from_millis(1)..=Duration::from_hours(24))
}
