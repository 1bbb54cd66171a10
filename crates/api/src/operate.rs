//! Drain, undrain, and what an error says.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Take this PoP out of anycast: its groups are withdrawn, what still arrives is served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrainRequest {
    /// Why, for those who read the status and the events.
    #[serde(default)]
    pub reason: Option<String>,
}

/// That an operator drained this PoP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: Option<String>,
}

/// What a drain or an undrain brought about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// This request changed something; false when it was so already.
    pub changed: bool,
    /// Drained now; absent when not.
    pub drained: Option<Drained>,
}

/// The body of every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What is wrong.
    pub error: String,
    /// The remedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
