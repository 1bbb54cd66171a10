//! A round-trip time that outliers don't move, told only when it matters.

use std::{collections::VecDeque, time::Duration};

/// The lower median of the last samples: one lost SYN or one busy moment changes nothing.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    /// The latest last.
    samples: VecDeque<Duration>,
    told: Option<Duration>,
}

impl Rtt {
    const SAMPLES: usize = 5;

    /// Takes a sample. `Some` when the median moved by more than a tenth and more than a millisecond since it was last
    /// [`Rtt::told`].
    pub(crate) fn sample(&mut self, sample: Duration) -> Option<Duration> {
        if self.samples.len() == Self::SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted[(sorted.len() - 1) / 2];
        let news = self.told.is_none_or(|told| {
            let change = median.abs_diff(told);
            change > told / 10 && change > Duration::from_millis(1)
        });
        news.then_some(median)
    }

    /// `rtt` has reached its reader.
    pub(crate) fn told(&mut self, rtt: Duration) {
        self.told = Some(rtt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of `samples`, in milliseconds, by a reader that takes everything.
    fn told(samples: &[u64]) -> Vec<Option<u128>> {
        let mut rtt = Rtt::default();
        let tell = |sample: &u64| {
            let news = rtt.sample(Duration::from_millis(*sample))?;
            rtt.told(news);
            Some(news.as_millis())
        };
        samples.iter().map(tell).collect()
    }

    #[test]
    fn outliers_and_small_changes_are_not_told() {
        assert_eq!(told(&[80, 1080, 81, 79, 87, 3]), [Some(80), None, None, None, None, None]);
        assert_eq!(told(&[0, 1, 1, 1]), [Some(0), None, None, None], "within a millisecond");
    }

    #[test]
    fn a_lasting_change_is_told_once() {
        assert_eq!(told(&[80, 80, 80, 20, 20, 20, 20]), [Some(80), None, None, None, None, Some(20), None]);
        assert_eq!(
            told(&[1080, 80, 80]),
            [Some(1080), Some(80), None],
            "a bad first sample is soon forgotten"
        );
    }

    #[test]
    fn what_did_not_reach_its_reader_is_told_again() {
        let mut rtt = Rtt::default();
        for _ in 0..2 {
            assert_eq!(rtt.sample(Duration::from_millis(80)), Some(Duration::from_millis(80)));
        }
    }
}
