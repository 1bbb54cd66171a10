//! What holds an announcement group where it is, and who else announces it.

use std::{fmt, net::Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::{Milliseconds, Timestamp};

/// What keeps a group from going where health asks it to go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "kebab-case")]
pub enum Hold {
    /// It was withdrawn by health not long ago: no improvement yet.
    HoldDown {
        /// Its end.
        until: Timestamp,
        /// The least time withdrawn, in milliseconds.
        least_ms: u64,
    },
    /// It flaps: no improvement yet.
    Damping {
        /// When the penalty will have fallen far enough, without another flap.
        until: Timestamp,
        /// The penalty when that was decided.
        penalty: f64,
        /// What it has to fall to.
        reuse: f64,
    },
    /// It was not announced for long: no withdrawal yet.
    MinUp {
        /// Its end.
        until: Timestamp,
        /// The least time announced, in milliseconds.
        least_ms: u64,
    },
    /// The guard: it has to be marked as leaving for some time before.
    Quiet {
        /// Its end.
        until: Timestamp,
        /// That time, in milliseconds.
        quiet_ms: u64,
    },
    /// The guard: too few others are seen. Ends when they are.
    Others {
        /// What is seen.
        evidence: Evidence,
    },
    /// Too many withdrawals over all groups.
    Cap {
        /// When there is room for one more.
        until: Timestamp,
        /// So many are allowed.
        most: u32,
        /// Within this time, in milliseconds.
        within_ms: u64,
    },
}

/// Who else is seen to announce a guarded group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Whether any observing session is established and has told all its routes. Without one nothing is concluded.
    pub observing: bool,
    /// The others, each once.
    pub others: Vec<Sighting>,
    /// How many of them will stay when this PoP leaves.
    pub counted: u32,
    /// How many have to.
    pub least: u32,
}

/// Another announcer, as a route tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Its router ID.
    pub origin: Ipv4Addr,
    /// Whether it says that it is about to leave.
    pub leaving: bool,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HoldDown { until, least_ms } => {
                write!(f, "the hold-down of {}, until {until:.0}", Milliseconds(*least_ms))
            }
            Self::Damping { until, penalty, reuse } => {
                write!(f, "damping: a penalty of {penalty:.2} has to fall to {reuse:.2}, until {until:.0}")
            }
            Self::MinUp { until, least_ms } => {
                write!(f, "the least time announced of {}, until {until:.0}", Milliseconds(*least_ms))
            }
            Self::Quiet { until, quiet_ms } => {
                write!(
                    f,
                    "the guard: marked as leaving for {} before, until {until:.0}",
                    Milliseconds(*quiet_ms)
                )
            }
            Self::Others { evidence } => write!(f, "the guard: {evidence}"),
            Self::Cap { until, most, within_ms } => {
                let within = Milliseconds(*within_ms);
                write!(f, "the cap of {most} withdrawals within {within}, until {until:.0}")
            }
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.observing {
            return f.write_str("nothing observes who else announces");
        }
        write!(f, "{} of {} other announcers", self.counted, self.least)?;
        for (n, Sighting { origin, leaving }) in self.others.iter().enumerate() {
            write!(f, "{}{origin}", if n == 0 { ": " } else { ", " })?;
            f.write_str(if *leaving { " (leaving)" } else { "" })?;
        }
        Ok(())
    }
}
