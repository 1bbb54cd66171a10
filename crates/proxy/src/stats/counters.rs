//! The counters one worker writes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proxima_http1::Fault;
use proxima_types::{BackendId, RegionName, ServiceName};

use super::{
    BackendStats, FAULTS, Handshake, HandshakeFailure, Histogram, Misuse, Reason, RegionStats, ServiceStats,
    Slow, Stats, Unserved,
};

/// A number with a single writer, readable from other threads.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Only the owning worker may call this: it is no atomic addition.
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// As [`Counter::add`].
    pub(crate) fn sub(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counter for each value of an enum.
#[derive(Debug)]
struct Counters<const N: usize>([Counter; N]);

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        Self([const { Counter::new() }; N])
    }
}

impl<const N: usize> Counters<N> {
    fn add(&self, index: usize) {
        self.0[index].add(1);
    }

    /// Adds those that are not zero under their keys.
    fn add_to<K: Ord>(&self, sums: &mut BTreeMap<K, u64>, keys: [K; N]) {
        for (key, count) in keys.into_iter().zip(self.0.iter().map(Counter::read)) {
            if count > 0 {
                *sums.entry(key).or_default() += count;
            }
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    pub(crate) connections: Counter,
    pub(crate) open: Counter,
    pub(crate) idle: Counter,
    pub(crate) streams: Counter,
    pub(crate) requests: Counter,
    responses: Counters<5>,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
    failovers: Counters<{ Reason::ALL.len() }>,
    failures: Counters<{ Reason::ALL.len() }>,
    pub(crate) cut: Counter,
    tunnel_failures: Counter,
    pub(crate) budget_exhausted: Counter,
    refused: Counters<FAULTS>,
    misused: Counters<{ Misuse::ALL.len() }>,
    malformed: Counters<FAULTS>,
    unserved: Counters<{ Unserved::ALL.len() }>,
    pub(crate) unrouted: Counter,
    pub(crate) cancelled: Counter,
    slow_clients: Counters<{ Slow::ALL.len() }>,
    handshakes: Counters<{ Handshake::ALL.len() }>,
    handshake_failures: Counters<{ HandshakeFailure::ALL.len() }>,
    pub(crate) shed: Counter,
    pub(crate) crowded: Counter,
    pub(crate) evicted: Counter,
}

impl ServiceCounters {
    pub(crate) fn response(&self, status: u16) {
        self.responses.add(class(status));
    }

    pub(crate) fn failover(&self, reason: Reason) {
        self.failovers.add(reason as usize);
    }

    pub(crate) fn failure(&self, reason: Reason) {
        self.failures.add(reason as usize);
    }

    /// A tunnel has ended for `reason`: no response, which was whole before.
    pub(crate) fn tunnel_failure(&self, reason: Reason) {
        self.failure(reason);
        self.tunnel_failures.add(1);
    }

    pub(crate) fn refused(&self, fault: Fault) {
        self.refused.add(fault as usize);
    }

    pub(crate) fn misused(&self, misuse: Misuse) {
        self.misused.add(misuse as usize);
    }

    pub(crate) fn malformed(&self, fault: Fault) {
        self.malformed.add(fault as usize);
    }

    pub(crate) fn slow_client(&self, slow: Slow) {
        self.slow_clients.add(slow as usize);
    }

    pub(crate) fn unserved(&self, kind: Unserved) {
        self.unserved.add(kind as usize);
    }

    pub(crate) fn handshake(&self, kind: Handshake) {
        self.handshakes.add(kind as usize);
    }

    pub(crate) fn handshake_failure(&self, reason: HandshakeFailure) {
        self.handshake_failures.add(reason as usize);
    }

    fn add_to(&self, sum: &mut ServiceStats) {
        sum.connections += self.connections.read();
        sum.open += self.open.read();
        sum.idle += self.idle.read();
        sum.streams += self.streams.read();
        sum.requests += self.requests.read();
        for (total, own) in sum.responses.iter_mut().zip(&self.responses.0) {
            *total += own.read();
        }
        sum.bytes_in += self.bytes_in.read();
        sum.bytes_out += self.bytes_out.read();
        self.failovers.add_to(&mut sum.failovers, Reason::ALL);
        self.failures.add_to(&mut sum.failures, Reason::ALL);
        sum.cut += self.cut.read();
        sum.tunnel_failures += self.tunnel_failures.read();
        sum.budget_exhausted += self.budget_exhausted.read();
        self.refused.add_to(&mut sum.refused, Fault::ALL.map(Fault::name));
        self.misused.add_to(&mut sum.refused, Misuse::ALL.map(Misuse::name));
        self.malformed.add_to(&mut sum.malformed, Fault::ALL.map(Fault::name));
        self.unserved.add_to(&mut sum.unserved, Unserved::ALL);
        sum.unrouted += self.unrouted.read();
        sum.cancelled += self.cancelled.read();
        self.slow_clients.add_to(&mut sum.slow_clients, Slow::ALL);
        self.handshakes.add_to(&mut sum.handshakes, Handshake::ALL);
        self.handshake_failures.add_to(&mut sum.handshake_failures, HandshakeFailure::ALL);
        sum.shed += self.shed.read();
        sum.crowded += self.crowded.read();
        sum.evicted += self.evicted.read();
    }
}

#[derive(Debug, Default)]
pub(crate) struct BackendCounters {
    pub(crate) pending: Counter,
    pub(crate) requests: Counter,
    pub(crate) connects: Counter,
    pub(crate) reuses: Counter,
    handshakes: Counters<{ Handshake::ALL.len() }>,
    failures: Counters<{ Reason::ALL.len() }>,
    pub(super) server_errors: Counter,
    pub(crate) answers: Counter,
    pub(super) late: Counter,
}

impl BackendCounters {
    /// A response has begun. One that is both an error and late counts as an error.
    pub(crate) fn answered(&self, status: u16, is_late: bool) {
        self.answers.add(1);
        if status >= 500 {
            self.server_errors.add(1);
        } else if is_late {
            self.late.add(1);
        }
    }

    pub(crate) fn handshake(&self, kind: Handshake) {
        self.handshakes.add(kind as usize);
    }

    /// How many attempts failed for `reason`.
    pub(super) fn failures(&self, reason: Reason) -> u64 {
        self.failures.0[reason as usize].read()
    }

    pub(crate) fn failure(&self, reason: Reason) {
        self.failures.add(reason as usize);
    }

    fn add_to(&self, sum: &mut BackendStats) {
        sum.pending += self.pending.read();
        sum.requests += self.requests.read();
        sum.connects += self.connects.read();
        sum.reuses += self.reuses.read();
        self.handshakes.add_to(&mut sum.handshakes, Handshake::ALL);
        self.failures.add_to(&mut sum.failures, Reason::ALL);
        sum.server_errors += self.server_errors.read();
        sum.answers += self.answers.read();
        sum.late += self.late.read();
    }
}

type Registry<K, V> = Mutex<HashMap<K, Arc<V>>>;

/// The counters of backends, by name: one that moves to another address goes on.
#[derive(Debug, Default)]
pub(super) struct Backends {
    /// Another one after each change of what is in it.
    pub(super) revision: u64,
    pub(super) by_id: HashMap<BackendId, Arc<BackendCounters>>,
}

/// All counters of one worker. The registries are locked only when a snapshot is taken over, and by readers.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    /// Grows with each beat of the worker's timer.
    pub(crate) beats: Counter,
    pub(crate) accept_errors: Counter,
    pub(crate) access_lines_lost: Counter,
    /// Open connections of all services.
    pub(crate) open: Counter,
    services: Registry<ServiceName, ServiceCounters>,
    backends: Mutex<Backends>,
    regions: Registry<(ServiceName, RegionName), RegionCounters>,
}

/// What the backends of one region have answered the clients of a service.
#[derive(Debug, Default)]
pub(crate) struct RegionCounters {
    responses: Counters<5>,
    first_byte: Histogram,
    total: Histogram,
}

impl RegionCounters {
    /// A response of this status has begun, so long after its request.
    pub(crate) fn answered(&self, status: u16, first_byte: Duration) {
        self.responses.add(class(status));
        self.first_byte.record(first_byte);
    }

    /// A response has ended as it should, so long after its request.
    pub(crate) fn ended(&self, total: Duration) {
        self.total.record(total);
    }

    fn add_to(&self, sum: &mut RegionStats) {
        for (total, own) in sum.responses.iter_mut().zip(&self.responses.0) {
            *total += own.read();
        }
        self.first_byte.add_to(&mut sum.first_byte);
        self.total.add_to(&mut sum.total);
    }
}

/// Which of the five classes a status is of, counted from 0.
fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, 5) - 1
}

impl WorkerCounters {
    pub(crate) fn service(&self, name: &ServiceName) -> Arc<ServiceCounters> {
        entry(&self.services, name)
    }

    pub(crate) fn backend(&self, id: &BackendId) -> Arc<BackendCounters> {
        let mut backends = self.backends();
        if let Some(counters) = backends.by_id.get(id) {
            return counters.clone();
        }
        backends.revision += 1;
        backends.by_id.entry(id.clone()).or_default().clone()
    }

    /// Forgets the backends that are not to be kept.
    pub(crate) fn keep_backends(&self, keep: impl Fn(&BackendId) -> bool) {
        let mut backends = self.backends();
        let before = backends.by_id.len();
        backends.by_id.retain(|id, _| keep(id));
        backends.revision += u64::from(backends.by_id.len() != before);
    }

    /// Forgets the services that are not to be kept.
    pub(crate) fn keep_services(&self, keep: impl Fn(&ServiceName) -> bool) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let before = services.len();
        services.retain(|name, _| keep(name));
        if services.len() != before {
            let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
            regions.retain(|(name, _), _| services.contains_key(name));
        }
    }

    pub(super) fn backends(&self) -> MutexGuard<'_, Backends> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn region(&self, service: &ServiceName, region: &RegionName) -> Arc<RegionCounters> {
        entry(&self.regions, &(service.clone(), region.clone()))
    }

    pub(crate) fn add_to(&self, sum: &mut Stats) {
        sum.accept_errors += self.accept_errors.read();
        sum.access_lines_lost += self.access_lines_lost.read();
        self.add_services_to(sum);
        for (id, counters) in &self.backends().by_id {
            counters.add_to(sum.backends.entry(id.clone()).or_default());
        }
    }

    /// Only what is counted by service.
    pub(crate) fn add_services_to(&self, sum: &mut Stats) {
        for (name, counters) in self.services.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            counters.add_to(sum.services.entry(name.clone()).or_default());
        }
        for (key, counters) in self.regions.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            counters.add_to(sum.regions.entry(key.clone()).or_default());
        }
    }
}

fn entry<K: Clone + Eq + std::hash::Hash, V: Default>(registry: &Registry<K, V>, key: &K) -> Arc<V> {
    registry.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone()
}
