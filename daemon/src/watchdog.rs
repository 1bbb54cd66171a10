//! Watches the workers' beats. A data plane that stands still serves nobody, whatever its backends do.
//!
//! | a worker | what follows |
//! |---|---|
//! | is silent for a second | this PoP is withdrawn |
//! | beats again | it is announced again, by health |
//! | is silent for half a minute, or has died | the process ends, so that its supervisor starts it anew |

use std::time::{Duration, Instant};

/// A worker beats about 20 times a second; silent for so long, it is stuck.
pub(crate) const SILENCE: Duration = Duration::from_secs(1);
/// Silent for so long, it is not going to recover: no step of a worker takes a tenth of that.
pub(crate) const LOST: Duration = Duration::from_secs(30);

/// Why the daemon ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WorkerLost {
    /// Its thread has ended.
    #[error("a worker has died, see the panic above; the daemon ends so that its supervisor starts it anew")]
    Died,
    /// It no longer turns.
    #[error("worker {worker} has been stuck for {} s; the daemon ends so that its supervisor starts it anew", silent.as_secs())]
    Stuck {
        /// Which.
        worker: u32,
        /// For how long.
        silent: Duration,
    },
}

/// What became of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Stalled { worker: u32, silent: Duration },
    Recovered { worker: u32 },
}

/// The last beat of each worker.
pub(crate) struct Watchdog {
    workers: Vec<Watched>,
}

struct Watched {
    beats: u64,
    since: Instant,
    stalled: bool,
}

impl Watchdog {
    pub(crate) fn new(now: Instant, workers: usize) -> Self {
        let watched = || Watched { beats: 0, since: now, stalled: false };
        Self { workers: (0..workers).map(|_| watched()).collect() }
    }

    /// Takes the counts of beats, by worker. `last_check` is when this was called before: time in which nobody
    /// could look, as in a host that was frozen, is not held against the workers.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        last_check: Instant,
        beats: impl IntoIterator<Item = u64>,
    ) -> Vec<Change> {
        let unwatched = now.saturating_duration_since(last_check) > SILENCE / 2;
        let mut changes = Vec::new();
        for ((watched, beats), worker) in self.workers.iter_mut().zip(beats).zip(0u32..) {
            if watched.beats != beats {
                watched.beats = beats;
                watched.since = now;
                if std::mem::take(&mut watched.stalled) {
                    changes.push(Change::Recovered { worker });
                }
            } else if unwatched {
                watched.since = now;
            } else if !watched.stalled && now >= watched.since + SILENCE {
                watched.stalled = true;
                changes.push(Change::Stalled { worker, silent: now - watched.since });
            }
        }
        changes
    }

    /// That no worker is beyond hope.
    ///
    /// # Errors
    /// When one has been stuck for [`LOST`], the longest of them.
    pub(crate) fn none_lost(&self, now: Instant) -> Result<(), WorkerLost> {
        let silent = |watched: &Watched| now.saturating_duration_since(watched.since);
        let longest = self.workers.iter().zip(0u32..).max_by_key(|(watched, _)| silent(watched));
        match longest {
            Some((watched, worker)) if watched.stalled && silent(watched) >= LOST => {
                Err(WorkerLost::Stuck { worker, silent: silent(watched) })
            }
            _ => Ok(()),
        }
    }

    /// What to tell the groups while a worker is stuck.
    pub(crate) fn fault(&self) -> Option<String> {
        let stalled = self.workers.iter().filter(|watched| watched.stalled).count();
        (stalled > 0).then(|| format!("{stalled} of {} workers stalled", self.workers.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);

    #[test]
    fn a_silent_worker_stalls_once_and_recovers_with_its_next_beat() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, 2);
        let mut seen = Vec::new();
        for tick in 1..=15u32 {
            let last = start + TICK * (tick - 1);
            let changes = watchdog.check(last + TICK, last, [u64::from(tick), 1]);
            seen.extend(changes.into_iter().map(|change| (tick, change)));
        }
        let silent = Duration::from_secs(1);
        assert_eq!(seen, [(11, Change::Stalled { worker: 1, silent })]);
        assert_eq!(watchdog.fault().as_deref(), Some("1 of 2 workers stalled"));
        let last = start + TICK * 15;
        assert_eq!(watchdog.check(last + TICK, last, [16, 2]), [Change::Recovered { worker: 1 }]);
        assert_eq!(watchdog.fault(), None);
    }

    #[test]
    fn a_worker_that_stays_stuck_is_lost_after_half_a_minute_and_one_that_recovers_is_not() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, 3);
        let lost = (1..=400u32).find_map(|tick| {
            let (last, beat) = (start + TICK * (tick - 1), u64::from(tick));
            // The first stops at the beginning; the second pauses for 20 s, again and again; the third lives.
            watchdog.check(last + TICK, last, [1, beat / 200, beat]);
            watchdog.none_lost(last + TICK).err().map(|lost| (tick, lost))
        });
        let silent = LOST;
        assert_eq!(lost, Some((301, WorkerLost::Stuck { worker: 0, silent })));
        assert!(lost.unwrap().1.to_string().starts_with("worker 0 has been stuck for 30 s"));
    }

    #[test]
    fn a_worker_is_not_lost_to_time_in_which_nobody_looked() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, 1);
        let mut last = start;
        for tick in 1..=50u32 {
            watchdog.check(start + TICK * tick, last, [0]);
            last = start + TICK * tick;
        }
        assert!(watchdog.fault().is_some());
        let thawed = last + Duration::from_hours(1);
        watchdog.check(thawed, last, [0]);
        assert_eq!(watchdog.none_lost(thawed), Ok(()));
        assert_eq!(watchdog.none_lost(thawed + LOST.saturating_sub(TICK)), Ok(()));
        assert!(watchdog.none_lost(thawed + LOST).is_err());
    }

    #[test]
    fn time_in_which_nobody_looked_is_not_held_against_a_worker() {
        let start = Instant::now();
        let mut watchdog = Watchdog::new(start, 1);
        let thawed = start + Duration::from_mins(1);
        assert_eq!(watchdog.check(thawed, start, [0]), []);
        assert_eq!(watchdog.check(thawed + TICK, thawed, [0]), []);
    }
}
