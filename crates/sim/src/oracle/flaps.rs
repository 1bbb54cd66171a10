//! Damping, reckoned once more: the least that the core has to hold back.

use std::time::{Duration, Instant};

use proxima_announce::Damping;

/// Flaps that routers could see: never more than the core counts.
#[derive(Debug, Default)]
pub(super) struct Flaps {
    penalty: f64,
    at: Option<Instant>,
    /// Worse since it was last better.
    pub(super) worse: bool,
    /// What is better is held back until then.
    pub(super) held_until: Option<Instant>,
}

impl Flaps {
    /// Routers see that it is worse.
    pub(super) fn worse(&mut self, local: Instant, damping: Option<Damping>) {
        let Some(Damping { half_life, suppress, reuse, most }) = damping else { return };
        if std::mem::replace(&mut self.worse, true) {
            return;
        }
        let age = self.at.map_or(Duration::ZERO, |at| local - at);
        let halved = self.penalty * (-age.as_secs_f64() / half_life.as_secs_f64()).exp2();
        let ceiling = reuse * (most.as_secs_f64() / half_life.as_secs_f64()).exp2();
        self.penalty = (halved + 1.0).min(ceiling);
        self.at = Some(local);
        if self.penalty >= suppress || self.held_until.is_some_and(|until| until > local) {
            let halvings = (self.penalty / reuse).log2().max(0.0);
            // A little less than exactly: two ways to reckon need not agree to the nanosecond.
            let wait = halvings * half_life.as_secs_f64() - 1e-6;
            self.held_until = Some(local + Duration::from_secs_f64(wait.max(0.0)).min(most));
        }
    }
}
