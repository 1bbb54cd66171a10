//! What we announce.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use proxima_bgp_session::{AllowList, Input, Local, Problem, Settings, UpdateContent};
use proxima_bgp_wire::{NextHop, Role};
use proxima_types::{Asn, Community, Family, Prefix, RouteAttributes};

use crate::{
    by_hand::{
        Alone, KEEPALIVE, MP_IPV4, MP_IPV6, V4, V4_B, V6, allow_list, open_of_second, open_with, plain, set,
    },
    world::{LATENCY, World, desired, first, prefix, second},
};

#[test]
fn the_same_desired_state_twice_sends_nothing() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    let before = world.updates[0].len();
    for _ in 0..10 {
        set(&mut world, &[V6, V4]);
    }
    world.run(Duration::from_mins(10));
    assert_eq!(world.updates[0].len(), before);
    assert_eq!(world.nodes[0].status().counters.updates_sent, before as u64);
}

#[test]
fn only_the_difference_is_sent_and_withdrawals_go_first() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4, V6]);
    world.updates[0].clear();
    set(&mut world, &[V4_B, V6]);
    let announced = UpdateContent::Announced { prefixes: vec![prefix(V4_B)], attributes: Arc::default() };
    assert_eq!(world.updates[0], [UpdateContent::Withdrawn(vec![prefix(V4)]), announced]);
}

#[test]
fn prefixes_that_share_attributes_share_a_message() {
    let mut world = World::established(first(), second());
    world.sent[0].clear();
    let worse = RouteAttributes {
        prepend: 2,
        med: Some(200),
        local_pref: Some(50),
        communities: vec![Community(1)],
        large_communities: vec!["64512:1:3221225985".parse().unwrap(), "64512:2:7".parse().unwrap()],
    };
    let routes = [(V4, worse.clone()), (V4_B, worse), (V6, RouteAttributes::default())];
    world.input(0, Input::SetDesired(desired(&allow_list(), &routes)));
    let updates: Vec<_> = world.sent[0].iter().filter(|bytes| bytes[18] == 2).collect();
    assert_eq!(updates.len(), 2);
    world.run(LATENCY);
    let route = world.tables[1].route(V4_B).unwrap();
    assert_eq!(route.attributes.as_path.to_string(), "64512 64512 64512");
    assert_eq!((route.attributes.med, route.attributes.local_pref), (Some(200), None));
    let large: Vec<_> = route.attributes.large_communities.iter().map(ToString::to_string).collect();
    assert_eq!(large, ["64512:1:3221225985", "64512:2:7"]);
    assert_eq!(route.next_hop.address, "10.0.0.1".parse::<IpAddr>().unwrap(), "the session's local address");
    let route = world.tables[1].route(V6).unwrap();
    assert_eq!(route.next_hop.address, "2001:db8::1".parse::<IpAddr>().unwrap(), "as configured");
}

#[test]
fn an_internal_peer_gets_local_pref_and_an_empty_path() {
    let second = Settings { local_as: Asn(64512), ..second() };
    let mut world = World::established(Settings { remote_as: Asn(64512), ..first() }, second);
    let worse =
        RouteAttributes { prepend: 2, med: Some(200), local_pref: Some(50), ..RouteAttributes::default() };
    world.input(0, Input::SetDesired(desired(&allow_list(), &[(V4, worse)])));
    world.run(LATENCY);
    let route = world.tables[1].route(V4).unwrap();
    assert_eq!(route.attributes.as_path.length(), 0);
    assert_eq!((route.attributes.med, route.attributes.local_pref), (Some(200), Some(50)));
    assert!(route.marks.eligible());
    world.input(0, Input::SetDesired(desired(&allow_list(), &[(V4, RouteAttributes::default())])));
    world.run(LATENCY);
    assert_eq!(world.tables[1].route(V4).unwrap().attributes.local_pref, Some(100), "where none is chosen");
}

#[test]
fn end_of_rib_follows_the_routes_of_every_session_once_released() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    let ends =
        |world: &World| world.updates[0].iter().filter(|u| matches!(u, UpdateContent::EndOfRib(_))).count();
    assert_eq!(ends(&world), 0, "not before every group's first verdict is known");
    world.input(0, Input::ReleaseEndOfRib);
    world.run(LATENCY);
    assert_eq!(ends(&world), 2, "for each family, even the one without routes");
    assert!(Family::ALL.iter().all(|family| world.tables[1].complete(*family)));

    world.updates[0].clear();
    world.input(0, Input::Reset);
    world.run(Duration::from_secs(5));
    let kinds: Vec<_> = world.updates[0].iter().map(std::mem::discriminant).collect();
    assert_eq!(kinds.len(), 3);
    assert!(matches!(world.updates[0][0], UpdateContent::Announced { .. }), "routes first");
    set(&mut world, &[V4, V6]);
    assert_eq!(ends(&world), 2, "once a session");
}

#[test]
fn that_a_peer_has_sent_all_its_routes_is_known_until_the_session_ends() {
    let mut world = World::established(first(), second());
    set(&mut world, &[V4]);
    assert_eq!(world.nodes[1].status().complete, []);
    world.input(0, Input::ReleaseEndOfRib);
    world.run(LATENCY);
    assert_eq!(world.nodes[1].status().complete, Family::ALL);
    assert_eq!(world.nodes[0].status().complete, [], "the other side has not said so");
    world.die(0, false);
    world.run(LATENCY);
    assert_eq!(world.nodes[1].status().complete, []);
}

#[test]
fn a_route_that_cannot_be_encoded_is_reported_and_holds_up_nothing() {
    let mut world = World::established(Settings { extended_messages: false, ..first() }, second());
    set(&mut world, &[V4]);
    let monstrous = RouteAttributes { communities: (0..2000).map(Community).collect(), ..Default::default() };
    let routes = [(V4, monstrous), (V6, RouteAttributes::default())];
    world.input(0, Input::SetDesired(desired(&allow_list(), &routes)));
    world.run(LATENCY);
    assert!(
        matches!(world.problems[0][..], [Problem::Unsendable { routes: 1, .. }]),
        "{:?}",
        world.problems[0]
    );
    assert_eq!(world.tables[1].prefixes(), [V6], "the old version of the route was withdrawn");
    set(&mut world, &[V4, V6]);
    assert_eq!(world.tables[1].prefixes().len(), 2);
}

#[test]
fn with_extended_messages_long_attributes_fit() {
    let mut world = World::established(first(), second());
    let long = RouteAttributes { communities: (0..2000).map(Community).collect(), ..Default::default() };
    world.input(0, Input::SetDesired(desired(&allow_list(), &[(V4, long)])));
    world.run(LATENCY);
    assert_eq!(world.tables[1].route(V4).unwrap().attributes.communities.len(), 2000);
}

#[test]
fn thousands_of_routes_leave_in_small_batches_and_the_latest_state_wins() {
    let prefixes: Vec<_> =
        (0..5000u32).map(|i| Prefix::host(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + i)))).collect();
    let allow = AllowList::new(prefixes.iter().copied());
    let wanted = |range: std::ops::Range<usize>| {
        let routes =
            prefixes[range].iter().map(|p| (allow.exportable(*p).unwrap(), RouteAttributes::default()));
        Input::SetDesired(routes.collect())
    };
    let (mut alone, _) = Alone::established(first(), &open_of_second());
    alone.input(wanted(0..5000));
    let batch = alone.session.poll_update().unwrap();
    assert!(batch.bytes.len() <= 4096, "{} octets", batch.bytes.len());
    // The peer is slow; meanwhile only the last ten are wanted. What was sent is withdrawn, the rest never sent.
    alone.input(wanted(4990..5000));
    let rest: Vec<_> = alone.updates().into_iter().map(|batch| batch.content).collect();
    assert!(matches!(&rest[..], [UpdateContent::Withdrawn(gone), UpdateContent::Announced { prefixes, .. }]
        if gone.len() == 800 && prefixes.len() == 10));
    assert!(alone.session.adj_rib_out().converged());
}

#[test]
fn next_hops_are_those_of_the_shared_subnet_or_as_configured() {
    let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap();
    let plain = Settings { next_hop_ipv6: None, ..first() };
    let configured = Settings {
        next_hop_ipv4: Some(v4("192.0.2.99")),
        next_hop_ipv6: Some(v6("2001:db8::99")),
        ..first()
    };
    let over_ipv4: Local = IpAddr::V4(v4("10.0.0.1")).into();
    let over_ipv6 =
        Local { address: IpAddr::V6(v6("2001:db8::1")), link_local: Some(v6("fe80::1")), subnet: None };
    let far: Local = IpAddr::V6(v6("2001:db8::1")).into();
    let unnumbered: Local = IpAddr::V6(v6("fe80::1")).into();
    let only = |address: &str| Some(NextHop::from(address.parse::<IpAddr>().unwrap()));
    let with_link_local =
        |address: &str| Some(NextHop { address: address.parse().unwrap(), link_local: Some(v6("fe80::1")) });
    // Settings, our end, extended next hop agreed on; the next hops of IPv4 and IPv6 routes.
    for (settings, local, extended, ipv4, ipv6) in [
        (&plain, over_ipv4, false, only("10.0.0.1"), None),
        (&plain, over_ipv6, false, None, with_link_local("2001:db8::1")),
        (&plain, over_ipv6, true, with_link_local("2001:db8::1"), with_link_local("2001:db8::1")),
        (&plain, far, true, only("2001:db8::1"), only("2001:db8::1")),
        (&plain, unnumbered, true, with_link_local("fe80::1"), with_link_local("fe80::1")),
        (&configured, over_ipv4, true, only("192.0.2.99"), only("2001:db8::99")),
        (&configured, over_ipv6, true, only("192.0.2.99"), only("2001:db8::99")),
        (&configured, unnumbered, false, only("192.0.2.99"), only("2001:db8::99")),
    ] {
        assert_eq!(settings.next_hop(Family::Ipv4, local, extended), ipv4, "{local:?} {extended}");
        assert_eq!(settings.next_hop(Family::Ipv6, local, extended), ipv6, "{local:?} {extended}");
    }
}

#[test]
fn an_unnumbered_session_announces_both_families_with_its_link_local_address() {
    let settings = |settings| Settings { extended_next_hop: true, next_hop_ipv6: None, ..settings };
    let mut alone = Alone::active(settings(first()));
    let connection = alone.session.next_connection();
    let ours: IpAddr = "fe80::1".parse().unwrap();
    alone.input(Input::Accepted { connection, local: ours.into() });
    let capabilities = [MP_IPV4, MP_IPV6, &[5, 6, 0, 1, 0, 1, 0, 2]].concat();
    alone.receive(connection, &open_with(&capabilities));
    alone.receive(connection, KEEPALIVE);
    alone.input(plain(&[V4, V6]));
    let updates = alone.updates();
    assert_eq!(updates.len(), 2, "{:?}", alone.drain());
    let mut octets = [0u8; 16];
    (octets[0], octets[1], octets[15]) = (0xfe, 0x80, 1);
    let next_hop = [&[32][..], &octets, &octets].concat();
    for batch in updates {
        assert!(batch.bytes.windows(33).any(|window| window == next_hop), "{:?}", batch.content);
    }
}

#[test]
fn a_two_octet_peer_gets_as_trans_in_as_path_and_the_truth_in_as4_path() {
    let ours = Settings { local_as: Asn(4_200_000_000), ..first() };
    let (mut alone, _) = Alone::established(ours, &open_of_second());
    alone.input(plain(&[V4]));
    let bytes = alone.updates().remove(0).bytes;
    let as_path = [0x40, 2, 4, 2, 1, 0x5b, 0xa0]; // 23456
    let as4_path = [&[0xc0, 17, 6, 2, 1][..], &4_200_000_000u32.to_be_bytes()].concat();
    assert!(bytes.windows(as_path.len()).any(|window| window == as_path));
    assert!(bytes.windows(as4_path.len()).any(|window| window == as4_path));
}

#[test]
fn what_a_peer_was_sent_is_told_as_it_holds_it() {
    let external = |settings, role| Settings { role: Some(role), ..settings };
    let internal = |settings: Settings| Settings { local_as: Asn(64512), remote_as: Asn(64512), ..settings };
    for (ours, theirs) in [
        (external(first(), Role::Provider), external(second(), Role::Customer)),
        (internal(first()), internal(second())),
    ] {
        let mut world = World::established(ours.clone(), theirs);
        set(&mut world, &[V4, V6]);
        let same = |world: &World, text: &str| {
            let (_, told) =
                world.nodes[0].adj_rib_out().sent().find(|(sent, _)| *sent == prefix(text)).unwrap();
            let held = world.tables[1].route(text).unwrap();
            assert_eq!((&told.attributes, told.next_hop), (&held.attributes, held.next_hop), "{text}");
            told.next_hop.address.to_string()
        };
        same(&world, V4);
        assert_eq!(same(&world, V6), "2001:db8::1");
        let moved = Settings { next_hop_ipv6: Some("2001:db8::7".parse().unwrap()), ..ours };
        world.input(0, Input::Reconfigure(Box::new(moved)));
        world.run(4 * LATENCY);
        assert_eq!(same(&world, V6), "2001:db8::7");
    }
}
