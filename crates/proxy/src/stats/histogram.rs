//! Latency in buckets that widen with it: four per doubling, so a quantile is off by an eighth at most.

use std::time::Duration;

use super::Counter;

/// Buckets per doubling, as a power of two.
const SUB_BITS: u32 = 2;
/// The first bucket ends here, 64 µs.
const LOWEST_BITS: u32 = 6;
/// Up to 2^27 µs, about 134 s; the last bucket takes what is longer.
const DOUBLINGS: usize = 21;
const BUCKETS: usize = 1 + (DOUBLINGS << SUB_BITS) + 1;

/// A worker's own histogram.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_micros: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { Counter::new() }; BUCKETS], sum_micros: Counter::new() }
    }
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].add(1);
        self.sum_micros.add(micros);
    }

    pub(crate) fn add_to(&self, sum: &mut LatencyHistogram) {
        for (own, total) in self.buckets.iter().zip(&mut sum.counts) {
            *total += own.read();
        }
        sum.sum_micros += self.sum_micros.read();
    }
}

fn bucket(micros: u64) -> usize {
    if micros < 1 << LOWEST_BITS {
        return 0;
    }
    let doubling = micros.ilog2();
    let within = (micros >> (doubling - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let index = 1 + (((doubling - LOWEST_BITS) as usize) << SUB_BITS) + within as usize;
    index.min(BUCKETS - 1)
}

/// The upper end of a bucket in microseconds, itself not included.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    let (doubling, within) = (index >> SUB_BITS, index & ((1 << SUB_BITS) - 1));
    ((1 << SUB_BITS) + within) << (u64::from(LOWEST_BITS - SUB_BITS) + doubling)
}

/// Latencies, added up over the workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: [u64; BUCKETS],
    sum_micros: u64,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], sum_micros: 0 }
    }
}

impl LatencyHistogram {
    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros)
    }

    /// The latency that the share `q` (0 to 1) of them does not exceed, up to the width of a bucket; `None`
    /// when none was recorded.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        self.cumulative().find(|(_, below)| *below >= rank).map(|(end, _)| end)
    }

    /// The upper ends of the buckets, each with how many latencies lie below it. The last takes all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.counts.iter().enumerate().scan(0, |sum, (index, count)| {
            *sum += count;
            Some((Duration::from_micros(upper(index)), *sum))
        })
    }

    /// Adds what `other` recorded.
    pub fn merge(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.sum_micros += other.sum_micros;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_latency_lies_in_its_bucket_and_the_bucket_is_narrow(micros in 0u64..(1 << 27)) {
            let index = bucket(micros);
            prop_assert!(micros < upper(index));
            if index > 0 {
                prop_assert!(micros >= upper(index - 1));
                prop_assert!(upper(index) - upper(index - 1) <= micros / 4);
            }
        }
    }

    #[test]
    fn quantiles_come_from_the_sum_of_the_workers() {
        let (one, two) = (Histogram::default(), Histogram::default());
        (0..90).for_each(|_| one.record(Duration::from_millis(1)));
        (0..10).for_each(|_| two.record(Duration::from_millis(100)));
        let mut sum = LatencyHistogram::default();
        assert_eq!(sum.quantile(0.5), None);
        one.add_to(&mut sum);
        two.add_to(&mut sum);
        assert_eq!((sum.count(), sum.sum()), (100, Duration::from_millis(1090)));
        let millis = |q| sum.quantile(q).unwrap().as_micros() as f64 / 1000.0;
        assert!((1.0..1.3).contains(&millis(0.5)), "{}", millis(0.5));
        assert!((1.0..1.3).contains(&millis(0.9)), "{}", millis(0.9));
        assert!((100.0..130.0).contains(&millis(0.95)), "{}", millis(0.95));
    }

    #[test]
    fn what_is_beyond_the_last_bucket_is_counted_in_it() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_secs(100_000));
        let mut sum = LatencyHistogram::default();
        histogram.add_to(&mut sum);
        assert_eq!(sum.count(), 1);
    }
}
