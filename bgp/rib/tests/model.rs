//! The table against a list that is searched from end to end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use proxima_bgp_rib::{
    Applied, BestPathRules, Counts, PathSource, PeerId, Rib, Route, Stale, UnknownPeer, Unusable, Watch,
};
use proxima_bgp_wire::{AsPath, Attributes, NextHop, Nlri, Origin, PeerKind, Reach, Update};
use proxima_types::{Asn, Family, Prefix};

const LOCAL_AS: Asn = Asn(64512);
const LOCAL_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const BAD_NEXT_HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 66));
const PEERS: u32 = 5;

fn source(peer: PeerId) -> PathSource {
    let address = Ipv4Addr::new(10, 0, 0, 10 - peer.0 as u8);
    let internal = peer.0 >= 3;
    PathSource {
        kind: if internal { PeerKind::Internal } else { PeerKind::External },
        asn: if internal { LOCAL_AS } else { Asn(65001 + peer.0 / 2) },
        router_id: Ipv4Addr::new(1, 1, 1, 1 + peer.0 as u8 / 2),
        address: address.into(),
        subnet: None,
        import: true,
    }
}

#[derive(Debug, Clone, Default)]
struct Model {
    up: Vec<PeerId>,
    routes: Vec<Route>,
}

impl Model {
    fn position(&self, peer: PeerId, nlri: Nlri) -> Option<usize> {
        self.routes
            .iter()
            .position(|route| (route.peer, route.prefix, route.path_id) == (peer, nlri.prefix, nlri.path_id))
    }

    fn apply(&mut self, now: Instant, peer: PeerId, update: &Update) -> Result<Applied, UnknownPeer> {
        if !self.up.contains(&peer) {
            return Err(UnknownPeer(peer));
        }
        let mut applied = Applied::default();
        for nlri in &update.withdrawn {
            match self.position(peer, *nlri) {
                Some(at) => {
                    self.routes.remove(at);
                    applied.withdrawn += 1;
                }
                None => applied.unknown += 1,
            }
        }
        for reach in &update.reach {
            for nlri in &reach.nlri {
                let shared = proxima_bgp_rib::Shared {
                    attributes: update.attributes.clone(),
                    next_hop: reach.next_hop,
                };
                let unusable = unusable(&shared, peer);
                let mut route = Route {
                    prefix: nlri.prefix,
                    peer,
                    path_id: nlri.path_id,
                    shared: shared.into(),
                    received_at: now,
                    stale: None,
                    unusable,
                };
                match self.position(peer, *nlri) {
                    None => {
                        applied.announced += 1;
                        self.routes.push(route);
                    }
                    Some(at) if self.routes[at].shared == route.shared => {
                        applied.unchanged += 1;
                        self.routes[at].stale = None;
                    }
                    Some(at) => {
                        applied.replaced += 1;
                        std::mem::swap(&mut self.routes[at], &mut route);
                    }
                }
            }
        }
        Ok(applied)
    }

    fn remove(&mut self, mut gone: impl FnMut(&Route) -> bool) -> usize {
        let before = self.routes.len();
        self.routes.retain(|route| !gone(route));
        before - self.routes.len()
    }

    fn matching(&self, matches: impl Fn(&Route) -> bool) -> Vec<Route> {
        let mut routes: Vec<_> = self.routes.iter().filter(|route| matches(route)).cloned().collect();
        routes.sort_by_key(|route| (route.prefix, route.peer, route.path_id));
        routes
    }

    /// Selection as routers with "deterministic MED" do it: the best of each neighbouring AS, then the best of those.
    fn best(&self, prefix: Prefix, rules: &BestPathRules) -> Option<Route> {
        let mut winners: BTreeMap<Asn, &Route> = BTreeMap::new();
        let usable = self.routes.iter().filter(|route| route.prefix == prefix && route.unusable.is_none());
        for route in usable {
            let neighbour = if rules.always_compare_med { Asn(0) } else { neighbour(route) };
            let winner = winners.entry(neighbour).or_insert(route);
            if preference(route, rules, true) < preference(winner, rules, true) {
                *winner = route;
            }
        }
        winners.into_values().min_by_key(|route| preference(route, rules, false)).cloned()
    }

    fn counts(&self, peer: PeerId, family: Family) -> Counts {
        let of = |matches: &dyn Fn(&Route) -> bool| {
            let all =
                self.routes.iter().filter(|route| route.peer == peer && route.prefix.family() == family);
            all.filter(|route| matches(route)).count()
        };
        Counts {
            paths: of(&|_| true),
            stale: of(&|route| route.stale.is_some()),
            loops: of(&|route| matches!(route.unusable, Some(Unusable::AsLoop | Unusable::ReflectionLoop))),
            leaks: 0,
            discarded: 0,
            crowded: 0,
        }
    }
}

/// What a session finds.
fn marked(attributes: &Attributes, peer: PeerId) -> Option<Unusable> {
    if attributes.as_path.asns().any(|asn| asn == LOCAL_AS) {
        Some(Unusable::AsLoop)
    } else {
        let reflected = peer.0 >= 3 && attributes.rare.originator_id == Some(LOCAL_ID);
        reflected.then_some(Unusable::ReflectionLoop)
    }
}

fn unusable(shared: &proxima_bgp_rib::Shared, peer: PeerId) -> Option<Unusable> {
    let nowhere = (shared.next_hop.address == BAD_NEXT_HOP).then_some(Unusable::NextHop);
    marked(&shared.attributes, peer).or(nowhere)
}

fn neighbour(route: &Route) -> Asn {
    route.shared.attributes.as_path.asns().next().unwrap_or(source(route.peer).asn)
}

/// Less is better.
fn preference(route: &Route, rules: &BestPathRules, med: bool) -> impl Ord + use<> {
    let attributes = &route.shared.attributes;
    let source = source(route.peer);
    let external = source.kind == PeerKind::External;
    let missing = if rules.missing_med_worst { u32::MAX } else { 0 };
    (
        Reverse(attributes.local_pref.unwrap_or(100)),
        if rules.ignore_as_path_length { 0 } else { attributes.as_path.length() },
        attributes.origin,
        if med { attributes.med.unwrap_or(missing) } else { 0 },
        !external,
        (rules.prefer_oldest_external && external).then_some(route.received_at),
        attributes.rare.originator_id.unwrap_or(source.router_id),
        attributes.rare.cluster_list.len(),
        source.address,
        route.path_id,
    )
}

#[derive(Debug, Clone)]
enum Op {
    Up(PeerId),
    Apply(PeerId, Update),
    MarkStale(PeerId, Family, Stale),
    Sweep(PeerId, Family),
    DropFamily(PeerId, Family),
    DropPeer(PeerId),
    Collect(usize),
}

fn prefixes() -> impl Strategy<Value = Prefix> {
    let ipv4 =
        (0..4u32, 0..4u32, prop::sample::select(vec![0, 8, 9, 16, 23, 24, 32])).prop_map(|(a, b, length)| {
            Prefix::truncating(Ipv4Addr::from(10 << 24 | a << 16 | b << 7).into(), length)
        });
    let ipv6 = (0..4u128, prop::sample::select(vec![0, 32, 33, 48, 64, 127, 128])).prop_map(|(a, length)| {
        let bits = 0x2001_0db8 << 96 | a << 94 | a << 63 | a;
        Prefix::truncating(Ipv6Addr::from(bits).into(), length)
    });
    prop_oneof![3 => ipv4, 1 => ipv6]
}

fn nlris() -> impl Strategy<Value = Vec<Nlri>> {
    let nlri = (prefixes(), prop::sample::select(vec![0, 0, 0, 1, 7]));
    prop::collection::vec(nlri.prop_map(|(prefix, path_id)| Nlri { prefix, path_id }), 0..6)
}

prop_compose! {
    fn attributes()(
        path in prop::collection::vec(prop::sample::select(vec![65001, 65002, 65003, 65003, 64512]), 0..3),
        local_pref in prop::option::weighted(0.2, 90..102u32),
        med in prop::option::weighted(0.6, 0..3u32),
        origin in prop::sample::select(vec![Origin::Igp, Origin::Igp, Origin::Egp]),
        originator in prop::option::weighted(0.2, prop::sample::select(vec![LOCAL_ID, Ipv4Addr::new(1, 1, 1, 0)])),
        clusters in 0..3u8,
    ) -> Attributes {
        let mut attributes = Attributes {
            origin, med, local_pref,
            as_path: AsPath::sequence(path.into_iter().map(Asn)),
            ..Attributes::default()
        };
        attributes.rare.originator_id = originator;
        attributes.rare.cluster_list = (0..clusters).map(|n| Ipv4Addr::new(9, 9, 9, n)).collect();
        attributes
    }
}

fn updates() -> impl Strategy<Value = Update> {
    let next_hops = prop::sample::select(vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), BAD_NEXT_HOP]);
    let reach = (next_hops, nlris(), any::<bool>()).prop_map(|(next_hop, nlri, ipv6)| {
        let family = if ipv6 { Family::Ipv6 } else { Family::Ipv4 };
        let nlri = nlri.into_iter().filter(|nlri| nlri.prefix.family() == family).collect();
        Reach { next_hop: NextHop::from(next_hop), nlri }
    });
    (nlris(), prop::collection::vec(reach, 0..3), attributes()).prop_map(|(withdrawn, reach, attributes)| {
        Update { withdrawn, reach, attributes, ..Update::default() }
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let peer = || (0..PEERS).prop_map(PeerId);
    let family = || prop::sample::select(Family::ALL.to_vec());
    prop_oneof![
        12 => (peer(), updates()).prop_map(|(peer, update)| Op::Apply(peer, update)),
        2 => peer().prop_map(Op::Up),
        2 => (peer(), family(), prop::sample::select(vec![Stale::Restart, Stale::Refresh]))
            .prop_map(|(peer, family, since)| Op::MarkStale(peer, family, since)),
        2 => (peer(), family()).prop_map(|(peer, family)| Op::Sweep(peer, family)),
        1 => (peer(), family()).prop_map(|(peer, family)| Op::DropFamily(peer, family)),
        1 => peer().prop_map(Op::DropPeer),
        2 => (1..20usize).prop_map(Op::Collect),
    ]
}

prop_compose! {
    fn rules()(knobs in prop::collection::vec(any::<bool>(), 4)) -> BestPathRules {
        BestPathRules {
            always_compare_med: knobs[0],
            missing_med_worst: knobs[1],
            ignore_as_path_length: knobs[2],
            prefer_oldest_external: knobs[3],
            ..BestPathRules::default()
        }
    }
}

fn step(rib: &mut Rib, model: &mut Model, now: Instant, op: Op) -> Result<(), TestCaseError> {
    let of = |peer, family| move |route: &Route| route.peer == peer && route.prefix.family() == family;
    match op {
        Op::Up(peer) => {
            rib.peer_up(peer, source(peer));
            if !model.up.contains(&peer) {
                model.up.push(peer);
            }
        }
        Op::Apply(peer, update) => {
            let marked = marked(&update.attributes, peer);
            let expected = model.apply(now, peer, &update);
            prop_assert_eq!(rib.apply(now, peer, update, marked), expected);
        }
        Op::MarkStale(peer, family, since) => {
            rib.mark_stale(peer, family, since);
            let of = of(peer, family);
            for route in model.routes.iter_mut().filter(|route| of(route)) {
                route.stale = route.stale.filter(|_| since == Stale::Refresh).or(Some(since));
            }
        }
        Op::Sweep(peer, family) => {
            let of = of(peer, family);
            prop_assert_eq!(
                rib.sweep_stale(peer, family),
                model.remove(|route| of(route) && route.stale.is_some())
            );
        }
        Op::DropFamily(peer, family) => {
            prop_assert_eq!(rib.drop_family(peer, family), model.remove(of(peer, family)));
        }
        Op::DropPeer(peer) => {
            prop_assert_eq!(rib.drop_peer(peer), model.remove(|route| route.peer == peer));
            model.up.retain(|up| *up != peer);
        }
        Op::Collect(prefixes) => _ = rib.collect(prefixes),
    }
    Ok(())
}

fn sorted(routes: impl IntoIterator<Item = Route>) -> Vec<Route> {
    let mut routes: Vec<_> = routes.into_iter().collect();
    routes.sort_by_key(|route| (route.prefix, route.peer, route.path_id));
    routes
}

/// All pages, and that no page is beyond its limit by more than one prefix's paths.
fn pages(mut page: impl FnMut(Option<Prefix>) -> proxima_bgp_rib::Page) -> Vec<Route> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = page(after);
        all.extend(page.routes);
        match page.next {
            Some(next) => {
                assert!(after < Some(next), "a page goes on where it ended");
                after = Some(next);
            }
            None => break,
        }
    }
    assert!(all.is_sorted_by_key(|route| route.prefix));
    sorted(all)
}

fn compare(rib: &Rib, model: &Model, rules: &BestPathRules, probe: Prefix) -> Result<(), TestCaseError> {
    for peer in (0..PEERS).map(PeerId) {
        for family in Family::ALL {
            prop_assert_eq!(rib.counts(peer, family), model.counts(peer, family));
        }
        for limit in [1, 3, 1000] {
            let received = pages(|after| rib.received(peer, after, limit));
            prop_assert_eq!(received, model.matching(|route| route.peer == peer));
            let within = pages(|after| rib.within(probe, Some(peer), after, limit));
            let inside = |route: &Route| {
                route.prefix.length() >= probe.length() && probe.contains(route.prefix.address())
            };
            prop_assert_eq!(within, model.matching(|route| route.peer == peer && inside(route)));
        }
    }
    prop_assert_eq!(pages(|after| rib.table(after, 2)), model.matching(|_| true));
    let mut prefixes: Vec<Prefix> = model.routes.iter().map(|route| route.prefix).collect();
    prefixes.push(probe);
    prefixes.sort();
    prefixes.dedup();
    for prefix in &prefixes {
        prop_assert_eq!(sorted(rib.paths(*prefix)), model.matching(|route| route.prefix == *prefix));
        prop_assert_eq!(rib.best(*prefix), model.best(*prefix, rules));
        let explained = rib.explain(*prefix);
        prop_assert_eq!(sorted(explained.iter().map(|(route, _)| route.clone())), sorted(rib.paths(*prefix)));
        let best = explained.iter().find(|(_, verdict)| *verdict == proxima_bgp_rib::Verdict::Best);
        prop_assert_eq!(best.map(|(route, _)| route.clone()), rib.best(*prefix));
    }
    let mut covering: Vec<Prefix> = model
        .routes
        .iter()
        .map(|route| route.prefix)
        .filter(|prefix| prefix.length() <= probe.length() && prefix.contains(probe.address()))
        .collect();
    covering.sort_by_key(|prefix| Reverse(prefix.length()));
    covering.dedup();
    prop_assert_eq!(rib.covering(probe).collect::<Vec<_>>(), covering);
    let address = probe.address();
    let longest = prefixes
        .iter()
        .filter(|prefix| prefix.contains(address))
        .filter_map(|prefix| model.best(*prefix, rules))
        .max_by_key(|route| route.prefix.length());
    prop_assert_eq!(rib.lookup(address), longest);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_table_tells_what_a_searched_list_tells(
        ops in prop::collection::vec(ops(), 0..40),
        rules in rules(),
        probes in prop::collection::vec(prefixes(), 3),
    ) {
        let mut rib = Rib::new(rules);
        rib.set_next_hops(|next_hop| next_hop.address != BAD_NEXT_HOP);
        let mut model = Model::default();
        let mut now = Instant::now();
        for peer in (0..PEERS).map(PeerId) {
            step(&mut rib, &mut model, now, Op::Up(peer))?;
        }
        for op in ops {
            step(&mut rib, &mut model, now, op)?;
            now += Duration::from_secs(1);
        }
        for probe in probes {
            compare(&rib, &model, &rules, probe)?;
        }
    }

    #[test]
    fn whoever_follows_a_watch_knows_the_paths_at_all_times(
        ops in prop::collection::vec(ops(), 0..40),
        exact in prefixes(),
        covered in prefixes(),
    ) {
        let rules = BestPathRules::default();
        let mut rib = Rib::new(rules);
        rib.set_next_hops(|next_hop| next_hop.address != BAD_NEXT_HOP);
        let mut model = Model::default();
        let mut told: BTreeMap<Watch, (Option<Route>, Vec<Route>)> = BTreeMap::new();
        for watch in [Watch::Exact(exact), Watch::Covering(covered)] {
            rib.watch(watch);
            told.insert(watch, (None, Vec::new()));
        }
        let mut now = Instant::now();
        for peer in (0..PEERS).map(PeerId) {
            step(&mut rib, &mut model, now, Op::Up(peer))?;
        }
        for op in ops {
            step(&mut rib, &mut model, now, op)?;
            now += Duration::from_secs(1);
            while let Some(change) = rib.poll_change() {
                let last = told.get_mut(&change.watch).unwrap();
                prop_assert_eq!(change.best_changed, last.0 != change.best);
                prop_assert!(*last != (change.best.clone(), change.paths.clone()), "nothing new is told");
                *last = (change.best, change.paths);
            }
            let covering = rib.covering(covered).find_map(|prefix| model.best(prefix, &rules));
            let prefix = covering.map(|best| best.prefix);
            for (watch, prefix) in [(Watch::Exact(exact), Some(exact)), (Watch::Covering(covered), prefix)] {
                let (best, paths) = &told[&watch];
                prop_assert_eq!(best, &prefix.and_then(|prefix| model.best(prefix, &rules)));
                prop_assert_eq!(&sorted(paths.clone()), &model.matching(|route| Some(route.prefix) == prefix));
            }
        }
    }

    #[test]
    fn nothing_is_left_when_all_peers_are_gone(ops in prop::collection::vec(ops(), 0..60), slice in 1..50usize) {
        let mut rib = Rib::new(BestPathRules::default());
        let mut model = Model::default();
        let now = Instant::now();
        for peer in (0..PEERS).map(PeerId) {
            step(&mut rib, &mut model, now, Op::Up(peer))?;
        }
        for op in ops {
            step(&mut rib, &mut model, now, op)?;
        }
        for peer in (0..PEERS).map(PeerId) {
            step(&mut rib, &mut model, now, Op::DropPeer(peer))?;
        }
        while rib.collect(slice) {}
        prop_assert_eq!(rib.memory(), proxima_bgp_rib::Memory::default());
    }
}
