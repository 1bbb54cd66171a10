//! How probes that ask as clients do were answered, counted as requests are.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use proxima_health::{Counted, Failure, Findings};

/// Buckets per doubling, as a power of two.
const SUB_BITS: u32 = 2;
/// The first bucket ends here, 64 µs.
const LOWEST_BITS: u32 = 6;
/// Up to 2^24 µs, about 17 s; the last bucket takes what is longer.
const DOUBLINGS: usize = 18;
const BUCKETS: usize = 1 + (DOUBLINGS << SUB_BITS) + 1;

/// The answers of one backend. Written by its task alone; numbers never fall.
#[derive(Debug)]
pub(crate) struct Answers {
    asked: AtomicU64,
    failed: AtomicU64,
    silent: AtomicU64,
    first_byte: [AtomicU64; BUCKETS],
}

impl Default for Answers {
    fn default() -> Self {
        let [asked, failed, silent] = [const { AtomicU64::new(0) }; 3];
        Self { asked, failed, silent, first_byte: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Answers {
    /// A probe has ended.
    pub(crate) fn note(&self, outcome: &Result<Findings, Failure>) {
        let count = |counter: &AtomicU64| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        match outcome {
            Ok(findings) => {
                if let Some(first_byte) = findings.first_byte {
                    count(&self.first_byte[bucket(first_byte)]);
                }
            }
            Err(failure) => {
                count(&self.failed);
                if is_silence(failure) {
                    count(&self.silent);
                }
            }
        }
        // Last, so that no reader sees more failures than probes.
        self.asked.fetch_add(1, Ordering::Release);
    }
}

/// The answers of several backends, added up.
pub(crate) fn sum<'a>(of: impl Iterator<Item = &'a Answers>) -> Counted {
    let mut sum = Counted::default();
    let mut buckets = [0; BUCKETS];
    for answers in of {
        sum.requests += answers.asked.load(Ordering::Acquire);
        sum.errors += answers.failed.load(Ordering::Relaxed);
        sum.silent += answers.silent.load(Ordering::Relaxed);
        for (total, own) in buckets.iter_mut().zip(&answers.first_byte) {
            *total += own.load(Ordering::Relaxed);
        }
    }
    let mut below = 0;
    sum.first_byte = buckets
        .into_iter()
        .enumerate()
        .map(|(index, count)| {
            below += count;
            (upper(index), below)
        })
        .collect();
    sum
}

/// No first byte came. What was answered, if not well, took a time that is not known.
fn is_silence(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Refused
            | Failure::Reset
            | Failure::Closed
            | Failure::Unreachable { .. }
            | Failure::Timeout { .. }
    )
}

fn bucket(latency: Duration) -> usize {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < 1 << LOWEST_BITS {
        return 0;
    }
    let doubling = micros.ilog2();
    let within = (micros >> (doubling - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    let index = 1 + (((doubling - LOWEST_BITS) as usize) << SUB_BITS) + within as usize;
    index.min(BUCKETS - 1)
}

/// The upper end of a bucket, itself not included.
fn upper(index: usize) -> Duration {
    let index = index as u64;
    let (doubling, within) = (index >> SUB_BITS, index & ((1 << SUB_BITS) - 1));
    Duration::from_micros(((1 << SUB_BITS) + within) << (u64::from(LOWEST_BITS - SUB_BITS) + doubling))
}

#[cfg(test)]
mod tests {
    use proxima_health::Phase;

    use super::*;

    fn after(millis: u64) -> Findings {
        Findings { first_byte: Some(Duration::from_millis(millis)), ..Findings::default() }
    }

    #[test]
    fn answers_are_counted_as_requests_are() {
        let (one, other) = (Answers::default(), Answers::default());
        one.note(&Ok(after(3)));
        one.note(&Err(Failure::Status { expected: 200, received: 500 }));
        one.note(&Err(Failure::Timeout { phase: Phase::Answer, after: Duration::from_secs(1) }));
        other.note(&Err(Failure::Refused));
        other.note(&Ok(after(100_000)));
        let all = sum([&one, &other].into_iter());
        assert_eq!((all.requests, all.errors, all.silent), (5, 3, 2));
        let below = |limit: Duration| all.first_byte.iter().take_while(|(end, _)| *end <= limit).last();
        assert_eq!(below(Duration::from_millis(2)).map(|(_, below)| *below), Some(0));
        assert_eq!(below(Duration::from_millis(4)).map(|(_, below)| *below), Some(1));
        assert_eq!(all.first_byte.last().map(|(_, below)| *below), Some(2));
        assert!(all.first_byte.is_sorted());
        assert_eq!(sum(std::iter::empty()).requests, 0);
    }

    #[test]
    fn a_bucket_takes_what_lies_below_its_end_and_not_below_the_one_before() {
        for micros in [0, 1, 63, 64, 65, 79, 80, 127, 128, 1000, 123_456, 16_000_000] {
            let latency = Duration::from_micros(micros);
            let index = bucket(latency);
            assert!(latency < upper(index), "{micros}");
            assert!(index == 0 || upper(index - 1) <= latency, "{micros}");
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
