//! Changes of a group's state and their reasons.

use std::{fmt, time::Duration, time::Instant};

use proxima_health::RegionScore;
use proxima_types::{GroupName, ReachState, Score};

/// What the operator orders for a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Override {
    /// Health decides.
    #[default]
    Auto,
    /// Announced whatever the health.
    Announce,
    /// De-preferred with the GRACEFUL_SHUTDOWN community (RFC 8326) for a time, then withdrawn until the next order.
    Drain {
        /// How long the community is announced before the withdrawal.
        graceful_shutdown: Duration,
    },
    /// Withdrawn whatever the health.
    Withdraw,
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Announce => "announce",
            Self::Drain { .. } => "drain",
            Self::Withdraw => "withdraw",
        })
    }
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

/// Why a group's state changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// All first verdicts are known.
    FirstVerdicts {
        /// The score then.
        score: RegionScore,
    },
    /// The score crossed a bound, or the hold-down ended with the score beyond it.
    Score {
        /// The score.
        score: RegionScore,
        /// The bound.
        bound: Bound,
    },
    /// This PoP can't serve, whatever its backends do.
    Fault {
        /// What is wrong.
        fault: String,
    },
    /// That fault is over.
    FaultOver {
        /// The score now.
        score: RegionScore,
    },
    /// The operator ordered it.
    Operator {
        /// The order.
        order: Override,
    },
    /// The time of GRACEFUL_SHUTDOWN before the withdrawal is over.
    Drained {
        /// That time.
        after: Duration,
    },
}

/// The bound that a score crossed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// It fell below.
    Below(Score),
    /// It reached or passed.
    Above(Score),
    /// Nothing serves.
    Zero,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstVerdicts { score } => write!(f, "first verdicts known: score {score}"),
            Self::Score { score, bound } => write!(f, "score {bound}: {score}"),
            Self::Fault { fault } => f.write_str(fault),
            Self::FaultOver { score } => write!(f, "able to serve again: score {score}"),
            Self::Operator { order } => write!(f, "ordered by the operator: {order}"),
            Self::Drained { after } => write!(f, "drained: GRACEFUL_SHUTDOWN announced for {after:?}"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(bound) => write!(f, "below {bound}"),
            Self::Above(bound) => write!(f, "not below {bound}"),
            Self::Zero => f.write_str("at zero"),
        }
    }
}
