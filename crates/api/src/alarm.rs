//! What needs a person's attention, until it is over.

use std::fmt;

use proxima_types::GroupName;
use serde::{Deserialize, Serialize};

use crate::{Evidence, Milliseconds, Timestamp};

/// An alarm that is on. Of each kind a group has at most one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// The group.
    pub group: GroupName,
    /// What.
    #[serde(flatten)]
    pub kind: AlarmKind,
    /// Since when.
    pub since: Timestamp,
}

/// What an alarm is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "alarm", rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Health asks to withdraw, but too few others announce: this PoP stays although it can't serve.
    LastAnnouncer {
        /// What is seen of others.
        evidence: Evidence,
    },
    /// An order, or a fault of this PoP, has withdrawn a guarded group although too few others announce.
    LeftAlone {
        /// What is seen of others.
        evidence: Evidence,
    },
    /// Health asks to withdraw more groups than `[limits]` allows.
    Capped {
        /// So many are allowed.
        most: u32,
        /// Within this time, in milliseconds.
        within_ms: u64,
    },
}

impl AlarmKind {
    /// The names of all kinds as in JSON.
    pub const NAMES: [&'static str; 3] = ["last-announcer", "left-alone", "capped"];

    /// The kind's name as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LastAnnouncer { .. } => Self::NAMES[0],
            Self::LeftAlone { .. } => Self::NAMES[1],
            Self::Capped { .. } => Self::NAMES[2],
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
            Self::Capped { most, within_ms } => {
                write!(f, "not withdrawn, by the cap of {most} within {}", Milliseconds(*within_ms))
            }
        }
    }
}
