//! The world's time, and the clocks of its nodes.
//!
//! Each node has a monotonic clock of its own: it counts from another point and runs a little fast or slow. Cores are told
//! the node's time; the world sorts what happens by its own.

use std::time::{Duration, Instant};

/// The world's time, in nanoseconds since its beginning.
pub type Nanos = u64;

/// A millisecond.
pub const MS: Nanos = 1_000_000;
/// A second.
pub const SECOND: Nanos = 1_000 * MS;

/// As a [`Duration`].
pub(crate) fn span(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos)
}

/// Of a [`Duration`] as long as the world lasts at most.
pub(crate) fn nanos(span: Duration) -> Nanos {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// The time since a host's start, suspended or not.
pub(crate) fn boottime(world: Nanos) -> Duration {
    span(1_000 * SECOND + world)
}

/// A node's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    zero: Instant,
    /// How much faster than the world, in parts per million.
    ppm: i32,
    /// How long it has stood still, as it does while its host is suspended.
    stood: Nanos,
    /// Since when it stands still.
    held: Option<Nanos>,
}

impl Clock {
    /// A clock that showed `epoch + offset` when the world began.
    pub(crate) fn new(epoch: Instant, offset: Nanos, ppm: i32) -> Self {
        Self { zero: epoch + span(offset), ppm, stood: 0, held: None }
    }

    /// What it shows.
    pub(crate) fn at(self, world: Nanos) -> Instant {
        let world = self.held.map_or(world, |held| held.min(world)) - self.stood;
        let drift = (world / 1_000_000).cast_signed() * i64::from(self.ppm);
        self.zero + span(world.saturating_add_signed(drift))
    }

    /// When it shows `local`, or just after.
    pub(crate) fn when(self, local: Instant) -> Nanos {
        let local = nanos(local.saturating_duration_since(self.zero));
        // Two steps of the inverse are exact to the nanosecond for some minutes. A little late rather than early: a core asked
        // too early would have to be asked again.
        let ppm = i64::from(self.ppm);
        let drift = |world: u64| (world / 1_000_000).cast_signed() * ppm;
        let world = local.saturating_add_signed(-drift(local));
        local.saturating_add_signed(-drift(world)) + 2_000 + self.stood
    }

    /// The host is suspended: the clock stands still.
    pub(crate) fn suspend(&mut self, world: Nanos) {
        self.held.get_or_insert(world);
    }

    /// It goes on.
    pub(crate) fn resume(&mut self, world: Nanos) {
        self.stood += self.held.take().map_or(0, |held| world - held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a point to count from")]
    fn a_clock_is_never_asked_before_its_time_and_hardly_after() {
        let epoch = Instant::now();
        for ppm in [-900, -1, 0, 1, 37, 900] {
            let clock = Clock::new(epoch, 77 * SECOND, ppm);
            for world in [0, 1, 999_999, MS, SECOND + 1, 59 * SECOND + 123_456_789] {
                let local = clock.at(world);
                let when = clock.when(local);
                assert!(clock.at(when) >= local, "{ppm} ppm, {world} ns");
                assert!(when <= world + 5_000, "{ppm} ppm, {world} ns: {when}");
            }
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a point to count from")]
    fn the_clock_of_a_suspended_host_stands_still_and_the_time_since_its_start_does_not() {
        let mut clock = Clock::new(Instant::now(), 0, 0);
        let seen = [clock.at(SECOND), clock.at(2 * SECOND)];
        clock.suspend(SECOND);
        assert_eq!(clock.at(30 * SECOND), seen[0]);
        clock.resume(31 * SECOND);
        assert_eq!([clock.at(31 * SECOND), clock.at(32 * SECOND)], seen);
        assert_eq!(clock.when(seen[1]), 32 * SECOND + 2_000);
        assert_eq!(boottime(32 * SECOND).saturating_sub(boottime(SECOND)), span(31 * SECOND));
    }
}
