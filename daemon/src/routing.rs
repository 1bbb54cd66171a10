//! From configuration and verdicts to what the workers serve.
//!
//! The fence comes first: candidates enter [`Levels`] only through [`Fence::admit`], once per snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proxima_balance::{Candidate, Levels, PolicyKind};
use proxima_config::{Balance, Config, Pool, Protocol};
use proxima_proxy::{Match, Route, Service, Snapshot, Timeouts, Upstream};
use proxima_residency::Fence;
use proxima_types::{BackendId, Health, Jurisdiction, PoolName};

/// What probes have found out about a backend.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Observed {
    pub(crate) health: Health,
    pub(crate) rtt: Option<Duration>,
}

/// The snapshot for these observations. Routes that share a pool and a fence share their levels.
pub(crate) fn snapshot(config: &Config, observed: &BTreeMap<BackendId, Observed>) -> Snapshot {
    let mut shared = BTreeMap::new();
    let mut upstream = |pool: &PoolName, residency: &Option<BTreeSet<Jurisdiction>>, timeouts| {
        let levels = shared
            .entry((pool.clone(), residency.clone()))
            .or_insert_with(|| Arc::new(levels(config, &config.pools[pool], residency.as_ref(), observed)));
        Upstream { levels: Arc::clone(levels), policy: policy(config.pools[pool].balance), timeouts }
    };
    let services = config.services.values().map(|service| {
        let served = match &service.protocol {
            Protocol::Tcp(tcp) => {
                let timeouts = Timeouts {
                    connect: tcp.timeouts.connect,
                    idle: tcp.timeouts.idle,
                    ..Timeouts::default()
                };
                Service::Tcp(upstream(&tcp.pool, &tcp.residency, timeouts))
            }
            Protocol::Http(http) => {
                Service::Http(http.routes.iter().map(|route| http_route(route, &mut upstream)).collect())
            }
        };
        (service.name.clone(), served)
    });
    Snapshot { services: services.collect() }
}

fn http_route(
    route: &proxima_config::Route,
    upstream: &mut impl FnMut(&PoolName, &Option<BTreeSet<Jurisdiction>>, Timeouts) -> Upstream,
) -> Route {
    let proxima_config::Match { host, path_prefix, methods } = route.matches.clone();
    let proxima_config::HttpTimeouts { connect, first_byte, idle, total } = route.timeouts;
    let timeouts = Timeouts { connect, first_byte, idle, total };
    Route {
        matches: Match { host, path_prefix, methods },
        upstream: upstream(&route.pool, &route.residency, timeouts),
    }
}

fn levels(
    config: &Config,
    pool: &Pool,
    residency: Option<&BTreeSet<Jurisdiction>>,
    observed: &BTreeMap<BackendId, Observed>,
) -> Levels {
    let candidates = pool.backends.iter().map(|backend| {
        let Observed { health, rtt } = observed.get(&backend.id).copied().unwrap_or_default();
        Candidate {
            backend: backend.id.clone(),
            address: backend.address,
            region: backend.region.clone(),
            jurisdiction: config.regions[&backend.region].jurisdiction.clone(),
            tier: backend.tier,
            weight: backend.weight,
            health,
            rtt,
        }
    });
    Levels::new(
        Fence::new(residency.map(|allow| allow.iter().cloned().collect())).admit(candidates),
        &config.pop.region,
    )
}

fn policy(balance: Balance) -> PolicyKind {
    match balance {
        Balance::RoundRobin => PolicyKind::RoundRobin,
        Balance::LeastRequest => PolicyKind::LeastRequest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = include_str!("../tests/two-jurisdictions.toml");

    fn observed(up: &[(&str, u64)]) -> BTreeMap<BackendId, Observed> {
        let observed =
            |millis: u64| Observed { health: Health::Up, rtt: Some(Duration::from_millis(millis)) };
        up.iter().map(|(id, millis)| (id.parse().unwrap(), observed(*millis))).collect()
    }

    fn order(snapshot: &Snapshot, route: usize) -> Vec<String> {
        let Service::Http(routes) = &snapshot.services[&"web".parse().unwrap()] else { panic!("not HTTP") };
        let levels = &routes[route].upstream.levels;
        levels.candidates().iter().map(|candidate| candidate.backend.to_string()).collect()
    }

    #[test]
    fn the_own_region_comes_first_and_the_others_by_distance() {
        let config = Config::parse(CONFIG, "two-jurisdictions.toml").unwrap();
        let all = observed(&[("app/eu-1", 1), ("app/eu-2", 1), ("app/us-1", 80), ("app/apac-1", 40)]);
        assert_eq!(order(&snapshot(&config, &all), 1), ["app/eu-1", "app/eu-2", "app/apac-1", "app/us-1"]);
    }

    #[test]
    fn a_fenced_route_never_has_a_candidate_of_another_jurisdiction() {
        let config = Config::parse(CONFIG, "two-jurisdictions.toml").unwrap();
        let all = observed(&[("app/eu-1", 1), ("app/us-1", 80), ("app/apac-1", 40)]);
        assert_eq!(order(&snapshot(&config, &all), 0), ["app/eu-1"]);
        let eu_down = observed(&[("app/us-1", 80), ("app/apac-1", 40)]);
        assert_eq!(order(&snapshot(&config, &eu_down), 0), [""; 0]);
    }

    #[test]
    fn a_backend_without_a_verdict_takes_no_traffic() {
        let config = Config::parse(CONFIG, "two-jurisdictions.toml").unwrap();
        assert_eq!(order(&snapshot(&config, &BTreeMap::new()), 1), [""; 0]);
    }
}
