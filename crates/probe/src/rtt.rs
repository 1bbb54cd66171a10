//! A smoothed round-trip time, told only when it matters.

use std::time::Duration;

/// Each sample moves the estimate by a quarter of the difference.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    smoothed: Option<Duration>,
    told: Option<Duration>,
}

impl Rtt {
    /// Takes a sample. `Some` when the estimate moved by more than a tenth and more than a millisecond since it was last
    /// [`Rtt::told`].
    pub(crate) fn sample(&mut self, sample: Duration) -> Option<Duration> {
        let smoothed = self.smoothed.map_or(sample, |smoothed| (smoothed * 3 + sample) / 4);
        self.smoothed = Some(smoothed);
        let news = self.told.is_none_or(|told| {
            let change = smoothed.abs_diff(told);
            change > told / 10 && change > Duration::from_millis(1)
        });
        news.then_some(smoothed)
    }

    /// The estimate has reached its reader.
    pub(crate) fn told(&mut self) {
        self.told = self.smoothed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_that_matter_are_told() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!(rtt.sample(ms(80)), Some(ms(80)));
        assert_eq!(rtt.sample(ms(80)), Some(ms(80)), "not told yet");
        rtt.told();
        assert_eq!(rtt.sample(ms(100)), None, "85 ms is within a tenth");
        assert_eq!(rtt.sample(ms(121)), Some(ms(94)));
        let mut near = Rtt::default();
        near.sample(Duration::from_micros(50));
        near.told();
        assert_eq!(near.sample(Duration::from_millis(3)), None, "below a millisecond");
    }
}
