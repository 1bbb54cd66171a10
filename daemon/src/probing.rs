//! From configured pools to what the prober is to do, and the way it has through the data plane.

use std::net::SocketAddr;

use proxima_config::{Backend, Config, Pool, Via};
use proxima_health::{Percent, Settings};
use proxima_probe::{Carries, Connecting, ProbeTarget};
use proxima_proxy::{ProbeEntrance, Protocol};
use proxima_types::BackendId;

/// The backends of all pools as probe targets.
pub(crate) fn targets(config: &Config) -> Vec<ProbeTarget> {
    let of_pool = |pool: &Pool| pool.backends.iter().map(|backend| target(pool, backend)).collect::<Vec<_>>();
    config.pools.values().flat_map(of_pool).collect()
}

fn target(pool: &Pool, backend: &Backend) -> ProbeTarget {
    let probe = &pool.probe;
    ProbeTarget {
        backend: backend.id.clone(),
        address: backend.address,
        source: probe.source,
        via_service: probe.via == Via::Service,
        kind: probe.kind.clone(),
        interval: probe.interval,
        fast_interval: probe.fast_interval,
        down_interval: probe.down_interval,
        jitter: Percent::new(probe.jitter).unwrap_or(Settings::JITTER),
        timeout: probe.timeout,
        rise: probe.rise,
        fall: probe.fall,
        notice: pool.notice.clone(),
    }
}

/// `via = "service"`: through the workers of this PoP.
#[derive(Debug)]
pub(crate) struct ThroughWorkers(pub(crate) ProbeEntrance);

impl proxima_probe::Via for ThroughWorkers {
    fn connect(&self, backend: &BackendId, address: SocketAddr, carries: Carries) -> Connecting<'_> {
        let backend = backend.clone();
        let protocol = match carries {
            Carries::Bytes => Protocol::Tcp,
            Carries::Requests => Protocol::Http,
        };
        Box::pin(async move { self.0.connect(&backend, address, protocol).await })
    }
}
