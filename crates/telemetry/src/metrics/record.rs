//! From the admin interface's words to metrics.

use std::collections::{BTreeMap, BTreeSet};

use proxima_api::{
    AlarmKind, Backends, BfdState, Certificates, EventKind, Held, OrderVerb, Peers, ServerRole, SessionState,
    Status, Timestamp,
};
use proxima_types::{Health, IssuerName, ReachState, ServiceName};

use super::{table, tally};

/// Counts an event.
pub(crate) fn count_event(kind: &EventKind) {
    table::EVENTS.add(&[("kind", kind.name())], 1);
    match kind {
        EventKind::BackendVerdict { backend, to, .. } => {
            table::BACKEND_VERDICTS.add(&[("backend", backend.as_str()), ("to", &to.to_string())], 1);
        }
        EventKind::GroupTransition { group, to, .. } => {
            table::GROUP_TRANSITIONS.add(&[("group", group.as_str()), ("to", &to.to_string())], 1);
        }
        EventKind::PeerState { peer, from: SessionState::Established, to, .. }
            if *to != SessionState::Established =>
        {
            table::PEER_LOSSES.add(&[("peer", peer.as_str())], 1);
        }
        EventKind::UpdateSent { peer, .. } => table::PEER_UPDATES.add(&[("peer", peer.as_str())], 1),
        EventKind::BfdState { peer, from: BfdState::Up, to: BfdState::Down | BfdState::Init, .. } => {
            table::BFD_LOSSES.add(&[("peer", peer.as_str())], 1);
        }
        EventKind::CertificateObtained { service, issuer, .. } => order(service, issuer, "obtained"),
        // One that could not be kept was obtained.
        EventKind::CertificateFailed { service, issuer, retry_at: Some(_), .. } => {
            order(service, issuer, "failed");
        }
        EventKind::Reloaded { .. } => table::RELOADS.add(&[("result", "applied")], 1),
        EventKind::ReloadRefused { .. } => table::RELOADS.add(&[("result", "refused")], 1),
        _ => {}
    }
}

fn order(service: &ServiceName, issuer: &IssuerName, result: &str) {
    let labels = [("service", service.as_str()), ("issuer", issuer.as_str()), ("result", result)];
    table::ORDERS.add(&labels, 1);
}

/// Sets the counters of events, of those that are there.
pub fn record_events(status: &Status, peers: &Peers, backends: &Backends) {
    let groups: BTreeSet<_> = status.groups.iter().map(|group| group.name.as_str()).collect();
    let peers: BTreeSet<_> = peers.peers.iter().map(|peer| peer.name.as_str()).collect();
    let backends: BTreeSet<_> = backends.backends.iter().map(|backend| backend.id.as_str()).collect();
    let services: BTreeSet<_> = status.services.iter().map(|service| service.name.as_str()).collect();
    tally::tell(|label, value| match label {
        "service" => services.contains(value),
        "group" => groups.contains(value),
        "peer" => peers.contains(value),
        "backend" => backends.contains(value),
        _ => true,
    });
}

/// Sets the gauges that tell of the daemon, its groups and listeners.
pub fn record_status(status: &Status) {
    let (version, pop, region) = (status.version.as_str(), status.pop.as_str(), status.region.as_str());
    table::BUILD_INFO.set(&[("version", version), ("pop", pop), ("region", region)], 1.0);
    table::START_TIME.set(&[], status.started_at.unix_micros() as f64 / 1e6);
    table::DRAINED.set(&[], flag(status.drained.is_some()));
    table::WORKERS.set(&[], f64::from(status.workers));
    table::BACKENDS_UNCHECKED.set(&[], f64::from(status.backends.unchecked));
    for group in &status.groups {
        let name = group.name.as_str();
        if let Some(score) = group.score {
            table::GROUP_SCORE.set(&[("group", name)], score.share());
        }
        for state in [ReachState::Announced, ReachState::DePreferred, ReachState::Withdrawn] {
            table::GROUP_STATE
                .set(&[("group", name), ("state", &state.to_string())], flag(group.state == state));
        }
    }
    record_orders_and_alarms(status);
    for service in &status.services {
        for listener in &service.listeners {
            let address = listener.address.to_string();
            let labels = [("service", service.name.as_str()), ("address", address.as_str())];
            table::LISTENER_UP.set(&labels, flag(listener.open));
        }
    }
}

/// What people decide about groups, and what they ought to.
fn record_orders_and_alarms(status: &Status) {
    for group in &status.groups {
        let name = group.name.as_str();
        if let Some(penalty) = group.penalty {
            table::GROUP_PENALTY.set(&[("group", name)], penalty);
        }
        if let Some(others) = group.others.as_ref().filter(|others| others.observing) {
            table::GROUP_OTHERS.set(&[("group", name)], f64::from(others.counted));
        }
        let order = group.order.as_ref().map(|order| order.verb);
        for verb in [OrderVerb::Announce, OrderVerb::Drain, OrderVerb::Withdraw] {
            let labels = [("group", name), ("order", &*verb.to_string())];
            table::GROUP_OVERRIDE.set(&labels, flag(order == Some(verb)));
        }
        for kind in AlarmKind::NAMES {
            let on = status.alarms.iter().any(|alarm| alarm.group == group.name && alarm.kind.name() == kind);
            table::ALARM.set(&[("kind", kind), ("group", name)], flag(on));
        }
    }
}

/// Sets the gauges that tell of the peers.
pub fn record_peers(peers: &Peers) {
    for peer in &peers.peers {
        let name = peer.name.as_str();
        let labels = [("peer", name)];
        table::PEER_ESTABLISHED.set(&labels, flag(peer.state == SessionState::Established));
        for state in SessionState::ALL {
            table::PEER_STATE
                .set(&[("peer", name), ("state", &state.to_string())], flag(peer.state == state));
        }
        table::PEER_SHUTDOWN.set(&labels, flag(matches!(peer.held, Some(Held::Shutdown { .. }))));
        for count in &peer.prefixes {
            let family = count.family.to_string();
            let labels = [("peer", name), ("family", family.as_str())];
            table::PEER_PREFIXES.set(&labels, count.received as f64);
            if let Some(limit) = count.limit {
                table::PEER_LIMIT.set(&labels, f64::from(limit));
            }
        }
        table::PEER_MESSAGES.set(&[("peer", name), ("direction", "sent")], peer.messages.sent);
        table::PEER_MESSAGES.set(&[("peer", name), ("direction", "received")], peer.messages.received);
        table::PEER_WITHDRAWN_FAULTY.set(&labels, peer.messages.treated_as_withdrawn);
        if let Some(bfd) = &peer.bfd {
            for state in [BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up] {
                table::BFD_STATE
                    .set(&[("peer", name), ("state", &state.to_string())], flag(bfd.state == state));
            }
            table::BFD_DETECTION.set(&labels, bfd.detection_us as f64 / 1e6);
        }
        table::PEER_ADVERTISED.set(&labels, peer.advertised as f64);
        table::PEER_RECEIVED.set(&labels, peer.received as f64);
    }
}

/// Sets the gauges that tell of the backends.
pub fn record_backends(backends: &Backends) {
    for backend in &backends.backends {
        let labels = [("backend", backend.id.as_str()), ("region", backend.region.as_str())];
        table::BACKEND_UP.set(&labels, flag(backend.health == Health::Up));
        if let Some(rtt) = backend.rtt_us {
            table::BACKEND_RTT.set(&labels, rtt as f64 / 1e6);
        }
        if backend.role.is_some() {
            for role in ServerRole::ALL {
                let labels = [labels[0], labels[1], ("role", &*role.to_string())];
                table::BACKEND_ROLE.set(&labels, flag(backend.role == Some(role)));
            }
        }
        if let Some(lag) = backend.lag_ms {
            table::BACKEND_LAG.set(&labels, lag as f64 / 1e3);
        }
        if let Some(ends) = backend.certificate_ends {
            table::BACKEND_CERTIFICATE.set(&labels, (ends.unix_micros() / 1_000_000) as f64);
        }
    }
}

/// Sets the gauges that tell of services' certificates.
pub fn record_certificates(certificates: &Certificates) {
    let mut ends: BTreeMap<(&str, &str), Timestamp> = BTreeMap::new();
    for certificate in &certificates.certificates {
        let service = certificate.service.as_str();
        for name in certificate.ends.iter().flat_map(|_| &certificate.names) {
            let first = ends.entry((service, name)).or_insert(Timestamp::from_unix_micros(i64::MAX));
            *first = certificate.ends.map_or(*first, |ends| ends.min(*first));
        }
        if let Some(order) = &certificate.order {
            let labels = [("service", service), ("issuer", order.issuer.as_str())];
            table::ORDER_FAILURES.set(&labels, f64::from(order.failures));
        }
    }
    for ((service, name), ends) in ends {
        let labels = [("service", service), ("name", name)];
        table::SERVICE_CERTIFICATE.set(&labels, (ends.unix_micros() / 1_000_000) as f64);
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
