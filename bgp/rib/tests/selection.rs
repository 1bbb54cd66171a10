//! Each step of route selection, and each knob.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use proxima_bgp_rib::{BestPathRules, PathSource, PeerId, Rib, Step, Unusable, Verdict};
use proxima_bgp_wire::{
    AsPath, Attributes, NextHop, Nlri, Origin, PeerKind, Reach, Segment, SegmentKind, Update,
};
use proxima_types::{Asn, Community, Prefix};

const LOCAL_AS: Asn = Asn(64512);
const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const C: PeerId = PeerId(3);

fn prefix() -> Prefix {
    "203.0.113.0/24".parse().unwrap()
}

fn external(asn: u32, last: u8) -> PathSource {
    PathSource {
        kind: PeerKind::External,
        asn: Asn(asn),
        router_id: Ipv4Addr::new(192, 0, 2, last),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        subnet: None,
        import: true,
    }
}

fn internal(last: u8) -> PathSource {
    PathSource { kind: PeerKind::Internal, ..external(LOCAL_AS.0, last) }
}

/// The path of one peer.
#[derive(Clone)]
struct Given {
    peer: PeerId,
    source: PathSource,
    path_id: u32,
    attributes: Attributes,
    next_hop: IpAddr,
    marked: Option<Unusable>,
}

fn path(asns: &[u32]) -> AsPath {
    AsPath::sequence(asns.iter().copied().map(Asn))
}

fn given(peer: PeerId, source: PathSource, change: impl FnOnce(&mut Attributes)) -> Given {
    let as_path =
        if source.kind == PeerKind::External { path(&[source.asn.0, 65010]) } else { path(&[65009, 65010]) };
    let mut attributes = Attributes { origin: Origin::Igp, as_path, ..Attributes::default() };
    change(&mut attributes);
    Given { peer, source, path_id: 0, attributes, next_hop: source.address, marked: None }
}

fn table(rules: BestPathRules, order: &[&Given]) -> Rib {
    let mut rib = Rib::new(rules);
    let mut now = Instant::now();
    for given in order {
        rib.peer_up(given.peer, given.source);
        let reach = Reach {
            next_hop: NextHop::from(given.next_hop),
            nlri: vec![Nlri { prefix: prefix(), path_id: given.path_id }],
        };
        let update = Update { reach: vec![reach], attributes: given.attributes.clone(), ..Update::default() };
        rib.apply(now, given.peer, update, given.marked).unwrap();
        now += Duration::from_secs(1);
    }
    rib
}

fn verdicts(rib: &Rib) -> Vec<(PeerId, Verdict)> {
    rib.explain(prefix()).into_iter().map(|(route, verdict)| (route.peer, verdict)).collect()
}

/// `better` wins over `worse` at `step`, whichever comes first.
fn wins(rules: BestPathRules, better: &Given, worse: &Given, step: Step) {
    for order in [[better, worse], [worse, better]] {
        let rib = table(rules, &order);
        assert_eq!(
            verdicts(&rib),
            [(better.peer, Verdict::Best), (worse.peer, Verdict::Lost(step))],
            "first came {}",
            order[0].peer
        );
        assert_eq!(rib.best(prefix()).unwrap().peer, better.peer);
    }
}

const DEFAULT: BestPathRules = BestPathRules {
    default_local_pref: 100,
    always_compare_med: false,
    missing_med_worst: false,
    ignore_as_path_length: false,
    prefer_oldest_external: false,
    honour_graceful_shutdown: true,
};

#[test]
fn the_higher_local_pref_wins_over_a_shorter_path() {
    let better = given(A, internal(9), |a| {
        a.local_pref = Some(101);
        a.as_path = path(&[1, 2, 3, 4]);
    });
    wins(DEFAULT, &better, &given(B, internal(1), |a| a.local_pref = Some(100)), Step::LocalPref);
    wins(DEFAULT, &better, &given(B, external(65001, 1), |_| ()), Step::LocalPref);
    let rules = BestPathRules { default_local_pref: 102, ..DEFAULT };
    wins(rules, &given(B, external(65001, 1), |_| ()), &better, Step::LocalPref);
}

#[test]
fn graceful_shutdown_makes_a_path_the_last_choice_where_it_is_honoured() {
    let leaving = given(A, external(65001, 1), |a| a.communities = [Community::GRACEFUL_SHUTDOWN].into());
    let longer = given(B, external(65002, 2), |a| a.as_path = path(&[65002, 65002, 65002, 65010]));
    wins(DEFAULT, &longer, &leaving, Step::LocalPref);
    let rules = BestPathRules { honour_graceful_shutdown: false, ..DEFAULT };
    wins(rules, &leaving, &longer, Step::AsPathLength);
}

#[test]
fn the_shorter_as_path_wins_unless_length_is_ignored() {
    let short = given(B, external(65002, 2), |a| a.origin = Origin::Incomplete);
    let long = given(A, external(65001, 1), |a| a.as_path = path(&[65001, 65001, 65010]));
    wins(DEFAULT, &short, &long, Step::AsPathLength);
    let rules = BestPathRules { ignore_as_path_length: true, ..DEFAULT };
    wins(rules, &long, &short, Step::Origin);
}

#[test]
fn a_set_counts_as_one_as() {
    let set = given(B, external(65002, 2), |a| {
        a.as_path = AsPath::from_segments([
            Segment { kind: SegmentKind::Sequence, asns: &[Asn(65002)] },
            Segment { kind: SegmentKind::Set, asns: &[Asn(1), Asn(2), Asn(3)] },
        ]);
    });
    let long = given(A, external(65001, 1), |a| a.as_path = path(&[65001, 65001, 65010]));
    wins(DEFAULT, &set, &long, Step::AsPathLength);
}

#[test]
fn the_lower_origin_wins() {
    let paths = [Origin::Igp, Origin::Egp, Origin::Incomplete].map(|origin| {
        given(PeerId(9 - origin as u32), external(65001, 9 - origin as u8), |a| a.origin = origin)
    });
    wins(DEFAULT, &paths[0], &paths[1], Step::Origin);
    wins(DEFAULT, &paths[1], &paths[2], Step::Origin);
}

#[test]
fn the_lower_med_wins_among_paths_of_one_neighbour() {
    let low = given(B, external(65001, 2), |a| a.med = Some(10));
    let high = given(A, external(65001, 1), |a| a.med = Some(20));
    wins(DEFAULT, &low, &high, Step::Med);
}

#[test]
fn med_of_different_neighbours_is_compared_only_when_asked_for() {
    let low = given(B, external(65002, 2), |a| a.med = Some(10));
    let high = given(A, external(65001, 1), |a| a.med = Some(20));
    wins(DEFAULT, &high, &low, Step::RouterId);
    wins(BestPathRules { always_compare_med: true, ..DEFAULT }, &low, &high, Step::Med);
}

#[test]
fn the_neighbour_of_an_internal_path_is_the_first_as_in_it() {
    let low = given(B, internal(2), |a| a.med = Some(10));
    let high = given(A, internal(1), |a| a.med = Some(20));
    wins(DEFAULT, &low, &high, Step::Med);
    let elsewhere = given(A, internal(1), |a| {
        a.med = Some(20);
        a.as_path = path(&[65008, 65010]);
    });
    wins(DEFAULT, &elsewhere, &low, Step::RouterId);
}

#[test]
fn a_missing_med_is_zero_or_the_worst() {
    let missing = given(B, external(65001, 2), |_| ());
    let low = given(A, external(65001, 1), |a| a.med = Some(1));
    wins(DEFAULT, &missing, &low, Step::Med);
    wins(BestPathRules { missing_med_worst: true, ..DEFAULT }, &low, &missing, Step::Med);
}

/// The example of many vendors' pages: pair by pair each path is better than another one.
#[test]
fn med_does_not_make_the_outcome_depend_on_the_order_of_arrival() {
    let a = given(A, external(65001, 1), |a| a.med = Some(20));
    let b = given(B, external(65002, 2), |_| ());
    let c = given(C, external(65001, 3), |a| a.med = Some(10));
    for order in [[&a, &b, &c], [&a, &c, &b], [&b, &a, &c], [&b, &c, &a], [&c, &a, &b], [&c, &b, &a]] {
        let expected =
            [(B, Verdict::Best), (C, Verdict::Lost(Step::RouterId)), (A, Verdict::Lost(Step::Med))];
        assert_eq!(verdicts(&table(DEFAULT, &order)), expected);
    }
}

#[test]
fn external_paths_win_over_internal_ones() {
    let inside = given(A, internal(1), |_| ());
    wins(DEFAULT, &given(B, external(65009, 2), |_| ()), &inside, Step::External);
}

#[test]
fn the_oldest_external_path_is_kept_when_asked_for() {
    let first = given(B, external(65002, 2), |_| ());
    let second = given(A, external(65001, 1), |_| ());
    let rules = BestPathRules { prefer_oldest_external: true, ..DEFAULT };
    let rib = table(rules, &[&first, &second]);
    assert_eq!(verdicts(&rib), [(B, Verdict::Best), (A, Verdict::Lost(Step::Oldest))]);
    let rib = table(DEFAULT, &[&first, &second]);
    assert_eq!(verdicts(&rib), [(A, Verdict::Best), (B, Verdict::Lost(Step::RouterId))]);
}

#[test]
fn age_does_not_matter_among_internal_paths() {
    let rules = BestPathRules { prefer_oldest_external: true, ..DEFAULT };
    wins(rules, &given(A, internal(1), |_| ()), &given(B, internal(2), |_| ()), Step::RouterId);
}

#[test]
fn the_lower_identifier_wins_and_the_originator_stands_for_the_reflector() {
    wins(
        DEFAULT,
        &given(A, external(65001, 1), |_| ()),
        &given(B, external(65002, 2), |_| ()),
        Step::RouterId,
    );
    let reflected = given(B, internal(9), |a| a.rare.originator_id = Some(Ipv4Addr::new(1, 1, 1, 1)));
    wins(DEFAULT, &reflected, &given(A, internal(1), |_| ()), Step::RouterId);
}

#[test]
fn the_shorter_cluster_list_wins() {
    let clusters = |n: u8| {
        move |a: &mut Attributes| {
            a.rare.originator_id = Some(Ipv4Addr::new(1, 1, 1, 1));
            a.rare.cluster_list = (0..n).map(|n| Ipv4Addr::new(9, 9, 9, n)).collect();
        }
    };
    wins(
        DEFAULT,
        &given(B, internal(2), clusters(1)),
        &given(A, internal(1), clusters(2)),
        Step::ClusterListLength,
    );
}

#[test]
fn the_lower_peer_address_wins() {
    let twin = PathSource { router_id: Ipv4Addr::new(192, 0, 2, 1), ..external(65001, 2) };
    wins(DEFAULT, &given(B, external(65001, 1), |_| ()), &given(A, twin, |_| ()), Step::PeerAddress);
}

#[test]
fn the_lower_path_identifier_wins_in_the_end() {
    let low = given(A, external(65001, 1), |_| ());
    let high = Given { path_id: 7, ..low.clone() };
    let rib = table(DEFAULT, &[&high, &low]);
    let explained: Vec<_> =
        rib.explain(prefix()).into_iter().map(|(route, verdict)| (route.path_id, verdict)).collect();
    assert_eq!(explained, [(0, Verdict::Best), (7, Verdict::Lost(Step::PathId))]);
    assert_eq!(rib.best(prefix()).unwrap().path_id, 0);
}

#[test]
fn without_a_policy_no_route_of_an_external_peer_is_used_and_worse_is_told_first() {
    let unasked = |source| PathSource { import: false, ..source };
    for (source, marked, expected) in [
        (external(65001, 1), None, Verdict::Unusable(Unusable::NoPolicy)),
        (external(65001, 1), Some(Unusable::AsLoop), Verdict::Unusable(Unusable::AsLoop)),
        (external(65001, 1), Some(Unusable::Leak), Verdict::Unusable(Unusable::Leak)),
        (internal(1), None, Verdict::Best),
    ] {
        let given = Given { marked, ..given(A, unasked(source), |_| ()) };
        assert_eq!(verdicts(&table(DEFAULT, &[&given])), [(A, expected)]);
    }
}

#[test]
fn unusable_paths_take_no_part_and_say_why() {
    let marked = |given: Given, marked| Given { marked: Some(marked), ..given };
    let looped = marked(given(A, external(65001, 1), |_| ()), Unusable::AsLoop);
    let reflected = marked(given(B, internal(2), |_| ()), Unusable::ReflectionLoop);
    let leaked = marked(given(C, external(65003, 3), |_| ()), Unusable::Leak);
    let mut nowhere = given(PeerId(4), external(65004, 4), |_| ());
    nowhere.next_hop = "198.51.100.1".parse().unwrap();
    let worst = given(PeerId(5), external(65005, 5), |a| a.as_path = path(&[65005; 9]));

    let mut rib = table(DEFAULT, &[&looped, &reflected, &leaked, &nowhere, &worst]);
    let gone = nowhere.next_hop;
    rib.set_next_hops(move |next_hop| next_hop.address != gone);
    assert_eq!(
        verdicts(&rib),
        [
            (PeerId(5), Verdict::Best),
            (A, Verdict::Unusable(Unusable::AsLoop)),
            (B, Verdict::Unusable(Unusable::ReflectionLoop)),
            (C, Verdict::Unusable(Unusable::Leak)),
            (PeerId(4), Verdict::Unusable(Unusable::NextHop)),
        ]
    );
    assert_eq!(rib.drop_peer(PeerId(5)), 1);
    assert_eq!(rib.best(prefix()), None);
    assert_eq!(rib.lookup("203.0.113.1".parse().unwrap()), None);
    assert_eq!(rib.paths(prefix()).count(), 4, "evidence that the prefix is announced");
}

#[test]
fn every_verdict_has_words_for_people() {
    for (verdict, words) in [
        (Verdict::Best, "best"),
        (Verdict::Lost(Step::LocalPref), "lower LOCAL_PREF"),
        (Verdict::Lost(Step::AsPathLength), "longer AS_PATH"),
        (Verdict::Lost(Step::Origin), "worse ORIGIN"),
        (Verdict::Lost(Step::Med), "higher MED"),
        (Verdict::Lost(Step::External), "iBGP, not eBGP"),
        (Verdict::Lost(Step::Oldest), "newer eBGP path"),
        (Verdict::Lost(Step::RouterId), "higher router ID"),
        (Verdict::Lost(Step::ClusterListLength), "longer CLUSTER_LIST"),
        (Verdict::Lost(Step::PeerAddress), "higher peer address"),
        (Verdict::Lost(Step::PathId), "higher path ID"),
        (Verdict::Unusable(Unusable::AsLoop), "our own AS is in its path"),
        (Verdict::Unusable(Unusable::NextHop), "its next hop is unusable"),
    ] {
        assert_eq!(verdict.to_string(), words);
    }
}

#[test]
fn a_next_hop_off_the_subnet_that_an_external_peer_shares_is_of_no_use() {
    let shares = |subnet: &str| PathSource { subnet: Some(subnet.parse().unwrap()), ..external(65001, 1) };
    let longer = given(B, external(65002, 2), |a| a.as_path = path(&[65002, 65002, 65002, 65010]));
    for (subnet, next_hop, usable) in [
        ("10.0.0.0/24", "10.0.0.77", true),
        ("10.0.0.0/24", "10.0.1.1", false),
        ("2001:db8:1::/64", "2001:db8:2::1", false),
        ("2001:db8:1::/64", "fe80::1", true),
        ("10.0.0.0/24", "2001:db8:2::1", true),
    ] {
        let mut near = given(A, shares(subnet), |_| ());
        near.next_hop = next_hop.parse().unwrap();
        let expected = if usable {
            [(A, Verdict::Best), (B, Verdict::Lost(Step::AsPathLength))]
        } else {
            [(B, Verdict::Best), (A, Verdict::Unusable(Unusable::NextHop))]
        };
        assert_eq!(verdicts(&table(DEFAULT, &[&near, &longer])), expected, "{next_hop} on {subnet}");
    }
}
