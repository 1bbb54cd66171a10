//! What is looked at in a received UPDATE once it can be read: whether its routes may come from this peer, and whether
//! they may be used. The session survives all of it.
//!
//! A family whose routes could not be read is gone for as long as the session lasts (RFC 7606 §2, "AFI/SAFI disable"): what
//! comes of it later is left out.

use bytes::Bytes;
use proxima_bgp_wire::{Attributes, Disposition, Families, Nlri, Update};

use crate::{Marks, Problem, ReceivedUpdate, Settings, roles, status::Counters};

/// Checks the routes of an UPDATE; what the operator should know goes to `problems`.
pub(crate) fn examine(
    settings: &Settings,
    message: Bytes,
    mut update: Update,
    disabled: Families,
    counters: &mut Counters,
    problems: &mut Vec<Problem>,
) -> ReceivedUpdate {
    if update.disposition() == Some(Disposition::TreatAsWithdraw) {
        counters.treated_as_withdrawn += update.withdrawn.len() as u64;
    }
    problems.extend(update.problems.drain(..).map(Problem::MalformedUpdate));
    if !disabled.is_empty() {
        let gone = |nlri: &Nlri| disabled.contains(nlri.prefix.family());
        update.withdrawn.retain(|nlri| !gone(nlri));
        update.reach.retain(|reach| !reach.nlri.first().is_some_and(gone));
    }
    if update.reach.is_empty() {
        return ReceivedUpdate { message, update, marks: Marks::default() };
    }
    let routes = update.reach.iter().map(|reach| reach.nlri.len()).sum::<usize>();
    let first = update.attributes.as_path.neighbour();
    if settings.checks_first_as() && first != Some(settings.remote_as) {
        let found = update.attributes.as_path.asns().next();
        problems.push(Problem::FirstAs { expected: settings.remote_as, found, routes });
        counters.treated_as_withdrawn += routes as u64;
        let refused = std::mem::take(&mut update.reach).into_iter().flat_map(|reach| reach.nlri);
        update.withdrawn.extend(refused);
        return ReceivedUpdate { message, update, marks: Marks::default() };
    }
    let mut marks = Marks { as_loop: been_here(settings, &update.attributes), leak: false };
    if let Some(role) = settings.effective_role() {
        let otc = update.attributes.only_to_customer;
        marks.leak = roles::receive(role, settings.remote_as, &mut update.attributes);
        if let (true, Some(otc)) = (marks.leak, otc) {
            problems.push(Problem::RouteLeak { from: settings.remote_as, otc, routes });
        }
    }
    counters.loops += if marks.as_loop { routes as u64 } else { 0 };
    counters.leaks += if marks.leak { routes as u64 } else { 0 };
    ReceivedUpdate { message, update, marks }
}

/// RFC 4271 §9.1.2; RFC 4456 §8.
fn been_here(settings: &Settings, attributes: &Attributes) -> bool {
    attributes.as_path.contains(settings.local_as)
        || attributes.rare.originator_id == Some(settings.router_id)
}
