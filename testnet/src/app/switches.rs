//! How an app server misbehaves, changed while it runs by `POST /switch`.
//!
//! `{"health": "fail"}` changes one switch and leaves the others; the answer is the state of all.

use serde::{Deserialize, Serialize};

/// All switches; the default is to behave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Switches {
    /// What `/healthz` does.
    pub health: Behaviour,
    /// What every other request meets.
    pub requests: Behaviour,
    /// When connections are closed in the middle of things.
    pub close: Close,
    /// How long [`Behaviour::Slow`] waits, in milliseconds.
    pub slow_ms: u64,
}

/// How a request is treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Answered.
    #[default]
    Ok,
    /// Answered with status 500.
    Fail,
    /// Answered with status 200 and words that nobody asked for.
    Wrong,
    /// Never answered; the connection stays open.
    Hang,
    /// Answered after `slow-ms`.
    Slow,
}

/// When a connection is closed although a request is under way. Health checks are spared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// Never.
    #[default]
    Never,
    /// When the request has been read, before any byte of the answer.
    BeforeResponse,
    /// After the first part of the answer's body.
    MidResponse,
}

/// A change: what is absent stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Change {
    health: Option<Behaviour>,
    requests: Option<Behaviour>,
    close: Option<Close>,
    slow_ms: Option<u64>,
}

impl Switches {
    /// The switches after a change.
    #[must_use]
    pub fn changed(self, change: Change) -> Self {
        Self {
            health: change.health.unwrap_or(self.health),
            requests: change.requests.unwrap_or(self.requests),
            close: change.close.unwrap_or(self.close),
            slow_ms: change.slow_ms.unwrap_or(self.slow_ms),
        }
    }
}
