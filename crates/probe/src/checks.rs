//! When probes ended: whether anything checks at all, and whether what it says is of today.
//!
//! The tasks write, whoever decides reads when it likes: ten thousand ends a second are no events. So it is with what they
//! found beside success, and with how they were answered.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use proxima_health::{Counted, Failure, Findings, LatestProbes};
use proxima_probe_kind::Role;
use proxima_types::{BackendId, PoolName};

use crate::{
    answers::{self, Answers},
    tally::{Sheet, Tallies, Tally},
};

/// The latest probes of each backend; cheap to clone. Probes that this host could not make are not among them.
#[derive(Debug, Clone)]
pub struct Checks {
    begun: Instant,
    tallies: Tallies,
    /// Written only when backends come or go.
    marks: Arc<RwLock<BTreeMap<BackendId, Arc<Mark>>>>,
}

/// Microseconds since `begun`, counted from 1; 0 for never.
#[derive(Debug, Default)]
struct Mark {
    ended: AtomicU64,
    passed: AtomicU64,
    failed: AtomicU64,
    blind: Mutex<Option<Blind>>,
    found: Mutex<Found>,
    /// Made for the kinds that ask as clients do.
    answers: OnceLock<Box<Answers>>,
}

/// That probes of a backend can't be made on this host: none has ended since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind {
    /// Since when, the first one that could not.
    pub since: Instant,
    /// Why the latest one could not.
    pub error: Arc<str>,
}

/// What the latest probes found out about a backend beside whether it serves. What its kind doesn't ask, or has not learnt
/// yet, is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Found {
    /// What the server is to its replicas or its primary.
    pub role: Option<Role>,
    /// How far a replica is behind its primary. `None` for a primary.
    pub lag: Option<Duration>,
    /// When the server's own certificate ends, in seconds since the Unix epoch.
    pub certificate_ends: Option<u64>,
}

impl Found {
    /// The same after a probe that ended so. One that failed for another reason leaves all as it was.
    fn after(self, outcome: &Result<Findings, Failure>) -> Self {
        match outcome {
            Ok(Findings { role, lag, certificate_ends, .. }) => {
                let (role, certificate_ends) =
                    (role.or(self.role), certificate_ends.or(self.certificate_ends));
                Self { role, lag: *lag, certificate_ends }
            }
            Err(Failure::Role { found: Role::Primary, .. }) => {
                Self { role: Some(Role::Primary), lag: None, ..self }
            }
            Err(Failure::Role { found, .. }) => Self { role: Some(*found), ..self },
            Err(Failure::Lag { lag, .. }) => Self { role: Some(Role::Replica), lag: Some(*lag), ..self },
            Err(_) => self,
        }
    }
}

impl Checks {
    /// None has ended yet. `begun` is the time from which is counted: no probe ends before.
    pub fn new<'a>(begun: Instant, backends: impl IntoIterator<Item = &'a BackendId>) -> Self {
        let checks = Self { begun, tallies: Tallies::default(), marks: Arc::default() };
        backends.into_iter().for_each(|backend| checks.add(backend));
        checks
    }

    /// From now on there is this backend too; nothing is known of it.
    pub(crate) fn add(&self, backend: &BackendId) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.insert(backend.clone(), Arc::default());
    }

    /// From now on there is no such backend.
    pub(crate) fn remove(&self, backend: &BackendId) {
        self.marks.write().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }

    fn mark(&self, backend: &BackendId) -> Option<Arc<Mark>> {
        self.marks.read().unwrap_or_else(PoisonError::into_inner).get(backend).cloned()
    }

    /// A probe has ended that had begun at `started`. A backend that is not known here is passed over.
    pub fn note(&self, backend: &BackendId, started: Instant, ended: Instant, passed: bool) {
        let Some(mark) = self.mark(backend) else { return };
        mark.ended.store(self.count(ended), Ordering::Relaxed);
        let begun = if passed { &mark.passed } else { &mark.failed };
        begun.store(self.count(started), Ordering::Relaxed);
        mark.blind.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// A probe could not be made on this host, `now`, for `error`.
    pub fn blinded(&self, backend: &BackendId, now: Instant, error: &str) {
        let Some(mark) = self.mark(backend) else { return };
        let mut blind = mark.blind.lock().unwrap_or_else(PoisonError::into_inner);
        let blind = blind.get_or_insert_with(|| Blind { since: now, error: error.into() });
        if *blind.error != *error {
            blind.error = error.into();
        }
    }

    /// Why no probe of a backend can be made; `None` when the latest one could.
    pub fn blind(&self, backend: &BackendId) -> Option<Blind> {
        let mark = self.mark(backend)?;
        mark.blind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a probe has found out, or failed of.
    pub(crate) fn found(&self, backend: &BackendId, outcome: &Result<Findings, Failure>) {
        let Some(mark) = self.mark(backend) else { return };
        let mut found = mark.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = found.after(outcome);
    }

    /// A probe that asks as clients do has ended, of a backend that clients are sent to.
    pub(crate) fn answered(&self, backend: &BackendId, outcome: &Result<Findings, Failure>) {
        if let Some(mark) = self.mark(backend) {
            mark.answers.get_or_init(Box::default).note(outcome);
        }
    }

    /// Where the probes of a backend are counted.
    pub(crate) fn sheet(&self, backend: &BackendId) -> Sheet {
        self.tallies.sheet(backend.pool())
    }

    /// What probes came to, by pool.
    pub fn tallies(&self) -> BTreeMap<PoolName, Tally> {
        self.tallies.read()
    }

    /// What is known of a backend beside its health.
    pub fn findings(&self, backend: &BackendId) -> Found {
        let found = self.mark(backend).map(|mark| *mark.found.lock().unwrap_or_else(PoisonError::into_inner));
        found.unwrap_or_default()
    }

    /// How probes that ask as clients do were answered so far by these backends, all together, while each of them was up.
    pub fn answers<'a>(&self, of: impl IntoIterator<Item = &'a BackendId>) -> Counted {
        let marks: Vec<_> = of.into_iter().filter_map(|backend| self.mark(backend)).collect();
        answers::sum(marks.iter().filter_map(|mark| mark.answers.get()).map(AsRef::as_ref))
    }

    /// How long ago the latest probe of a backend ended; before the first, since one could have.
    pub fn age(&self, now: Instant, backend: &BackendId) -> Duration {
        now.saturating_duration_since(self.ended(backend).unwrap_or(self.begun))
    }

    fn read(&self, backend: &BackendId, of: impl Fn(&Mark) -> &AtomicU64) -> Option<Instant> {
        let micros = of(&*self.mark(backend)?).load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.begun + Duration::from_micros(micros))
    }

    fn count(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.begun).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX - 1) + 1
    }
}

impl LatestProbes for Checks {
    fn ended(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.ended)
    }

    fn passed(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.passed)
    }

    fn failed(&self, backend: &BackendId) -> Option<Instant> {
        self.read(backend, |mark| &mark.failed)
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

    #[test]
    fn what_keeps_probes_from_being_made_is_known_until_one_ends() {
        let (begun, second) = (crate::task::now(), Duration::from_secs(1));
        let id: BackendId = "app/one".parse().unwrap();
        let checks = Checks::new(begun, [&id]);
        assert_eq!(checks.blind(&id), None);
        for (after, error) in [(1, "no descriptor"), (2, "no descriptor"), (3, "no program")] {
            checks.blinded(&id, begun + after * second, error);
            let expected = Blind { since: begun + second, error: error.into() };
            assert_eq!(checks.blind(&id), Some(expected), "since the first, for the latest reason");
        }
        assert_eq!(checks.ended(&id), None, "none has ended");
        checks.note(&id, begun + 4 * second, begun + 5 * second, false);
        assert_eq!(checks.blind(&id), None);
    }

    #[test]
    fn what_was_found_stays_known_when_a_probe_fails_for_another_reason() {
        let id: BackendId = "db/one".parse().unwrap();
        let checks = Checks::new(crate::task::now(), [&id]);
        let after = |outcome| {
            checks.found(&id, &outcome);
            checks.findings(&id)
        };
        let lag = Duration::from_secs(3);
        let replica = Findings { role: Some(Role::Replica), lag: Some(lag), ..Findings::default() };
        let known = Found { role: Some(Role::Replica), lag: Some(lag), certificate_ends: Some(9) };
        assert_eq!(after(Ok(Findings { certificate_ends: Some(9), ..replica })), known);
        assert_eq!(after(Err(Failure::Refused)), known);
        assert_eq!(after(Ok(replica)), known, "a connection that is used again shows no certificate");
        let behind = Failure::Lag { limit: lag, lag: 2 * lag };
        assert_eq!(after(Err(behind)), Found { lag: Some(2 * lag), ..known });
        let promoted = Failure::Role { expected: Role::Replica, found: Role::Primary };
        assert_eq!(after(Err(promoted)), Found { role: Some(Role::Primary), lag: None, ..known });
        let demoted = Failure::Role { expected: Role::Primary, found: Role::Replica };
        assert_eq!(after(Err(demoted)), Found { lag: None, ..known });
    }

    #[test]
    fn answers_of_backends_are_added_up() {
        let [one, other, stranger] =
            ["app/one", "app/other", "app/stranger"].map(|id| id.parse::<BackendId>().unwrap());
        let checks = Checks::new(crate::task::now(), [&one, &other]);
        checks.answered(&one, &Err(Failure::Refused));
        checks.answered(&other, &Ok(Findings::default()));
        checks.answered(&stranger, &Ok(Findings::default()));
        let requests = |of: &[&BackendId]| checks.answers(of.iter().copied()).requests;
        assert_eq!((requests(&[&one]), requests(&[&one, &other, &stranger]), requests(&[])), (1, 2, 0));
    }
}
