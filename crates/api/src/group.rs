//! Why an announcement group stands where it does.

use std::fmt;

use proxima_types::{BackendId, Score, ServiceName, UpCount};
use serde::{Deserialize, Serialize};

use crate::{Evidence, Hold, Milliseconds, Order, OrderVerb};

/// Why an announcement group stands where it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum GroupReason {
    /// Some backends of a gating service have no verdict yet; nothing is announced before.
    AwaitingVerdicts {
        /// These.
        undecided: Vec<BackendId>,
    },
    /// The first verdicts of everything that gates the group are known.
    FirstVerdicts {
        /// The score then.
        #[serde(flatten)]
        score: RegionScore,
        /// What had kept it from counting until now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Hold>,
    },
    /// Nothing of the region's capacity is up.
    NothingUp {
        /// The score.
        #[serde(flatten)]
        score: RegionScore,
        /// What a flap costs, this one included; absent where flaps are not damped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        penalty: Option<f64>,
    },
    /// The score fell below a threshold, or is below it at the first verdicts.
    ScoreBelow {
        /// The score.
        #[serde(flatten)]
        score: RegionScore,
        /// The threshold.
        threshold: Score,
        /// What a flap costs, this one included; absent where flaps are not damped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        penalty: Option<f64>,
        /// What had kept it from counting until now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Hold>,
    },
    /// The score rose above a threshold, or no threshold holds it down at the first verdicts.
    ScoreAbove {
        /// The score.
        #[serde(flatten)]
        score: RegionScore,
        /// The threshold.
        threshold: Score,
        /// What flaps have cost; absent where they are not damped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        penalty: Option<f64>,
        /// What had kept it from counting until now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Hold>,
    },
    /// The region is worse than its score says: an objective missed, or a backend down that every region uses.
    Degraded {
        /// The score, with what degrades the region.
        #[serde(flatten)]
        score: RegionScore,
        /// What a flap costs, this one included; absent where flaps are not damped.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        penalty: Option<f64>,
    },
    /// Health asks to withdraw, and something keeps the group announced.
    Held {
        /// Why health asks.
        why: Box<GroupReason>,
        /// What keeps it.
        by: Hold,
    },
    /// Health has asked to withdraw for some time, and nothing keeps the group any more.
    Left {
        /// Why health asks.
        why: Box<GroupReason>,
        /// What kept it last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Hold>,
        /// On whom it relies, where it has a guard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<Evidence>,
    },
    /// The guard has brought back what health had withdrawn.
    Returned {
        /// What is seen of others.
        evidence: Evidence,
        /// Why health would rather have it withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Box<GroupReason>>,
    },
    /// This PoP can't serve, whatever its backends do.
    Fault {
        /// What is wrong.
        fault: String,
    },
    /// That fault is over.
    FaultOver {
        /// The score now.
        #[serde(flatten)]
        score: RegionScore,
        /// What had kept it from counting until now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held: Option<Hold>,
    },
    /// No probe has ended for so long that nothing is known.
    Silent {
        /// How long, in milliseconds.
        silent_ms: u64,
        /// How long health is believed, in milliseconds.
        limit_ms: u64,
    },
    /// An operator ordered it.
    Operator {
        /// The order.
        order: Order,
    },
    /// An operator's order has expired.
    Expired {
        /// The order.
        order: Order,
        /// Why health asks for what it now gets; absent before all first verdicts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Box<GroupReason>>,
    },
    /// GRACEFUL_SHUTDOWN was announced for its time: now it is withdrawn.
    Drained {
        /// The order.
        order: Order,
        /// That time, in milliseconds.
        after_ms: u64,
    },
    /// The daemon stops.
    Stopping,
    /// The configuration has changed.
    Reconfigured {
        /// The score; absent before the first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        score: Option<RegionScore>,
    },
    /// The group is no longer configured.
    Removed,
}

impl GroupReason {
    /// Whether a person wanted it so.
    pub fn is_wanted(&self) -> bool {
        match self {
            Self::Operator { .. }
            | Self::Drained { .. }
            | Self::Stopping
            | Self::Reconfigured { .. }
            | Self::Removed => true,
            Self::AwaitingVerdicts { .. }
            | Self::FirstVerdicts { .. }
            | Self::NothingUp { .. }
            | Self::ScoreBelow { .. }
            | Self::ScoreAbove { .. }
            | Self::Degraded { .. }
            | Self::Held { .. }
            | Self::Left { .. }
            | Self::Returned { .. }
            | Self::Fault { .. }
            | Self::FaultOver { .. }
            | Self::Silent { .. }
            | Self::Expired { .. } => false,
        }
    }
}

/// The healthy share of a region's capacity, and what makes it up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegionScore {
    /// The least of the services'.
    pub score: Score,
    /// Service by service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceScore>,
    /// What can de-prefer a group whatever the score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degradation>,
}

impl From<Score> for RegionScore {
    fn from(score: Score) -> Self {
        Self { score, services: Vec::new(), degraded: Vec::new() }
    }
}

/// The healthy share of capacity behind one service, in the own region.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceScore {
    /// The service.
    pub service: ServiceName,
    /// Its healthy share.
    pub score: Score,
    /// How many backends are up.
    #[serde(flatten)]
    pub count: UpCount,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What makes a region worse than its score says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Degradation {
    /// The first byte of a service's answers takes too long.
    FirstByte {
        /// The service.
        service: ServiceName,
        /// What 95 of 100 requests don't exceed, in milliseconds; absent when too many had no first byte at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        p95_ms: Option<u64>,
        /// The most it may be, in milliseconds.
        limit_ms: u64,
        /// Of so many requests.
        requests: u64,
        /// And of probes, which stood in for so many more.
        #[serde(default, skip_serializing_if = "is_zero")]
        probes: u64,
    },
    /// Too many requests of a service fail.
    Errors {
        /// The service.
        service: ServiceName,
        /// The share that fails, 0 to 1.
        rate: f64,
        /// The most it may be.
        limit: f64,
        /// Of so many requests.
        requests: u64,
        /// And of probes, which stood in for so many more.
        #[serde(default, skip_serializing_if = "is_zero")]
        probes: u64,
    },
    /// A backend that every region uses is down.
    Shared {
        /// It.
        backend: BackendId,
    },
}

impl fmt::Display for GroupReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwaitingVerdicts { undecided } => match undecided.as_slice() {
                [] => f.write_str("awaiting the first verdicts"),
                [one] => write!(f, "awaiting the first verdict on {one}"),
                [first, rest @ ..] => {
                    write!(f, "awaiting the first verdicts on {first} and {} more", rest.len())
                }
            },
            Self::FirstVerdicts { score, held } => {
                write!(f, "the first verdicts are known, score {score}{}", Until(held.as_ref()))
            }
            Self::NothingUp { score, penalty } => {
                write!(f, "nothing is up{}{}", Parts(score), Penalty(*penalty))
            }
            Self::ScoreBelow { score, threshold, penalty, held } => {
                let share = score.score;
                write!(f, "score {share} is below {threshold}{}", Parts(score))?;
                write!(f, "{}{}", Penalty(*penalty), Until(held.as_ref()))
            }
            Self::ScoreAbove { score, threshold, penalty, held } => {
                let share = score.score;
                write!(f, "score {share} is at or above {threshold}{}", Parts(score))?;
                write!(f, "{}{}", Penalty(*penalty), Until(held.as_ref()))
            }
            Self::Degraded { score, penalty } => {
                write!(f, "degraded, although the score is {score}{}", Penalty(*penalty))
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
            Self::FaultOver { score, held } => {
                write!(f, "able to serve again, score {score}{}", Until(held.as_ref()))
            }
            Self::Silent { silent_ms, limit_ms } => {
                let (silent, limit) = (Milliseconds(*silent_ms), Milliseconds(*limit_ms));
                write!(f, "no probe has ended for {silent}, and health is believed for {limit}")
            }
            Self::Operator { order } if order.verb == OrderVerb::Auto => {
                write!(f, "left to health: {order}")
            }
            Self::Operator { order } => write!(f, "ordered: {order}"),
            Self::Expired { order, why } => {
                write!(f, "the order has expired: {order}")?;
                why.as_ref().map_or(Ok(()), |why| write!(f, "; health: {why}"))
            }
            Self::Drained { order, after_ms } => {
                write!(f, "drained for {}: {order}", Milliseconds(*after_ms))
            }
            Self::Stopping => f.write_str("the daemon stops"),
            Self::Reconfigured { score: None } => f.write_str("the configuration has changed"),
            Self::Reconfigured { score: Some(score) } => {
                write!(f, "the configuration has changed, score {score}")
            }
            Self::Removed => f.write_str("no longer configured"),
        }
    }
}

/// `0.50 (web: 1 of 2 up)`.
impl fmt::Display for RegionScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.score, Parts(self))
    }
}

/// What makes up a score, in parentheses; nothing where that is not told.
struct Parts<'a>(&'a RegionScore);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.0.services.iter().map(ToString::to_string);
        let degraded = self.0.degraded.iter().map(|by| format!("degraded: {by}"));
        let parts: Vec<String> = services.chain(degraded).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " ({})", parts.join("; ")) }
    }
}

struct Penalty(Option<f64>);

impl fmt::Display for Penalty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |penalty| write!(f, ", penalty {penalty:.2}"))
    }
}

/// What held until now, if anything did.
struct Until<'a>(Option<&'a Hold>);

impl fmt::Display for Until<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |hold| write!(f, "; held until now by {hold}"))
    }
}

impl fmt::Display for ServiceScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service, self.count)
    }
}

impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstByte { service, p95_ms: Some(p95), limit_ms, requests, probes } => {
                let of = Of { requests, probes };
                write!(f, "{service}: p95 to first byte {p95} ms of {of}, {limit_ms} ms allowed")
            }
            Self::FirstByte { service, p95_ms: None, limit_ms, requests, probes } => {
                let of = Of { requests, probes };
                write!(f, "{service}: more than 5 % of {of} had no first byte, {limit_ms} ms allowed")
            }
            Self::Errors { service, rate, limit, requests, probes } => {
                let (rate, limit, of) = (100.0 * rate, 100.0 * limit, Of { requests, probes });
                write!(f, "{service}: {rate:.1} % of {of} failed, {limit:.1} % allowed")
            }
            Self::Shared { backend } => write!(f, "shared backend {backend} is down"),
        }
    }
}

/// What a figure was taken of.
struct Of<'a> {
    requests: &'a u64,
    probes: &'a u64,
}

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, probes } = self;
        match (requests, probes) {
            (_, 0) => write!(f, "{requests} requests"),
            (0, _) => write!(f, "{probes} probes"),
            _ => write!(f, "{requests} requests and {probes} probes"),
        }
    }
}
