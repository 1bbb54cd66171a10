//! What health alone asks for, of one group.
//!
//! ```text
//!                score < degraded.below              score < withdrawn.below, or 0, a fault, or silence
//!   Announced ─────────────────────────► DePreferred ─────────────────────────► Withdrawn
//!      ▲ ▲                                 │    ▲                                  │
//!      │ └─────────────────────────────────┘    └──────────────────────────────────┘
//!      │         score ≥ degraded.above              score ≥ withdrawn.above
//!      └──── straight from Withdrawn where the score is beyond degraded.above, or nothing de-prefers
//! ```
//!
//! It starts Withdrawn and stays so until all first verdicts are known; then the lower bounds alone decide, as if the
//! group had been announced all along: a restart of the daemon takes nothing away. Later, a backend without a verdict
//! (a new one) moves nothing by itself: the state is left only when the score would allow it either way. What degrades the
//! region without a part in its score (an objective missed, a shared backend down) de-prefers and never withdraws.
//!
//! Worsening is never held back; what is better waits for the end of the hold-down and of damping. When no probe has ended
//! for too long (the prober is stuck, or the host was frozen) what is known is forgotten, and all begins as at a start.
//! Where none has ever ended, and none is waited for any more, nothing is known either: the group is not announced.

use std::time::{Duration, Instant};

use proxima_health::RegionScore;
use proxima_types::{ReachState, Score, moment};
use serde::{Deserialize, Serialize};

use crate::{Bound, Damper, GroupConfig, Hold, Reason, WhenDown, Withdrawn};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Wish {
    state: ReachState,
    /// Why it is what it is; `None` before all first verdicts.
    reason: Option<Reason>,
    score: Option<RegionScore>,
    /// Whether all first verdicts were known since the start, or since the last silence.
    known: bool,
    /// Whether the state follows from them: what they asked for at first is no longer held back.
    settled: bool,
    hold_down: Option<Hold>,
    damper: Option<Damper>,
    /// The end of damping, as of the last decision.
    #[serde(with = "moment::option")]
    damped_until: Option<Instant>,
    /// What keeps it from being better than it is.
    blocked: Option<Hold>,
    fault: Option<String>,
    /// The newest evidence.
    #[serde(with = "moment::option")]
    checked: Option<Instant>,
    /// While no evidence is new enough: that, as a reason.
    silence: Option<Reason>,
    /// No probe of any backend has ever ended, and none is waited for any more.
    blind: bool,
}

impl Wish {
    pub(crate) fn new(config: &GroupConfig) -> Self {
        Self {
            state: ReachState::Withdrawn,
            reason: None,
            score: None,
            known: false,
            settled: false,
            hold_down: None,
            damper: config.damping.map(Damper::new),
            damped_until: None,
            blocked: None,
            fault: None,
            checked: None,
            silence: None,
            blind: false,
        }
    }

    pub(crate) fn state(&self) -> ReachState {
        self.state
    }

    /// Why it is what it is; `None` before all first verdicts. A fault, and silence, go before what withdrew it earlier.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let fault = self.fault.clone().map(|fault| Reason::Fault { fault });
        fault.or_else(|| self.silence.clone()).or_else(|| self.reason.clone())
    }

    pub(crate) fn score(&self) -> Option<&RegionScore> {
        self.score.as_ref()
    }

    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Whether it is withdrawn by what is known of backends, rather than for want of knowledge or by a fault.
    pub(crate) fn asks_to_withdraw(&self) -> bool {
        self.state == ReachState::Withdrawn && self.known && self.fault.is_none() && self.silence.is_none()
    }

    pub(crate) fn penalty(&self, now: Instant) -> Option<f64> {
        self.damper.as_ref().map(|damper| damper.penalty(now))
    }

    /// What keeps it, or would keep it, from being better.
    pub(crate) fn held_by(&self) -> Option<&Hold> {
        self.blocked.as_ref().or(self.hold_down.as_ref())
    }

    pub(crate) fn see_score(&mut self, score: RegionScore) {
        self.score = Some(score);
    }

    pub(crate) fn see_fault(&mut self, fault: Option<String>) {
        self.fault = fault;
    }

    /// Takes the time of the newest evidence. What silence had made forgotten stays so, and silence stays the reason until there
    /// are new verdicts.
    pub(crate) fn see_checked(&mut self, now: Instant, at: Instant, limit: Option<Duration>) {
        self.checked = self.checked.max(Some(at.min(now)));
        if self.silence.is_some() && !self.is_stale(now, limit) {
            self.reason = self.silence.take();
        }
    }

    /// Whether the newest evidence is too old to be believed.
    fn is_stale(&self, now: Instant, limit: Option<Duration>) -> bool {
        self.checked.zip(limit).is_some_and(|(at, limit)| at + limit <= now)
    }

    /// Forgets what is known if no probe has ended for too long.
    pub(crate) fn notice_silence(&mut self, now: Instant, config: &GroupConfig) {
        let Some((limit, due)) = config.dead_man.zip(self.silent_at(config)) else { return };
        if now >= due {
            let since = self.checked.unwrap_or(now);
            let silent = now.saturating_duration_since(since).max(limit);
            self.silence = Some(Reason::Silent { silent, limit });
            self.known = false;
            self.settled = false;
            self.score = None;
        }
    }

    /// When it falls silent, without evidence.
    fn silent_at(&self, config: &GroupConfig) -> Option<Instant> {
        let believed = self.known && self.silence.is_none();
        believed.then_some(self.checked? + config.dead_man?)
    }

    /// The group is withdrawn by health from now on.
    pub(crate) fn begin_hold_down(&mut self, now: Instant, config: &GroupConfig) {
        self.hold_down = match config.when_down {
            WhenDown::Withdraw(Withdrawn { hold_down, .. }) if !hold_down.is_zero() => {
                Some(Hold::HoldDown { until: now + hold_down, least: hold_down })
            }
            WhenDown::Withdraw(_) | WhenDown::Stay => None,
        };
    }

    pub(crate) fn reconfigure(&mut self, now: Instant, config: &GroupConfig) {
        self.damper = match (self.damper.take(), config.damping) {
            (Some(mut damper), Some(damping)) => {
                damper.reconfigure(now, damping);
                Some(damper)
            }
            (None, Some(damping)) => Some(Damper::new(damping)),
            (_, None) => None,
        };
        let by_score = self.fault.is_none() && self.silence.is_none();
        if config.when_down == WhenDown::Stay && self.state == ReachState::Withdrawn && by_score {
            // What health no longer does is not held on to either.
            self.hold_down = None;
            self.damper = config.damping.map(Damper::new);
        }
    }

    /// When something is due without news.
    pub(crate) fn poll_timeout(&self, config: &GroupConfig) -> Option<Instant> {
        let held = self.hold_down.as_ref().and_then(Hold::until);
        held.into_iter().chain(self.damped_until).chain(self.silent_at(config)).min()
    }

    /// Moves on if health asks for another state and nothing holds it, and tells why.
    pub(crate) fn decide(&mut self, now: Instant, config: &GroupConfig) -> Option<Reason> {
        self.hold_down = self.hold_down.take().filter(|hold| hold.until() > Some(now));
        self.damped_until = self.damper.as_ref().and_then(|damper| damper.suppressed_until(now));
        self.forget_fault(now, config);
        let Some((to, because)) = self.asks_for(now, config) else {
            self.blocked = None;
            return None;
        };
        let better = rank(to) > rank(self.state);
        if better && let Some(hold) = self.hold_on_improvement(now) {
            self.blocked = Some(hold);
            // It was silent once; that it is not any more, and what is known by now, is what counts.
            if matches!((&self.reason, because), (Some(Reason::Silent { .. }), Because::FirstVerdicts)) {
                self.reason = self.told(now, because, None);
            }
            return None;
        }
        let held = self.blocked.take();
        if let Some(damper) = &mut self.damper {
            if better {
                damper.improved();
            } else {
                damper.worsened(now);
            }
            self.damped_until = damper.suppressed_until(now);
        }
        if matches!(because, Because::FirstVerdicts) {
            self.settled = true;
        }
        self.state = to;
        self.reason = self.told(now, because, held);
        self.reason.clone()
    }

    /// A fault that is over is no longer why it is withdrawn: the score may be, by now.
    fn forget_fault(&mut self, now: Instant, config: &GroupConfig) {
        if self.fault.is_some() || !self.settled || !matches!(self.reason, Some(Reason::Fault { .. })) {
            return;
        }
        let Some(score) = &self.score else { return };
        let fallen = match config.when_down {
            WhenDown::Withdraw(withdrawn) => fallen_out(withdrawn, score.at_best),
            WhenDown::Stay => None,
        };
        self.reason = self.told(now, fallen.map_or(Because::NoBound, Because::Bound), None);
    }

    /// Another state than the present one, if health asks for it.
    fn asks_for(&mut self, now: Instant, config: &GroupConfig) -> Option<(ReachState, Because)> {
        let state = self.state;
        let withdrawn =
            move |because| (state != ReachState::Withdrawn).then_some((ReachState::Withdrawn, because));
        if self.fault.is_some() {
            return withdrawn(Because::Fault);
        }
        if self.silence.is_some() {
            return withdrawn(Because::Silence);
        }
        if self.is_blind(config) {
            return withdrawn(Because::Blind);
        }
        let score = self.score.as_ref()?;
        if self.settled {
            let (to, bound) = state_from(self.state, score, config)?;
            return Some((to, bound.map_or(Because::NoBound, Because::Bound)));
        }
        if score.unknown || self.is_stale(now, config.dead_man) {
            return None;
        }
        self.known = true;
        self.checked.get_or_insert(now);
        let from_above = state_from(ReachState::Announced, score, config);
        let to = from_above.map_or(ReachState::Announced, |(to, _)| to);
        if to != self.state {
            return Some((to, Because::FirstVerdicts));
        }
        self.settled = true;
        self.reason = self.told(now, Because::FirstVerdicts, None);
        None
    }

    /// Whether nothing has checked any backend for too long, from the start on. That is as silence is, but no first verdicts are
    /// waited for: what can't be checked at all is not to keep other groups from being announced.
    fn is_blind(&mut self, config: &GroupConfig) -> bool {
        let Some(limit) = config.dead_man else { return false };
        let blind = self.score.as_ref().is_some_and(|score| {
            let mut gating = score.services.iter().filter(|service| service.count.backends > 0).peekable();
            gating.peek().is_some() && gating.all(|service| service.count.unchecked == service.count.backends)
        });
        if blind != std::mem::replace(&mut self.blind, blind) {
            (self.known, self.settled) = (false, blind);
            self.reason = blind.then_some(Reason::Silent { silent: limit, limit });
        }
        blind
    }

    fn hold_on_improvement(&self, now: Instant) -> Option<Hold> {
        let damping = self.damper.as_ref().and_then(|damper| {
            let (penalty, reuse) = (damper.penalty(now), damper.damping().reuse);
            damper.suppressed_until(now).map(|until| Hold::Damping { until, penalty, reuse })
        });
        self.hold_down.clone().into_iter().chain(damping).max_by_key(Hold::until)
    }

    fn told(&self, now: Instant, because: Because, held: Option<Hold>) -> Option<Reason> {
        let score = || self.score.clone();
        Some(match because {
            Because::Fault => Reason::Fault { fault: self.fault.clone()? },
            Because::Silence => self.silence.clone()?,
            Because::Blind => self.reason.clone()?,
            Because::FirstVerdicts => Reason::FirstVerdicts { score: score()?, held },
            Because::Bound(bound) => {
                Reason::Score { score: score()?, bound, penalty: self.penalty(now), held }
            }
            Because::NoBound => match self.reason {
                Some(Reason::Fault { .. } | Reason::FaultOver { .. }) => {
                    Reason::FaultOver { score: score()?, held }
                }
                _ => Reason::Reconfigured { score: score() },
            },
        })
    }
}

/// Why health asks for another state.
#[derive(Debug, Clone, Copy)]
enum Because {
    Fault,
    Silence,
    Blind,
    FirstVerdicts,
    Bound(Bound),
    /// No bound has to be crossed for it: what held the state is gone.
    NoBound,
}

fn rank(state: ReachState) -> u8 {
    match state {
        ReachState::Withdrawn => 0,
        ReachState::DePreferred => 1,
        ReachState::Announced => 2,
    }
}

/// The state that `score` leads to from `state` with the bound it crossed; `None` where it changes nothing. Falling
/// takes the score at its best, rising as it is.
fn state_from(
    state: ReachState,
    score: &RegionScore,
    config: &GroupConfig,
) -> Option<(ReachState, Option<Bound>)> {
    let withdrawn = match config.when_down {
        WhenDown::Withdraw(withdrawn) => Some(withdrawn),
        WhenDown::Stay => None,
    };
    let fallen = withdrawn.and_then(|withdrawn| fallen_out(withdrawn, score.at_best));
    let degraded = config.degraded.as_ref();
    match state {
        ReachState::Withdrawn => {
            let risen = match withdrawn {
                Some(withdrawn) => Some(risen_from(withdrawn, score.score)?),
                None => None,
            };
            let to = match degraded {
                Some(degraded) if score.score < degraded.above || is_degraded(score) => {
                    ReachState::DePreferred
                }
                Some(_) | None => ReachState::Announced,
            };
            Some((to, risen))
        }
        ReachState::Announced | ReachState::DePreferred if fallen.is_some() => {
            Some((ReachState::Withdrawn, fallen))
        }
        ReachState::Announced => {
            let degraded = degraded?;
            let bound = if score.at_best < degraded.below {
                Bound::Below(degraded.below)
            } else if is_degraded(score) {
                Bound::Degraded
            } else {
                return None;
            };
            Some((ReachState::DePreferred, Some(bound)))
        }
        ReachState::DePreferred => {
            let Some(degraded) = degraded else { return Some((ReachState::Announced, None)) };
            let risen = score.score >= degraded.above && !is_degraded(score);
            risen.then_some((ReachState::Announced, Some(Bound::Above(degraded.above))))
        }
    }
}

fn is_degraded(score: &RegionScore) -> bool {
    !score.degraded.is_empty()
}

fn fallen_out(withdrawn: Withdrawn, score: Score) -> Option<Bound> {
    if score == Score::ZERO {
        Some(Bound::Zero)
    } else {
        (score < withdrawn.below).then_some(Bound::Below(withdrawn.below))
    }
}

fn risen_from(withdrawn: Withdrawn, score: Score) -> Option<Bound> {
    (score >= withdrawn.above && score > Score::ZERO).then_some(Bound::Above(withdrawn.above))
}
