//! What comes out of the core: changes of a group's state with their reasons, and alarms.

use std::{
    fmt,
    time::{Duration, Instant},
};

use proxima_health::RegionScore;
use proxima_types::{GroupName, ReachState, Score, moment};
use serde::{Deserialize, Serialize};

use crate::{Cap, Evidence, Hold, Order};

/// What the driver is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A group's state has changed.
    Transition(Transition),
    /// Something a person should know of.
    Alarm(Alarm),
    /// It is over.
    AlarmOver(AlarmOver),
}

/// A change of a group's state.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The group.
    pub group: GroupName,
    /// The state before.
    pub from: ReachState,
    /// The state from now on; always another.
    pub to: ReachState,
    /// Why.
    pub reason: Reason,
    /// When it was decided.
    pub at: Instant,
}

/// Something that needs a person's attention. Of each kind a group has at most one at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// The group.
    pub group: GroupName,
    /// What.
    pub kind: AlarmKind,
    /// Since when.
    #[serde(with = "moment")]
    pub at: Instant,
}

/// The end of an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmOver {
    /// The alarm as it was raised.
    pub alarm: Alarm,
    /// When it ended.
    pub at: Instant,
}

/// What an alarm is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AlarmKind {
    /// Health asks to withdraw, but too few others announce: this PoP stays although it can't serve.
    LastAnnouncer {
        /// What is seen.
        evidence: Evidence,
    },
    /// A guarded group is withdrawn although too few others are seen: by an order or a fault of this PoP, or because nothing
    /// observes any more.
    LeftAlone {
        /// What is seen.
        evidence: Evidence,
    },
    /// Health asks to withdraw more than the cap allows.
    Capped {
        /// The cap.
        cap: Cap,
    },
}

/// Why a group's state changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reason {
    /// All first verdicts are known.
    FirstVerdicts {
        /// The score then.
        score: RegionScore,
        /// What had kept it from counting until now.
        held: Option<Hold>,
    },
    /// The score is beyond a bound.
    Score {
        /// The score.
        score: RegionScore,
        /// The bound.
        bound: Bound,
        /// The penalty for flaps, this one included; `None` where they are not damped.
        penalty: Option<f64>,
        /// What had kept it from counting until now.
        held: Option<Hold>,
    },
    /// Health asks to withdraw, and something keeps the group announced.
    Held {
        /// Why health asks.
        why: Box<Reason>,
        /// What keeps it.
        by: Hold,
    },
    /// Health has asked to withdraw for some time, and nothing keeps the group any more.
    Left {
        /// Why health asks.
        why: Box<Reason>,
        /// What kept it last.
        held: Option<Hold>,
        /// On whom it relies, where it has a guard.
        evidence: Option<Evidence>,
    },
    /// The guard has brought back what health had withdrawn.
    Returned {
        /// What is seen of others.
        evidence: Evidence,
        /// Why health would rather have it withdrawn.
        why: Option<Box<Reason>>,
    },
    /// This PoP can't serve, whatever its backends do.
    Fault {
        /// What is wrong.
        fault: String,
    },
    /// No probe has ended for so long that nothing is known.
    Silent {
        /// How long.
        silent: Duration,
        /// How long health is believed.
        limit: Duration,
    },
    /// A fault is over.
    FaultOver {
        /// The score now.
        score: RegionScore,
        /// What had kept it from counting until now.
        held: Option<Hold>,
    },
    /// The operator ordered it.
    Operator {
        /// The order.
        order: Order,
    },
    /// The operator's order has expired.
    Expired {
        /// The order.
        order: Order,
        /// Why health asks for what it now gets; `None` before all first verdicts.
        why: Option<Box<Reason>>,
    },
    /// The time of GRACEFUL_SHUTDOWN before the withdrawal is over.
    Drained {
        /// That time.
        after: Duration,
        /// The order.
        order: Order,
    },
    /// The configuration has changed.
    Reconfigured {
        /// The score; `None` before the first.
        score: Option<RegionScore>,
    },
    /// The group is no longer configured.
    Removed,
}

/// The bound that a score is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Bound {
    /// It fell below.
    Below(Score),
    /// It reached or passed.
    Above(Score),
    /// Nothing serves.
    Zero,
    /// None: what degrades the region is something else, which the score tells.
    Degraded,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstVerdicts { score, held } => {
                write!(f, "first verdicts known: score {score}{}", Until(held.as_ref()))
            }
            Self::Score { score, bound, penalty, held } => {
                write!(f, "score {bound}: {score}")?;
                if let Some(penalty) = penalty {
                    write!(f, ", penalty {penalty:.2}")?;
                }
                Until(held.as_ref()).fmt(f)
            }
            Self::Held { why, by } => write!(f, "{why}; not withdrawn: {by}"),
            Self::Left { why, held, evidence } => {
                write!(f, "{why}{}", Until(held.as_ref()))?;
                evidence.as_ref().map_or(Ok(()), |evidence| write!(f, "; {evidence}"))
            }
            Self::Returned { evidence, why } => {
                write!(f, "brought back by the guard: {evidence}")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, "; health: {why}"))
            }
            Self::Fault { fault } => f.write_str(fault),
            Self::Silent { silent, limit } => {
                let rounded = Duration::from_millis(silent.as_millis().try_into().unwrap_or(u64::MAX));
                write!(f, "no probe has ended for {rounded:?} (at most {limit:?})")
            }
            Self::FaultOver { score, held } => {
                write!(f, "able to serve again: score {score}{}", Until(held.as_ref()))
            }
            Self::Operator { order } => write!(f, "ordered by the operator: {order}"),
            Self::Expired { order, why } => {
                write!(f, "the order has expired: {order}")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, "; health: {why}"))
            }
            Self::Drained { after, order } => {
                write!(f, "drained: GRACEFUL_SHUTDOWN announced for {after:?}")?;
                order.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
            }
            Self::Reconfigured { score } => {
                f.write_str("the configuration has changed")?;
                score.as_ref().map_or(Ok(()), |score| write!(f, ": score {score}"))
            }
            Self::Removed => f.write_str("no longer configured"),
        }
    }
}

/// What held until now, if anything did.
struct Until<'a>(Option<&'a Hold>);

impl fmt::Display for Until<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hold| write!(f, "; held until now by {hold}"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(bound) => write!(f, "below {bound}"),
            Self::Above(bound) => write!(f, "not below {bound}"),
            Self::Zero => f.write_str("at zero"),
            Self::Degraded => f.write_str("in spite of which the region is degraded"),
        }
    }
}

impl fmt::Display for AlarmKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LastAnnouncer { evidence } => {
                write!(f, "the last announcer: it stays although its region can't serve ({evidence})")
            }
            Self::LeftAlone { evidence } => write!(f, "withdrawn with too few others left ({evidence})"),
            Self::Capped { cap } => write!(f, "not withdrawn, by {cap}"),
        }
    }
}
