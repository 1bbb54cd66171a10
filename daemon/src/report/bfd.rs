//! BFD sessions.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_api as api;
use proxima_bfd_io::{BfdStatus, Diagnostic};
use proxima_types::PeerName;

use super::milliseconds;
use crate::{control::Control, words};

impl Control {
    pub(crate) fn bfd_sessions(&self, now: Instant) -> api::BfdSessions {
        api::BfdSessions { sessions: self.bfd_by_peer(now).into_values().collect() }
    }

    pub(super) fn bfd_by_peer(&self, now: Instant) -> BTreeMap<PeerName, api::BfdSession> {
        let sessions = self.bfd.sessions();
        sessions.iter().filter_map(|status| self.bfd_session(now, status)).collect()
    }

    fn bfd_session(&self, now: Instant, status: &BfdStatus) -> Option<(PeerName, api::BfdSession)> {
        let (peer, session) = (status.name.parse::<PeerName>().ok()?, &status.session);
        let microseconds = |time: Option<Duration>| {
            time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let heard = session.remote_discriminator.is_some();
        let said = |diagnostic: Diagnostic| (diagnostic != Diagnostic::None).then(|| diagnostic.to_string());
        let receive = session
            .remote_desired_min_tx
            .map_or(session.required_min_rx, |theirs| theirs.max(session.required_min_rx));
        let told = api::BfdSession {
            remote: session.path.remote,
            local: session.path.local,
            interface: status.interface.clone(),
            multihop: session.path.hops.is_multi(),
            authenticated: session.authentication.is_some(),
            state: words::bfd_state(session.state),
            since: self.wall(session.since),
            since_ms: milliseconds(now.saturating_duration_since(session.since)),
            diagnostic: session
                .last_down
                .as_ref()
                .map(|down| down.cause.to_string())
                .or_else(|| said(session.diagnostic)),
            remote_state: heard.then(|| words::bfd_state(session.remote_state)),
            remote_diagnostic: said(session.remote_diagnostic).filter(|_| heard),
            local_discriminator: session.discriminator.0.get(),
            remote_discriminator: session.remote_discriminator.map_or(0, |theirs| theirs.0.get()),
            multiplier: session.multiplier.get(),
            transmit_us: microseconds(session.transmit_interval.or(Some(session.desired_min_tx))),
            receive_us: microseconds(Some(receive)),
            detection_us: microseconds(session.detection_time),
            packets_sent: session.counters.sent,
            packets_received: session.counters.received,
            packets_discarded: session.counters.discarded.total(),
            flaps: session.counters.flaps,
            peer: peer.clone(),
        };
        Some((peer, told))
    }
}
