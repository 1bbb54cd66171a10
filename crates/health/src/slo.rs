//! Objectives of a service over a sliding window: how long the first byte takes, and how much fails.
//!
//! ```text
//! counters ──► sample ─ sample ─ sample ─ … ─ sample ──► now         newest − oldest = what the window holds
//!              └──────────── window ────────────────┘
//!
//!            measured > limit, enough requests
//!    met ────────────────────────────────────────► breached
//!     ▲                                               │
//!     └───────────────────────────────────────────────┘
//!       measured ≤ limit × recover, enough requests; or too few of them for a whole window
//! ```
//!
//! The counters grow from the start of the process, so that nothing is lost between two looks, and how often one looks only
//! sets the grain. Time that nobody looked at, as in a host that was frozen, is no evidence: after twice the window all begins
//! anew.

use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

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
    /// The least number of requests in the window that tell anything.
    pub least: u64,
    /// The share of a limit, 0 to 1, that a breached objective has to come down to.
    pub recover: f64,
}

impl Objectives {
    /// The usual window.
    pub const WINDOW: Duration = Duration::from_secs(30);
    /// The usual least number of requests.
    pub const LEAST: u64 = 20;
    /// The usual share of a limit at which a breach is over.
    pub const RECOVER: f64 = 0.8;
}

/// Nothing to meet, over the usual window.
impl Default for Objectives {
    fn default() -> Self {
        Self { p95: None, error_rate: None, window: Self::WINDOW, least: Self::LEAST, recover: Self::RECOVER }
    }
}

/// What a service has done for its clients since the start of the process. No number ever falls.
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

/// What the window holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Requests.
    pub requests: u64,
    /// The share that failed, 0 to 1.
    pub error_rate: f64,
    /// The 95th percentile of the time to first byte, interpolated within its bucket; [`Duration::MAX`] when so many had
    /// none. `None`: nothing was measured.
    pub p95: Option<Duration>,
}

/// An objective that is not met, with the figures at the last look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Breach {
    /// The first byte takes too long.
    FirstByte {
        /// What 95 of 100 requests don't exceed; [`Duration::MAX`] when too many had none at all.
        p95: Duration,
        /// The most it may be.
        limit: Duration,
        /// How many requests the window holds.
        requests: u64,
    },
    /// Too much fails.
    Errors {
        /// The share that failed, 0 to 1.
        rate: f64,
        /// The most it may be.
        limit: f64,
        /// How many requests the window holds.
        requests: u64,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::FirstByte { p95: Duration::MAX, limit, requests } => {
                write!(f, "more than 5 % of {requests} requests had no first byte, p95 of {limit:?} allowed")
            }
            Self::FirstByte { p95, limit, requests } => {
                let p95 = Duration::from_millis(u64::try_from(p95.as_millis()).unwrap_or(u64::MAX))
                    .max(MILLISECOND);
                write!(f, "p95 to first byte {p95:?} of {requests} requests, {limit:?} allowed")
            }
            Self::Errors { rate, limit, requests } => {
                let (rate, limit) = (100.0 * rate, 100.0 * limit);
                write!(f, "{rate:.1} % of {requests} requests failed, {limit:.1} % allowed")
            }
        }
    }
}

const MILLISECOND: Duration = Duration::from_millis(1);

/// Judges one service.
#[derive(Debug)]
pub struct SloWindow {
    objectives: Objectives,
    /// Oldest first, a grain apart, but for the newest.
    samples: VecDeque<(Instant, Counted)>,
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

    /// Takes a look at the counters.
    pub fn handle(&mut self, now: Instant, counted: Counted) {
        self.keep(now, counted);
        let Objectives { p95, error_rate, window, least, recover } = self.objectives;
        let Some(Figures { requests, error_rate: rate, p95: measured }) = self.figures() else { return };
        if requests < least {
            if self.told_at.is_none_or(|told_at| told_at + window <= now) {
                (self.first_byte, self.errors) = (None, None);
            }
            return;
        }
        self.told_at = Some(now);
        let bar = |was: bool| if was { recover } else { 1.0 };
        self.first_byte = p95.zip(measured).and_then(|(limit, p95)| {
            let breached = p95 > limit.mul_f64(bar(self.first_byte.is_some()));
            breached.then_some(Breach::FirstByte { p95, limit, requests })
        });
        self.errors = error_rate.and_then(|limit| {
            let breached = rate > limit * bar(self.errors.is_some());
            breached.then_some(Breach::Errors { rate, limit, requests })
        });
    }

    /// The objectives that are not met.
    pub fn breaches(&self) -> impl Iterator<Item = Breach> {
        self.first_byte.into_iter().chain(self.errors)
    }

    /// What the window holds; `None` before the second look.
    pub fn figures(&self) -> Option<Figures> {
        let ((_, before), (_, after)) = (self.samples.front()?, self.samples.back()?);
        if self.samples.len() < 2 {
            return None;
        }
        let requests = after.requests.saturating_sub(before.requests);
        let errors = after.errors.saturating_sub(before.errors).min(requests);
        Some(Figures {
            requests,
            error_rate: if requests == 0 { 0.0 } else { errors as f64 / requests as f64 },
            p95: percentile(0.95, before, after),
        })
    }

    fn keep(&mut self, now: Instant, counted: Counted) {
        let window = self.objectives.window;
        if self.samples.back().is_some_and(|(at, _)| *at + 2 * window < now) {
            *self = Self::new(self.objectives);
        }
        let last_but_one = self.samples.len().checked_sub(2).and_then(|index| self.samples.get(index));
        if last_but_one.is_some_and(|(at, _)| now < *at + window / GRAIN) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, counted));
        while self.samples.len() > 2 && self.samples[1].0 + window <= now {
            self.samples.pop_front();
        }
    }
}

/// The latency that the share `q` of what came between two looks does not exceed.
fn percentile(q: f64, before: &Counted, after: &Counted) -> Option<Duration> {
    // A service without requests may have had no buckets yet.
    let below_before = |index: usize| before.first_byte.get(index).map_or(0, |(_, below)| *below);
    let below = |index: usize| after.first_byte[index].1.saturating_sub(below_before(index));
    let heard = after.first_byte.len().checked_sub(1).map_or(0, below);
    let silent = after.silent.saturating_sub(before.silent);
    let total = heard + silent;
    let rank = ((q * total as f64).ceil() as u64).max(1);
    if total == 0 {
        return None;
    }
    let Some(bucket) = (0..after.first_byte.len()).find(|index| below(*index) >= rank) else {
        return Some(Duration::MAX);
    };
    let end = after.first_byte[bucket].0;
    let (start, below_start) = match bucket.checked_sub(1) {
        Some(previous) => (after.first_byte[previous].0, below(previous)),
        None => (Duration::ZERO, 0),
    };
    let into = (rank - below_start) as f64 / (below(bucket) - below_start) as f64;
    Some(start + end.saturating_sub(start).mul_f64(into))
}

#[cfg(test)]
mod tests;
