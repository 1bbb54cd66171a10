//! From packet timestamps (wall clock) to the monotonic clock that everything else is measured by.
//!
//! The kernel stamps packets with the wall clock, which may be stepped. The offset between both clocks is sampled
//! again with every batch of packets, and of several samples the one with the smallest uncertainty counts.

use std::time::{Duration, Instant, SystemTime};

use nix::time::{ClockId, clock_gettime};

/// Offset between the wall clock and the monotonic clock, as last sampled.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    monotonic: Instant,
    wall: Duration,
    uncertainty: Duration,
}

const SAMPLES: usize = 5;

impl WallClock {
    /// Reads both clocks now.
    pub fn sample() -> Self {
        let mut best = Self::once();
        for _ in 1..SAMPLES {
            let next = Self::once();
            if next.uncertainty < best.uncertainty {
                best = next;
            }
        }
        best
    }

    fn once() -> Self {
        let before = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let uncertainty = before.elapsed();
        Self { monotonic: before + uncertainty / 2, wall, uncertainty }
    }

    /// The instant at which the wall clock read `wall` (time since the Unix epoch).
    pub fn instant(&self, wall: Duration) -> Instant {
        match wall.checked_sub(self.wall) {
            Some(later) => self.monotonic + later,
            None => self.monotonic.checked_sub(self.wall.saturating_sub(wall)).unwrap_or(self.monotonic),
        }
    }
}

/// The instant of a reading of `CLOCK_MONOTONIC`, which [`Instant`] is on Linux.
pub fn instant(mono_ns: u64) -> Instant {
    let now = Instant::now();
    let reading = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    let then = Duration::from_nanos(mono_ns);
    match reading.checked_sub(then) {
        Some(ago) => now.checked_sub(ago).unwrap_or(now),
        None => now + then.saturating_sub(reading),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_between_two_monotonic_readings_lands_between_them() {
        let before = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let after = Instant::now();
        let clock = WallClock::sample();
        let slack = clock.uncertainty + Duration::from_micros(50);
        let at = clock.instant(wall);
        assert!(at + slack >= before && at <= after + slack, "{:?}", clock.uncertainty);
    }

    #[test]
    fn times_before_and_after_the_sample_keep_their_distance() {
        let clock = WallClock::sample();
        let second = Duration::from_secs(1);
        let early = clock.instant(clock.wall.checked_sub(second).unwrap());
        let late = clock.instant(clock.wall + second);
        assert_eq!(late - early, 2 * second);
    }

    #[test]
    fn a_reading_of_the_monotonic_clock_is_the_instant_it_was_taken_at() {
        let before = Instant::now();
        let reading = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap());
        let after = Instant::now();
        let at = instant(reading.as_nanos() as u64);
        let slack = Duration::from_millis(5);
        assert!(at + slack >= before && at <= after + slack);
    }
}
