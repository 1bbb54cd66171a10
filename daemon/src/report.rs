//! What the admin interface is told: the daemon at a glance, and its backends.

mod bfd;
mod peers;
mod routes;

use std::time::{Duration, Instant};

use proxima_api as api;
use proxima_bgp_speaker::{PeerRoute, PeerStatus};
use proxima_config::{HttpService, Protocol};
use proxima_types::Health;

use crate::{control::Control, distance::Why, groups::scored, self_check::Unchecked, words};

impl Control {
    pub(crate) fn status(&self, now: Instant) -> api::Status {
        let (pop, peers) = (&self.config.pop, self.speaker.peers());
        let established = |peer: &&PeerStatus| peer.session.state == proxima_bgp_speaker::State::Established;
        api::Status {
            pop: pop.name.clone(),
            region: pop.region.clone(),
            jurisdiction: self.config.own_jurisdiction().clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            router_id: pop.router_id,
            local_as: self.config.bgp.local_as,
            started_at: self.started.1,
            uptime_ms: milliseconds(now - self.started.0),
            phase: self.phase(),
            drained: self.orders.drained().cloned(),
            alarms: self.alarms(),
            groups: self.group_report(now),
            services: self.service_report(),
            peers: api::PeerCounts {
                total: count(peers.len()),
                established: count(peers.iter().filter(established).count()),
            },
            backends: self.backend_counts(now),
            workers: count(self.data_plane.beats().read().count()),
            last_event: self.journal.newest(),
        }
    }

    fn alarms(&self) -> Vec<api::Alarm> {
        let words = self.group_words();
        self.groups.iter().flat_map(|(group, _)| words.alarms(group).collect::<Vec<_>>()).collect()
    }

    fn group_report(&self, now: Instant) -> Vec<api::Group> {
        let words = self.group_words();
        let group = |(core, services): (&proxima_announce::Group, &[_])| {
            let name = core.name().clone();
            api::Group {
                state: core.state(),
                since: self.group_since.get(&name).copied().unwrap_or(self.started.1),
                score: words::shown_score(core),
                reason: core.reason().map_or_else(
                    || api::GroupReason::AwaitingVerdicts { undecided: self.undecided(services) },
                    |reason| words.reason(&name, &reason),
                ),
                by_health: core.by_health_alone(),
                hold: core.held_by().map(|hold| words.hold(&hold)),
                order: words.order(core),
                penalty: core.penalty(now),
                others: core.guard().map(|guard| words::evidence(&guard.evidence())),
                prefixes: core.config().prefixes.clone(),
                services: services.to_vec(),
                name,
            }
        };
        self.groups.iter().map(group).collect()
    }

    /// The backends whose first verdict these services wait for.
    fn undecided(&self, services: &[proxima_types::ServiceName]) -> Vec<proxima_types::BackendId> {
        let scored = scored(&self.config, services);
        let is_awaited = |backend: &&proxima_types::BackendId| {
            let observed = self.believed(backend);
            observed.health == Health::Unknown && !observed.unchecked
        };
        let mut undecided: Vec<_> = scored.filter(is_awaited).cloned().collect();
        undecided.sort_unstable();
        undecided
    }

    fn service_report(&self) -> Vec<api::Service> {
        let stats = self.data_plane.stats();
        let service = |service: &proxima_config::Service| {
            let counted = stats.services.get(&service.name).cloned().unwrap_or_default();
            let (protocol, exchanges) = match service.protocol {
                Protocol::Tcp(_) => (api::Protocol::Tcp, counted.connections),
                Protocol::Http(HttpService { tls: None, .. }) => (api::Protocol::Http, counted.requests),
                Protocol::Http(_) => (api::Protocol::Https, counted.requests),
            };
            let listener = |address: &_| api::Listener { address: *address, open: self.accepts() };
            api::Service {
                name: service.name.clone(),
                protocol,
                listeners: service.listen.iter().map(listener).collect(),
                connections: counted.open,
                exchanges,
            }
        };
        self.config.services.values().map(service).collect()
    }

    fn health(&self, backend: &proxima_types::BackendId) -> Health {
        self.observed.get(backend).copied().unwrap_or_default().health
    }

    fn backend_counts(&self, now: Instant) -> api::BackendCounts {
        let mut counts = api::BackendCounts::default();
        for backend in self.config.pools.values().flat_map(|pool| &pool.backends) {
            *match self.health(&backend.id) {
                Health::Up => &mut counts.up,
                Health::Down => &mut counts.down,
                Health::Unknown => &mut counts.unknown,
            } += 1;
            counts.unchecked += u32::from(self.unchecked(now, &backend.id).is_some());
        }
        counts
    }

    pub(crate) fn backends(&self, now: Instant) -> api::Backends {
        let backend = |backend: &proxima_config::Backend| {
            let observed = self.observed.get(&backend.id).copied().unwrap_or_default();
            let verdict = self.verdicts.get(&backend.id);
            let found = self.traffic.found(&backend.id);
            api::Backend {
                id: backend.id.clone(),
                region: backend.region.clone(),
                jurisdiction: backend.jurisdiction.clone(),
                provider: backend.provider.clone(),
                address: backend.address,
                tier: backend.tier,
                weight: backend.weight,
                health: observed.health,
                since: verdict.map_or(self.started.1, |(since, _)| *since),
                reason: verdict.map(|(_, reason)| reason.clone()),
                rtt_us: observed.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                shared: backend.shared,
                role: found.role.map(words::server_role),
                lag_ms: found.lag.map(milliseconds),
                certificate_ends: found.certificate_ends.map(words::calendar_time),
                unchecked: self.unchecked(now, &backend.id).map(|it| self.told_unchecked(it)),
                distance: self.distance(backend),
            }
        };
        let backends = self.config.pools.values().flat_map(|pool| &pool.backends).map(backend);
        api::Backends { backends: backends.collect() }
    }

    fn told_unchecked(&self, unchecked: Unchecked) -> api::Unchecked {
        let Unchecked { since, why, believed } = unchecked;
        api::Unchecked { since: self.wall(since), why: why.map(|why| why.to_string()), believed }
    }

    fn distance(&self, backend: &proxima_config::Backend) -> Option<api::Distance> {
        let why = self.distances.why(backend);
        if why != Why::Time && backend.region == self.config.pop.region {
            return Some(api::Distance::Own);
        }
        Some(match why {
            Why::Time => return None,
            Why::Configured(place) => api::Distance::Configured { place: place.saturating_add(1) },
            Why::NoRoute => api::Distance::NoRoute,
            Why::Path { place, local_pref, route } => {
                let of = PeerRoute { peer: self.speaker.peer_name(route.peer), route: route.clone() };
                api::Distance::Bgp {
                    place: place.saturating_add(1),
                    compared_local_pref: local_pref,
                    route: Box::new(routes::received_route(&of, self.started)?),
                }
            }
        })
    }

    pub(crate) fn wall(&self, at: Instant) -> api::Timestamp {
        wall(self.started, at)
    }
}

/// A moment of the monotonic clock by the wall clock, given one moment of both.
pub(crate) fn wall((instant, timestamp): (Instant, api::Timestamp), at: Instant) -> api::Timestamp {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let offset = if at >= instant { micros(at - instant) } else { -micros(instant - at) };
    api::Timestamp::from_unix_micros(timestamp.unix_micros().saturating_add(offset))
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How many peers, backends or workers: far below 2³².
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
