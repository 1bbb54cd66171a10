//! Intervals: what we tell, what is in force, how far the jitter goes (RFC 5880 §6.8.2–§6.8.4, §6.8.7).

use std::{num::NonZeroU8, time::Duration};

use serde::{Deserialize, Serialize};

use crate::packet::Interval;

/// The least interval at which a session that is not up sends (RFC 5880 §6.8.3).
pub const SLOW: Duration = Duration::from_secs(1);

/// A pair of intervals as packets tell them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intervals {
    pub(crate) desired_min_tx: Interval,
    pub(crate) required_min_rx: Interval,
}

/// Whether the neighbour knows our intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Poll {
    Idle,
    /// To be asked with the next packet.
    Wanted,
    /// Asked; with `again`, the intervals have changed since.
    Asked {
        again: bool,
    },
}

/// Our intervals. While the session is up, the neighbour is told first and slower ones take effect once it has answered:
/// before it does, we neither send more seldom nor expect to be sent to more often (RFC 5880 §6.8.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OwnIntervals {
    pub(crate) told: Intervals,
    pub(crate) in_force: Intervals,
    poll: Poll,
}

impl OwnIntervals {
    pub(crate) fn new(told: Intervals) -> Self {
        Self { told, in_force: told, poll: Poll::Idle }
    }

    /// Tells other intervals. True when they are other ones.
    pub(crate) fn change(&mut self, to: Intervals, up: bool) -> bool {
        if to == self.told {
            return false;
        }
        self.told = to;
        self.in_force = if up {
            Intervals {
                desired_min_tx: self.in_force.desired_min_tx.min(to.desired_min_tx),
                required_min_rx: self.in_force.required_min_rx.max(to.required_min_rx),
            }
        } else {
            to
        };
        self.poll = match self.poll {
            Poll::Idle | Poll::Wanted => Poll::Wanted,
            Poll::Asked { .. } => Poll::Asked { again: true },
        };
        true
    }

    /// Whether packets carry the P bit.
    pub(crate) fn polling(&self) -> bool {
        self.poll != Poll::Idle
    }

    /// A packet with the P bit is sent.
    pub(crate) fn asked(&mut self) {
        if self.poll == Poll::Wanted {
            self.poll = Poll::Asked { again: false };
        }
    }

    /// A packet with the F bit has come.
    pub(crate) fn answered(&mut self) {
        match self.poll {
            Poll::Idle | Poll::Wanted => {}
            Poll::Asked { again: true } => self.poll = Poll::Wanted,
            Poll::Asked { again: false } => {
                self.poll = Poll::Idle;
                self.in_force = self.told;
            }
        }
    }

    /// Nobody is there who could answer.
    pub(crate) fn abandon(&mut self) {
        self.poll = Poll::Idle;
        self.in_force = self.told;
    }
}

/// The part of an interval by which a packet may be sent early.
const SLACK: f64 = 0.02;

/// How much earlier than at the latest a packet may be sent, so that the packets of many sessions go out together and the
/// thread wakes once for all of them.
pub(crate) fn slack(interval: Duration) -> Duration {
    interval.mul_f64(SLACK)
}

/// SplitMix64 (Steele, Lea, Flood 2014): plenty for jitter.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// When the next packet is sent at the latest: 77 to 100 % of an interval from now, at most 90 % when a single lost
    /// packet ends the session. With [`slack`] taken off, that is the jitter of RFC 5880 §6.8.7: 75 to 100 %.
    pub(crate) fn jittered(&mut self, interval: Duration, multiplier: NonZeroU8) -> Duration {
        let most = if multiplier == NonZeroU8::MIN { 0.90 } else { 1.0 };
        let least = 0.75 + SLACK;
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        interval.mul_f64(least + (most - least) * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(tx: u32, rx: u32) -> Intervals {
        Intervals { desired_min_tx: Interval(tx), required_min_rx: Interval(rx) }
    }

    #[test]
    fn jitter_and_slack_are_0_to_25_percent_and_10_to_25_with_multiplier_1() {
        let interval = Duration::from_millis(100);
        for (multiplier, most) in [(1, 0.090), (2, 0.100), (3, 0.100), (255, 0.100)] {
            let multiplier = NonZeroU8::new(multiplier).unwrap();
            let mut random = Random::new(u64::from(multiplier.get()));
            let waits: Vec<_> =
                (0..10_000).map(|_| random.jittered(interval, multiplier).as_secs_f64()).collect();
            let (low, high) =
                waits.iter().fold((1.0_f64, 0.0_f64), |(low, high), wait| (low.min(*wait), high.max(*wait)));
            let low = low - slack(interval).as_secs_f64();
            assert!((0.075 - 1e-9..0.0755).contains(&low), "{multiplier}: {low}");
            assert!(high <= most + 1e-9 && high > most - 0.0005, "{multiplier}: {high}");
        }
    }

    #[test]
    fn while_up_slower_intervals_wait_for_the_final_and_faster_ones_do_not() {
        // What is told, and what is in force before and after the Final.
        let table = [
            (intervals(200, 50), intervals(100, 100), intervals(200, 50)),
            (intervals(50, 200), intervals(50, 200), intervals(50, 200)),
            (intervals(200, 200), intervals(100, 200), intervals(200, 200)),
            (intervals(50, 50), intervals(50, 100), intervals(50, 50)),
        ];
        for (told, before, after) in table {
            let mut own = OwnIntervals::new(intervals(100, 100));
            assert!(own.change(told, true));
            assert!(own.polling());
            assert_eq!((own.told, own.in_force), (told, before));
            own.asked();
            own.answered();
            assert!(!own.polling());
            assert_eq!((own.told, own.in_force), (told, after));
        }
    }

    #[test]
    fn while_not_up_every_interval_is_in_force_at_once() {
        let mut own = OwnIntervals::new(intervals(100, 100));
        own.change(intervals(200, 50), false);
        assert_eq!(own.in_force, intervals(200, 50));
    }

    #[test]
    fn a_final_counts_only_for_what_was_asked() {
        let mut own = OwnIntervals::new(intervals(100, 100));
        own.change(intervals(200, 100), true);
        own.answered();
        assert!(own.polling(), "nothing was asked yet");
        own.asked();
        own.change(intervals(300, 100), true);
        own.answered();
        assert!(own.polling(), "the answer was to the former intervals");
        assert_eq!(own.in_force, intervals(100, 100));
        own.asked();
        own.answered();
        assert_eq!(own.in_force, intervals(300, 100));
    }

    #[test]
    fn the_same_intervals_need_no_poll() {
        let mut own = OwnIntervals::new(intervals(100, 100));
        assert!(!own.change(intervals(100, 100), true));
        assert!(!own.polling());
    }
}
