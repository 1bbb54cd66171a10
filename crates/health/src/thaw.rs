//! Notices that nothing of this process has run for a while: a host that was suspended, a process that was frozen.
//!
//! ```text
//!                         CLOCK_MONOTONIC            CLOCK_BOOTTIME
//!  stopped, starved       goes on                    goes on            the control loop is late by both
//!  host suspended         stands still               goes on            only the second tells
//! ```
//!
//! What was known about backends before is as old as the gap is long. A virtual machine whose clocks are all stopped with it
//! can't know that it was: its routers can, by BFD and the hold timer.

use std::time::{Duration, Instant};

/// The control loop turns every 100 ms at least; so long after the last turn, it was kept from it.
pub const LATE: Duration = Duration::from_secs(1);

/// Time in which nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// From the last turn of the control loop before to the first one after, at least [`LATE`].
    pub length: Duration,
    /// For how much of it the host itself was suspended: timers have not noticed that.
    pub asleep: Duration,
}

impl Gap {
    /// Whether the host itself was suspended for most of it.
    pub fn is_suspension(&self) -> bool {
        self.asleep > self.length / 2
    }
}

/// The times of the last turn.
#[derive(Debug, Default)]
pub struct Thaw {
    last: Option<(Instant, Duration)>,
}

impl Thaw {
    /// To be called first in each turn, before anything is decided; `boottime` is the host's time since its start at `now`,
    /// suspended or not. Returns the gap that ends with this turn.
    pub fn look(&mut self, now: Instant, boottime: Duration) -> Option<Gap> {
        let (seen, booted) = self.last.replace((now, boottime))?;
        let monotonic = now.saturating_duration_since(seen);
        let passed = boottime.saturating_sub(booted);
        let length = monotonic.max(passed);
        (length >= LATE).then_some(Gap { length, asleep: passed.saturating_sub(monotonic) })
    }

    /// The loop did not turn until `now` as it waited for something, while all else went on: no gap.
    pub fn waited(&mut self, now: Instant, boottime: Duration) {
        self.last = Some((now, boottime));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
mod tests {
    use super::*;

    /// What a loop notices whose turns are these steps of (monotonic, boot time), in milliseconds.
    fn noticed(steps: &[(u64, u64)]) -> Vec<Option<(u64, bool)>> {
        let mut thaw = Thaw::default();
        let (mut now, mut boottime) = (Instant::now(), Duration::from_secs(1000));
        let mut look = |(monotonic, passed): (u64, u64)| {
            now += Duration::from_millis(monotonic);
            boottime += Duration::from_millis(passed);
            thaw.look(now, boottime)
                .map(|gap| (u64::try_from(gap.length.as_millis()).unwrap(), gap.is_suspension()))
        };
        steps.iter().map(|step| look(*step)).collect()
    }

    #[test]
    fn a_loop_that_has_waited_sees_no_gap() {
        let (mut thaw, now, boottime) = (Thaw::default(), Instant::now(), Duration::from_secs(1000));
        thaw.look(now, boottime);
        thaw.waited(now + 5 * LATE, boottime + 5 * LATE);
        assert_eq!(thaw.look(now + 5 * LATE, boottime + 5 * LATE), None);
        assert!(thaw.look(now + 7 * LATE, boottime + 7 * LATE).is_some());
    }

    #[test]
    fn a_loop_that_turns_in_time_sees_no_gap_and_neither_does_its_first_turn() {
        assert_eq!(noticed(&[(0, 0), (100, 100), (100, 101), (900, 900), (999, 999), (0, 0)]), [None; 6]);
    }

    #[test]
    fn a_frozen_process_sees_its_own_lateness_once() {
        assert_eq!(
            noticed(&[(0, 0), (100, 100), (30_000, 30_000), (100, 100)]),
            [None, None, Some((30_000, false)), None]
        );
    }

    #[test]
    fn a_suspended_host_is_noticed_although_its_monotonic_clock_stood_still() {
        assert_eq!(
            noticed(&[(0, 0), (100, 100), (100, 3_600_100), (100, 100)]),
            [None, None, Some((3_600_100, true)), None]
        );
    }
}
