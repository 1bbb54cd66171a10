//! Our OPEN, the checks on the peer's, and what the two agree on (RFC 4271 §4.2, §6.2; RFC 5492, 6286, 6793).

use std::time::Duration;

use proxima_bgp_wire::{Capability, ErrorCode, Families, Negotiated, Notification, Open, PeerKind};
use proxima_types::Family;

use crate::{
    Settings,
    settings::{RETRY_CEILING, SEND_HOLD_TIME},
};

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How messages are read and written, and which families are exchanged.
    pub negotiated: Negotiated,
    /// The lesser of both hold times; none when one side asked for 0: then no KEEPALIVE is due either.
    pub hold_time: Option<Duration>,
    /// The peer's OPEN.
    pub peer: Open,
}

/// Why a peer's OPEN is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) notification: Notification,
    pub(crate) detail: String,
}

impl Terms {
    /// A third of the hold time (RFC 4271 §4.4), before jitter.
    pub fn keepalive_interval(&self) -> Option<Duration> {
        self.hold_time.map(|hold| hold / 3)
    }

    /// How long the peer may take nothing of what we send (RFC 9687 §3).
    pub fn send_hold_time(&self) -> Option<Duration> {
        self.hold_time.map(|hold| SEND_HOLD_TIME.max(hold * 2))
    }

    /// The checks the codec can't make, since they depend on the configuration.
    pub(crate) fn agree(settings: &Settings, ours: &Open, theirs: &Open) -> Result<Self, Refusal> {
        if theirs.asn != settings.remote_as {
            return Err(Refusal {
                notification: Notification::new(ErrorCode::BAD_PEER_AS, []),
                detail: format!(
                    "the peer is AS {}, the configuration says remote-as = {}; correct one of them",
                    theirs.asn, settings.remote_as
                ),
            });
        }
        if settings.internal() && theirs.router_id == settings.router_id {
            return Err(Refusal {
                notification: Notification::new(ErrorCode::BAD_BGP_IDENTIFIER, []),
                detail: format!("both sides have router-id {}; give each its own", settings.router_id),
            });
        }
        let mut negotiated = Negotiated::between(ours, theirs);
        negotiated.peer = if settings.internal() { PeerKind::Internal } else { PeerKind::External };
        negotiated.families = negotiated.families.intersection(configured(settings));
        if negotiated.families.is_empty() {
            let missing: Vec<_> = settings.families.iter().copied().map(multiprotocol).collect();
            let names: Vec<_> = settings.families.iter().map(ToString::to_string).collect();
            return Err(Refusal {
                notification: Notification::unsupported_capabilities(&missing),
                detail: format!(
                    "the peer offers none of the families {}; enable one on the peer; \
                     the session is tried again at most {} s later",
                    names.join(", "),
                    RETRY_CEILING.as_secs()
                ),
            });
        }
        let hold = settings.hold_seconds().min(theirs.hold_time);
        let hold_time = (hold > 0).then(|| Duration::from_secs(hold.into()));
        Ok(Self { negotiated, hold_time, peer: theirs.clone() })
    }

    /// Configured families that the session does not exchange.
    pub(crate) fn missing<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Family> + 'a {
        settings.families.iter().copied().filter(|family| !self.negotiated.families.contains(*family))
    }
}

/// The OPEN we send; `bare` leaves out the capabilities, for a peer that refused the parameter.
pub(crate) fn our_open(settings: &Settings, bare: bool) -> Open {
    let mut capabilities = Vec::new();
    if !bare {
        capabilities.extend(configured(settings).iter().map(multiprotocol));
        capabilities.extend([Capability::RouteRefresh, Capability::FourOctetAs(settings.local_as)]);
    }
    Open::new(settings.local_as, settings.hold_seconds(), settings.router_id, capabilities)
}

fn configured(settings: &Settings) -> Families {
    settings.families.iter().copied().collect()
}

fn multiprotocol(family: Family) -> Capability {
    Capability::Multiprotocol(family.into())
}
