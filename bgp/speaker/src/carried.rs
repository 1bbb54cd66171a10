//! A peer's routes for a successor, as UPDATEs that the peer might have sent.

use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;
use proxima_bgp_rib::{Page, PeerId, Rib, Route};
use proxima_bgp_wire::{Negotiated, Nlri, update};
use proxima_types::Family;

/// No more are carried: sessions stand still meanwhile. Of a peer with more the successor asks for them.
pub(crate) const MOST: usize = 20_000;

/// All that the table holds of a peer, and End-of-RIB for each family that it has told in full. `None`: too many, or some of
/// them wait to be confirmed.
pub(crate) fn routes(
    rib: &Rib,
    peer: PeerId,
    negotiated: Negotiated,
    complete: &[Family],
) -> Option<Vec<u8>> {
    let Page { routes, next } = rib.received(peer, None, MOST);
    if next.is_some() || routes.iter().any(|route| route.stale.is_some()) {
        return None;
    }
    let mut groups: BTreeMap<(usize, Family), Vec<&Route>> = BTreeMap::new();
    for route in &routes {
        groups.entry((Arc::as_ptr(&route.shared).addr(), route.prefix.family())).or_default().push(route);
    }
    let (as_peer, mut messages) = (negotiated.as_the_peer_writes(), BytesMut::new());
    for routes in groups.into_values() {
        let shared = &routes.first()?.shared;
        let nlri = routes.iter().map(|route| Nlri { prefix: route.prefix, path_id: route.path_id });
        update::announce(&shared.attributes, shared.next_hop, nlri, as_peer, &mut messages).ok()?;
    }
    for family in complete {
        update::end_of_rib(*family, &mut messages);
    }
    Some(messages.to_vec())
}
