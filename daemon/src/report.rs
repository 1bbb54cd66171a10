//! What the admin interface is told.

use std::{collections::BTreeMap, time::Instant};

use proxima_api as api;
use proxima_bgp_speaker::{PeerStatus, ReceivedRoute};
use proxima_config::{Peer, Protocol};
use proxima_types::{Family, Health, PeerName, Prefix, RouteAttributes};

use crate::{admin::Reply, control::Control, words};

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
            uptime_ms: u64::try_from((now - self.started.0).as_millis()).unwrap_or(u64::MAX),
            phase: self.phase(),
            drained: self.drained.clone(),
            groups: self.group_report(),
            services: self.service_report(),
            peers: api::PeerCounts {
                total: count(peers.len()),
                established: count(peers.iter().filter(established).count()),
            },
            backends: self.backend_counts(),
            workers: count(self.data_plane.beats().read().count()),
            last_event: self.journal.newest(),
        }
    }

    fn group_report(&self) -> Vec<api::Group> {
        let group = |(core, services): (&proxima_announce::Group, &[_])| {
            let name = core.config().name.clone();
            api::Group {
                state: core.state(),
                since: self.group_since[&name],
                score: words::shown_score(core),
                reason: core.reason().map_or_else(
                    || api::GroupReason::AwaitingVerdicts { undecided: self.undecided(services) },
                    |reason| words::group_reason(&reason, self.ordered.as_ref()),
                ),
                overridden: core.order() != proxima_announce::Override::Auto,
                prefixes: core.config().prefixes.clone(),
                services: services.to_vec(),
                name,
            }
        };
        self.groups.iter().map(group).collect()
    }

    /// The backends of the own region whose first verdict these services wait for.
    fn undecided(&self, services: &[proxima_types::ServiceName]) -> Vec<proxima_types::BackendId> {
        let pools = services.iter().flat_map(|name| self.config.services[name].pools());
        let own = pools
            .flat_map(|pool| &self.config.pools[pool].backends)
            .filter(|backend| backend.region == self.config.pop.region)
            .filter(|backend| self.health(&backend.id) == Health::Unknown);
        let mut undecided: Vec<_> = own.map(|backend| backend.id.clone()).collect();
        undecided.sort_unstable();
        undecided.dedup();
        undecided
    }

    fn service_report(&self) -> Vec<api::Service> {
        let stats = self.data_plane.stats();
        let service = |service: &proxima_config::Service| {
            let counted = stats.services.get(&service.name).cloned().unwrap_or_default();
            let (protocol, exchanges) = match service.protocol {
                Protocol::Tcp(_) => (api::Protocol::Tcp, counted.connections),
                Protocol::Http(_) => (api::Protocol::Http, counted.requests),
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

    fn backend_counts(&self) -> api::BackendCounts {
        let mut counts = api::BackendCounts::default();
        for backend in self.config.pools.values().flat_map(|pool| &pool.backends) {
            *match self.health(&backend.id) {
                Health::Up => &mut counts.up,
                Health::Down => &mut counts.down,
                Health::Unknown => &mut counts.unknown,
            } += 1;
        }
        counts
    }

    pub(crate) fn backends(&self) -> api::Backends {
        let backend = |backend: &proxima_config::Backend| {
            let observed = self.observed.get(&backend.id).copied().unwrap_or_default();
            let verdict = self.verdicts.get(&backend.id);
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
            }
        };
        let backends = self.config.pools.values().flat_map(|pool| &pool.backends).map(backend);
        api::Backends { backends: backends.collect() }
    }

    pub(crate) fn peers(&self) -> api::Peers {
        let peers = self.speaker.peers();
        api::Peers { peers: peers.iter().map(|peer| self.peer(peer)).collect() }
    }

    fn peer(&self, peer: &PeerStatus) -> api::Peer {
        let (session, terms) = (&peer.session, peer.terms());
        let configured = self.config.bgp.peers.iter().find(|configured| configured.name == peer.name);
        api::Peer {
            name: peer.name.clone(),
            address: match peer.configured {
                proxima_bgp_speaker::Remote::Address { address, .. } => address,
                proxima_bgp_speaker::Remote::Range { .. } | proxima_bgp_speaker::Remote::Interface { .. } => {
                    peer.remote.map_or(std::net::Ipv6Addr::UNSPECIFIED.into(), |remote| remote.ip())
                }
            },
            port: peer.port,
            remote_as: peer.remote_as,
            state: words::session_state(session.state),
            since: self.wall(peer.since),
            last_error: last_error(peer),
            remote_router_id: terms.map(|terms| terms.peer.router_id),
            hold_time_s: terms.map(|terms| {
                terms.hold_time.map_or(0, |hold| u16::try_from(hold.as_secs()).unwrap_or(u16::MAX))
            }),
            families: match (terms, configured) {
                (Some(_), _) => peer.families(),
                (None, Some(configured)) => configured.families.clone(),
                (None, None) => Vec::new(),
            },
            advertised: session.advertised as u64,
            received: session.received as u64,
            updates_sent: session.counters.updates_sent,
            updates_received: session.counters.updates_received,
            established_count: session.counters.flaps
                + u64::from(session.state == proxima_bgp_speaker::State::Established),
        }
    }

    /// Asks each peer's task beside this one, so that a slow one keeps nobody waiting.
    pub(crate) fn advertised(&self, filter: api::RouteFilter, reply: Reply<api::AdvertisedRoutes>) {
        let locals: BTreeMap<PeerName, _> =
            self.speaker.peers().into_iter().map(|peer| (peer.name, peer.local)).collect();
        let asked: Vec<(Peer, _)> = self
            .config
            .bgp
            .peers
            .iter()
            .filter(|peer| filter.admits_peer(&peer.name))
            .map(|peer| (peer.clone(), locals.get(&peer.name).copied().flatten().map(|local| local.ip())))
            .collect();
        let groups: BTreeMap<Prefix, _> = self
            .config
            .prefixes()
            .into_iter()
            .map(|prefix| (prefix, self.groups.of_prefix(&prefix).cloned()))
            .collect();
        let (speaker, local_as) = (self.speaker.clone(), self.config.bgp.local_as);
        tokio::spawn(async move {
            let mut routes = Vec::new();
            for (peer, local) in asked {
                let sent = speaker.advertised(peer.name.as_str()).await.unwrap_or_default();
                routes.extend(
                    sent.into_iter().filter(|(prefix, _)| filter.admits(&peer.name, prefix)).filter_map(
                        |(prefix, attributes)| {
                            let group = groups.get(&prefix).cloned().flatten();
                            Some(advertised_route(&peer, local?, local_as, group, prefix, &attributes))
                        },
                    ),
                );
            }
            reply.send(api::AdvertisedRoutes { routes }).ok();
        });
    }

    pub(crate) fn received(&self, filter: api::RouteFilter, reply: Reply<api::ReceivedRoutes>) {
        let asked: Vec<PeerName> = self
            .config
            .bgp
            .peers
            .iter()
            .map(|peer| peer.name.clone())
            .filter(|name| filter.admits_peer(name))
            .collect();
        let (speaker, started) = (self.speaker.clone(), self.started);
        tokio::spawn(async move {
            let mut routes = Vec::new();
            for peer in asked {
                let held = speaker.received(peer.as_str()).await.unwrap_or_default();
                let admitted = held.into_iter().filter(|(prefix, _)| filter.admits(&peer, prefix));
                routes.extend(admitted.map(|(prefix, route)| received_route(&peer, prefix, &route, started)));
            }
            reply.send(api::ReceivedRoutes { routes }).ok();
        });
    }

    fn wall(&self, at: Instant) -> api::Timestamp {
        wall(self.started, at)
    }
}

fn wall((instant, timestamp): (Instant, api::Timestamp), at: Instant) -> api::Timestamp {
    let micros = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let offset = if at >= instant { micros(at - instant) } else { -micros(instant - at) };
    api::Timestamp::from_unix_micros(timestamp.unix_micros().saturating_add(offset))
}

fn last_error(peer: &PeerStatus) -> Option<api::SessionReason> {
    let session = &peer.session;
    words::session_reason(&session.cause)
        .or_else(|| session.last_sent.as_ref().and_then(words::session_reason))
        .or_else(|| session.last_received.clone().map(|n| words::notification_received(&n)))
        .or_else(|| {
            let error = session.last_transport_error.clone()?;
            Some(api::SessionReason::ConnectionLost { error: Some(error) })
        })
}

fn advertised_route(
    peer: &Peer,
    local: std::net::IpAddr,
    local_as: proxima_types::Asn,
    group: Option<proxima_types::GroupName>,
    prefix: Prefix,
    attributes: &RouteAttributes,
) -> api::AdvertisedRoute {
    let configured = match prefix.family() {
        Family::Ipv4 => peer.next_hop_ipv4.map(Into::into),
        Family::Ipv6 => peer.next_hop_ipv6.map(Into::into),
    };
    let length = if peer.remote_as == local_as { 0 } else { 1 + usize::from(attributes.prepend) };
    api::AdvertisedRoute {
        peer: peer.name.clone(),
        prefix,
        group,
        next_hop: configured.unwrap_or(local),
        as_path: std::iter::repeat_n(local_as, length).collect(),
        med: attributes.med,
        communities: attributes.communities.clone(),
    }
}

fn received_route(
    peer: &PeerName,
    prefix: Prefix,
    route: &ReceivedRoute,
    started: (Instant, api::Timestamp),
) -> api::ReceivedRoute {
    let attributes = &route.attributes;
    api::ReceivedRoute {
        peer: peer.clone(),
        prefix,
        next_hop: route.next_hop.address,
        origin: match attributes.origin {
            proxima_bgp_wire::update::Origin::Igp => api::Origin::Igp,
            proxima_bgp_wire::update::Origin::Egp => api::Origin::Egp,
            proxima_bgp_wire::update::Origin::Incomplete => api::Origin::Incomplete,
        },
        as_path: words::as_path(&attributes.as_path),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: attributes.communities.to_vec(),
        since: Some(wall(started, route.received_at)),
    }
}

/// How many peers, backends or workers: far below 2³².
fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}
