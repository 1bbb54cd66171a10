//! Our OPEN, the checks on the peer's, and what the two agree on (RFC 4271 §4.2, §6.2; RFC 5492, 6286, 6793, 9234).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use proxima_bgp_wire::{
    AddPath, AddPathMode, Capability, ErrorCode, ExtendedNextHop, Negotiated, Notification, Open, PeerKind,
    Role,
};
use proxima_types::Family;

use crate::{PeerRestart, Settings, graceful_restart, settings::SEND_HOLD_TIME};

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How messages are read and written, and which families are exchanged.
    pub negotiated: Negotiated,
    /// The lesser of both hold times; none when one side asked for 0: then no KEEPALIVE is due either.
    pub hold_time: Option<Duration>,
    /// Graceful restart, if both offer it.
    pub graceful_restart: Option<PeerRestart>,
    /// The peer's role, if it said one that goes with ours (RFC 9234).
    pub peer_role: Option<Role>,
    /// Our OPEN.
    pub ours: Arc<Open>,
    /// The peer's OPEN.
    pub peer: Open,
    /// The peer's OPEN as it came, header included.
    pub peer_bytes: Bytes,
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

    /// Whether routes outlive a NOTIFICATION that is no Hard Reset (RFC 8538).
    pub(crate) fn notifications_are_graceful(&self) -> bool {
        self.graceful_restart.is_some_and(|restart| restart.notification)
    }

    /// The checks the codec can't make, since they depend on the configuration.
    pub(crate) fn agree(
        settings: &Settings,
        ours: &Arc<Open>,
        theirs: &Open,
        peer_bytes: Bytes,
    ) -> Result<Self, Refusal> {
        identity(settings, theirs)?;
        let role = settings.effective_role();
        Open::check_roles(role, theirs, settings.role_strict)
            .map_err(|error| Refusal { notification: error.to_notification(), detail: error.to_string() })?;
        let mut negotiated = Negotiated::between(ours, theirs);
        negotiated.peer = if settings.internal() { PeerKind::Internal } else { PeerKind::External };
        negotiated.families = negotiated.families.intersection(settings.offered());
        negotiated.disable_families = true;
        negotiated.refuse_as_sets = true;
        if negotiated.families.is_empty() {
            let missing: Vec<_> = settings.families.iter().copied().map(Capability::multiprotocol).collect();
            let names: Vec<_> = settings.families.iter().map(ToString::to_string).collect();
            return Err(Refusal {
                notification: Notification::unsupported_capabilities(&missing),
                detail: format!(
                    "the peer offers none of the families {}; enable one on the peer, then reset the session here \
                     (`proxima peer NAME reset`): it is not tried again by itself, only by the peer where `listen` lets \
                     it connect",
                    names.join(", ")
                ),
            });
        }
        let hold = settings.hold_seconds().min(theirs.hold_time);
        Ok(Self {
            negotiated,
            hold_time: (hold > 0).then(|| Duration::from_secs(hold.into())),
            graceful_restart: PeerRestart::agree(ours, theirs),
            peer_role: role.and(theirs.role().ok().flatten()),
            ours: ours.clone(),
            peer: theirs.clone(),
            peer_bytes,
        })
    }

    /// Configured families that the session does not exchange.
    pub(crate) fn missing<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Family> + 'a {
        settings.families.iter().copied().filter(|family| !self.negotiated.families.contains(*family))
    }
}

/// RFC 4271 §6.2, RFC 6286 §2.2.
fn identity(settings: &Settings, theirs: &Open) -> Result<(), Refusal> {
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
    Ok(())
}

/// The OPEN we send. `bare` leaves out the capabilities, for a peer that refused the parameter; `restarted` is what
/// graceful restart says.
pub(crate) fn our_open(settings: &Settings, bare: bool, restarted: bool) -> Open {
    let capabilities = if bare { Vec::new() } else { capabilities(settings, restarted) };
    Open::new(settings.local_as, settings.hold_seconds(), settings.router_id, capabilities)
}

/// In the order of their codes, but for the families.
fn capabilities(settings: &Settings, restarted: bool) -> Vec<Capability> {
    let families = settings.offered();
    let mut offered: Vec<_> = families.iter().map(Capability::multiprotocol).collect();
    offered.push(Capability::RouteRefresh);
    if settings.extended_next_hop && families.contains(Family::Ipv4) {
        offered.push(Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4_OVER_IPV6]));
    }
    if settings.extended_messages {
        offered.push(Capability::ExtendedMessage);
    }
    offered.extend(settings.effective_role().map(Capability::Role));
    if let Some(configured) = settings.graceful_restart {
        offered.push(graceful_restart::capability(configured, families, restarted));
    }
    offered.push(Capability::FourOctetAs(settings.local_as));
    if settings.add_path {
        let receive = |family: Family| AddPath { family: family.into(), mode: AddPathMode::Receive };
        offered.push(Capability::AddPath(families.iter().map(receive).collect()));
    }
    offered.push(Capability::EnhancedRouteRefresh);
    offered
}
