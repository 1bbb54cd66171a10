//! What to probe, and how.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    time::Duration,
};

use proxima_health::{Percent, Settings};
use proxima_probe_kind::{Notice, ProbeKind};
use proxima_types::BackendId;

/// A backend to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeTarget {
    /// The backend.
    pub backend: BackendId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The own address to probe from; `None`: the system's choice. Of the family of `address`.
    pub source: Option<IpAddr>,
    /// What is asked.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next, while all is settled.
    pub interval: Duration,
    /// The same while undecided, at most `interval`.
    pub fast_interval: Duration,
    /// By how much of itself the pause between probes is longer or shorter at most.
    pub jitter: Percent,
    /// For the whole probe, and for a confirming connect.
    pub timeout: Duration,
    /// Successes in a row that make the backend up.
    pub rise: NonZeroU16,
    /// Soft failures in a row that make it down.
    pub fall: NonZeroU16,
    /// Who says that it goes away; `None`: nobody.
    pub notice: Option<Notice>,
}

impl ProbeTarget {
    /// A target with the usual pace: see [`Settings`].
    pub fn new(backend: BackendId, address: SocketAddr, kind: ProbeKind, interval: Duration) -> Self {
        let usual = Settings::new(interval, NonZeroU16::MIN, NonZeroU16::MIN);
        Self {
            backend,
            address,
            source: None,
            kind,
            interval,
            fast_interval: usual.fast_interval,
            jitter: usual.jitter,
            timeout: interval,
            rise: usual.rise,
            fall: usual.fall,
            notice: None,
        }
    }

    /// How the backend is judged.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            fast_interval: self.fast_interval.min(self.interval),
            jitter: self.jitter,
            lead: self.notice.as_ref().map_or(Settings::LEAD, |notice| notice.lead),
            ..Settings::new(self.interval, self.rise, self.fall)
        }
    }
}
