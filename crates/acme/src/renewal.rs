//! The decisions for one certificate.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

/// After the first failure. Two minutes, doubled each time, are five attempts in the first hour: as many failed validations as
/// a public authority takes of one name in that time.
pub const BACKOFF_LEAST: Duration = Duration::from_mins(2);
/// After many.
pub const BACKOFF_MOST: Duration = Duration::from_hours(6);
/// As a certificate nears its end, no pause is longer than what is left of it by this: a server that is back in time finds an attempt.
const ATTEMPTS: u32 = 8;
/// However little is left, pauses grow up to this, or to a twelfth of the lifetime if that is less: five attempts an hour, as above.
const BACKOFF_CLOSE: Duration = Duration::from_mins(12);
/// The longest that a server's `Retry-After` is heeded: rate limits reach back a week.
pub const RETRY_AFTER_MOST: Duration = Duration::from_hours(7 * 24);
/// How often renewal information is asked for, whatever the server says (RFC 9773 §4.3).
const ASK_LEAST: Duration = Duration::from_mins(1);
const ASK_MOST: Duration = Duration::from_hours(24);
/// And where it says nothing of use.
const ASK_DEFAULT: Duration = Duration::from_hours(6);
/// Of its lifetime a certificate is renewed earlier by up to this part, so that not everyone comes at once.
const JITTER: f64 = 1.0 / 30.0;
/// A certificate that has just come is not ordered again sooner than after a third of its lifetime or this, whichever is less:
/// with a clock that is wrong, or a server that is, each one would seem to be due as it comes.
const RENEWAL_LEAST: Duration = Duration::from_hours(24);
/// Whatever the server suggests, this part of the lifetime is left for attempts.
const RESERVE: u32 = 12;

/// A certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// From when it is valid.
    pub not_before: SystemTime,
    /// Until when.
    pub not_after: SystemTime,
    /// Its DNS names, in lower case.
    pub names: BTreeSet<String>,
}

/// When the server would like to see a certificate renewed (RFC 9773 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Not before.
    pub start: SystemTime,
    /// Not after; later than the start.
    pub end: SystemTime,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The order brought this certificate.
    Obtained(Held),
    /// Somebody else has put this certificate in the place of what was there.
    Replaced(Held),
    /// The order failed.
    Failed {
        /// How long the server does not want to see another one.
        retry_after: Option<Duration>,
    },
    /// An operator wants a new certificate now, whatever is there and whatever the server said.
    Wanted,
    /// The renewal information that was asked for.
    Suggested {
        /// When to renew; `None` when the answer was of no use, or none came.
        window: Option<Window>,
        /// When the server wants to be asked again.
        ask_after: Option<Duration>,
    },
    /// The server has no renewal information.
    NoSuggestions,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Order; [`Input::Obtained`] or [`Input::Failed`] has to follow.
    Order,
    /// Ask for renewal information about the certificate that is held; [`Input::Suggested`] or [`Input::NoSuggestions`] has to
    /// follow.
    AskRenewalInfo,
}

/// What the next order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The one that is under way.
    UnderWay,
    /// The certificate's moment, which is one of the calendar.
    Due(SystemTime),
    /// The end of a pause, which moves with a clock that is set back.
    Pause(SystemTime),
}

/// When one certificate is ordered, renewed and tried again.
#[derive(Debug, Clone)]
pub struct Renewal {
    names: BTreeSet<String>,
    held: Option<Held>,
    seed: u64,
    failures: u32,
    next: Next,
    /// No certificate is renewed before.
    earliest: SystemTime,
    /// The time when this was last told.
    told: SystemTime,
    /// When to ask for renewal information; `None` while that is under way, and when there is nothing to ask.
    ask_at: Option<SystemTime>,
}

impl Renewal {
    /// For a certificate of these names, of which one may be there; it may have more, as some authorities add. `seed` differs from certificate to certificate and from host to
    /// host.
    pub fn new(
        now: SystemTime,
        names: impl IntoIterator<Item = String>,
        held: Option<Held>,
        seed: u64,
    ) -> Self {
        let names: BTreeSet<_> = names.into_iter().collect();
        let next = Next::Pause(now);
        let mut renewal =
            Self { names, held: None, seed, failures: 0, next, earliest: now, told: now, ask_at: None };
        if let Some(held) = held.filter(|held| renewal.will_do(held)) {
            renewal.hold(now, held);
        }
        renewal
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, now: SystemTime, input: Input) {
        self.look(now);
        match input {
            Input::Obtained(held) => {
                self.failures = 0;
                self.seed = mixed(self.seed);
                self.earliest = now + (held.lifetime() / 3).min(RENEWAL_LEAST);
                self.hold(now, held);
            }
            Input::Replaced(held) => self.replace(now, held),
            Input::Failed { retry_after } => {
                self.failures = self.failures.saturating_add(1);
                self.seed = mixed(self.seed);
                let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MOST);
                self.next = Next::Pause(now + self.backoff(now).max(asked));
            }
            // One that is under way is what is wanted.
            Input::Wanted if self.next == Next::UnderWay => {}
            Input::Wanted => self.next = Next::Pause(now),
            Input::Suggested { window, ask_after } => {
                let after = ask_after.unwrap_or(ASK_DEFAULT).clamp(ASK_LEAST, ASK_MOST);
                self.ask_at = self.held.is_some().then(|| now + after);
                let window = window.filter(|window| window.start < window.end);
                // While orders fail the pauses are those between failures.
                if let (Some(held), Some(window), Next::Due(_)) = (&self.held, window, self.next) {
                    self.next = Next::Due(self.within(held, window));
                }
            }
            Input::NoSuggestions => self.ask_at = None,
        }
    }

    /// What is to be done now.
    pub fn poll_output(&mut self, now: SystemTime) -> Option<Output> {
        self.look(now);
        let order_at = self.order_at()?;
        if order_at <= now {
            self.next = Next::UnderWay;
            return Some(Output::Order);
        }
        // Not while an order is under way, as above: it may be for another certificate afterwards.
        if self.ask_at.is_some_and(|at| at <= now) {
            self.ask_at = None;
            return Some(Output::AskRenewalInfo);
        }
        None
    }

    /// When there may be something to do.
    pub fn poll_timeout(&self) -> Option<SystemTime> {
        let order_at = self.order_at()?;
        Some(self.ask_at.map_or(order_at, |ask_at| ask_at.min(order_at)))
    }

    /// When the next order is due; `None` while one is under way.
    pub fn order_at(&self) -> Option<SystemTime> {
        match self.next {
            Next::UnderWay => None,
            Next::Due(at) => Some(at.max(self.earliest)),
            Next::Pause(until) => Some(until),
        }
    }

    /// How many orders have failed since one went well.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Looks at the clock. Where that was set back, what is left of each pause is left of it still: its end was told by a clock that
    /// was wrong, and may be years away by one that is right.
    fn look(&mut self, now: SystemTime) {
        let told = std::mem::replace(&mut self.told, now);
        if now >= told {
            return;
        }
        let moved = |at: SystemTime| now + at.duration_since(told).unwrap_or_default();
        self.earliest = moved(self.earliest);
        self.ask_at = self.ask_at.map(moved);
        if let Next::Pause(until) = &mut self.next {
            *until = moved(*until);
        }
    }

    /// What orders failed of is as it was, and so are the pauses.
    fn replace(&mut self, now: SystemTime, held: Held) {
        let will_do = self.will_do(&held);
        match self.next {
            Next::Pause(until) if will_do => self.earliest = self.earliest.max(until),
            Next::Due(_) if !will_do => self.next = Next::Pause(now),
            Next::UnderWay | Next::Due(_) | Next::Pause(_) => {}
        }
        if !will_do {
            (self.held, self.ask_at) = (None, None);
        } else if self.next == Next::UnderWay {
            (self.held, self.ask_at) = (Some(held), Some(now));
        } else {
            self.hold(now, held);
        }
    }

    fn will_do(&self, held: &Held) -> bool {
        held.names.is_superset(&self.names)
    }

    fn hold(&mut self, now: SystemTime, held: Held) {
        self.next = Next::Due(self.by_lifetime(&held));
        self.ask_at = Some(now);
        self.held = Some(held);
    }

    /// At two thirds of the lifetime, a little earlier by chance.
    fn by_lifetime(&self, held: &Held) -> SystemTime {
        let lifetime = held.lifetime();
        held.not_before + lifetime * 2 / 3 - lifetime.mul_f64(JITTER * self.chance())
    }

    /// A moment of the window by chance, the same as long as the window is (RFC 9773 §4.2).
    fn within(&self, held: &Held, window: Window) -> SystemTime {
        let length = window.end.duration_since(window.start).unwrap_or_default();
        let latest = held.not_after - held.lifetime() / RESERVE;
        (window.start + length.mul_f64(self.chance())).min(latest)
    }

    fn backoff(&self, now: SystemTime) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        let most = self.held.as_ref().and_then(|held| held.most(now)).unwrap_or(BACKOFF_MOST);
        let pause = BACKOFF_LEAST.saturating_mul(1 << doublings).min(most);
        // Later than that by up to a quarter, not earlier: the pauses keep within rate limits.
        pause + pause.mul_f64(self.chance() / 4.0)
    }

    /// From 0 to 1, the same until something has come of an order.
    fn chance(&self) -> f64 {
        // The 53 bits that a fraction holds.
        (mixed(self.seed) >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Held {
    fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    /// The longest pause between attempts to replace it, as long as it is valid.
    fn most(&self, now: SystemTime) -> Option<Duration> {
        let left = self.not_after.duration_since(now).ok()?;
        let close = (self.lifetime() / 12).clamp(BACKOFF_LEAST, BACKOFF_CLOSE);
        Some((left / ATTEMPTS).clamp(close, BACKOFF_MOST))
    }
}

/// SplitMix64.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
