//! What the operator orders for a group.

use std::{
    fmt,
    time::{Duration, Instant},
};

use proxima_types::moment;
use serde::{Deserialize, Serialize};

/// What an order does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// An operator's order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Order {
    /// What it does.
    pub verb: Override,
    /// The operator's words.
    pub reason: Option<String>,
    /// When it expires: health decides again. `None`: with the next order.
    #[serde(with = "moment::option")]
    pub until: Option<Instant>,
}

impl From<Override> for Order {
    fn from(verb: Override) -> Self {
        Self { verb, ..Self::default() }
    }
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

/// `withdraw` or `withdraw (maintenance)`.
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verb.fmt(f)?;
        self.reason.as_ref().map_or(Ok(()), |reason| write!(f, " ({reason})"))
    }
}
