//! What operators order for announcement groups, health notwithstanding.

use std::fmt;

use proxima_types::{GroupName, ReachState};
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What an order does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderVerb {
    /// Health decides again.
    Auto,
    /// Announced whatever the health.
    Announce,
    /// De-preferred with GRACEFUL_SHUTDOWN (RFC 8326) for the time that `[drain]` gives, then withdrawn.
    Drain,
    /// Withdrawn at once.
    Withdraw,
}

impl fmt::Display for OrderVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Announce => "announce",
            Self::Drain => "drain",
            Self::Withdraw => "withdraw",
        })
    }
}

/// Whose an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "kebab-case")]
pub enum By {
    /// Whoever was at the other end of the admin socket, as the kernel tells.
    Operator {
        /// The user; absent where the kernel does not tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// The process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pid: Option<u32>,
    },
    /// The daemon itself: it stops.
    Daemon,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator { uid: Some(uid), pid: Some(pid) } => write!(f, "uid {uid}, pid {pid}"),
            Self::Operator { uid: Some(uid), pid: None } => write!(f, "uid {uid}"),
            Self::Operator { uid: None, .. } => f.write_str("an operator"),
            Self::Daemon => f.write_str("the daemon"),
        }
    }
}

/// An order: what, whose, why, and until when. It ends with the process too: a daemon that begins anew goes by health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What it does.
    pub verb: OrderVerb,
    /// Whose it is.
    pub by: By,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was given.
    pub since: Timestamp,
    /// When it expires and health decides again; absent: with the next order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// `withdraw by uid 1000, pid 4711, until 2026-03-01T12:00:00Z: new kernel`.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.verb, self.by)?;
        if let Some(until) = self.until {
            write!(f, ", until {until:.0}")?;
        }
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// Order something for groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// What.
    pub verb: OrderVerb,
    /// For these; empty: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupName>,
    /// Why, for those who read the status and the events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long, in milliseconds, 1 s to [`OrderRequest::LONGEST_MS`]; absent: until the next order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_ms: Option<u64>,
    /// Only for those of the groups that are under such an order now; the others are left, and told of, as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_where: Option<OrderVerb>,
}

impl OrderRequest {
    /// The shortest time an order may be given for, in milliseconds.
    pub const SHORTEST_MS: u64 = 1000;
    /// The longest, 30 days.
    pub const LONGEST_MS: u64 = 30 * 24 * 3600 * 1000;
}

/// What an order brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The groups it was given for, sorted by name, as they stand now.
    pub groups: Vec<OrderedGroup>,
}

/// A group under an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderedGroup {
    /// The group.
    pub name: GroupName,
    /// Where it stands now.
    pub state: ReachState,
    /// The order in force; absent when health decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}
