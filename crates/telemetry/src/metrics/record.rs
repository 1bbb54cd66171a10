//! From the admin interface's words to metrics.

use proxima_api::{Backends, EventKind, Peers, SessionState, Status};
use proxima_types::{Health, ReachState};

use super::table;

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
        _ => {}
    }
}

/// Sets the gauges that tell of the daemon, its groups and listeners.
pub fn record_status(status: &Status) {
    let (version, pop, region) = (status.version.as_str(), status.pop.as_str(), status.region.as_str());
    table::BUILD_INFO.set(&[("version", version), ("pop", pop), ("region", region)], 1.0);
    table::START_TIME.set(&[], status.started_at.unix_micros() as f64 / 1e6);
    table::DRAINED.set(&[], flag(status.drained.is_some()));
    table::WORKERS.set(&[], f64::from(status.workers));
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
    for service in &status.services {
        for listener in &service.listeners {
            let address = listener.address.to_string();
            let labels = [("service", service.name.as_str()), ("address", address.as_str())];
            table::LISTENER_UP.set(&labels, flag(listener.open));
        }
    }
}

/// Sets the gauges that tell of the peers.
pub fn record_peers(peers: &Peers) {
    for peer in &peers.peers {
        let labels = [("peer", peer.name.as_str())];
        table::PEER_ESTABLISHED.set(&labels, flag(peer.state == SessionState::Established));
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
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
