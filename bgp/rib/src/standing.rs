//! What a path is worth before it is compared: loops (RFC 4271 §9.1.2, RFC 4456 §8), leaks (RFC 9234 §5), and whether anyone
//! wants it (RFC 8212 §2).

use proxima_bgp_wire::{Attributes, Loops, PeerKind};

use crate::{PathSource, Unusable};

/// Why paths with these attributes from `source` are never used, if so.
pub(crate) fn judge(attributes: &Attributes, source: &PathSource) -> Option<Unusable> {
    let loops = Loops::of(attributes, source.local_as, source.local_router_id);
    if loops.as_path {
        return Some(Unusable::AsLoop);
    }
    if source.kind == PeerKind::Internal {
        return loops.by_reflection().then_some(Unusable::ReflectionLoop);
    }
    if source.local_role.is_some_and(|role| role.is_leak(attributes.only_to_customer, source.asn)) {
        return Some(Unusable::Leak);
    }
    (!source.import).then_some(Unusable::NoPolicy)
}

/// Adds ONLY_TO_CUSTOMER to a route from a provider, a peer or a route server that came without (RFC 9234 §5).
pub(crate) fn mark_only_to_customer(attributes: &mut Attributes, source: &PathSource) {
    if let Some(role) = source.local_role.filter(|_| source.kind == PeerKind::External) {
        attributes.only_to_customer = attributes.only_to_customer.or_else(|| role.marks_received(source.asn));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proxima_bgp_wire::{AsPath, Role};
    use proxima_types::Asn;

    use super::*;

    fn source(kind: PeerKind, local_role: Option<Role>) -> PathSource {
        PathSource {
            kind,
            asn: Asn(65001),
            router_id: Ipv4Addr::new(192, 0, 2, 2),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
            local_as: Asn(64512),
            local_router_id: Ipv4Addr::new(192, 0, 2, 1),
            subnet: None,
            local_role,
            import: true,
        }
    }

    #[test]
    fn our_own_as_anywhere_in_the_path_is_a_loop() {
        for (path, expected) in [
            (vec![], None),
            (vec![65001, 65002], None),
            (vec![65001, 64512], Some(Unusable::AsLoop)),
            (vec![64512, 65001], Some(Unusable::AsLoop)),
        ] {
            let attributes =
                Attributes { as_path: AsPath::sequence(path.into_iter().map(Asn)), ..Attributes::default() };
            assert_eq!(judge(&attributes, &source(PeerKind::External, None)), expected);
            assert_eq!(judge(&attributes, &source(PeerKind::Internal, None)), expected);
        }
    }

    #[test]
    fn our_own_identifier_as_originator_or_cluster_is_a_loop_among_internal_peers() {
        let (own, other) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 9));
        for (originator, cluster, expected) in [
            (other, other, None),
            (own, other, Some(Unusable::ReflectionLoop)),
            (other, own, Some(Unusable::ReflectionLoop)),
        ] {
            let mut attributes = Attributes::default();
            attributes.rare.originator_id = Some(originator);
            attributes.rare.cluster_list = [other, cluster].into();
            assert_eq!(judge(&attributes, &source(PeerKind::Internal, None)), expected);
            assert_eq!(judge(&attributes, &source(PeerKind::External, None)), None);
        }
    }

    #[test]
    fn only_to_customer_makes_a_leak_by_role() {
        let (peer, other) = (Some(Asn(65001)), Some(Asn(65002)));
        for (role, otc, expected) in [
            (Role::Provider, None, None),
            (Role::Provider, peer, Some(Unusable::Leak)),
            (Role::RouteServer, other, Some(Unusable::Leak)),
            (Role::Peer, peer, None),
            (Role::Peer, other, Some(Unusable::Leak)),
            (Role::Customer, other, None),
            (Role::RouteServerClient, other, None),
        ] {
            let attributes = Attributes { only_to_customer: otc, ..Attributes::default() };
            assert_eq!(
                judge(&attributes, &source(PeerKind::External, Some(role))),
                expected,
                "{role:?} {otc:?}"
            );
            assert_eq!(judge(&attributes, &source(PeerKind::External, None)), None);
        }
    }

    #[test]
    fn without_a_policy_no_route_of_an_external_peer_is_used_and_worse_is_told_first() {
        let own = Attributes { as_path: AsPath::sequence([Asn(64512)]), ..Attributes::default() };
        let leaked = Attributes { only_to_customer: Some(Asn(1)), ..Attributes::default() };
        let role = Some(Role::Provider);
        for (kind, attributes, expected) in [
            (PeerKind::External, &Attributes::default(), Some(Unusable::NoPolicy)),
            (PeerKind::External, &own, Some(Unusable::AsLoop)),
            (PeerKind::External, &leaked, Some(Unusable::Leak)),
            (PeerKind::Internal, &Attributes::default(), None),
        ] {
            let source = PathSource { import: false, ..source(kind, role) };
            assert_eq!(judge(attributes, &source), expected);
        }
    }

    #[test]
    fn only_to_customer_is_added_to_routes_from_above_and_aside() {
        for (role, expected) in [
            (Some(Role::Provider), None),
            (Some(Role::RouteServer), None),
            (Some(Role::Customer), Some(Asn(65001))),
            (Some(Role::Peer), Some(Asn(65001))),
            (Some(Role::RouteServerClient), Some(Asn(65001))),
            (None, None),
        ] {
            let mut attributes = Attributes::default();
            mark_only_to_customer(&mut attributes, &source(PeerKind::External, role));
            assert_eq!(attributes.only_to_customer, expected, "{role:?}");
        }
        let mut attributes = Attributes { only_to_customer: Some(Asn(1)), ..Attributes::default() };
        mark_only_to_customer(&mut attributes, &source(PeerKind::External, Some(Role::Customer)));
        assert_eq!(attributes.only_to_customer, Some(Asn(1)));
    }
}
