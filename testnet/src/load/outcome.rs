//! What became of one request, as its client saw it.

use std::{
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_types::Family;
use serde::Serialize;

use super::Kind;
use crate::observe::Journal;

/// One request, from its intended start to its end.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its `x-request-id`; no two are alike in a world.
    pub id: String,
    /// The client's region.
    pub region: Arc<str>,
    /// Which of the workload kinds it belongs to.
    pub kind: Kind,
    /// The family it was sent by.
    pub family: Family,
    /// Its place in the arrivals.
    pub intended: Instant,
    /// When it was really started; much later only when this machine is overloaded.
    pub started: Instant,
    /// First byte of an answer.
    pub first_byte: Option<Instant>,
    /// End of the answer, or of hope.
    pub done: Instant,
    /// Connections on which it was sent, or which were tried for it.
    pub attempts: u32,
    /// Of those, repeats because the connection died before any byte of an answer.
    pub reconnects: u32,
    /// The last connection was opened for it.
    pub fresh: bool,
    /// The local port of the last connection, to find it in a capture.
    pub local_port: u16,
    /// Status, or why there is none.
    pub result: Result<u16, Failure>,
    /// Who served it, from the answer's header.
    pub served: Option<Served>,
    /// How the token stream ended, when there was one.
    pub stream: Option<StreamEnd>,
}

impl Outcome {
    /// Time from the intended start to the end.
    pub fn latency(&self) -> Duration {
        self.done.saturating_duration_since(self.intended)
    }

    /// Answered with success.
    pub fn succeeded(&self) -> bool {
        matches!(self.result, Ok(200..=299))
    }

    /// The status, or why there is none, in a word or two.
    pub fn said(&self) -> String {
        match &self.result {
            Ok(status) => status.to_string(),
            Err(failure) => failure.to_string(),
        }
    }

    /// Whether it was under way at `at`.
    pub fn active_at(&self, at: Instant) -> bool {
        self.intended <= at && at <= self.done
    }

    /// How its stream was cut short, if it was.
    pub fn cut(&self) -> Option<Cut> {
        match self.stream {
            Some(StreamEnd::Cut { how, .. }) => Some(how),
            _ => None,
        }
    }
}

/// Who answered, as the app's headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The app's region.
    pub region: Arc<str>,
    /// The app.
    pub app: Arc<str>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection.
    Connect(io::ErrorKind),
    /// Every connection it was sent on died before any byte of an answer.
    Closed(io::ErrorKind),
    /// The answer was cut short.
    Truncated(io::ErrorKind),
    /// Nothing more came in time.
    TimedOut,
    /// Not HTTP/1.1.
    Malformed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(kind) => write!(f, "connect: {kind}"),
            Self::Closed(kind) => write!(f, "closed before an answer: {kind}"),
            Self::Truncated(kind) => write!(f, "answer cut short: {kind}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Malformed(what) => write!(f, "malformed answer: {what}"),
        }
    }
}

/// How a token stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// Terminating chunk and `[DONE]`, all tokens there.
    Complete {
        /// Data events before `[DONE]`.
        events: u32,
    },
    /// It ended early.
    Cut {
        /// Data events that came.
        events: u32,
        /// What the client saw.
        how: Cut,
    },
}

/// What a client sees of a stream that ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    /// The connection was reset.
    Reset,
    /// The connection ended before the body's framing said so.
    Truncated,
    /// The body ended as if whole, but without `[DONE]`: HTTP itself says all is well.
    Silent,
    /// Nothing more came, and the connection stayed.
    Stalled,
}

impl Cut {
    /// Whether HTTP itself tells the client at once that the answer is not whole.
    pub fn can_tell(self) -> bool {
        matches!(self, Self::Reset | Self::Truncated)
    }
}

/// The end of the first small request since `since` from a client of `region`, on a connection opened for it, that another
/// region answered. Looks at the journal from `from` on and waits until `deadline`.
pub async fn first_elsewhere(
    outcomes: &Journal<Outcome>,
    region: &str,
    from: usize,
    since: Instant,
    deadline: Instant,
) -> Option<Instant> {
    let elsewhere = |outcome: &&Outcome| {
        outcome.kind == Kind::Work
            && &*outcome.region == region
            && outcome.intended >= since
            // Connections that were opened to another PoP earlier stay with it.
            && outcome.fresh
            && outcome.succeeded()
            && outcome.served.as_ref().is_some_and(|served| &*served.region != region)
    };
    outcomes.wait(from, deadline, |all| all.iter().find(elsewhere).map(|outcome| outcome.done)).await
}
