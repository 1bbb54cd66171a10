//! The announcement core of one group.
//!
//! ```text
//!                score < degraded.below              score < withdrawn.below, or 0, or a fault
//!   Announced ─────────────────────────► DePreferred ─────────────────────────► Withdrawn
//!      ▲ ▲                                 │    ▲                                  │
//!      │ └─────────────────────────────────┘    └──────────────────────────────────┘
//!      │         score ≥ degraded.above              score ≥ withdrawn.above, hold-down over
//!      └──── straight from Withdrawn where the score is beyond degraded.above, or nothing de-prefers
//! ```
//!
//! It starts Withdrawn and stays so until all first verdicts are known; then the lower bounds alone decide, as if the
//! group had been announced all along: a restart of the daemon takes nothing away. Later, a backend without a verdict
//! (a new one) moves nothing by itself: the state is left only when the score would allow it either way.

use std::{collections::VecDeque, time::Instant};

use proxima_health::RegionScore;
use proxima_types::{Announcement, Community, ReachState, RouteAttributes, Score};

use crate::{Bound, GroupConfig, Override, Reason, Transition, WhenDown, Withdrawn};

/// What a group is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The region's score; to be told on every change.
    Score(RegionScore),
    /// Whether something keeps this PoP from serving at all, such as a stuck data plane. It withdraws also where
    /// [`WhenDown::Stay`] is set; only the operator's order to announce outranks it.
    Fault(Option<String>),
    /// The operator's order.
    Override(Override),
}

/// Decides what is announced of one group.
#[derive(Debug)]
pub struct Group {
    config: GroupConfig,
    state: ReachState,
    by_health: ReachState,
    /// Why `by_health` is what it is; `None` before all first verdicts.
    health_reason: Option<Reason>,
    score: Option<RegionScore>,
    /// Whether all first verdicts were known once.
    settled: bool,
    /// The least time until health may leave Withdrawn.
    held_until: Option<Instant>,
    fault: Option<String>,
    order: Override,
    drain: Option<Drain>,
    transitions: VecDeque<Transition>,
}

/// A drain under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    /// GRACEFUL_SHUTDOWN is announced until then.
    Graceful(Instant),
    /// Withdrawn.
    Done,
}

impl Group {
    /// A group that announces nothing yet.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            state: ReachState::Withdrawn,
            by_health: ReachState::Withdrawn,
            health_reason: None,
            score: None,
            settled: false,
            held_until: None,
            fault: None,
            order: Override::Auto,
            drain: None,
            transitions: VecDeque::new(),
        }
    }

    /// The settings.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// The state.
    pub fn state(&self) -> ReachState {
        self.state
    }

    /// The state that health alone asks for.
    pub fn by_health(&self) -> ReachState {
        self.by_health
    }

    /// Why the state is what it is; `None` while first verdicts are awaited and nothing is ordered.
    pub fn reason(&self) -> Option<Reason> {
        match (self.order, &self.fault) {
            (Override::Auto, Some(fault)) => Some(Reason::Fault { fault: fault.clone() }),
            (Override::Auto, None) => self.health_reason.clone(),
            (order, _) => Some(Reason::Operator { order }),
        }
    }

    /// The operator's order in force.
    pub fn order(&self) -> Override {
        self.order
    }

    /// The latest score; `None` before the first.
    pub fn score(&self) -> Option<&RegionScore> {
        self.score.as_ref()
    }

    /// What keeps this PoP from serving at all.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whether all first verdicts were known once: from then on the state is health's.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// The end of the hold-down, while one holds the group withdrawn.
    pub fn held_until(&self) -> Option<Instant> {
        self.held_until
    }

    /// Whether a drain is under way or done.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Everything the peers should hold of this group, in the order of its prefixes.
    pub fn desired(&self) -> Vec<Announcement> {
        let Some(attributes) = self.attributes() else {
            return Vec::new();
        };
        let announcement = |&prefix| Announcement { prefix, attributes: attributes.clone() };
        self.config.prefixes.iter().map(announcement).collect()
    }

    /// Takes news.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let mut reason = None;
        match input {
            Input::Score(score) => self.score = Some(score),
            Input::Fault(fault) => self.fault = fault,
            Input::Override(order) => {
                self.order = order;
                self.drain = self.started_drain(now);
                reason = Some(Reason::Operator { order });
            }
        }
        self.decide(now, reason);
    }

    /// To be called when the time of [`Group::poll_timeout`] has come; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.decide(now, None);
    }

    /// When something is due without news: the end of a hold-down or of a drain's graceful time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let drain = match self.drain {
            Some(Drain::Graceful(until)) => Some(until),
            Some(Drain::Done) | None => None,
        };
        self.held_until.into_iter().chain(drain).min()
    }

    /// The next transition, in order. What changed is in [`Group::desired`] already; a drain that begins while
    /// de-preferred changes that without a transition.
    pub fn poll_output(&mut self) -> Option<Transition> {
        self.transitions.pop_front()
    }

    fn attributes(&self) -> Option<RouteAttributes> {
        let own = &self.config.attributes;
        let mut attributes = match self.state {
            ReachState::Withdrawn => return None,
            ReachState::Announced => own.clone(),
            ReachState::DePreferred => {
                self.config.degraded.as_ref().map_or(own, |degraded| &degraded.attributes).clone()
            }
        };
        if self.drain.is_some()
            && let Err(place) = attributes.communities.binary_search(&Community::GRACEFUL_SHUTDOWN)
        {
            attributes.communities.insert(place, Community::GRACEFUL_SHUTDOWN);
        }
        Some(attributes)
    }

    fn started_drain(&self, now: Instant) -> Option<Drain> {
        match self.order {
            Override::Drain { graceful_shutdown } if self.state != ReachState::Withdrawn => {
                Some(Drain::Graceful(now + graceful_shutdown))
            }
            Override::Drain { .. } => Some(Drain::Done),
            Override::Auto | Override::Announce | Override::Withdraw => None,
        }
    }

    fn decide(&mut self, now: Instant, order: Option<Reason>) {
        let health = self.decide_by_health(now);
        let drained = self.advance_drain(now);
        let to = match (self.order, self.drain) {
            (Override::Announce, _) => ReachState::Announced,
            (Override::Withdraw, _) | (_, Some(Drain::Done)) => ReachState::Withdrawn,
            (_, Some(Drain::Graceful(_))) => ReachState::DePreferred,
            (Override::Auto | Override::Drain { .. }, None) => self.by_health,
        };
        let from = std::mem::replace(&mut self.state, to);
        if from != to {
            let reason = order.or(health).or(drained).unwrap_or(Reason::Operator { order: self.order });
            let group = self.config.name.clone();
            self.transitions.push_back(Transition { group, from, to, reason, at: now });
        }
    }

    /// A drain is done when its graceful time is over, or when health has withdrawn the group anyway.
    fn advance_drain(&mut self, now: Instant) -> Option<Reason> {
        let Some(Drain::Graceful(until)) = self.drain else {
            return None;
        };
        if until > now && self.by_health != ReachState::Withdrawn {
            return None;
        }
        self.drain = Some(Drain::Done);
        match self.order {
            Override::Drain { graceful_shutdown } => Some(Reason::Drained { after: graceful_shutdown }),
            Override::Auto | Override::Announce | Override::Withdraw => None,
        }
    }

    /// Moves `by_health` and tells why, if it moves.
    fn decide_by_health(&mut self, now: Instant) -> Option<Reason> {
        self.held_until = self.held_until.filter(|until| *until > now);
        let (to, reason) = self.health_asks_for()?;
        debug_assert_ne!(self.by_health, to, "health_asks_for tells of changes only");
        self.by_health = to;
        self.health_reason = Some(reason.clone());
        if to == ReachState::Withdrawn {
            self.held_until = match self.config.when_down {
                WhenDown::Withdraw(withdrawn) => Some(now + withdrawn.hold_down),
                WhenDown::Stay => None,
            };
        }
        Some(reason)
    }

    /// Another state than `by_health`, if health asks for it.
    fn health_asks_for(&mut self) -> Option<(ReachState, Reason)> {
        let was = self.by_health;
        if let Some(fault) = &self.fault {
            let reason = Reason::Fault { fault: fault.clone() };
            return (was != ReachState::Withdrawn).then_some((ReachState::Withdrawn, reason));
        }
        let score = self.score.clone()?;
        if !self.settled {
            self.settled = !score.unknown;
            let to =
                self.state_from(ReachState::Announced, &score).map_or(ReachState::Announced, |(to, _)| to);
            let reason = Reason::FirstVerdicts { score };
            self.health_reason = self.settled.then(|| reason.clone());
            return (self.settled && to != was).then_some((to, reason));
        }
        if was == ReachState::Withdrawn && self.held_until.is_some() {
            return None;
        }
        let (to, bound) = self.state_from(was, &score)?;
        let reason = match bound {
            Some(bound) => Reason::Score { score, bound },
            None => Reason::FaultOver { score },
        };
        Some((to, reason))
    }

    /// The state that `score` leads to from `state` with the bound it crossed; `None` where it changes nothing. Falling
    /// takes the score at its best, rising as it is.
    fn state_from(&self, state: ReachState, score: &RegionScore) -> Option<(ReachState, Option<Bound>)> {
        let withdrawn = match self.config.when_down {
            WhenDown::Withdraw(withdrawn) => Some(withdrawn),
            WhenDown::Stay => None,
        };
        let fallen = withdrawn.and_then(|withdrawn| fallen_out(withdrawn, score.at_best));
        let degraded = self.config.degraded.as_ref();
        match state {
            ReachState::Withdrawn => {
                let risen = match withdrawn {
                    Some(withdrawn) => Some(risen_from(withdrawn, score.score)?),
                    None => None,
                };
                let to = match degraded {
                    Some(degraded) if score.score < degraded.above => ReachState::DePreferred,
                    Some(_) | None => ReachState::Announced,
                };
                Some((to, risen))
            }
            ReachState::Announced | ReachState::DePreferred if fallen.is_some() => {
                Some((ReachState::Withdrawn, fallen))
            }
            ReachState::Announced => {
                let degraded = degraded.filter(|degraded| score.at_best < degraded.below)?;
                Some((ReachState::DePreferred, Some(Bound::Below(degraded.below))))
            }
            ReachState::DePreferred => {
                let degraded = degraded.filter(|degraded| score.score >= degraded.above)?;
                Some((ReachState::Announced, Some(Bound::Above(degraded.above))))
            }
        }
    }
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

#[cfg(test)]
mod tests;
