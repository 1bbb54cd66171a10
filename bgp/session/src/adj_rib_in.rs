//! Adj-RIB-In: the routes a peer has announced to us, for the operator to see and for evidence (RFC 4271 §3.2).
//!
//! Nothing here is ever announced: a [`ReceivedRoute`] is not, and cannot become, an [`crate::Exportable`].

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use proxima_bgp_wire::{AfiSafi, Attributes, ErrorCode, NextHop, Nlri, Notification, Update};
use proxima_types::{Asn, Family, Prefix};

use crate::{interface::RoutesReceived, terms::Refusal};

/// A route of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedRoute {
    /// Its path attributes, shared by the routes of one UPDATE.
    pub attributes: Arc<Attributes>,
    /// Where it leads.
    pub next_hop: NextHop,
    /// When it came, or came anew.
    pub received_at: Instant,
    /// Our own AS is in its path, so it has been here before (RFC 4271 §9.1.2): kept to be seen, never to be
    /// used. PoPs that share an AS hear of each other this way.
    pub as_loop: bool,
}

/// All routes of one peer.
#[derive(Debug, Clone, Default)]
pub struct AdjRibIn {
    routes: BTreeMap<Prefix, ReceivedRoute>,
    /// Routes per family, in the order of [`Family::ALL`].
    counts: [usize; 2],
    end_of_rib: Vec<Family>,
}

impl AdjRibIn {
    /// The routes in order of prefix.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, &ReceivedRoute)> + '_ {
        self.routes.iter().map(|(prefix, route)| (*prefix, route))
    }

    /// The route for exactly this prefix.
    pub fn route(&self, prefix: Prefix) -> Option<&ReceivedRoute> {
        self.routes.get(&prefix)
    }

    /// How many routes.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Whether the peer has said that it sent all its routes of a family.
    pub fn complete(&self, family: Family) -> bool {
        self.end_of_rib.contains(&family)
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes an UPDATE in: withdrawals first, so that a prefix in both lists stays.
    pub(crate) fn apply(&mut self, now: Instant, update: Update, local_as: Asn) -> RoutesReceived {
        let mut summary = RoutesReceived { end_of_rib: update.end_of_rib, ..RoutesReceived::default() };
        for Nlri { prefix, .. } in update.withdrawn {
            if self.routes.remove(&prefix).is_some() {
                self.counts[index(prefix.family())] -= 1;
                summary.withdrawn.push(prefix);
            }
        }
        let as_loop = update.attributes.as_path.contains(local_as);
        let attributes = Arc::new(update.attributes);
        for reach in update.reach {
            for Nlri { prefix, .. } in reach.nlri {
                let attributes = attributes.clone();
                let route = ReceivedRoute { attributes, next_hop: reach.next_hop, received_at: now, as_loop };
                if self.routes.insert(prefix, route).is_none() {
                    self.counts[index(prefix.family())] += 1;
                }
                summary.announced.push(prefix);
            }
        }
        if let Some(family) = update.end_of_rib
            && !self.complete(family)
        {
            self.end_of_rib.push(family);
        }
        summary.total = self.routes.len();
        summary
    }

    /// Refuses more than `max` prefixes of a family (RFC 4486 §4).
    pub(crate) fn check_limit(&self, max: u32) -> Result<(), Refusal> {
        for family in Family::ALL {
            let count = self.counts[index(family)];
            if count > max as usize {
                let AfiSafi { afi, safi } = family.into();
                let mut data = afi.to_be_bytes().to_vec();
                data.push(safi);
                data.extend_from_slice(&max.to_be_bytes());
                return Err(Refusal {
                    notification: Notification::new(ErrorCode::MAXIMUM_PREFIXES, data),
                    detail: format!(
                        "{count} {family} prefixes received, max-prefixes = {max}; filter on the peer or raise the limit"
                    ),
                });
            }
        }
        Ok(())
    }
}

fn index(family: Family) -> usize {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1,
    }
}
