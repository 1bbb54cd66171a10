//! Objectives of a service over a sliding window: how long the first byte takes, and how much fails.
//!
//! ```text
//! counters ──► sample ─ sample ─ sample ─ … ─ sample ──► now         newest − oldest = what the window holds
//!              └──────────── window ────────────────┘                  requests + weight × probes
//!
//!            measured > limit, enough requests
//!    met ────────────────────────────────────────► breached
//!     ▲                                               │
//!     └───────────────────────────────────────────────┘
//!       measured ≤ limit × recover, enough requests; or too few of them for a whole window
//! ```
//!
//! Probes that ask as clients do stand in for the requests that are missing: together they weigh no more than what real traffic
//! lacks of the least number that tells anything, and each of them no more than a request. So a service without traffic is
//! judged by its probes, and one with enough of it by its traffic alone: a cheap probe that is answered well hides no request that
//! fails.
//!
//! The counters grow from the start of the process, so that nothing is lost between two looks, and how often one looks only
//! sets the grain. Time that nobody looked at, as in a host that was frozen, is no evidence: after twice the window all begins
//! anew.

use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// How many samples make up a window; closer ones take the place of each other.
const GRAIN: u32 = 30;

/// What a service is to meet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objectives {
    /// The most that the 95th percentile of the time to first byte may be.
    pub p95: Option<Duration>,
    /// The greatest share of requests that may fail, 0 to 1.
    pub error_rate: Option<f64>,
    /// Over how long.
    pub window: Duration,
    /// The least number of requests in the window, probes that stand in for them included, that tell anything.
    pub least: u64,
    /// The share of a limit, 0 to 1, that a breached objective has to come down to.
    pub recover: f64,
}

impl Objectives {
    /// The usual window.
    pub const WINDOW: Duration = Duration::from_secs(30);
    /// The usual least number of requests.
    pub const LEAST: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
    /// The usual share of a limit at which a breach is over.
    pub const RECOVER: f64 = 0.8;
}

/// Nothing to meet, over the usual window.
impl Default for Objectives {
    fn default() -> Self {
        Self {
            p95: None,
            error_rate: None,
            window: Self::WINDOW,
            least: Self::LEAST.get().into(),
            recover: Self::RECOVER,
        }
    }
}

/// What a service has done for its clients, or its backends for probes, since the start of the process. No number ever falls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counted {
    /// Requests that were answered or failed.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Those of them that no first byte came for: slower than all others.
    pub silent: u64,
    /// Upper ends of the buckets of times to first byte, ascending and the same each time, each with how many lie below
    /// it. Before the first request it may be empty.
    pub first_byte: Vec<(Duration, u64)>,
}

impl Counted {
    /// What has come since `before`.
    fn since(&self, before: &Self) -> Self {
        let requests = self.requests.saturating_sub(before.requests);
        // A service without requests may have had no buckets yet.
        let below_before = |index: usize| before.first_byte.get(index).map_or(0, |(_, below)| *below);
        let first_byte = self.first_byte.iter().enumerate();
        Self {
            requests,
            errors: self.errors.saturating_sub(before.errors).min(requests),
            silent: self.silent.saturating_sub(before.silent),
            first_byte: first_byte
                .map(|(index, (end, below))| (*end, below.saturating_sub(below_before(index))))
                .collect(),
        }
    }

    /// How many have a time to first byte, known or endless.
    fn timed(&self) -> u64 {
        self.first_byte.last().map_or(0, |(_, below)| *below) + self.silent
    }

    /// How many had their first byte before `time`, interpolated within its bucket.
    fn below(&self, time: Duration) -> f64 {
        let bucket = self.first_byte.partition_point(|(end, _)| *end < time);
        let (start, before) =
            bucket.checked_sub(1).map_or((Duration::ZERO, 0), |previous| self.first_byte[previous]);
        let Some(&(end, below)) = self.first_byte.get(bucket) else { return before as f64 };
        let into = time.saturating_sub(start).as_secs_f64() / end.saturating_sub(start).as_secs_f64();
        before as f64 + into * (below - before) as f64
    }
}

/// What the window holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// How many requests the probes stand in for.
    pub probes: u64,
    /// The share that failed, 0 to 1.
    pub error_rate: f64,
    /// The 95th percentile of the time to first byte, interpolated within its bucket; [`Duration::MAX`] when so many had
    /// none. `None`: nothing was measured.
    pub p95: Option<Duration>,
}

/// An objective that is not met, with the figures at the last look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Breach {
    /// The first byte takes too long.
    FirstByte {
        /// What 95 of 100 requests don't exceed; [`Duration::MAX`] when too many had none at all.
        p95: Duration,
        /// The most it may be.
        limit: Duration,
        /// How many requests the window holds.
        requests: u64,
        /// How many more the probes stand in for.
        probes: u64,
    },
    /// Too much fails.
    Errors {
        /// The share that failed, 0 to 1.
        rate: f64,
        /// The most it may be.
        limit: f64,
        /// How many requests the window holds.
        requests: u64,
        /// How many more the probes stand in for.
        probes: u64,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FirstByte { p95: Duration::MAX, limit, requests, probes } => {
                let of = Of { requests, probes };
                write!(f, "more than 5 % of {of} had no first byte, p95 of {limit:?} allowed")
            }
            Self::FirstByte { p95, limit, requests, probes } => {
                let p95 = Duration::from_millis(u64::try_from(p95.as_millis()).unwrap_or(u64::MAX))
                    .max(MILLISECOND);
                write!(f, "p95 to first byte {p95:?} of {}, {limit:?} allowed", Of { requests, probes })
            }
            Self::Errors { rate, limit, requests, probes } => {
                let (rate, limit) = (100.0 * rate, 100.0 * limit);
                write!(f, "{rate:.1} % of {} failed, {limit:.1} % allowed", Of { requests, probes })
            }
        }
    }
}

/// What a figure was taken of.
struct Of {
    requests: u64,
    probes: u64,
}

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, probes } = self;
        match (requests, probes) {
            (_, 0) => write!(f, "{requests} requests"),
            (0, _) => write!(f, "{probes} probes"),
            _ => write!(f, "{requests} requests and {probes} probes"),
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// The counters at a moment.
#[derive(Debug)]
struct Sample {
    at: Instant,
    traffic: Counted,
    probes: Counted,
}

/// Judges one service.
#[derive(Debug)]
pub struct SloWindow {
    objectives: Objectives,
    /// Oldest first, a grain apart, but for the newest.
    samples: VecDeque<Sample>,
    first_byte: Option<Breach>,
    errors: Option<Breach>,
    /// When there were enough requests last.
    told_at: Option<Instant>,
}

impl SloWindow {
    /// Nothing is known yet, and all objectives are met.
    pub fn new(objectives: Objectives) -> Self {
        Self { objectives, samples: VecDeque::new(), first_byte: None, errors: None, told_at: None }
    }

    /// What is to be met.
    pub fn objectives(&self) -> &Objectives {
        &self.objectives
    }

    /// Takes a look at the counters: of the service's real traffic, and of the probes that ask its backends as clients do.
    pub fn handle(&mut self, now: Instant, traffic: Counted, probes: Counted) {
        self.keep(Sample { at: now, traffic, probes });
        let Objectives { p95, error_rate, window, least, recover } = self.objectives;
        let Some(Figures { requests, probes, error_rate: rate, p95: measured }) = self.figures() else {
            return;
        };
        if requests + probes < least {
            if self.told_at.is_none_or(|told_at| told_at + window <= now) {
                (self.first_byte, self.errors) = (None, None);
            }
            return;
        }
        self.told_at = Some(now);
        let bar = |was: bool| if was { recover } else { 1.0 };
        self.first_byte = p95.zip(measured).and_then(|(limit, p95)| {
            let breached = p95 > limit.mul_f64(bar(self.first_byte.is_some()));
            breached.then_some(Breach::FirstByte { p95, limit, requests, probes })
        });
        self.errors = error_rate.and_then(|limit| {
            let breached = rate > limit * bar(self.errors.is_some());
            breached.then_some(Breach::Errors { rate, limit, requests, probes })
        });
    }

    /// The objectives that are not met.
    pub fn breaches(&self) -> impl Iterator<Item = Breach> {
        self.first_byte.into_iter().chain(self.errors)
    }

    /// What the window holds; `None` before the second look.
    pub fn figures(&self) -> Option<Figures> {
        let (before, after) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 2 {
            return None;
        }
        let traffic = after.traffic.since(&before.traffic);
        let probed = after.probes.since(&before.probes);
        let probes = probed.requests.min(self.objectives.least.saturating_sub(traffic.requests));
        let weight = if probed.requests == 0 { 0.0 } else { probes as f64 / probed.requests as f64 };
        let failed = traffic.errors as f64 + weight * probed.errors as f64;
        let all = traffic.requests + probes;
        Some(Figures {
            requests: traffic.requests,
            probes,
            error_rate: if all == 0 { 0.0 } else { failed / all as f64 },
            p95: percentile(0.95, &[(1.0, &traffic), (weight, &probed)]),
        })
    }

    fn keep(&mut self, sample: Sample) {
        let (now, window) = (sample.at, self.objectives.window);
        if self.samples.back().is_some_and(|last| last.at + 2 * window < now) {
            *self = Self::new(self.objectives);
        }
        let last_but_one = self.samples.len().checked_sub(2).and_then(|index| self.samples.get(index));
        if last_but_one.is_some_and(|sample| now < sample.at + window / GRAIN) {
            self.samples.pop_back();
        }
        self.samples.push_back(sample);
        while self.samples.len() > 2 && self.samples[1].at + window <= now {
            self.samples.pop_front();
        }
    }
}

/// The latency that the share `q` does not exceed of all these, each weighed as often as the number before it says.
fn percentile(q: f64, parts: &[(f64, &Counted)]) -> Option<Duration> {
    let total: f64 = parts.iter().map(|(weight, counted)| weight * counted.timed() as f64).sum();
    if total <= 0.0 {
        return None;
    }
    let below =
        |time: Duration| parts.iter().map(|(weight, counted)| weight * counted.below(time)).sum::<f64>();
    let rank = (q * total).ceil().min(total);
    let weighty = parts.iter().filter(|(weight, _)| *weight > 0.0);
    let mut ends: Vec<Duration> =
        weighty.flat_map(|(_, part)| &part.first_byte).map(|(end, _)| *end).collect();
    ends.sort_unstable();
    ends.dedup();
    // Sums of weighed numbers are off by less than this.
    let Some(bucket) = ends.iter().position(|end| below(*end) >= rank - 1e-9) else {
        return Some(Duration::MAX);
    };
    let (start, end) =
        (bucket.checked_sub(1).map_or(Duration::ZERO, |previous| ends[previous]), ends[bucket]);
    let (below_start, below_end) = (below(start), below(end));
    let into = ((rank - below_start) / (below_end - below_start)).clamp(0.0, 1.0);
    Some(start + end.saturating_sub(start).mul_f64(into))
}

#[cfg(test)]
mod tests;
