//! Routes: what peers were sent, and what they sent.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use proxima_api as api;
use proxima_bgp_speaker::{Announced, PeerRoute, RoutePage, SpeakerHandle, Verdict};
use proxima_bgp_wire::explain::extended_community;
use proxima_types::{Family, GroupName, PeerName, Prefix};

use super::wall;
use crate::{
    admin::{CommandRefusal, Reply},
    control::Control,
    words,
};

impl Control {
    /// Asks each peer's task beside this one, so that a slow one keeps nobody waiting.
    pub(crate) fn advertised(&self, filter: api::RouteFilter, reply: Reply<api::AdvertisedRoutes>) {
        let peers = self.speaker.peers().into_iter().map(|peer| peer.name);
        let asked: Vec<PeerName> = peers.filter(|peer| filter.admits_peer(peer)).collect();
        let groups: BTreeMap<Prefix, _> = self
            .config
            .prefixes()
            .into_iter()
            .map(|prefix| (prefix, self.groups.of_prefix(&prefix).cloned()))
            .collect();
        let speaker = self.speaker.clone();
        tokio::spawn(async move {
            let mut routes = Vec::new();
            for peer in asked {
                let sent = speaker.advertised(peer.as_str()).await.unwrap_or_default();
                let admitted = sent.into_iter().filter(|(prefix, _)| filter.admits(&peer, prefix));
                routes.extend(admitted.map(|(prefix, announced)| {
                    let group = groups.get(&prefix).cloned().flatten();
                    advertised_route(&peer, group, prefix, &announced)
                }));
            }
            reply.send(api::AdvertisedRoutes { routes }).ok();
        });
    }

    /// Asks the table's thread beside this one.
    pub(crate) fn received(
        &self,
        query: api::ReceivedQuery,
        reply: Reply<Result<api::ReceivedRoutes, CommandRefusal>>,
    ) {
        let (speaker, started) = (self.speaker.clone(), self.started);
        tokio::spawn(async move {
            let page = received_page(&speaker, &query).await.map(|page| api::ReceivedRoutes {
                routes: page.routes.iter().filter_map(|route| received_route(route, started)).collect(),
                next: page.next,
            });
            reply.send(page).ok();
        });
    }

    /// Asks the table's thread beside this one.
    pub(crate) fn routes_summary(&self, reply: Reply<Result<api::RoutesSummary, CommandRefusal>>) {
        let speaker = self.speaker.clone();
        tokio::spawn(async move {
            let summary = speaker.summary().await.map(|sum| api::RoutesSummary {
                prefixes: sum.prefixes as u64,
                selected: sum.selected as u64,
                paths: sum.paths as u64,
            });
            reply.send(summary.map_err(CommandRefusal::from)).ok();
        });
    }

    /// Asks the table's thread beside this one.
    pub(crate) fn lookup(&self, address: IpAddr, reply: Reply<Result<api::RouteLookup, CommandRefusal>>) {
        let (speaker, started) = (self.speaker.clone(), self.started);
        tokio::spawn(async move {
            let found = async {
                let Some(best) = speaker.lookup(address).await? else { return Ok((None, Vec::new())) };
                let prefix = best.route.prefix;
                Ok((Some(prefix), speaker.explain(prefix).await?))
            };
            let answer = found.await.map(|(prefix, paths)| {
                let paths = paths.iter().filter_map(|(route, verdict)| {
                    Some(api::JudgedRoute {
                        best: *verdict == Verdict::Best,
                        reason: (*verdict != Verdict::Best).then(|| verdict.to_string()),
                        route: received_route(route, started)?,
                    })
                });
                api::RouteLookup { address, prefix, paths: paths.collect() }
            });
            reply.send(answer).ok();
        });
    }
}

/// A page of the table. Without a prefix, IPv4 comes first, then IPv6.
async fn received_page(
    speaker: &SpeakerHandle,
    query: &api::ReceivedQuery,
) -> Result<RoutePage, CommandRefusal> {
    let limit = query.limit.unwrap_or(api::ReceivedQuery::MOST).clamp(1, api::ReceivedQuery::MOST);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let peer = query.peer.as_ref().map(PeerName::as_str);
    if let Some(prefix) = query.prefix {
        return Ok(speaker.within(prefix, peer, query.after, limit).await?);
    }
    if let Some(peer) = peer {
        return Ok(speaker.received(peer, query.after, limit).await?);
    }
    let all = |address: IpAddr| Prefix::truncating(address, 0);
    // Behind the last IPv4 prefix there can be, IPv6 begins.
    let last = Prefix::host([255; 4].into());
    match query.after {
        Some(after) if after.family() == Family::Ipv6 => {
            Ok(speaker.within(all([0; 16].into()), None, Some(after), limit).await?)
        }
        Some(after) if after == last => Ok(speaker.within(all([0; 16].into()), None, None, limit).await?),
        after => {
            let page = speaker.within(all([0; 4].into()), None, after, limit).await?;
            Ok(RoutePage { next: Some(page.next.unwrap_or(last)), ..page })
        }
    }
}

fn advertised_route(
    peer: &PeerName,
    group: Option<GroupName>,
    prefix: Prefix,
    announced: &Announced,
) -> api::AdvertisedRoute {
    let Announced { attributes, next_hop } = announced;
    api::AdvertisedRoute {
        peer: peer.clone(),
        prefix,
        group,
        next_hop: next_hop.address,
        next_hop_link_local: next_hop.link_local,
        origin: words::origin(attributes.origin),
        as_path: words::as_path(&attributes.as_path),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: attributes.communities.to_vec(),
        large_communities: attributes.large_communities.iter().map(ToString::to_string).collect(),
        only_to_customer: attributes.only_to_customer,
    }
}

/// A route in the interface's words; none when its peer has just been taken out.
pub(super) fn received_route(
    of: &PeerRoute,
    started: (Instant, api::Timestamp),
) -> Option<api::ReceivedRoute> {
    let (route, attributes) = (&of.route, &of.route.shared.attributes);
    Some(api::ReceivedRoute {
        peer: of.peer.clone()?,
        prefix: route.prefix,
        next_hop: route.shared.next_hop.address,
        origin: words::origin(attributes.origin),
        as_path: words::as_path(&attributes.as_path),
        med: attributes.med,
        local_pref: attributes.local_pref,
        communities: attributes.communities.to_vec(),
        large_communities: attributes.large_communities.iter().map(ToString::to_string).collect(),
        extended_communities: attributes
            .rare
            .extended_communities
            .iter()
            .map(|community| extended_community(*community))
            .collect(),
        originator_id: attributes.rare.originator_id,
        only_to_customer: attributes.only_to_customer,
        path_id: (route.path_id > 0).then_some(route.path_id),
        stale: route.stale.is_some(),
        unusable: route.unusable.map(|why| why.to_string()),
        since: Some(wall(started, route.received_at)),
    })
}
