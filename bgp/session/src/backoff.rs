//! Waiting longer after each failure: exponential, jittered, and reset only by success that lasted.
//!
//! The jitter keeps two speakers that failed together from trying together again (RFC 4271 §10 asks for a
//! factor of 0.75 to 1.0). Randomness comes from a seed that is handed in, so a run can be replayed.

use std::time::Duration;

/// The least time an attempt to connect gets, so that a SYN lost once can be sent again (RFC 6298: after 1 s).
const LEAST_ATTEMPT: Duration = Duration::from_secs(3);

/// Failures are counted up to here; a wait that doubled so often has met any ceiling.
const MOST_FAILURES: u32 = 31;

/// The waits between attempts.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    ceiling: Duration,
    failures: u32,
    /// A wait was cut short since it began anew.
    hurried: bool,
    random: u64,
}

impl Backoff {
    /// Waits that begin with `base` and double up to `ceiling`.
    pub(crate) fn new(base: Duration, ceiling: Duration, seed: u64) -> Self {
        Self { base, ceiling, failures: 0, hurried: false, random: seed }
    }

    /// The wait after one more failure: 0.75 to 1.0 of `base × 2^failures`, at most the ceiling.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let wait = self.wait();
        self.failures = self.failures.saturating_add(1).min(MOST_FAILURES);
        self.jittered(wait)
    }

    /// How long an attempt may take before it is given up: as long as a failure would now have us wait, but never
    /// less than [`LEAST_ATTEMPT`]. Attempts that are given up count as failures, so a slow path gets its time.
    pub(crate) fn attempt_timeout(&mut self) -> Duration {
        let wait = self.wait().max(LEAST_ATTEMPT);
        self.jittered(wait)
    }

    /// The shortest wait, which counts as no failure: a lost collision, an operator's reset.
    pub(crate) fn pause(&mut self) -> Duration {
        self.jittered(self.base)
    }

    /// Waits that begin with `base` from now on.
    pub(crate) fn rebase(&mut self, base: Duration) {
        self.base = base;
    }

    /// Begins again with the shortest wait.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
        self.hurried = false;
    }

    /// Whether the wait under way may be cut short, as the peer has shown itself: once, until there is a reason to begin again.
    /// Who says where the peer is may be anyone, so that the failures still count.
    pub(crate) fn cut_short(&mut self) -> bool {
        !std::mem::replace(&mut self.hurried, true)
    }

    fn wait(&self) -> Duration {
        self.base
            .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.ceiling.max(self.base))
    }

    /// 0.75 to 1.0 of `wait`.
    pub(crate) fn jittered(&mut self, wait: Duration) -> Duration {
        let unit = (self.next_random() >> 11) as f64 / (1u64 << 53) as f64;
        wait.mul_f64(0.75 + 0.25 * unit)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014): plenty for jitter.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_secs(1);
    const CEILING: Duration = Duration::from_secs(30);

    #[test]
    fn waits_double_within_their_jitter_up_to_the_ceiling_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(BASE, CEILING, 7);
        for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = backoff.after_failure().as_secs_f64();
            assert!((0.75 * expected..=expected).contains(&wait), "{wait} for {expected}");
        }
        backoff.reset();
        assert!(backoff.after_failure() <= BASE);
    }

    #[test]
    fn a_base_beyond_the_ceiling_is_kept() {
        let mut backoff = Backoff::new(BASE, CEILING, 7);
        backoff.rebase(4 * CEILING);
        let wait = backoff.after_failure();
        assert!((3 * CEILING..=4 * CEILING).contains(&wait), "{wait:?}");
    }

    #[test]
    fn two_seeds_differ_and_one_seed_repeats() {
        let waits = |seed| {
            let mut backoff = Backoff::new(BASE, CEILING, seed);
            [(); 8].map(|()| backoff.after_failure())
        };
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn endless_failures_stay_at_the_ceiling() {
        let mut backoff = Backoff::new(BASE, CEILING, 0);
        assert!((0..1000).all(|_| backoff.after_failure() <= CEILING));
    }
}
