//! What a probe or a standing connection can tell.

use std::{fmt, time::Duration};

/// Why a probe or a connection attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused: nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    Closed,
    /// The host or its network can't be reached.
    Unreachable {
        /// The system's words.
        error: String,
    },
    /// The deadline passed.
    Timeout {
        /// What was waited for.
        phase: Phase,
        /// The deadline, from the start of the probe.
        after: Duration,
    },
    /// The answer had another status than the one asked for.
    Status {
        /// The status asked for.
        expected: u16,
        /// The status received.
        received: u16,
    },
    /// The answer was not HTTP/1.1, or beyond the limits of a probe.
    Malformed {
        /// What was wrong with it.
        detail: String,
    },
    /// This host could not probe: no free port, file descriptor or memory. It tells nothing about the backend, so it
    /// counts for nothing: the verdict and what has been counted towards the next one stay, and the probe is tried
    /// again soon.
    Local {
        /// The system's words.
        error: String,
    },
}

impl Failure {
    /// Hard evidence: the process is likely gone, and one confirming connect decides. All else is soft and
    /// counted, but for what is [local](Self::is_local).
    pub fn is_hard(&self) -> bool {
        matches!(self, Self::Refused | Self::Reset | Self::Closed)
    }

    /// No evidence about the backend at all: see [`Failure::Local`].
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed before the answer"),
            Self::Unreachable { error } => write!(f, "unreachable: {error}"),
            Self::Timeout { phase, after } => write!(f, "{phase} within {after:?}"),
            Self::Status { expected, received } => write!(f, "status {received} instead of {expected}"),
            Self::Malformed { detail } => write!(f, "malformed answer: {detail}"),
            Self::Local { error } => write!(f, "could not probe: {error}"),
        }
    }
}

/// What a probe waited for when its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The connection.
    Connect,
    /// The answer.
    Answer,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Answer => "no answer",
        })
    }
}

/// How a standing connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// With a FIN: the process died, or closes idle connections.
    Closed,
    /// With a RST.
    Reset,
    /// TCP keepalive or retransmission gave up, or an ICMP error came.
    TimedOut,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "standing connection closed",
            Self::Reset => "standing connection reset",
            Self::TimedOut => "standing connection timed out",
        })
    }
}
