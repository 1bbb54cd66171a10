//! What a service has done for its clients, as objectives see it.
//!
//! | | HTTP | TCP |
//! |---|---|---|
//! | requests | final responses, ours too | connections |
//! | errors | status 5xx, and responses cut off | connections nobody took |
//! | silent | errors without a backend's first byte | none: nothing is measured |
//!
//! A request that the fence keeps from every backend is refused by policy, and one for a WebSocket that no backend takes by what
//! the backends are. They are neither requests nor errors here: no other state of this region would have served them. Nor is a tunnel, whose
//! agreement is an interim response, and whose time ends by nobody's fault, or by an end of one side that may be its usual one.

use proxima_types::ServiceName;

use super::{LatencyHistogram, Reason, ServiceStats, Stats, Unserved};
use crate::Protocol;

/// What a service has done for its clients since the start of the process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Served {
    /// Requests, or connections, that were answered or failed.
    pub requests: u64,
    /// Those of them that failed.
    pub errors: u64,
    /// Those of them that no first byte of a backend came for.
    pub silent: u64,
    /// From a request's head to the first byte of its response, whichever region it came from.
    pub first_byte: LatencyHistogram,
}

impl Served {
    pub(crate) fn of(service: &ServiceName, protocol: Protocol, stats: &Stats) -> Self {
        let counted = stats.services.get(service).cloned().unwrap_or_default();
        match protocol {
            Protocol::Http | Protocol::Https | Protocol::Http3 => Self::http(service, &counted, stats),
            Protocol::Tcp => Self::tcp(&counted),
        }
    }

    fn http(service: &ServiceName, counted: &ServiceStats, stats: &Stats) -> Self {
        let [_, others @ .., errors] = counted.responses;
        let unwanted = counted.failures.get(&Reason::Upgrade).copied().unwrap_or_default();
        let refused = unserved(counted, &[Unserved::AllOutside]) + unwanted;
        let without_backend = unserved(counted, &[Unserved::NoBackends, Unserved::NoneUsable]);
        let given_up: u64 = counted.failures.values().sum();
        let mut first_byte = LatencyHistogram::default();
        for ((name, _), region) in &stats.regions {
            if name == service {
                first_byte.merge(&region.first_byte);
            }
        }
        Self {
            requests: (others.iter().sum::<u64>() + errors).saturating_sub(refused),
            errors: (errors + counted.cut).saturating_sub(refused),
            silent: given_up.saturating_sub(counted.cut + counted.tunnel_failures + unwanted)
                + without_backend,
            first_byte,
        }
    }

    fn tcp(counted: &ServiceStats) -> Self {
        let refused = |reason| counted.failures.get(&reason).copied().unwrap_or_default();
        let without_backend = unserved(counted, &[Unserved::NoBackends, Unserved::NoneUsable]);
        Self {
            requests: counted.connections.saturating_sub(unserved(counted, &[Unserved::AllOutside])),
            errors: refused(Reason::Connect) + refused(Reason::ConnectTimeout) + without_backend,
            ..Self::default()
        }
    }
}

fn unserved(counted: &ServiceStats, kinds: &[Unserved]) -> u64 {
    kinds.iter().filter_map(|kind| counted.unserved.get(kind)).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::Histogram;

    fn stats(counted: ServiceStats) -> (ServiceName, Stats) {
        let (web, other): (ServiceName, ServiceName) = ("web".parse().unwrap(), "other".parse().unwrap());
        let mut stats = Stats { services: [(web.clone(), counted)].into(), ..Stats::default() };
        for (service, region, millis) in [(&web, "eu", 1), (&web, "us", 100), (&other, "eu", 5)] {
            let latency = Histogram::default();
            latency.record(Duration::from_millis(millis));
            let key = (service.clone(), region.parse().unwrap());
            latency.add_to(&mut stats.regions.entry(key).or_default().first_byte);
        }
        (web, stats)
    }

    #[test]
    fn http_counts_final_responses_and_those_cut_off_but_not_what_the_fence_refuses() {
        let (web, stats) = stats(ServiceStats {
            responses: [7, 90, 1, 2, 16],
            failures: [(Reason::Connect, 3), (Reason::Upgrade, 4), (Reason::Broken, 5), (Reason::Idle, 7)]
                .into(),
            cut: 2,
            tunnel_failures: 10,
            unserved: [(Unserved::AllOutside, 5), (Unserved::NoneUsable, 1)].into(),
            ..ServiceStats::default()
        });
        let served = Served::of(&web, Protocol::Http, &stats);
        assert_eq!((served.requests, served.errors, served.silent), (100, 9, 4));
        assert_eq!(served.first_byte.count(), 2, "of all regions, and of this service only");
    }

    #[test]
    fn tcp_counts_connections_nobody_took_and_no_idle_ones() {
        let (web, stats) = stats(ServiceStats {
            connections: 50,
            failures: [(Reason::Connect, 3), (Reason::ConnectTimeout, 1), (Reason::Idle, 9)].into(),
            unserved: [(Unserved::AllOutside, 5), (Unserved::NoBackends, 1)].into(),
            ..ServiceStats::default()
        });
        let served = Served::of(&web, Protocol::Tcp, &stats);
        assert_eq!((served.requests, served.errors, served.silent), (45, 5, 0));
    }
}
