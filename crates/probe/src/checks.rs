//! When probes ended: whether anything checks at all, and whether what it says is of today.
//!
//! The tasks write, whoever decides reads when it likes: ten thousand ends a second are no events.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proxima_types::BackendId;

/// The latest probes of each backend; cheap to clone. Probes that this host could not make are not among them.
#[derive(Debug, Clone)]
pub struct Checks {
    begun: Instant,
    marks: Arc<BTreeMap<BackendId, Mark>>,
}

/// Microseconds since `begun`, counted from 1; 0 for never.
#[derive(Debug, Default)]
struct Mark {
    ended: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
}

impl Checks {
    /// None has ended yet. `begun` is the time from which is counted: no probe ends before.
    pub fn new<'a>(begun: Instant, backends: impl IntoIterator<Item = &'a BackendId>) -> Self {
        let marks = backends.into_iter().map(|backend| (backend.clone(), Mark::default()));
        Self { begun, marks: Arc::new(marks.collect()) }
    }

    /// A probe has ended that had begun at `started`. A backend that is not known here is passed over.
    pub fn note(&self, backend: &BackendId, started: Instant, ended: Instant, passed: bool) {
        let Some(mark) = self.marks.get(backend) else { return };
        mark.ended.store(self.count(ended), Ordering::Relaxed);
        let begun = if passed { &mark.passed } else { &mark.failed };
        begun.store(self.count(started), Ordering::Relaxed);
    }

    /// When the latest probe of a backend ended; `None` before the first.
    pub fn ended(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.ended)
    }

    /// When the latest probe began that passed; `None` before the first.
    pub fn passed(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.passed)
    }

    /// When the latest probe began that failed; `None` before the first.
    pub fn failed(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.failed)
    }

    fn read(&self, backend: &BackendId, of: impl Fn(&Mark) -> &AtomicU64) -> Option<Instant> {
        let micros = of(self.marks.get(backend)?).load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.begun + Duration::from_micros(micros))
    }

    fn count(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.begun).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
mod tests {
    use super::*;

    #[test]
    fn the_latest_probe_of_each_backend_is_known_by_its_end_and_its_outcome() {
        let (begun, second) = (crate::task::now(), Duration::from_secs(1));
        let (one, other): (BackendId, BackendId) = ("app/one".parse().unwrap(), "app/other".parse().unwrap());
        let checks = Checks::new(begun, [&one, &other]);
        assert_eq!((checks.ended(&one), checks.passed(&one), checks.failed(&one)), (None, None, None));
        let reader = checks.clone();
        checks.note(&one, begun, begun + second, true);
        checks.note(&one, begun + 2 * second, begun + 3 * second, false);
        assert_eq!(reader.ended(&one), Some(begun + 3 * second));
        assert_eq!(reader.passed(&one), Some(begun));
        assert_eq!(reader.failed(&one), Some(begun + 2 * second));
        assert_eq!(reader.ended(&other), None);
        checks.note(&"app/stranger".parse().unwrap(), begun, begun, true);
        assert_eq!(reader.ended(&"app/stranger".parse().unwrap()), None);
    }
}
