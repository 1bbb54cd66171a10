//! What to probe, and how.

use std::{net::SocketAddr, num::NonZeroU16, time::Duration};

use proxima_types::BackendId;

/// A backend to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The backend.
    pub backend: BackendId,
    /// Where it listens.
    pub address: SocketAddr,
    /// What is asked.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next, while all is settled.
    pub interval: Duration,
    /// For the whole probe, and for a confirming connect.
    pub timeout: Duration,
    /// Successes in a row that make the backend up.
    pub rise: NonZeroU16,
    /// Soft failures in a row that make it down.
    pub fall: NonZeroU16,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeKind {
    /// That a connection is accepted.
    Tcp,
    /// That a GET is answered with a status.
    Http {
        /// The request target. Visible ASCII, beginning with `/`.
        path: String,
        /// The Host header, visible ASCII; `None`: address and port.
        host: Option<String>,
        /// The status that counts as success.
        expect: u16,
    },
}
