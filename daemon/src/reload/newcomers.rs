//! Backends that a reload brings: probed before anything goes there.
//!
//! The probes of this are others than those to come: a prober of its own, whose verdicts those begin with. Until the reload is in
//! force nothing knows of it, and a refused one leaves nothing behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proxima_config::{Backend, Config};
use proxima_health::Known;
use proxima_probe::{ProbeEvent, ProbeTarget, Prober};
use proxima_types::BackendId;

use crate::probing::ThroughWorkers;

/// How long a reload waits for first verdicts. What is undecided by then is added all the same, and gets nothing until it is up.
pub(super) const WAIT: Duration = Duration::from_secs(5);

/// What was found out, in the order it happened.
pub(super) type Findings = Vec<ProbeEvent>;

/// The backends of `new` that are not in `old`, or elsewhere there.
pub(crate) fn of(old: &Config, new: &Config) -> BTreeSet<BackendId> {
    let before: BTreeMap<_, _> = backends(old).map(|backend| (&backend.id, backend.address)).collect();
    let is_new = |backend: &&Backend| before.get(&backend.id) != Some(&backend.address);
    backends(new).filter(is_new).map(|backend| backend.id.clone()).collect()
}

/// The backends of `old` that are not in `new`.
pub(super) fn gone(old: &Config, new: &Config) -> BTreeSet<BackendId> {
    let now: BTreeSet<_> = backends(new).map(|backend| &backend.id).collect();
    backends(old).map(|backend| &backend.id).filter(|id| !now.contains(id)).cloned().collect()
}

fn backends(config: &Config) -> impl Iterator<Item = &Backend> {
    config.pools.values().flat_map(|pool| &pool.backends)
}

/// Probes `targets` until each has a verdict, or for [`WAIT`].
pub(super) async fn first_verdicts(
    targets: Vec<ProbeTarget>,
    via: Arc<ThroughWorkers>,
    seed: u64,
) -> Findings {
    let mut undecided: BTreeSet<_> = targets.iter().map(|target| target.backend.clone()).collect();
    let mut findings = Findings::new();
    if undecided.is_empty() {
        return findings;
    }
    let (mut prober, mut events) = Prober::start_with(targets, Some(via), |_| Known::default(), seed);
    let found = async {
        while !undecided.is_empty()
            && let Some(event) = events.recv().await
        {
            if let ProbeEvent::Verdict { backend, .. } = &event {
                undecided.remove(backend);
            }
            findings.push(event);
        }
    };
    // What is there by then is used.
    let _ = tokio::time::timeout(WAIT, found).await;
    prober.stop().await;
    findings
}
