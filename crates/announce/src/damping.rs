//! A penalty for flaps that halves with time, after RFC 2439 (§4.2, §4.5).
//!
//! ```text
//! penalty
//! ceiling ┤          ╭╮            a flap: health worsens after it was better
//!         │        ╭╮│ ╲
//! suppress┤······╭╮│╰╯··╲·········
//!         │   ╭╮ │╰╯     ╲
//! reuse   ┤···│╰─╯········╲·······
//!         └───┴──┬─────────┬─────▶ time
//!                └ held ───┘       what holds: no improvement; worsening is never held
//! ```

use std::time::{Duration, Instant};

use proxima_types::moment;
use serde::{Deserialize, Serialize};

/// How flaps are damped. Each adds 1 to a penalty. 0 < `reuse` < `suppress` ≤ [`Damping::ceiling`], or nothing is held.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Damping {
    /// The penalty halves within this time; above zero.
    pub half_life: Duration,
    /// With this penalty the group is held back.
    pub suppress: f64,
    /// Until the penalty has fallen to this.
    pub reuse: f64,
    /// The longest time held back after a flap.
    pub most: Duration,
}

impl Damping {
    /// The highest penalty: it falls to `reuse` within `most` (RFC 2439 §4.2).
    pub fn ceiling(&self) -> f64 {
        self.reuse * (self.most.as_secs_f64() / self.half_life.as_secs_f64()).exp2()
    }
}

/// The penalty of one group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Damper {
    damping: Damping,
    penalty: f64,
    /// When `penalty` was that.
    #[serde(with = "moment::option")]
    at: Option<Instant>,
    /// Whether health has worsened since it last was better: what follows is the same flap.
    flapped: bool,
    #[serde(with = "moment::option")]
    suppressed_until: Option<Instant>,
}

impl Damper {
    /// Nothing has flapped yet.
    pub fn new(damping: Damping) -> Self {
        Self { damping, penalty: 0.0, at: None, flapped: false, suppressed_until: None }
    }

    /// The settings.
    pub fn damping(&self) -> &Damping {
        &self.damping
    }

    /// Other settings. The penalty stays, under the new ceiling; who is held back stays so until the new `reuse`.
    pub fn reconfigure(&mut self, now: Instant, damping: Damping) {
        let penalty = self.penalty(now);
        let held = self.suppressed_until(now).is_some();
        self.damping = damping;
        self.penalty = penalty.min(damping.ceiling());
        self.at = Some(now);
        self.suppressed_until = held.then(|| self.reuse_at(now)).filter(|until| *until > now);
    }

    /// Health has worsened: a flap, unless it has not been better since the last.
    pub fn worsened(&mut self, now: Instant) {
        if std::mem::replace(&mut self.flapped, true) {
            return;
        }
        self.penalty = (self.penalty(now) + 1.0).min(self.damping.ceiling());
        self.at = Some(now);
        if self.penalty >= self.damping.suppress || self.suppressed_until(now).is_some() {
            self.suppressed_until = Some(self.reuse_at(now));
        }
    }

    /// Health is better.
    pub fn improved(&mut self) {
        self.flapped = false;
    }

    /// The penalty.
    pub fn penalty(&self, now: Instant) -> f64 {
        let halvings =
            |at| now.saturating_duration_since(at).as_secs_f64() / self.damping.half_life.as_secs_f64();
        self.at.map_or(0.0, |at| self.penalty * (-halvings(at)).exp2())
    }

    /// Until when no improvement is taken; `None`: it is.
    pub fn suppressed_until(&self, now: Instant) -> Option<Instant> {
        self.suppressed_until.filter(|until| *until > now)
    }

    /// When the penalty, as of `now`, has fallen to `reuse`.
    fn reuse_at(&self, now: Instant) -> Instant {
        let halvings = (self.penalty / self.damping.reuse).log2().max(0.0);
        let wait = Duration::try_from_secs_f64(halvings * self.damping.half_life.as_secs_f64());
        now + wait.unwrap_or(self.damping.most).min(self.damping.most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAMPING: Damping = Damping {
        half_life: Duration::from_mins(1),
        suppress: 3.0,
        reuse: 1.0,
        most: Duration::from_mins(4),
    };

    #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
    fn start() -> Instant {
        Instant::now()
    }

    fn flap(damper: &mut Damper, now: Instant) {
        damper.improved();
        damper.worsened(now);
    }

    #[test]
    fn three_flaps_in_a_row_hold_the_group_until_the_penalty_has_fallen_to_reuse() {
        let (mut damper, now) = (Damper::new(DAMPING), start());
        for flaps in [1.0, 2.0] {
            flap(&mut damper, now);
            assert!((damper.penalty(now) - flaps).abs() < 1e-9);
            assert_eq!(damper.suppressed_until(now), None);
        }
        flap(&mut damper, now);
        let until = damper.suppressed_until(now).unwrap();
        let expected = 60.0 * 3f64.log2();
        assert!(((until - now).as_secs_f64() - expected).abs() < 1e-6);
        assert!((damper.penalty(until) - 1.0).abs() < 1e-9);
        assert_eq!(damper.suppressed_until(until), None);
    }

    #[test]
    fn falling_further_is_the_same_flap() {
        let (mut damper, now) = (Damper::new(DAMPING), start());
        flap(&mut damper, now);
        damper.worsened(now);
        assert!((damper.penalty(now) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_ceiling_below_suppress_never_holds() {
        let mut damper = Damper::new(Damping { most: Duration::from_mins(1), ..DAMPING });
        let now = start();
        for _ in 0..100 {
            flap(&mut damper, now);
        }
        assert!((damper.penalty(now) - 2.0).abs() < 1e-9);
        assert_eq!(damper.suppressed_until(now), None);
    }

    #[test]
    fn other_settings_keep_the_penalty_and_move_the_end() {
        let (mut damper, now) = (Damper::new(DAMPING), start());
        for _ in 0..4 {
            flap(&mut damper, now);
        }
        let later = now + Duration::from_mins(1);
        damper.reconfigure(later, Damping { reuse: 0.5, half_life: Duration::from_secs(30), ..DAMPING });
        assert!((damper.penalty(later) - 2.0).abs() < 1e-9);
        let until = damper.suppressed_until(later).unwrap();
        assert!(((until - later).as_secs_f64() - 60.0).abs() < 1e-6);
        damper.reconfigure(later, Damping { reuse: 2.5, ..DAMPING });
        assert_eq!(damper.suppressed_until(later), None, "it is below the new bound already");
    }

    proptest! {
        #[test]
        fn the_penalty_is_the_sum_of_all_flaps_each_halved_by_its_age(
            gaps in proptest::collection::vec(0u64..200_000, 1..40),
            half_life in 1u64..600,
        ) {
            let half_life = Duration::from_secs(half_life);
            let most = half_life * 40;
            let mut damper = Damper::new(Damping { half_life, most, ..DAMPING });
            let (mut now, mut flaps) = (start(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                flap(&mut damper, now);
                flaps.push(now);
                let halvings = |at: Instant| (now - at).as_secs_f64() / half_life.as_secs_f64();
                let naive: f64 = flaps.iter().map(|at| 0.5f64.powf(halvings(*at))).sum();
                prop_assert!((damper.penalty(now) - naive).abs() < 1e-9 * naive.max(1.0));
            }
        }

        #[test]
        fn it_holds_no_longer_than_the_longest_time_and_ends_at_reuse(
            gaps in proptest::collection::vec(0u64..100_000, 1..60),
            suppress in 1.1f64..20.0,
            reuse in 0.1f64..1.0,
            most in 60u64..2_000,
        ) {
            let damping = Damping { suppress, reuse, most: Duration::from_secs(most), ..DAMPING };
            let (mut damper, mut now) = (Damper::new(damping), start());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let held = damper.suppressed_until(now);
                flap(&mut damper, now);
                let until = damper.suppressed_until(now);
                prop_assert!(damper.penalty(now) <= damping.ceiling() * (1.0 + 1e-9));
                prop_assert!(until >= held, "another flap never shortens it");
                if let Some(until) = until {
                    prop_assert!(until - now <= damping.most);
                    prop_assert!((damper.penalty(until) - reuse).abs() < 1e-6 * reuse.max(1.0));
                } else {
                    prop_assert!(damper.penalty(now) < suppress);
                }
            }
        }
    }
}
