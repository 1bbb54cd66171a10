//! What the probes of a configuration take of this host: programs, files, addresses. Looked at before the daemon starts, and
//! before a reload: a daemon whose probes can't be made would wait for its first verdicts for ever.

use proxima_config::Config;
use proxima_types::PoolName;

use crate::secret;

/// What a pool's probe can't do without.
#[derive(Debug, thiserror::Error)]
#[error("pools.{pool}.probe: {lacking}")]
pub(crate) struct ProbeLacks {
    pool: PoolName,
    lacking: proxima_probe::Lacking,
}

/// Whether all probes can be made. An address inside an announced prefix may be one that the daemon itself is about to add.
///
/// # Errors
/// The first thing that this host lacks.
pub(crate) fn check(config: &Config) -> Result<(), ProbeLacks> {
    let prefixes = config.prefixes();
    for (name, pool) in &config.pools {
        let kind = &pool.probe.kind;
        let is_own = |source| prefixes.iter().any(|prefix| prefix.contains(source));
        let source = pool.probe.source.filter(|source| !is_own(*source));
        proxima_probe::is_lacking(kind, source)
            .map_err(|lacking| ProbeLacks { pool: name.clone(), lacking })?;
        if let Some(file) = kind.password_file() {
            secret::warn_if_others_may_read("password of a probe", file);
        }
    }
    Ok(())
}
