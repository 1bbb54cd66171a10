//! Why: every decision's reason as data, with a line for people.

use std::fmt;

use proxima_types::{BackendId, Score};
use serde::{Deserialize, Serialize};

/// How a probe, or the standing connection, failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "kebab-case")]
pub enum ProbeFailure {
    /// The connect was refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed where an answer was due.
    Closed,
    /// No answer in time.
    Timeout {
        /// The time it had, in milliseconds.
        after_ms: u64,
    },
    /// The answer's status is not the expected one.
    Status {
        /// Got.
        status: u16,
        /// Expected.
        expected: u16,
    },
    /// The answer is not HTTP, or broken.
    Malformed {
        /// What is broken.
        detail: String,
    },
    /// There is an answer, and it is not what is asked for: a certificate, a body, a role, the app's own no.
    Unfit {
        /// How, with what is found and what is asked for.
        detail: String,
    },
    /// The network or the system refused.
    Io {
        /// Its words.
        error: String,
    },
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed"),
            Self::Timeout { after_ms } => write!(f, "no answer within {after_ms} ms"),
            Self::Status { status, expected } => write!(f, "status {status}, expected {expected}"),
            Self::Malformed { detail } => write!(f, "malformed answer: {detail}"),
            Self::Unfit { detail } => f.write_str(detail),
            Self::Io { error } => f.write_str(error),
        }
    }
}

/// Why a backend's verdict is what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum VerdictReason {
    /// Enough probes in a row passed.
    Rise {
        /// How many.
        passes: u32,
    },
    /// Enough probes in a row failed: soft evidence.
    Fall {
        /// How many.
        failures: u32,
        /// How the last one failed.
        last: ProbeFailure,
    },
    /// The standing connection broke or a connect was refused, and the confirming connect failed: hard evidence.
    Hard {
        /// How.
        evidence: ProbeFailure,
    },
    /// A notice says that it goes away: it is drained before.
    Leaving {
        /// How long it had yet, in seconds; 0 when the time had passed.
        within_s: u64,
    },
}

impl fmt::Display for VerdictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rise { passes } => write!(f, "{passes} {} passed", plural(*passes, "probe")),
            Self::Fall { failures, last } => {
                write!(f, "{failures} {} failed, the last: {last}", plural(*failures, "probe"))
            }
            Self::Hard { evidence } => write!(f, "{evidence} (hard evidence)"),
            Self::Leaving { within_s: 0 } => f.write_str("announced to have gone away by now"),
            Self::Leaving { within_s } => write!(f, "announced to go away within {within_s} s"),
        }
    }
}

/// Why an announcement group stands where it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum GroupReason {
    /// The first verdicts of everything that gates the group are known.
    FirstVerdicts {
        /// The score then.
        score: Score,
    },
    /// Nothing of the region's capacity is up.
    NothingUp,
    /// This PoP can't serve, whatever its backends do.
    Fault {
        /// What is wrong.
        fault: String,
    },
    /// That fault is over.
    FaultOver {
        /// The score now.
        score: Score,
    },
    /// The operator has ended the drain.
    Undrained,
    /// Some backends of a gating service have no verdict yet; nothing is announced before.
    AwaitingVerdicts {
        /// These.
        undecided: Vec<BackendId>,
    },
    /// The score fell below a threshold, or is below it at the first verdicts.
    ScoreBelow {
        /// The score.
        score: Score,
        /// The threshold.
        threshold: Score,
    },
    /// The score rose above a threshold, or no threshold holds it down at the first verdicts.
    ScoreAbove {
        /// The score.
        score: Score,
        /// The threshold.
        threshold: Score,
    },
    /// An operator drained the PoP.
    Drain {
        /// Why.
        reason: Option<String>,
    },
    /// The daemon stops.
    Stopping,
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
            Self::FirstVerdicts { score } => write!(f, "the first verdicts are known, score {score}"),
            Self::NothingUp => f.write_str("nothing is up"),
            Self::Fault { fault } => f.write_str(fault),
            Self::FaultOver { score } => write!(f, "able to serve again, score {score}"),
            Self::Undrained => f.write_str("undrained"),
            Self::ScoreBelow { score, threshold } => write!(f, "score {score} is below {threshold}"),
            Self::ScoreAbove { score, threshold } => write!(f, "score {score} is at or above {threshold}"),
            Self::Drain { reason: Some(reason) } => write!(f, "drained: {reason}"),
            Self::Drain { reason: None } => f.write_str("drained"),
            Self::Stopping => f.write_str("the daemon stops"),
        }
    }
}

/// Why a BGP session changed its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum SessionReason {
    /// The peer told us to end (RFC 4271 §4.5).
    NotificationReceived {
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
        /// What they mean.
        meaning: String,
    },
    /// We told the peer to end.
    NotificationSent {
        /// Error code.
        code: u8,
        /// Error subcode.
        subcode: u8,
        /// What they mean.
        meaning: String,
    },
    /// The TCP connection could not be made.
    ConnectFailed {
        /// The system's words.
        error: String,
    },
    /// The TCP connection ended.
    ConnectionLost {
        /// The system's words; absent when the peer just closed it.
        error: Option<String>,
    },
    /// The TCP connection could not be made, or ended.
    Transport {
        /// The system's words.
        error: String,
    },
    /// The daemon or an operator stopped it.
    Stopped,
}

impl fmt::Display for SessionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotificationReceived { code, subcode, meaning } => {
                write!(f, "the peer sent NOTIFICATION {code}/{subcode}: {meaning}")
            }
            Self::NotificationSent { code, subcode, meaning } => {
                write!(f, "sent NOTIFICATION {code}/{subcode}: {meaning}")
            }
            Self::ConnectFailed { error } => write!(f, "can't connect: {error}"),
            Self::ConnectionLost { error: Some(error) } => write!(f, "connection lost: {error}"),
            Self::ConnectionLost { error: None } => f.write_str("the peer closed the connection"),
            Self::Transport { error } => f.write_str(error),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

pub(crate) fn plural(count: u32, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
