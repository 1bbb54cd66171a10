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
    /// It is reached by the [`Via`](crate::Via) that the prober was given, and not straight. Only what goes over TCP can be.
    pub via_service: bool,
    /// What is asked.
    pub kind: ProbeKind,
    /// From the start of one probe to the start of the next, while all is settled.
    pub interval: Duration,
    /// The same while undecided, at most `interval`.
    pub fast_interval: Duration,
    /// The same while down, and while this host can't probe, at most `interval`.
    pub down_interval: Duration,
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
            via_service: false,
            kind,
            interval,
            fast_interval: usual.fast_interval,
            down_interval: usual.down_interval,
            jitter: usual.jitter,
            timeout: interval,
            rise: usual.rise,
            fall: usual.fall,
            notice: None,
        }
    }

    /// How the backend is judged.
    pub(crate) fn settings(&self) -> Settings {
        let usual = Settings::new(self.interval, self.rise, self.fall);
        Settings {
            fast_interval: self.fast_interval.min(self.interval),
            down_interval: self.down_interval.min(self.interval),
            jitter: self.jitter,
            lead: self.notice.as_ref().map_or(Settings::LEAD, |notice| notice.lead),
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pace_is_slower_than_the_interval() {
        let paces = |interval: u64, fast_interval: u64, down_interval: u64| {
            let backend = "app/one".parse().unwrap();
            let [interval, fast_interval, down_interval] =
                [interval, fast_interval, down_interval].map(Duration::from_millis);
            let usual = ProbeTarget::new(backend, ([127, 0, 0, 1], 80).into(), ProbeKind::Tcp, interval);
            let settings = ProbeTarget { fast_interval, down_interval, ..usual }.settings();
            (settings.fast_interval.as_millis(), settings.down_interval.as_millis())
        };
        assert_eq!(paces(1000, 50, 250), (50, 250));
        assert_eq!(paces(1000, 300, 20), (300, 20));
        assert_eq!(paces(100, 500, 250), (100, 100));
    }
}
