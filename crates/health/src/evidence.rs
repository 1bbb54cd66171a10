//! What a probe or a standing connection can tell.

use std::{fmt, time::Duration};

use proxima_probe_kind::Role;

use crate::{Passive, Percent};

/// What a successful probe found out beside success. What its kind doesn't ask stays `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// How much of its weight the app is worth now, as its agent says. `None`: all of it.
    pub share: Option<Percent>,
    /// What the server is to its replicas or its primary.
    pub role: Option<Role>,
    /// How far a replica is behind its primary.
    pub lag: Option<Duration>,
    /// When the server's own certificate ends, in seconds since the Unix epoch.
    pub certificate_ends: Option<u64>,
    /// From the request to the first byte of its answer.
    pub first_byte: Option<Duration>,
}

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
    /// The answer had a status outside the set asked for.
    StatusOutside {
        /// The set, as in `200, 300-399`.
        expected: String,
        /// The status received.
        received: u16,
    },
    /// The answer was not HTTP, or beyond the limits of a probe.
    Malformed {
        /// What was wrong with it.
        detail: String,
    },
    /// The server's certificate does not prove who it is, or ends too soon.
    Certificate {
        /// Why.
        detail: String,
    },
    /// The body of the answer is not the one asked for.
    Body {
        /// How it differs.
        detail: String,
    },
    /// The answer lacks a header.
    Header {
        /// The header's name.
        name: String,
        /// The value asked for; `None`: any.
        expected: Option<String>,
        /// The value it has instead; `None`: the header is not there.
        found: Option<String>,
    },
    /// The app itself says that it does not serve, or not us.
    Refusal {
        /// In its words.
        detail: String,
    },
    /// A database server has another role than the one asked for.
    Role {
        /// The role asked for.
        expected: Role,
        /// The role it has.
        found: Role,
    },
    /// A replica is too far behind its primary.
    Lag {
        /// How far it may be.
        limit: Duration,
        /// How far it is.
        lag: Duration,
    },
    /// A program said no.
    Exit {
        /// Its exit status, or the signal that ended it, in words.
        status: String,
        /// The end of what it printed, on one line; may be empty.
        output: String,
    },
    /// What speaks there speaks another protocol, or breaks this one.
    Protocol {
        /// How.
        detail: String,
    },
    /// Real traffic had only bad answers, as many in a row as the limit or more.
    Traffic {
        /// Which.
        seen: Passive,
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
    /// What sort it is, in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Status { .. } | Self::StatusOutside { .. } => "status",
            Self::Malformed { .. } => "malformed",
            Self::Certificate { .. } => "certificate",
            Self::Body { .. } => "body",
            Self::Header { .. } => "header",
            Self::Refusal { .. } => "refusal",
            Self::Role { .. } => "role",
            Self::Lag { .. } => "lag",
            Self::Exit { .. } => "exit",
            Self::Protocol { .. } => "protocol",
            Self::Traffic { .. } => "traffic",
            Self::Local { .. } => "not-made",
        }
    }

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
            Self::StatusOutside { expected, received } => {
                write!(f, "status {received}, which is not among {expected}")
            }
            Self::Malformed { detail } => write!(f, "malformed answer: {detail}"),
            Self::Certificate { detail } => write!(f, "certificate: {detail}"),
            Self::Body { detail } => write!(f, "unexpected body: {detail}"),
            Self::Header { name, expected, found } => match (expected, found) {
                (_, None) => write!(f, "no header `{name}` in the answer"),
                (None, Some(found)) => write!(f, "header `{name}` is `{found}`"),
                (Some(expected), Some(found)) => {
                    write!(f, "header `{name}` is `{found}` instead of `{expected}`")
                }
            },
            Self::Refusal { detail } => write!(f, "the app refuses: {detail}"),
            Self::Role { expected, found } => write!(f, "it is a {found}, and a {expected} is asked for"),
            Self::Lag { limit, lag } => write!(f, "{lag:?} behind its primary, more than {limit:?}"),
            Self::Exit { status, output } if output.is_empty() => f.write_str(status),
            Self::Exit { status, output } => write!(f, "{status}: {output}"),
            Self::Protocol { detail } => write!(f, "protocol error: {detail}"),
            Self::Traffic { seen } => write!(f, "no good answer in real traffic: {seen}"),
            Self::Local { error } => write!(f, "could not probe: {error}"),
        }
    }
}

/// What a probe waited for when its deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The connection.
    Connect,
    /// The end of a TLS or QUIC handshake.
    Handshake,
    /// The answer.
    Answer,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "no connection",
            Self::Handshake => "no handshake",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_said_in_words_for_a_person() {
        let text = |text: &str| text.to_owned();
        let (after, header) = (Duration::from_millis(500), text("x-ready"));
        for (failure, words) in [
            (Failure::Refused, "connection refused"),
            (Failure::Reset, "connection reset"),
            (Failure::Closed, "connection closed before the answer"),
            (Failure::Unreachable { error: text("no route") }, "unreachable: no route"),
            (Failure::Timeout { phase: Phase::Connect, after }, "no connection within 500ms"),
            (Failure::Timeout { phase: Phase::Handshake, after }, "no handshake within 500ms"),
            (Failure::Timeout { phase: Phase::Answer, after }, "no answer within 500ms"),
            (Failure::Status { expected: 200, received: 503 }, "status 503 instead of 200"),
            (
                Failure::StatusOutside { expected: text("200, 300-399"), received: 503 },
                "status 503, which is not among 200, 300-399",
            ),
            (Failure::Malformed { detail: text("no head") }, "malformed answer: no head"),
            (Failure::Certificate { detail: text("it has ended") }, "certificate: it has ended"),
            (Failure::Body { detail: text("nothing matches") }, "unexpected body: nothing matches"),
            (
                Failure::Header { name: header.clone(), expected: None, found: None },
                "no header `x-ready` in the answer",
            ),
            (
                Failure::Header { name: header, expected: Some(text("yes")), found: Some(text("no")) },
                "header `x-ready` is `no` instead of `yes`",
            ),
            (Failure::Refusal { detail: text("NOT_SERVING") }, "the app refuses: NOT_SERVING"),
            (
                Failure::Role { expected: Role::Primary, found: Role::Replica },
                "it is a replica, and a primary is asked for",
            ),
            (
                Failure::Lag { limit: Duration::from_secs(5), lag: Duration::from_secs(9) },
                "9s behind its primary, more than 5s",
            ),
            (Failure::Exit { status: text("exit status 2"), output: String::new() }, "exit status 2"),
            (Failure::Exit { status: text("signal 9"), output: text("tired") }, "signal 9: tired"),
            (Failure::Protocol { detail: text("no TLS") }, "protocol error: no TLS"),
            (Failure::Local { error: text("no memory") }, "could not probe: no memory"),
        ] {
            assert_eq!(failure.to_string(), words);
        }
    }

    #[test]
    fn only_a_lost_connection_is_hard_evidence() {
        for (failure, is_hard) in [
            (Failure::Refused, true),
            (Failure::Reset, true),
            (Failure::Closed, true),
            (Failure::Refusal { detail: String::new() }, false),
            (Failure::Protocol { detail: String::new() }, false),
            (Failure::Certificate { detail: String::new() }, false),
            (Failure::Exit { status: String::new(), output: String::new() }, false),
        ] {
            assert_eq!(failure.is_hard(), is_hard, "{failure}");
            assert!(!failure.is_local());
        }
    }
}
