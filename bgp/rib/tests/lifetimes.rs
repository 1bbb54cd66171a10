//! Paths that go stale, are swept, dropped and collected, and peers that come back.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use proxima_bgp_rib::{
    BestPathRules, Counts, MAX_PATHS_PER_PREFIX, Memory, PathSource, PeerId, Rib, Stale, Summary,
    UnknownPeer, Unusable, Watch,
};
use proxima_bgp_wire::{AsPath, Attributes, Nlri, PeerKind, Reach, Update};
use proxima_types::{Asn, Family, Prefix};

const PEER: PeerId = PeerId(7);
const OTHER: PeerId = PeerId(8);

fn source(last: u8) -> PathSource {
    PathSource {
        kind: PeerKind::External,
        asn: Asn(65001),
        router_id: Ipv4Addr::new(192, 0, 2, last),
        address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        subnet: None,
        import: true,
    }
}

fn rib() -> Rib {
    let mut rib = Rib::new(BestPathRules::default());
    rib.peer_up(PEER, source(7));
    rib.peer_up(OTHER, source(8));
    rib
}

fn nth(n: u32) -> Prefix {
    Prefix::truncating(Ipv4Addr::from(10 << 24 | n << 8).into(), 24)
}

fn announce(med: u32, nlri: impl IntoIterator<Item = impl Into<Nlri>>) -> Update {
    let nlri = nlri.into_iter().map(Into::into).collect();
    Update {
        reach: vec![Reach { next_hop: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9)).into(), nlri }],
        attributes: Attributes {
            as_path: AsPath::sequence([Asn(65001)]),
            med: Some(med),
            ..Attributes::default()
        },
        ..Update::default()
    }
}

fn withdraw(prefix: Prefix) -> Update {
    Update { withdrawn: vec![prefix.into()], ..Update::default() }
}

#[test]
fn a_route_is_stale_until_it_comes_again_and_swept_if_it_does_not() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, [nth(1), nth(2), nth(3)]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv4, Stale::Restart);
    assert_eq!(rib.counts(PEER, Family::Ipv4), Counts { paths: 3, stale: 3, ..Counts::default() });

    let later = now + Duration::from_secs(5);
    assert_eq!(rib.apply(later, PEER, announce(1, [nth(1)]), None).unwrap().unchanged, 1);
    assert_eq!(rib.apply(later, PEER, announce(2, [nth(2)]), None).unwrap().replaced, 1);
    assert_eq!(rib.counts(PEER, Family::Ipv4), Counts { paths: 3, stale: 1, ..Counts::default() });
    assert_eq!(rib.best(nth(1)).unwrap().received_at, now, "it has not changed since");
    assert_eq!(rib.best(nth(2)).unwrap().received_at, later);
    assert!(rib.best(nth(3)).unwrap().stale.is_some(), "and still in use");

    assert_eq!(rib.sweep_stale(PEER, Family::Ipv4), 1);
    assert_eq!(rib.best(nth(3)), None);
    assert_eq!(rib.counts(PEER, Family::Ipv4).paths, 2);
}

#[test]
fn a_refresh_and_the_loss_of_a_session_make_routes_stale_apart() {
    let (mut rib, now) = (rib(), Instant::now());
    let stale = |rib: &Rib| [1, 2, 3].map(|n| rib.best(nth(n)).and_then(|route| route.stale));
    let (restart, refresh) = (Some(Stale::Restart), Some(Stale::Refresh));
    rib.apply(now, PEER, announce(1, [nth(1)]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv4, Stale::Restart);
    rib.apply(now, PEER, announce(1, [nth(2), nth(3)]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv4, Stale::Refresh);
    assert_eq!(stale(&rib), [restart, refresh, refresh]);
    rib.apply(now, PEER, announce(1, [nth(2)]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv4, Stale::Refresh);
    assert_eq!(stale(&rib), [restart, refresh, refresh], "begun again before it ended");
    rib.apply(now, PEER, announce(1, [nth(3)]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv4, Stale::Restart);
    assert_eq!(stale(&rib), [restart; 3], "the session is lost in the middle of it");
    assert_eq!(rib.sweep_stale(PEER, Family::Ipv4), 3);
}

#[test]
fn more_refreshes_than_there_are_generations_do_not_look_like_a_restart() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, [nth(1)]), None).unwrap();
    for round in 0..1000 {
        rib.mark_stale(PEER, Family::Ipv4, Stale::Refresh);
        rib.apply(now, PEER, announce(round, [nth(2)]), None).unwrap();
        assert_eq!(rib.best(nth(1)).unwrap().stale, Some(Stale::Refresh), "round {round}");
    }
}

#[test]
fn beyond_its_limit_nothing_new_of_a_peer_is_taken_in() {
    let (mut rib, now) = (rib(), Instant::now());
    let discarded = |rib: &Rib| rib.counts(PEER, Family::Ipv4).discarded;
    rib.limit(PEER, Some(2));
    let applied = rib.apply(now, PEER, announce(1, [nth(1), nth(2), nth(3), nth(4)]), None).unwrap();
    assert_eq!((applied.announced, applied.refused, discarded(&rib)), (2, 2, 2));
    assert_eq!(rib.best(nth(3)), None);
    // What is there may change, and another peer, and family, has a limit of its own.
    assert_eq!(rib.apply(now, PEER, announce(2, [nth(1)]), None).unwrap().replaced, 1);
    assert_eq!(rib.apply(now, OTHER, announce(1, [nth(3)]), None).unwrap().announced, 1);
    let ipv6: Prefix = "2001:db8::/32".parse().unwrap();
    assert_eq!(rib.apply(now, PEER, announce(1, [ipv6]), None).unwrap().announced, 1);
    // Room comes with a withdrawal.
    rib.apply(now, PEER, withdraw(nth(2)), None).unwrap();
    assert_eq!(rib.apply(now, PEER, announce(1, [nth(3), nth(4)]), None).unwrap().refused, 1);
    assert_eq!(discarded(&rib), 3);
    // Stale and dead paths, collected or not, take none, and do not come back for nothing.
    rib.mark_stale(PEER, Family::Ipv4, Stale::Refresh);
    assert_eq!(rib.apply(now, PEER, announce(1, [nth(1), nth(5)]), None).unwrap().refused, 0);
    rib.sweep_stale(PEER, Family::Ipv4);
    assert_eq!(
        rib.apply(now, PEER, announce(1, [nth(3)]), None).unwrap().refused,
        1,
        "dead and not collected"
    );
    rib.peer_up(PEER, source(7));
    assert_eq!(discarded(&rib), 0, "counted for each session");
    rib.limit(PEER, None);
    assert_eq!(rib.apply(now, PEER, announce(1, [nth(3), nth(4)]), None).unwrap().announced, 2);
}

#[test]
fn what_comes_anew_finds_room_beside_what_is_stale_and_both_together_are_bounded() {
    for since in [Stale::Restart, Stale::Refresh] {
        let (mut rib, now) = (rib(), Instant::now());
        let path = |path_id| Nlri { prefix: nth(path_id % 60), path_id };
        let paths = |ids: std::ops::Range<u32>| announce(1, ids.map(path));
        rib.limit(PEER, Some(100));
        rib.apply(now, PEER, paths(0..60), None).unwrap();
        // The same again, by other path identifiers.
        rib.mark_stale(PEER, Family::Ipv4, since);
        let applied = rib.apply(now, PEER, paths(60..120), None).unwrap();
        assert_eq!((applied.announced, applied.refused), (60, 0), "{since:?}");
        rib.sweep_stale(PEER, Family::Ipv4);
        assert_eq!(rib.counts(PEER, Family::Ipv4), Counts { paths: 60, ..Counts::default() });
        // What is confirmed takes room as what is new does.
        rib.mark_stale(PEER, Family::Ipv4, since);
        assert_eq!(rib.apply(now, PEER, paths(120..180), None).unwrap().announced, 60);
        let applied = rib.apply(now, PEER, paths(60..120), None).unwrap();
        assert_eq!((applied.unchanged, applied.refused), (40, 20));
        rib.sweep_stale(PEER, Family::Ipv4);
        let counts = rib.counts(PEER, Family::Ipv4);
        assert_eq!((counts.paths, counts.discarded), (100, 20));
        // However often what there is goes stale and is not swept.
        for round in 1..10 {
            rib.mark_stale(PEER, Family::Ipv4, since);
            rib.apply(now, PEER, paths(round * 600..round * 600 + 100), None).unwrap();
            assert_eq!(rib.counts(PEER, Family::Ipv4).paths, 200, "round {round}");
        }
    }
}

#[test]
fn families_go_stale_and_are_dropped_apart() {
    let (mut rib, now) = (rib(), Instant::now());
    let ipv6: Prefix = "2001:db8::/32".parse().unwrap();
    rib.apply(now, PEER, announce(1, [nth(1)]), None).unwrap();
    rib.apply(now, PEER, announce(1, [ipv6]), None).unwrap();
    rib.mark_stale(PEER, Family::Ipv6, Stale::Restart);
    assert_eq!(rib.sweep_stale(PEER, Family::Ipv4), 0);
    assert_eq!(rib.best(nth(1)).unwrap().stale, None);
    assert!(rib.best(ipv6).unwrap().stale.is_some());
    assert_eq!(rib.drop_family(PEER, Family::Ipv4), 1);
    assert_eq!((rib.best(nth(1)), rib.best(ipv6).is_some()), (None, true));
}

#[test]
fn what_is_dropped_is_gone_at_once_and_collected_in_slices() {
    let (mut rib, now) = (rib(), Instant::now());
    for n in 0..10_000 {
        rib.apply(now, PEER, announce(n / 10, [nth(n)]), None).unwrap();
    }
    rib.apply(now, OTHER, announce(1, [nth(5000)]), None).unwrap();
    assert_eq!(rib.drop_peer(PEER), 10_000);
    assert_eq!(rib.table(None, 100).routes.len(), 1, "{:?}", rib.memory());
    assert_eq!((rib.counts(PEER, Family::Ipv4), rib.source(PEER)), (Counts::default(), None));
    assert_eq!(rib.memory().paths, 10_001, "not collected yet");

    let mut slices = 0;
    while rib.collect(500) {
        slices += 1;
    }
    assert!((15..=40).contains(&slices), "{slices} slices of 500 prefixes, whole blocks each");
    let memory = rib.memory();
    assert_eq!((memory.prefixes, memory.paths, memory.attribute_sets), (1, 1, 1));
    rib.drop_peer(OTHER);
    assert!(!rib.collect(1));
    assert_eq!(rib.memory(), Memory::default());
}

#[test]
fn a_peer_that_comes_back_before_its_old_paths_are_collected_sees_none_of_them() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, [nth(1), nth(2)]), None).unwrap();
    rib.drop_peer(PEER);
    assert_eq!(rib.apply(now, PEER, announce(1, [nth(1)]), None), Err(UnknownPeer(PEER)));
    rib.peer_up(PEER, source(7));
    assert_eq!(rib.received(PEER, None, 10).routes, []);
    let applied = rib.apply(now, PEER, announce(1, [nth(1)]), None).unwrap();
    assert_eq!((applied.announced, applied.unchanged), (1, 0));
    assert_eq!(rib.apply(now, PEER, withdraw(nth(2)), None).unwrap().unknown, 1, "it was gone before");
    while rib.collect(1) {}
    assert_eq!(rib.memory().paths, 1);
    assert_eq!(rib.counts(PEER, Family::Ipv4).paths, 1);
}

#[test]
fn more_restarts_than_there_are_generations_confuse_nothing() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, [nth(1)]), None).unwrap();
    for round in 0..1000 {
        rib.mark_stale(PEER, Family::Ipv4, Stale::Restart);
        rib.apply(now, PEER, announce(round, [nth(2)]), None).unwrap();
        assert!(rib.best(nth(1)).unwrap().stale.is_some(), "round {round}");
        assert_eq!(rib.best(nth(2)).unwrap().stale, None, "round {round}");
        assert_eq!(rib.counts(PEER, Family::Ipv4), Counts { paths: 2, stale: 1, ..Counts::default() });
    }
    assert_eq!(rib.sweep_stale(PEER, Family::Ipv4), 1);
    assert_eq!(rib.best(nth(1)), None);
    assert!(rib.best(nth(2)).is_some());

    for round in 0..1000 {
        assert_eq!(rib.drop_family(PEER, Family::Ipv4), 1, "round {round}");
        assert_eq!(rib.table(None, 10).routes, [], "round {round}");
        rib.apply(now, PEER, announce(1, [nth(round)]), None).unwrap();
    }
    assert_eq!(rib.counts(PEER, Family::Ipv4).paths, 1);
    rib.drop_peer(PEER);
    while rib.collect(1000) {}
    assert_eq!(rib.memory().paths, 0);
}

#[test]
fn a_withdrawal_in_the_same_update_comes_first() {
    let (mut rib, now) = (rib(), Instant::now());
    let both = Update { withdrawn: vec![nth(1).into()], ..announce(1, [nth(1)]) };
    let applied = rib.apply(now, PEER, both.clone(), None).unwrap();
    assert_eq!((applied.unknown, applied.announced), (1, 1));
    let applied = rib.apply(now, PEER, both, None).unwrap();
    assert_eq!((applied.withdrawn, applied.announced), (1, 1));
    assert!(rib.best(nth(1)).is_some());
}

#[test]
fn paths_of_one_prefix_are_limited_per_peer_whatever_their_order() {
    let (mut rib, now) = (rib(), Instant::now());
    let many = MAX_PATHS_PER_PREFIX as u32 + 10;
    let nlri: Vec<Nlri> = (0..many).rev().map(|path_id| Nlri { prefix: nth(1), path_id }).collect();
    let applied = rib.apply(now, PEER, announce(1, nlri), None).unwrap();
    assert_eq!((applied.announced, applied.refused), (MAX_PATHS_PER_PREFIX, 10));
    let counts = Counts { paths: MAX_PATHS_PER_PREFIX, crowded: 10, ..Counts::default() };
    assert_eq!(rib.counts(PEER, Family::Ipv4), counts);
    // One of those that are here may come again, and another once one has gone.
    let again = |path_id| announce(1, [Nlri { prefix: nth(1), path_id }]);
    assert_eq!(rib.apply(now, PEER, again(many - 1), None).unwrap().unchanged, 1);
    let gone = Update { withdrawn: vec![Nlri { prefix: nth(1), path_id: many - 1 }], ..again(0) };
    assert_eq!(rib.apply(now, PEER, gone, None).unwrap().announced, 1);
    assert_eq!(rib.counts(PEER, Family::Ipv4), counts);
    assert_eq!(rib.apply(now, OTHER, announce(1, [nth(1)]), None).unwrap().announced, 1);
}

#[test]
fn a_page_looks_at_a_bounded_part_of_the_table_and_says_where_to_go_on() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, (0..60_000).map(nth)), None).unwrap();
    rib.apply(now, OTHER, announce(1, [nth(59_999)]), None).unwrap();
    let ipv6: Prefix = "2001:db8::/32".parse().unwrap();
    rib.apply(now, OTHER, announce(1, [ipv6]), None).unwrap();
    let page = rib.received(OTHER, None, 10);
    assert_eq!((page.routes.len(), page.next), (0, Some(nth(49_999))));
    let page = rib.received(OTHER, page.next, 1);
    assert_eq!(page.routes.iter().map(|route| route.prefix).collect::<Vec<_>>(), [nth(59_999)]);
    let page = rib.received(OTHER, page.next, 1);
    assert_eq!(page.routes.iter().map(|route| route.prefix).collect::<Vec<_>>(), [ipv6]);
    assert_eq!(page.next, None);
}

#[test]
fn a_summary_counts_what_is_selected_in_bounded_parts() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.apply(now, PEER, announce(1, (0..60_000).map(nth)), None).unwrap();
    rib.apply(now, OTHER, announce(2, [nth(0), nth(59_999)]), None).unwrap();
    let mut looped = announce(1, ["2001:db8::/32".parse::<Prefix>().unwrap()]);
    looped.attributes.as_path = AsPath::sequence([Asn(65001), Asn(64512)]);
    rib.apply(now, OTHER, looped, Some(Unusable::AsLoop)).unwrap();
    let first = rib.summary(None);
    let next = Some(nth(49_999));
    assert_eq!(first, Summary { prefixes: 50_000, selected: 50_000, paths: 50_001, next });
    let rest = rib.summary(next);
    assert_eq!(rest, Summary { prefixes: 10_001, selected: 10_000, paths: 10_002, next: None });
    assert_eq!(rib.summary(Some("2001:db8::/32".parse().unwrap())), Summary::default());
}

#[test]
fn a_watch_tells_of_loops_too_and_is_silent_when_nothing_changes() {
    let (mut rib, now) = (rib(), Instant::now());
    rib.watch(Watch::Exact(nth(1)));
    assert_eq!(rib.poll_change(), None);
    let mut looped = announce(1, [nth(1)]);
    looped.attributes.as_path = AsPath::sequence([Asn(65001), Asn(64512)]);
    rib.apply(now, PEER, looped.clone(), Some(Unusable::AsLoop)).unwrap();
    let change = rib.poll_change().unwrap();
    assert_eq!((change.best, change.best_changed, change.paths.len()), (None, false, 1));
    rib.apply(now, PEER, looped, Some(Unusable::AsLoop)).unwrap();
    rib.apply(now, PEER, announce(1, [nth(2)]), None).unwrap();
    assert_eq!(rib.poll_change(), None);
    rib.drop_peer(PEER);
    assert_eq!(rib.poll_change().unwrap().paths, []);
    rib.unwatch(Watch::Exact(nth(1)));
    rib.apply(now, OTHER, announce(1, [nth(1)]), None).unwrap();
    assert_eq!(rib.poll_change(), None);
}
