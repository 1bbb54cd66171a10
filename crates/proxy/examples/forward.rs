//! The data plane alone, in front of one backend: `forward --listen 127.0.0.1:8005 --backend 127.0.0.1:9000`
//! (`--tcp` relays bytes; `--certificate FILE --key FILE` speaks TLS with clients; `--h2` has the backend spoken to in HTTP/2;
//! `--workers N`). For measurements beside other proxies; it serves until it is killed.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use proxima_balance::{Candidate, Levels, PolicyKind};
use proxima_proxy::{
    Chain, Clients, DataPlane, DataPlaneConfig, Listener, Match, MinVersion, Protocol, Route, Service,
    Snapshot, TicketKeys, Timeouts, TlsServer, TlsServerOptions, Upstream, UpstreamProtocol,
};
use proxima_residency::Fence;
use proxima_types::{BackendId, Health, Jurisdiction, RegionName, ServiceName, Weight};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value =
        |name: &str| arguments.iter().position(|argument| argument == name).map(|at| &arguments[at + 1]);
    let listen: SocketAddr = value("--listen").map_or("127.0.0.1:8005", String::as_str).parse()?;
    let address: SocketAddr = value("--backend").map_or("127.0.0.1:9000", String::as_str).parse()?;
    let workers = value("--workers").map_or("1", String::as_str).parse()?;
    let is_tcp = arguments.iter().any(|argument| argument == "--tcp");

    let is_http2 = arguments.iter().any(|argument| argument == "--h2");
    let protocol = if is_http2 { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 };

    let region: RegionName = "here".parse()?;
    let candidate = Candidate {
        backend: "app/one".parse::<BackendId>()?,
        address,
        region: region.clone(),
        jurisdiction: "EU".parse::<Jurisdiction>()?,
        tier: 0,
        weight: Weight::default(),
        health: Health::Up,
        distance: 0,
        rtt: None,
    };
    let fence = Fence::new(Some(vec!["EU".parse()?]));
    let upstream = Upstream {
        levels: Arc::new(Levels::new(fence.admit([candidate]), &region)),
        policy: PolicyKind::default(),
        protocol,
        tls: None,
        timeouts: Timeouts::default(),
        late: None,
    };
    let service: ServiceName = "web".parse()?;
    let tls = match (value("--certificate"), value("--key")) {
        (Some(certificate), Some(key)) => Some(tls(&service, certificate, key)?),
        _ => None,
    };
    let routes = |upstream| vec![Route { matches: Match::default(), upstream }];
    let (protocol, kind) = match tls {
        _ if is_tcp => (Protocol::Tcp, Service::Tcp(upstream)),
        None => (Protocol::Http, Service::Http(routes(upstream))),
        Some(tls) => (Protocol::Https, Service::Https(tls, routes(upstream))),
    };
    let snapshot = Snapshot { services: [(service.clone(), kind)].into(), ..Snapshot::default() };
    let listeners = vec![Listener { service, address: listen, protocol }];
    let config = DataPlaneConfig::new(workers, listeners, "bench1".parse()?);
    let _plane = DataPlane::start(config, &Arc::new(ArcSwap::from_pointee(snapshot)))?;
    loop {
        std::thread::park();
    }
}

fn tls(service: &ServiceName, certificate: &str, key: &str) -> Result<TlsServer, AnyError> {
    let identity = Chain::from_pem(&std::fs::read(certificate)?)?.with_key(&std::fs::read(key)?)?;
    Ok(TlsServer::new(&TlsServerOptions {
        service,
        identities: &[identity],
        min_version: MinVersion::default(),
        clients: &Clients::Any,
        tickets: &TicketKeys::own()?,
    })?)
}
