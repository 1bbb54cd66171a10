//! What real traffic has met on each backend between two looks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proxima_health::Passive;
use proxima_types::BackendId;

use super::{BackendCounters, Reason, WorkerCounters};

/// Reads the workers' counters of backends, and tells what has come since the last reading. A reading costs a few loads per
/// backend and allocates only for those that had traffic.
#[derive(Debug)]
pub struct TrafficReader {
    workers: Vec<Reading>,
}

/// The counters of one worker.
#[derive(Debug)]
struct Reading {
    counters: Arc<WorkerCounters>,
    /// Of the registry, as it was last looked at.
    revision: u64,
    backends: HashMap<BackendId, (Arc<BackendCounters>, Totals)>,
}

/// In the order of the fields of [`Passive`].
type Totals = [u64; 5];

impl TrafficReader {
    pub(crate) fn new(workers: impl Iterator<Item = Arc<WorkerCounters>>) -> Self {
        let reading = |counters| Reading { counters, revision: 0, backends: HashMap::new() };
        let mut reader = Self { workers: workers.map(reading).collect() };
        reader.read();
        reader
    }

    /// What has come since the last reading, by backend, over all workers. Backends without traffic are left out.
    pub fn read(&mut self) -> BTreeMap<BackendId, Passive> {
        let mut sum: BTreeMap<BackendId, Passive> = BTreeMap::new();
        for worker in &mut self.workers {
            worker.refresh();
            for (id, (counters, before)) in &mut worker.backends {
                let now = totals(counters);
                let before = std::mem::replace(before, now);
                if now != before {
                    let total = sum.entry(id.clone()).or_default();
                    *total = total.and(between(before, now));
                }
            }
        }
        sum
    }
}

impl Reading {
    /// Takes up backends that are new, and lets go of those that are gone.
    fn refresh(&mut self) {
        let registry = self.counters.backends();
        if registry.revision == self.revision {
            return;
        }
        self.revision = registry.revision;
        let mut before = std::mem::take(&mut self.backends);
        for (id, counters) in &registry.by_id {
            let known = before.remove(id).filter(|(known, _)| Arc::ptr_eq(known, counters));
            let known = known.unwrap_or_else(|| (counters.clone(), Totals::default()));
            self.backends.insert(id.clone(), known);
        }
    }
}

/// A response that was cut off later has been an answer before; it counts as both.
fn totals(counters: &BackendCounters) -> Totals {
    let failures = |reason| counters.failures(reason);
    let (server_errors, late) = (counters.server_errors.read(), counters.late.read());
    [
        failures(Reason::Connect),
        failures(Reason::Closed) + failures(Reason::Broken),
        server_errors,
        failures(Reason::ConnectTimeout) + failures(Reason::Tls) + failures(Reason::FirstByte) + late,
        counters.answers.read().wrapping_sub(server_errors).wrapping_sub(late),
    ]
}

fn between(before: Totals, now: Totals) -> Passive {
    // The worker may be between two of its stores: what seems to have run backwards comes with the next reading.
    let grown = |index: usize| {
        let by = now[index].wrapping_sub(before[index]);
        if by > u64::MAX / 2 { 0 } else { u32::try_from(by).unwrap_or(u32::MAX) }
    };
    Passive {
        connect_errors: grown(0),
        resets: grown(1),
        server_errors: grown(2),
        slow: grown(3),
        good: grown(4),
    }
}
