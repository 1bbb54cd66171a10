//! Arrival times, fixed in advance: a Poisson process from a seed.

use std::time::Duration;

/// A small seeded generator (SplitMix64, Steele et al. 2014): the same seed gives the same run everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly distributed in (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// The offsets from the start at which requests are due, without end.
#[derive(Debug, Clone)]
pub struct Arrivals {
    random: Random,
    /// Requests per second.
    rate: f64,
    due: Duration,
}

impl Arrivals {
    /// Independent arrivals at `rate` per second on average; it must be positive.
    pub fn new(rate: f64, seed: u64) -> Self {
        assert!(rate > 0.0, "a rate of {rate} never sends a request");
        Self { random: Random::new(seed), rate, due: Duration::ZERO }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.due += Duration::from_secs_f64(-self.random.unit().ln() / self.rate);
        Some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_fixes_every_arrival() {
        let times = |seed| Arrivals::new(150.0, seed).take(100).collect::<Vec<_>>();
        assert_eq!(times(1), times(1));
        assert_ne!(times(1), times(2));
    }

    #[test]
    fn the_rate_is_kept_on_average_and_times_only_grow() {
        let times: Vec<_> = Arrivals::new(200.0, 7).take(20_000).collect();
        assert!(times.is_sorted());
        let seconds = times[19_999].as_secs_f64();
        assert!((seconds - 100.0).abs() < 3.0, "{seconds}");
    }
}
