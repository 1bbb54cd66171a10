//! What holds a group where it is.

use std::{
    fmt,
    time::{Duration, Instant},
};

use proxima_types::moment;
use serde::{Deserialize, Serialize};

use crate::{Cap, Evidence};

/// What keeps a group from going where health asks it to go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Hold {
    /// It was withdrawn by health not long ago: no improvement yet.
    HoldDown {
        /// Its end.
        #[serde(with = "moment")]
        until: Instant,
        /// The least time withdrawn.
        least: Duration,
    },
    /// It flaps: no improvement yet.
    Damping {
        /// When the penalty has fallen to `reuse`, without another flap.
        #[serde(with = "moment")]
        until: Instant,
        /// The penalty at the decision.
        penalty: f64,
        /// What it has to fall to.
        reuse: f64,
    },
    /// It was not announced for long: no withdrawal yet.
    MinUp {
        /// Its end.
        #[serde(with = "moment")]
        until: Instant,
        /// The least time announced.
        least: Duration,
    },
    /// The guard: it has to be marked as leaving for some time before.
    Quiet {
        /// Its end.
        #[serde(with = "moment")]
        until: Instant,
        /// That time.
        quiet: Duration,
    },
    /// The guard: too few others are seen. Ends when they are.
    Others {
        /// What is seen.
        evidence: Evidence,
    },
    /// Too many withdrawals over all groups.
    Cap {
        /// When there is room for one more.
        #[serde(with = "moment")]
        until: Instant,
        /// The cap.
        cap: Cap,
    },
}

impl Hold {
    /// When it ends by itself; `None` where that takes others.
    pub fn until(&self) -> Option<Instant> {
        match self {
            Self::HoldDown { until, .. }
            | Self::Damping { until, .. }
            | Self::MinUp { until, .. }
            | Self::Quiet { until, .. }
            | Self::Cap { until, .. } => Some(*until),
            Self::Others { .. } => None,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HoldDown { least, .. } => write!(f, "hold-down of {least:?}"),
            Self::Damping { penalty, reuse, .. } => {
                write!(f, "damping: a penalty of {penalty:.2} has to fall to {reuse:.2}")
            }
            Self::MinUp { least, .. } => write!(f, "the least time announced of {least:?}"),
            Self::Quiet { quiet, .. } => write!(f, "the guard: marked as leaving for {quiet:?} before"),
            Self::Others { evidence } => write!(f, "the guard: {evidence}"),
            Self::Cap { cap, .. } => cap.fmt(f),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cap of {} withdrawals within {:?}", self.most, self.within)
    }
}
