//! Watches beats: of the workers, and of the control thread. What stands still serves nobody, whatever its backends do.
//!
//! | a worker | what follows |
//! |---|---|
//! | is silent for a second | this PoP is withdrawn |
//! | beats again | it is announced again, by health |
//! | is silent for half a minute, or has died | the process ends, so that its supervisor starts it anew |

use std::time::{Duration, Instant};

/// A worker beats about 20 times a second; silent for so long, it is stuck.
pub const SILENCE: Duration = Duration::from_secs(1);
/// Silent for so long, it is not going to recover: no step of a worker takes a tenth of that.
pub const LOST: Duration = Duration::from_secs(30);

/// A worker that no longer turns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("worker {worker} has been stuck for {} s; the daemon ends so that its supervisor starts it anew", silent.as_secs())]
pub struct WorkerStuck {
    /// Which.
    pub worker: u32,
    /// For how long.
    pub silent: Duration,
}

/// What became of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerChange {
    /// It is silent.
    Stalled {
        /// Which.
        worker: u32,
        /// For how long.
        silent: Duration,
    },
    /// It beats again.
    Recovered {
        /// Which.
        worker: u32,
    },
}

/// The last beat of each worker.
#[derive(Debug)]
pub struct Watchdog {
    workers: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    beats: u64,
    since: Instant,
    stalled: bool,
}

impl Watchdog {
    /// So many workers, which have not beaten yet.
    pub fn new(now: Instant, workers: usize) -> Self {
        let watched = || Watched { beats: 0, since: now, stalled: false };
        Self { workers: (0..workers).map(|_| watched()).collect() }
    }

    /// Takes the counts of beats, by worker. `last_check` is when this was called before: time in which nobody
    /// could look, as in a host that was frozen, is not held against the workers.
    pub fn check(
        &mut self,
        now: Instant,
        last_check: Instant,
        beats: impl IntoIterator<Item = u64>,
    ) -> Vec<WorkerChange> {
        let unwatched = now.saturating_duration_since(last_check) > SILENCE / 2;
        let mut changes = Vec::new();
        for ((watched, beats), worker) in self.workers.iter_mut().zip(beats).zip(0u32..) {
            if watched.beats != beats {
                watched.beats = beats;
                watched.since = now;
                if std::mem::take(&mut watched.stalled) {
                    changes.push(WorkerChange::Recovered { worker });
                }
            } else if unwatched {
                watched.since = now;
            } else if !watched.stalled && now >= watched.since + SILENCE {
                watched.stalled = true;
                changes.push(WorkerChange::Stalled { worker, silent: now - watched.since });
            }
        }
        changes
    }

    /// That no worker is beyond hope.
    ///
    /// # Errors
    /// When one has been stuck for [`LOST`], the longest of them.
    pub fn none_lost(&self, now: Instant) -> Result<(), WorkerStuck> {
        let silent = |watched: &Watched| now.saturating_duration_since(watched.since);
        let longest = self.workers.iter().zip(0u32..).max_by_key(|(watched, _)| silent(watched));
        match longest {
            Some((watched, worker)) if watched.stalled && silent(watched) >= LOST => {
                Err(WorkerStuck { worker, silent: silent(watched) })
            }
            _ => Ok(()),
        }
    }

    /// What to tell the groups while a worker is stuck.
    pub fn fault(&self) -> Option<String> {
        let stalled = self.workers.iter().filter(|watched| watched.stalled).count();
        (stalled > 0).then(|| format!("{stalled} of {} workers stalled", self.workers.len()))
    }
}

/// How long there was no beat of the control thread, as far as somebody looked.
#[derive(Debug)]
pub struct Silence {
    limit: Duration,
    pace: Duration,
    beats: u64,
    looked: Instant,
    lasted: Duration,
}

impl Silence {
    /// No beat for `limit` is too long; whoever watches looks every `pace`.
    pub fn new(now: Instant, beats: u64, limit: Duration, pace: Duration) -> Self {
        Self { limit, pace, beats, looked: now, lasted: Duration::ZERO }
    }

    /// The silence, once it has reached the limit. Time in which nobody looked, as in a process that was frozen, does not count.
    pub fn look(&mut self, now: Instant, beats: u64) -> Option<Duration> {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        if beats != std::mem::replace(&mut self.beats, beats) {
            self.lasted = Duration::ZERO;
            return None;
        }
        // A look that comes late saw nothing of what the control thread could have done until then.
        self.lasted += passed.min(2 * self.pace);
        (self.lasted >= self.limit).then_some(self.lasted)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(100);
    const LOOK: Duration = Duration::from_millis(250);

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
        assert_eq!(seen, [(11, WorkerChange::Stalled { worker: 1, silent })]);
        assert_eq!(watchdog.fault().as_deref(), Some("1 of 2 workers stalled"));
        let last = start + TICK * 15;
        assert_eq!(watchdog.check(last + TICK, last, [16, 2]), [WorkerChange::Recovered { worker: 1 }]);
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
        assert_eq!(lost, Some((301, WorkerStuck { worker: 0, silent })));
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

    #[test]
    fn a_pulse_that_stops_is_told_once_the_limit_is_reached_and_not_before() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 0, Duration::from_secs(10), LOOK);
        let told: Vec<_> = (1..=48u32)
            .filter_map(|look| {
                let beats = u64::from(look.min(8));
                silence.look(start + LOOK * look, beats).map(|silent| (look, silent))
            })
            .collect();
        assert_eq!(told.first(), Some(&(48, Duration::from_secs(10))), "40 looks after the last beat");
    }

    #[test]
    fn any_beat_begins_the_silence_anew() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 0, Duration::from_secs(10), LOOK);
        for look in 1..=400u32 {
            // One beat in 39 looks.
            assert_eq!(silence.look(start + LOOK * look, u64::from(look / 39)), None, "look {look}");
        }
    }

    #[test]
    fn time_in_which_nobody_could_look_does_not_count() {
        let start = Instant::now();
        let mut silence = Silence::new(start, 0, Duration::from_secs(10), LOOK);
        assert_eq!(silence.look(start + LOOK, 1), None);
        let thawed = start + Duration::from_hours(1);
        assert_eq!(silence.look(thawed, 1), None, "the whole process was frozen");
        assert_eq!(silence.look(thawed + LOOK, 2), None);
        // Frozen again and again, with a short time to run in between.
        let mut now = thawed + LOOK;
        for _ in 0..10 {
            now += Duration::from_mins(1);
            assert_eq!(silence.look(now, 2), None, "it had half a second at most, ten times");
        }
    }
}
