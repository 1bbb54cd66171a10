//! Peers' routes for a successor, as UPDATEs that the peers might have sent.

use std::{collections::BTreeMap, sync::Arc};

use bytes::BytesMut;
use proxima_bgp_rib::{Page, PeerId, Rib, Route};
use proxima_bgp_wire::{Negotiated, Nlri, update};
use proxima_types::Family;

/// Of all peers together no more routes are carried, as sessions stand still meanwhile; those of the peers that have fewest
/// come first. The others' the successor asks for.
pub(crate) const MOST: usize = 20_000;

/// Whose routes are to be carried.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) peer: PeerId,
    pub(crate) negotiated: Negotiated,
    /// Families that the peer has told in full.
    pub(crate) complete: Vec<Family>,
}

/// The answer to each question, in their order: `None` where there was no question, where the routes are too many, where
/// some of them wait to be confirmed, and where some were left out that the peer can be asked for again.
pub(crate) fn routes(rib: &Rib, questions: &[Option<Question>]) -> Vec<Option<Vec<u8>>> {
    let held = |question: &Question| -> usize {
        Family::ALL.iter().map(|family| rib.counts(question.peer, *family).paths).sum()
    };
    let mut asked: Vec<(usize, &Question)> =
        questions.iter().enumerate().filter_map(|(at, question)| Some((at, question.as_ref()?))).collect();
    asked.sort_by_key(|(_, question)| held(question));
    let (mut answers, mut left) = (vec![None; questions.len()], MOST);
    for (at, question) in asked {
        if let Some((count, messages)) = of_peer(rib, question, left) {
            left -= count;
            answers[at] = Some(messages);
        }
    }
    answers
}

/// All that the table holds of a peer, if that is not more than `most`, and End-of-RIB for each family that is complete.
fn of_peer(rib: &Rib, question: &Question, most: usize) -> Option<(usize, Vec<u8>)> {
    let left_out = |family: &Family| {
        let counts = rib.counts(question.peer, *family);
        counts.discarded + counts.crowded > 0
    };
    if question.negotiated.route_refresh && Family::ALL.iter().any(left_out) {
        return None;
    }
    let Page { routes, next } = rib.received(question.peer, None, most.max(1));
    if next.is_some() || routes.len() > most || routes.iter().any(|route| route.stale.is_some()) {
        return None;
    }
    let mut groups: BTreeMap<(usize, Family), Vec<&Route>> = BTreeMap::new();
    for route in &routes {
        groups.entry((Arc::as_ptr(&route.shared).addr(), route.prefix.family())).or_default().push(route);
    }
    let (as_peer, mut messages) = (question.negotiated.as_the_peer_writes(), BytesMut::new());
    for routes in groups.into_values() {
        let shared = &routes.first()?.shared;
        let nlri = routes.iter().map(|route| Nlri { prefix: route.prefix, path_id: route.path_id });
        update::announce(&shared.attributes, shared.next_hop, nlri, as_peer, &mut messages).ok()?;
    }
    for family in &question.complete {
        update::end_of_rib(*family, &mut messages);
    }
    Some((routes.len(), messages.to_vec()))
}
