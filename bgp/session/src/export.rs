//! From routes to UPDATEs: the only place that encodes an announcement, and it takes [`Exportable`]s alone:
//! prefixes that stood on the [`AllowList`](crate::AllowList) they were asked of.
//!
//! | attribute   | external peer                                   | internal peer          |
//! |-------------|--------------------------------------------------|------------------------|
//! | ORIGIN      | IGP                                              | IGP                    |
//! | AS_PATH     | own AS, then once more per `prepend` (§5.1.2)    | empty                  |
//! | NEXT_HOP    | configured, or the session's local address       | the same               |
//! | MED         | as the operator chose                            | as the operator chose  |
//! | LOCAL_PREF  | never (§5.1.5)                                   | as the operator chose, or 100; 0 with GRACEFUL_SHUTDOWN |
//! | COMMUNITIES | as the operator chose                            | as the operator chose  |
//! | LARGE_COMMUNITY | as chosen: the operator's, and the guard's marks | as chosen          |
//! | ONLY_TO_CUSTOMER | own AS, by our role (RFC 9234 §5)           | never                  |
//!
//! (Sections of RFC 4271.) Towards an internal peer `prepend` has no effect: the own AS in the path would be a loop there.

use bytes::BytesMut;
use proxima_bgp_wire::{AsPath, Attributes, EncodeError, Negotiated, NextHop, Origin, update};
use proxima_types::{Community, RouteAttributes};

use crate::{Exportable, Settings, roles, settings::LOCAL_PREF};

/// What routes are announced with, on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The path attributes.
    pub attributes: Attributes,
    /// The next hop, with the link-local address that goes beside it.
    pub next_hop: NextHop,
}

impl Announced {
    /// What routes with the `chosen` attributes are announced with to a peer.
    pub(crate) fn new(settings: &Settings, chosen: &RouteAttributes, next_hop: NextHop) -> Self {
        Self { attributes: path_attributes(settings, chosen), next_hop }
    }
}

/// Announces routes of one family and returns how many messages that took.
pub(crate) fn announce(
    announced: &Announced,
    routes: &[Exportable],
    negotiated: Negotiated,
    buf: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let prefixes = routes.iter().map(|route| route.prefix());
    update::announce(&announced.attributes, announced.next_hop, prefixes, negotiated, buf)
}

fn path_attributes(settings: &Settings, chosen: &RouteAttributes) -> Attributes {
    let (as_path, local_pref) = if settings.internal() {
        let about_to_go = chosen.communities.contains(&Community::GRACEFUL_SHUTDOWN); // RFC 8326 §4.2
        (AsPath::default(), Some(if about_to_go { 0 } else { chosen.local_pref.unwrap_or(LOCAL_PREF) }))
    } else {
        let times = 1 + usize::from(chosen.prepend);
        (AsPath::sequence(std::iter::repeat_n(settings.local_as, times)), None)
    };
    Attributes {
        origin: Origin::Igp,
        as_path,
        med: chosen.med,
        local_pref,
        communities: chosen.communities.as_slice().into(),
        large_communities: chosen.large_communities.as_slice().into(),
        only_to_customer: settings.effective_role().and_then(|role| roles::send(role, settings.local_as)),
        ..Attributes::default()
    }
}
