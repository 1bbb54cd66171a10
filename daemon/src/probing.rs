//! From configured pools to what the prober is to do.

use proxima_config::{Backend, Config, Pool};
use proxima_health::{Percent, Settings};
use proxima_probe::ProbeTarget;

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
        kind: probe.kind.clone(),
        interval: probe.interval,
        fast_interval: probe.fast_interval,
        jitter: Percent::new(probe.jitter).unwrap_or(Settings::JITTER),
        timeout: probe.timeout,
        rise: probe.rise,
        fall: probe.fall,
        notice: pool.notice.clone(),
    }
}
