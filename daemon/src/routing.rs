//! From configuration and verdicts to what the workers serve.
//!
//! The fence comes first: candidates enter [`Levels`] only through [`Fence::admit`], once per snapshot.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use proxima_balance::{Candidate, Levels, PolicyKind};
use proxima_config::{Balance, Config, Limits, Pool, PoolProtocol, Protocol, Via};
use proxima_health::Percent;
use proxima_proxy::{
    BodyRate, ClientLimits, ConnectionsPerIp, Match, Route, Service, Snapshot, Timeouts, Upstream,
    UpstreamProtocol,
};
use proxima_residency::Fence;
use proxima_types::{BackendId, Health, Jurisdiction, PoolName, Weight};
use serde::{Deserialize, Serialize};

use crate::{distance::Distances, tls::Tls};

/// What probes have found out about a backend.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Observed {
    pub(crate) health: Health,
    pub(crate) rtt: Option<Duration>,
    /// How much of its weight it offers, as its agent says.
    pub(crate) share: Percent,
    /// A reload has added it, and there was no verdict yet: it is no part of a score before.
    pub(crate) is_new: bool,
    /// Nothing checks it any more. Scores only: requests go by the verdict there was.
    pub(crate) unchecked: bool,
}

/// The snapshot for these observations, without an access log. Routes that share a pool and a fence share their levels.
pub(crate) fn snapshot(
    config: &Config,
    tls: &Tls,
    observed: &BTreeMap<BackendId, Observed>,
    distances: &Distances,
) -> Snapshot {
    let mut shared = BTreeMap::new();
    let mut upstream = |pool: &PoolName, residency: &Option<BTreeSet<Jurisdiction>>, timeouts| {
        let levels = shared.entry((pool.clone(), residency.clone())).or_insert_with(|| {
            let candidates = candidates(config, &config.pools[pool], observed, distances);
            Arc::new(levels(config, residency.as_ref(), candidates))
        });
        let Pool { balance, protocol, passive, .. } = &config.pools[pool];
        let late = passive.and_then(|passive| passive.first_byte);
        let tls = tls.client(pool).cloned();
        let protocol = spoken(*protocol);
        Upstream { levels: Arc::clone(levels), policy: policy(*balance), protocol, tls, timeouts, late }
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
                let routes = http.routes.iter().map(|route| http_route(route, &mut upstream)).collect();
                match tls.server(&service.name) {
                    Some(tls) => Service::Https(tls.clone(), routes),
                    None => Service::Http(routes),
                }
            }
        };
        (service.name.clone(), served)
    });
    let services = services.collect();
    let backends = config.pools.values().flat_map(|pool| &pool.backends);
    let backends = Arc::new(backends.map(|backend| (backend.id.clone(), backend.address)).collect());
    let (probed, limits) = (probed(config, tls), client_limits(&config.limits));
    Snapshot { services, backends, probed, limits, ..Snapshot::default() }
}

fn client_limits(limits: &Limits) -> ClientLimits {
    let connections_per_ip = limits.connections_per_ip.clone().map(|limit| {
        let proxima_config::ConnectionsPerIp { most, ipv6_prefix, exempt } = limit;
        ConnectionsPerIp { most, ipv6_prefix, exempt }
    });
    let proxima_config::BodyRate { request, response, grace, streams } = limits.body_rate;
    ClientLimits { connections_per_ip, body_rate: BodyRate { request, response, grace, streams } }
}

/// The ways of probes that go through the data plane, by backend.
pub(crate) type Ways = HashMap<(BackendId, SocketAddr), Upstream>;

/// One for each of the backends that are probed so, whatever its verdict is.
///
/// A probe carries nobody's data, so no fence is in its way.
pub(crate) fn probed(config: &Config, tls: &Tls) -> Ways {
    let upstream = |pool: &Pool, candidate: Candidate| {
        let timeout = pool.probe.timeout;
        let timeouts = Timeouts {
            connect: timeout,
            first_byte: timeout,
            // A connection that stands between two probes is idle for longer than their pause at times.
            idle: 3 * pool.probe.interval + timeout,
            total: None,
        };
        let key = (candidate.backend.clone(), candidate.address);
        let candidate = Candidate { health: Health::Up, weight: Weight::default(), ..candidate };
        let levels = Arc::new(levels(config, None, std::iter::once(candidate)));
        let (protocol, tls) = (spoken(pool.protocol), tls.client(&pool.name).cloned());
        (key, Upstream { levels, policy: PolicyKind::default(), protocol, tls, timeouts, late: None })
    };
    let (observed, distances) = (BTreeMap::new(), Distances::new(config));
    let of_pool = |pool: &Pool| -> Vec<_> {
        candidates(config, pool, &observed, &distances).map(|candidate| upstream(pool, candidate)).collect()
    };
    config.pools.values().filter(|pool| pool.probe.via == Via::Service).flat_map(of_pool).collect()
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

fn candidates<'a>(
    config: &'a Config,
    pool: &'a Pool,
    observed: &'a BTreeMap<BackendId, Observed>,
    distances: &'a Distances,
) -> impl Iterator<Item = Candidate> + 'a {
    pool.backends.iter().map(|backend| {
        let Observed { health, rtt, share, is_new: _, unchecked: _ } =
            observed.get(&backend.id).copied().unwrap_or_default();
        Candidate {
            backend: backend.id.clone(),
            address: backend.address,
            region: backend.region.clone(),
            jurisdiction: config.regions[&backend.region].jurisdiction.clone(),
            tier: backend.tier,
            weight: share.of(backend.weight),
            health,
            distance: distances.of(backend),
            rtt,
        }
    })
}

fn levels(
    config: &Config,
    residency: Option<&BTreeSet<Jurisdiction>>,
    candidates: impl Iterator<Item = Candidate>,
) -> Levels {
    Levels::new(
        Fence::new(residency.map(|allow| allow.iter().cloned().collect())).admit(candidates),
        &config.pop.region,
    )
}

/// What a pool's backends speak.
pub(crate) fn spoken(protocol: PoolProtocol) -> UpstreamProtocol {
    match protocol {
        PoolProtocol::Http1 => UpstreamProtocol::Http1,
        PoolProtocol::Http2 => UpstreamProtocol::Http2,
        PoolProtocol::Http3 => UpstreamProtocol::Http3,
    }
}

fn policy(balance: Balance) -> PolicyKind {
    match balance {
        Balance::RoundRobin => PolicyKind::RoundRobin,
        Balance::LeastRequest => PolicyKind::LeastRequest,
    }
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, time::Instant};

    use proxima_bgp_speaker::{PeerId, Route, Shared};
    use proxima_bgp_wire::{AsPath, Attributes, NextHop, Origin};
    use proxima_types::{Asn, Prefix};

    use super::*;

    const CONFIG: &str = include_str!("../tests/two-jurisdictions.toml");

    fn observed(up: &[(&str, u64)]) -> BTreeMap<BackendId, Observed> {
        let observed = |millis: u64| Observed {
            health: Health::Up,
            rtt: Some(Duration::from_millis(millis)),
            share: Percent::FULL,
            is_new: false,
            unchecked: false,
        };
        up.iter().map(|(id, millis)| (id.parse().unwrap(), observed(*millis))).collect()
    }

    fn snapshot(config: &Config, observed: &BTreeMap<BackendId, Observed>) -> Snapshot {
        super::snapshot(config, &Tls::load(config, None).unwrap(), observed, &Distances::new(config))
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
    fn each_backend_of_a_pool_probed_via_the_service_has_a_way_for_probes_whatever_its_verdict() {
        let config = Config::parse(CONFIG, "two-jurisdictions.toml").unwrap();
        let tls = Tls::load(&config, None).unwrap();
        assert!(probed(&config, &tls).is_empty());
        let text = CONFIG.replacen("probe = {", "probe = { via = \"service\",", 1);
        let config =
            Config::parse(&text, "two-jurisdictions.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let probed = probed(&config, &tls);
        for ((backend, address), upstream) in &probed {
            let [way] = upstream.levels.candidates() else { panic!("{backend} has one way") };
            assert_eq!((&way.backend, &way.address), (backend, address));
        }
        let backends: BTreeSet<_> = probed.keys().map(|(backend, _)| backend.to_string()).collect();
        assert_eq!(Vec::from_iter(backends), ["app/apac-1", "app/eu-1", "app/eu-2", "app/us-1"]);
    }

    #[test]
    fn backends_are_spoken_to_as_their_pool_says() {
        for (keys, protocol) in [
            ("", UpstreamProtocol::Http1),
            ("protocol = \"h2\"\n", UpstreamProtocol::Http2),
            ("protocol = \"h3\"\ntls = true\n", UpstreamProtocol::Http3),
        ] {
            let text = CONFIG.replace("[pools.app]\n", &format!("[pools.app]\n{keys}"));
            let config = Config::parse(&text, "two-jurisdictions.toml").unwrap();
            let snapshot = snapshot(&config, &BTreeMap::new());
            let Service::Http(routes) = &snapshot.services[&"web".parse().unwrap()] else {
                panic!("not HTTP")
            };
            assert!(routes.iter().all(|route| route.upstream.protocol == protocol), "{protocol:?}");
        }
    }

    #[test]
    fn a_backend_without_a_verdict_takes_no_traffic() {
        let config = Config::parse(CONFIG, "two-jurisdictions.toml").unwrap();
        assert_eq!(order(&snapshot(&config, &BTreeMap::new()), 1), [""; 0]);
    }

    /// The file with each backend at an address of its own, and another distance.
    fn config(distance: &str) -> Config {
        let mut text = format!("{CONFIG}\n[data-plane]\ndistance = \"{distance}\"\n");
        for (number, port) in (1..).zip(9001..=9004) {
            text = text.replace(&format!("127.0.0.1:{port}"), &format!("10.{number}.0.1:{port}"));
        }
        Config::parse(&text, "two-jurisdictions.toml").unwrap()
    }

    fn route(prefix: &str, as_path: &[u32], change: impl FnOnce(&mut Attributes)) -> Route {
        let as_path = AsPath::sequence(as_path.iter().copied().map(Asn));
        let mut attributes = Attributes { origin: Origin::Igp, as_path, ..Attributes::default() };
        change(&mut attributes);
        let next_hop = NextHop::from("192.0.2.9".parse::<IpAddr>().unwrap());
        Route {
            prefix: prefix.parse::<Prefix>().unwrap(),
            peer: PeerId(0),
            path_id: 0,
            shared: Arc::new(Shared { attributes, next_hop }),
            received_at: Instant::now(),
            stale: None,
            unusable: None,
        }
    }

    fn address(last: &str) -> IpAddr {
        format!("10.{last}.0.1").parse().unwrap()
    }

    #[test]
    fn by_bgp_the_better_path_is_nearer_than_the_shorter_round_trip_and_no_route_is_farthest() {
        let config = config("bgp");
        let all = observed(&[("app/eu-1", 1), ("app/us-1", 80), ("app/apac-1", 40)]);
        let mut distances = Distances::new(&config);
        let tls = Tls::load(&config, None).unwrap();
        let order = |distances: &Distances| order(&super::snapshot(&config, &tls, &all, distances), 1);
        let (us, apac) = (address("3"), address("4"));
        assert_eq!(order(&distances), ["app/eu-1", "app/apac-1", "app/us-1"], "no routes at all: by time");

        assert!(distances.learn([(us, Some(route("10.3.0.0/16", &[65001, 65002], |_| {})))]));
        assert_eq!(order(&distances), ["app/eu-1", "app/us-1", "app/apac-1"], "the only one with a route");
        assert!(distances.learn([(apac, Some(route("10.4.0.0/16", &[65001, 65003], |_| {})))]));
        assert_eq!(order(&distances), ["app/eu-1", "app/apac-1", "app/us-1"], "equal paths: by time");
        assert!(distances.learn([(apac, Some(route("10.4.0.0/16", &[65001, 65002, 65003], |_| {})))]));
        assert_eq!(order(&distances), ["app/eu-1", "app/us-1", "app/apac-1"], "a shorter path");
        let preferred = |attributes: &mut Attributes| attributes.local_pref = Some(200);
        assert!(distances.learn([(apac, Some(route("10.4.0.0/16", &[65001, 65002, 65003], preferred)))]));
        assert_eq!(order(&distances), ["app/eu-1", "app/apac-1", "app/us-1"], "LOCAL_PREF before the path");
        assert!(
            !distances.learn([(apac, Some(route("10.4.0.0/17", &[65001, 65002, 65003], preferred)))]),
            "as near by a more specific route"
        );
        assert!(distances.learn([(apac, None)]));
        assert_eq!(order(&distances), ["app/eu-1", "app/us-1", "app/apac-1"], "withdrawn");
    }

    #[test]
    fn as_configured_the_order_of_the_file_goes_before_the_round_trip_time() {
        let config = config("configured");
        let all = observed(&[("app/eu-1", 1), ("app/us-1", 80), ("app/apac-1", 40)]);
        assert_eq!(order(&snapshot(&config, &all), 1), ["app/eu-1", "app/us-1", "app/apac-1"]);
    }
    #[test]
    fn a_reload_takes_another_distance_over_and_keeps_the_routes_to_backends_that_stay() {
        let by_bgp = config("bgp");
        let all = observed(&[("app/eu-1", 1), ("app/us-1", 80), ("app/apac-1", 40)]);
        let mut distances = Distances::new(&by_bgp);
        let tls = Tls::load(&by_bgp, None).unwrap();
        let order = |config: &Config, distances: &Distances| {
            order(&super::snapshot(config, &tls, &all, distances), 1)
        };
        distances.learn([(address("3"), Some(route("10.3.0.0/16", &[65001], |_| {})))]);
        let by_route = ["app/eu-1", "app/us-1", "app/apac-1"];
        assert_eq!(order(&by_bgp, &distances), by_route);
        distances.reconfigure(&by_bgp);
        assert_eq!(order(&by_bgp, &distances), by_route, "what is known stays known");
        let by_time = config("rtt");
        distances.reconfigure(&by_time);
        assert_eq!(order(&by_time, &distances), ["app/eu-1", "app/apac-1", "app/us-1"]);
        distances.reconfigure(&by_bgp);
        assert_eq!(
            order(&by_bgp, &distances),
            ["app/eu-1", "app/apac-1", "app/us-1"],
            "nothing is known yet"
        );
    }
}
