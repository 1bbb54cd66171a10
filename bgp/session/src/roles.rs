//! Route leaks that the roles of two ASes towards each other give away (RFC 9234 §5). Which roles go together is checked
//! with the OPENs, in `terms`.
//!
//! | we are             | the peer may be    | with ONLY_TO_CUSTOMER from it       | without           | our routes go with |
//! |--------------------|--------------------|-------------------------------------|-------------------|--------------------|
//! | provider           | customer           | a leak                              |                   | our AS             |
//! | route server       | route server client| a leak                              |                   | our AS             |
//! | peer               | peer               | a leak unless it is the peer's AS   | the peer's AS     | our AS             |
//! | customer           | provider           |                                     | the peer's AS     |                    |
//! | route server client| route server       |                                     | the peer's AS     |                    |
//!
//! A leaked route is ineligible, not withdrawn (§5): it stays to be seen. What we announce begins here, so it never
//! carries the attribute of another, and nothing of ours is kept from a provider.

use proxima_bgp_wire::{Attributes, Role};
use proxima_types::Asn;

/// Checks the attribute of received routes, and adds it where it is missing; true if they are leaked.
pub(crate) fn receive(ours: Role, remote_as: Asn, attributes: &mut Attributes) -> bool {
    let otc = attributes.only_to_customer;
    attributes.only_to_customer = otc.or_else(|| ours.marks_received(remote_as));
    ours.is_leak(otc, remote_as)
}

/// The attribute for routes that begin here.
pub(crate) fn send(ours: Role, local_as: Asn) -> Option<Asn> {
    match ours {
        Role::Provider | Role::RouteServer | Role::Peer => Some(local_as),
        Role::Customer | Role::RouteServerClient => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Role; 5] =
        [Role::Provider, Role::RouteServer, Role::RouteServerClient, Role::Customer, Role::Peer];
    const US: Asn = Asn(64512);
    const THEM: Asn = Asn(65000);
    const OTHER: Asn = Asn(65001);

    #[test]
    fn received_routes_are_checked_and_marked_by_role() {
        // Our role, the attribute as it came; leaked, the attribute afterwards.
        let cases = [
            (Role::Provider, None, false, None),
            (Role::Provider, Some(THEM), true, Some(THEM)),
            (Role::RouteServer, None, false, None),
            (Role::RouteServer, Some(OTHER), true, Some(OTHER)),
            (Role::Peer, None, false, Some(THEM)),
            (Role::Peer, Some(THEM), false, Some(THEM)),
            (Role::Peer, Some(OTHER), true, Some(OTHER)),
            (Role::Customer, None, false, Some(THEM)),
            (Role::Customer, Some(OTHER), false, Some(OTHER)),
            (Role::RouteServerClient, None, false, Some(THEM)),
            (Role::RouteServerClient, Some(OTHER), false, Some(OTHER)),
        ];
        for (ours, only_to_customer, leaked, afterwards) in cases {
            let mut attributes = Attributes { only_to_customer, ..Attributes::default() };
            assert_eq!(receive(ours, THEM, &mut attributes), leaked, "{ours:?} {only_to_customer:?}");
            assert_eq!(attributes.only_to_customer, afterwards, "{ours:?} {only_to_customer:?}");
        }
    }

    #[test]
    fn our_routes_are_marked_on_their_way_down_and_sideways_only() {
        let marked = ALL.map(|ours| send(ours, US));
        assert_eq!(marked, [Some(US), Some(US), None, None, Some(US)]);
    }
}
