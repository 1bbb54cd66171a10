//! What the prober tells.

use std::time::{Duration, Instant};

use proxima_health::{Percent, Reason};
use proxima_types::{BackendId, Health};

/// News about a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeEvent {
    /// The verdict changed.
    Verdict {
        /// The backend.
        backend: BackendId,
        /// The verdict before.
        from: Health,
        /// The verdict from now on.
        to: Health,
        /// Why.
        reason: Reason,
        /// When it was decided.
        at: Instant,
        /// When the first of the evidence that decided came in.
        evidence_at: Instant,
    },
    /// The round-trip time changed by more than a tenth and more than a millisecond, or is known at last.
    Rtt {
        /// The backend.
        backend: BackendId,
        /// How long a TCP connect takes, the median of the last few.
        rtt: Duration,
    },
    /// The backend's agent says that it offers another share of its weight than before. All of it until then.
    Share {
        /// The backend.
        backend: BackendId,
        /// The share from now on.
        share: Percent,
    },
}

impl ProbeEvent {
    /// The backend it is about.
    pub fn backend(&self) -> &BackendId {
        match self {
            Self::Verdict { backend, .. } | Self::Rtt { backend, .. } | Self::Share { backend, .. } => {
                backend
            }
        }
    }
}
