//! From configured pools to what the prober asks.

use proxima_config::{Backend, Config, Pool};
use proxima_probe::{ProbeKind, ProbeTarget};
use proxima_probe_kind::{Expect, Http, HttpVersion, Statuses};

/// The backends of all pools as probe targets.
pub(crate) fn targets(config: &Config) -> Vec<ProbeTarget> {
    let of_pool = |pool: &Pool| pool.backends.iter().map(|backend| target(pool, backend)).collect::<Vec<_>>();
    config.pools.values().flat_map(of_pool).collect()
}

fn target(pool: &Pool, backend: &Backend) -> ProbeTarget {
    let probe = &pool.probe;
    let kind = match &probe.kind {
        proxima_config::ProbeKind::Tcp => ProbeKind::Tcp,
        proxima_config::ProbeKind::Http { path, host, expect } => ProbeKind::Http(Http {
            path: path.clone(),
            host: host.clone(),
            version: HttpVersion::Http1,
            tls: None,
            expect: Expect {
                status: Statuses::new(vec![*expect..=*expect]).unwrap_or_else(Statuses::ok),
                body: None,
                header: None,
            },
        }),
    };
    ProbeTarget {
        timeout: probe.timeout,
        rise: probe.rise,
        fall: probe.fall,
        ..ProbeTarget::new(backend.id.clone(), backend.address, kind, probe.interval)
    }
}
