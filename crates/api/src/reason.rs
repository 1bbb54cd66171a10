//! Why: every decision's reason as data, with a line for people.

use std::fmt;

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
        /// What a Hard Reset (RFC 8538) was sent for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inside: Option<Inside>,
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
    /// The daemon left the peer without a word, as ordered.
    Left {
        /// What for.
        why: String,
    },
}

/// What a Hard Reset carries: the code and subcode of another NOTIFICATION (RFC 8538 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inside {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
}

impl Inside {
    /// Cease: administrative shutdown, peer de-configured, administrative reset, other configuration change (RFC 4486).
    fn is_ordered(self) -> bool {
        self.code == 6 && matches!(self.subcode, 2 | 3 | 4 | 6)
    }
}

impl SessionReason {
    /// Whether it went as someone here had ordered, by a command, a reload, a stop or a restart. A Hard Reset (RFC 8538) did if
    /// what it was sent for did.
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::NotificationSent { code, subcode, inside, .. } => {
                inside.unwrap_or(Inside { code: *code, subcode: *subcode }).is_ordered()
            }
            Self::Stopped | Self::Left { .. } => true,
            Self::NotificationReceived { .. }
            | Self::ConnectFailed { .. }
            | Self::ConnectionLost { .. }
            | Self::Transport { .. } => false,
        }
    }
}

impl fmt::Display for SessionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotificationReceived { code, subcode, meaning } => {
                write!(f, "the peer sent NOTIFICATION {code}/{subcode}: {meaning}")
            }
            Self::NotificationSent { code, subcode, meaning, inside: _ } => {
                write!(f, "sent NOTIFICATION {code}/{subcode}: {meaning}")
            }
            Self::ConnectFailed { error } => write!(f, "can't connect: {error}"),
            Self::ConnectionLost { error: Some(error) } => write!(f, "connection lost: {error}"),
            Self::ConnectionLost { error: None } => f.write_str("the peer closed the connection"),
            Self::Transport { error } => f.write_str(error),
            Self::Stopped => f.write_str("stopped"),
            Self::Left { why } => f.write_str(why),
        }
    }
}

pub(crate) fn plural(count: u32, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
