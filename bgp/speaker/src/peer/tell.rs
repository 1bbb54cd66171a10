//! Log, events, status, and what the RIB hears.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

use proxima_bgp_rib::{MAX_PATHS_PER_PREFIX, PathSource};
use proxima_bgp_session::{Cause, Input, MaxPrefixes, PeerUp, Problem, RibChange, State};
use proxima_types::Family;

use super::Peer;
use crate::{
    PeerStatus, SpeakerEvent,
    connection::Connection,
    rib::{Monitored, SessionEnd},
};

impl Peer {
    pub(super) fn state_changed(&mut self, from: State, to: State, cause: Cause) {
        self.log_state(from, to, &cause);
        let (peer, at) = (self.config.name.clone(), Instant::now());
        if from == State::Established {
            self.routes.down(at, SessionEnd::from(&cause));
        }
        self.tell(SpeakerEvent::StateChanged { peer, from, to, cause, at });
        match (to, &self.discovery) {
            (State::Established, _) => self.connected(at),
            (_, Some(discovery)) => discovery.unsettle(),
            (_, None) => {}
        }
    }

    pub(super) fn connected(&self, at: Instant) {
        if let Some(&Connection { local: Some(local), remote: Some(remote), .. }) = self.established() {
            let interface = self.config.remote.interface().map(str::to_owned);
            if let Some(discovery) = &self.discovery {
                discovery.settle(remote);
            }
            self.tell(SpeakerEvent::Connected {
                peer: self.config.name.clone(),
                local,
                remote,
                interface,
                at,
            });
        }
    }

    pub(super) fn route_change(&mut self, change: RibChange) {
        if let RibChange::PeerUp(up) = &change {
            let unknown = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
            let ends = self.established().map_or((unknown, unknown), |connection| {
                (connection.local.unwrap_or(unknown), connection.remote.unwrap_or(unknown))
            });
            let monitored = Monitored::new((self.routes.peer(), self.config.name.clone()), ends, up);
            self.routes.up(self.source(up, ends.1.ip()), monitored);
            self.routes.limit(self.config.max_prefixes.and_then(MaxPrefixes::most_taken));
        }
        self.routes.push(Instant::now(), change);
    }

    fn source(&self, up: &PeerUp, remote: IpAddr) -> PathSource {
        PathSource {
            kind: up.kind,
            asn: up.asn,
            router_id: up.router_id,
            address: remote.to_canonical(),
            subnet: up.local.subnet,
            import: self.config.import,
        }
    }

    fn established(&self) -> Option<&Connection> {
        let established = self.session.established();
        self.connections.iter().find(|connection| Some(connection.id) == established)
    }

    pub(super) fn take_counts(&mut self) {
        let Some(counts) = self.routes.counts() else { return };
        for (family, counts) in Family::ALL.into_iter().zip(counts.families) {
            let [count, stale] =
                [counts.paths, counts.stale].map(|paths| u32::try_from(paths).unwrap_or(u32::MAX));
            self.handle(Input::PrefixCount { family, count, stale });
            self.handle(Input::PrefixesDiscarded { family, total: counts.discarded });
            let (total, limit) = (counts.crowded, MAX_PATHS_PER_PREFIX);
            self.handle(Input::PathsDiscarded { family, total, limit });
        }
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        let mut text = problem.to_string();
        if matches!(problem, Problem::NoAnswer) {
            if self.config.password.is_some() {
                text.push_str("; a wrong password looks the same");
            }
            if self.warned.as_ref() == Some(&text) {
                return;
            }
            self.warned = Some(text.clone());
        }
        tracing::warn!(peer = %self.config.name, address = %self.config.remote, "BGP: {text}");
        let peer = self.config.name.clone();
        self.tell(SpeakerEvent::Problem { peer, problem, at: Instant::now() });
    }

    fn log_state(&mut self, from: State, to: State, cause: &Cause) {
        let (peer, address) = (&self.config.name, &self.config.remote);
        match (from, to) {
            (_, State::Established) => {
                self.warned = None;
                tracing::info!(%peer, %address, "BGP session established");
            }
            (State::Established, _) if cause.is_ordered() => {
                tracing::info!(%peer, %address, "BGP session ended: {cause}");
            }
            (State::Established, _) => {
                tracing::warn!(%peer, %address, "BGP session lost: {cause}");
            }
            // By order: nothing failed, and nothing is tried again.
            (_, State::Idle) if cause.is_ordered() => {
                self.warned = None;
                tracing::info!(%peer, %address, "no BGP session: {cause}");
            }
            // Failures end in Idle or Active; each is told once, not at every attempt.
            (_, State::Idle | State::Active)
                if from != State::Idle && self.warned.as_ref() != Some(&cause.to_string()) =>
            {
                self.warned = Some(cause.to_string());
                tracing::warn!(%peer, %address, "no BGP session, retrying: {cause}");
            }
            _ => tracing::debug!(%peer, %address, %from, %to, "BGP: {cause}"),
        }
    }

    pub(super) fn tell(&self, event: SpeakerEvent) {
        self.ports.events.send(event);
    }

    pub(super) fn publish(&self) {
        let session = self.session.status();
        let connection = self.connections.iter().find(|connection| Some(connection.id) == session.connection);
        let range = self.config.name.as_member().map(|(range, _)| range);
        let found = self.discovery.as_ref().and_then(crate::discovery::Discovery::now);
        self.ports.status.send_replace(PeerStatus {
            local: connection.and_then(|connection| connection.local),
            remote: connection.and_then(|connection| connection.remote).or(found),
            ..PeerStatus::new(&self.config, range, session, self.created)
        });
    }
}
