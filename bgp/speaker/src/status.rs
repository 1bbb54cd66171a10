//! A peer at one moment, for people.

use std::{net::SocketAddr, time::Instant};

use proxima_bgp_session::{Status, Terms};
use proxima_bgp_wire::Capability;
use proxima_types::{Asn, Family, PeerName};

use crate::{PeerConfig, Remote};

/// A peer at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its name.
    pub name: PeerName,
    /// The range that made it, if one did.
    pub range: Option<PeerName>,
    /// Who it is by configuration.
    pub configured: Remote,
    /// The configured port.
    pub port: u16,
    /// Its configured AS number.
    pub remote_as: Asn,
    /// Since when the session is in its state.
    pub since: Instant,
    /// The local end of the connection, if there is one.
    pub local: Option<SocketAddr>,
    /// The far end of the connection; of a peer at the end of a link, where it was found.
    pub remote: Option<SocketAddr>,
    /// The session: state, cause, terms, timers, errors both ways, counts.
    pub session: Status,
}

impl PeerStatus {
    pub(crate) fn new(config: &PeerConfig, range: Option<PeerName>, session: Status, now: Instant) -> Self {
        Self {
            name: config.name.clone(),
            range,
            configured: config.remote.clone(),
            port: config.port,
            remote_as: config.remote_as,
            since: session.since.unwrap_or(now),
            local: None,
            remote: None,
            session,
        }
    }

    /// The families in use; none before OPENs were exchanged.
    pub fn families(&self) -> Vec<Family> {
        self.terms().map(|terms| terms.negotiated.families.iter().collect()).unwrap_or_default()
    }

    /// The peer's capabilities, as it sent them.
    pub fn capabilities(&self) -> &[Capability] {
        self.terms().map_or(&[], |terms| &terms.peer.capabilities)
    }

    /// What was agreed on, from OpenConfirm on.
    pub fn terms(&self) -> Option<&Terms> {
        self.session.terms.as_deref()
    }
}
