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

use nix::time::{ClockId, clock_gettime};

/// The control loop turns every 100 ms at least; so long after the last turn, it was kept from it.
const LATE: Duration = Duration::from_secs(1);

/// Time in which nothing ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// From the last turn of the control loop before to the first one after, at least a second.
    pub(crate) length: Duration,
    /// Whether the host itself was suspended for most of it: timers have not noticed.
    pub(crate) suspended: bool,
}

impl Gap {
    /// Whether what was known before it is older than `age` by now.
    pub(crate) fn outlasts(&self, age: Duration) -> bool {
        self.length > age
    }
}

/// The times of the last turn.
#[derive(Debug, Default)]
pub(crate) struct Thaw {
    last: Option<(Instant, Duration)>,
}

impl Thaw {
    /// To be called first in each turn, before anything is decided; `boottime` is [`boottime()`](boottime) at `now`.
    /// Returns the gap that ends with this turn.
    pub(crate) fn look(&mut self, now: Instant, boottime: Duration) -> Option<Gap> {
        let (seen, booted) = self.last.replace((now, boottime))?;
        let monotonic = now.saturating_duration_since(seen);
        let passed = boottime.saturating_sub(booted);
        let length = monotonic.max(passed);
        let suspended = passed.saturating_sub(monotonic) > length / 2;
        (length >= LATE).then_some(Gap { length, suspended })
    }
}

/// Time since the host was started, suspended or not.
pub(crate) fn boottime() -> Duration {
    // The clock is there since Linux 2.6.39; without it a suspended host would go unnoticed, as one that can't suspend.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
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
                .map(|gap| (u64::try_from(gap.length.as_millis()).unwrap(), gap.suspended))
        };
        steps.iter().map(|step| look(*step)).collect()
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

    #[test]
    fn a_wall_clock_that_jumps_is_no_gap_because_nobody_looks_at_it() {
        let mut thaw = Thaw::default();
        let now = Instant::now();
        assert_eq!(thaw.look(now, boottime()), None);
        assert_eq!(thaw.look(now, boottime()), None, "the kernel's clock goes on from where it was");
    }
}
