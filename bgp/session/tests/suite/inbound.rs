//! Checks on received routes.

use proxima_bgp_session::{Marks, Mended, Output, Problem, ReceivedUpdate, RibChange, Settings};
use proxima_bgp_wire::{Fault, Loops, Role};
use proxima_types::{Asn, RouteAttributes};

use crate::{
    by_hand::{
        Alone, MP_IPV4, V4, allow_list, attributes, changes, message, open, open_of_second, open_with, plain,
        update,
    },
    world::{LATENCY, World, desired, first, second},
};

/// What becomes of an UPDATE with these attributes, and what is said of it.
fn receive(settings: Settings, attributes: &[u8]) -> (ReceivedUpdate, Vec<Problem>) {
    let open = if settings.internal() { open(4, 64512, 9, [192, 0, 2, 2], &[]) } else { open_of_second() };
    let (mut alone, connection) = Alone::established(settings, &open);
    alone.receive(connection, &update(attributes));
    let outputs = alone.drain();
    let [RibChange::Update(received)] = changes(&outputs)[..] else { panic!("{outputs:?}") };
    let received = ReceivedUpdate::clone(received);
    let problem = |output| match output {
        Output::Problem(problem) => Some(problem),
        _ => None,
    };
    (received, outputs.into_iter().filter_map(problem).collect())
}

#[test]
fn a_path_that_does_not_begin_with_the_peers_as_is_taken_as_withdrawn() {
    let cases = [
        (attributes(&[65000, 65001], &[]), None),
        (attributes(&[65001, 65000], &[]), Some(Some(Asn(65001)))),
        (attributes(&[], &[]), Some(None)),
    ];
    for (attributes, refused) in cases {
        let (received, problems) = receive(first(), &attributes);
        assert_eq!(received.update.withdrawn.len(), usize::from(refused.is_some()), "{attributes:?}");
        assert_eq!(received.update.reach.is_empty(), refused.is_some());
        assert_eq!(received.mended, refused.map(|_| Mended::TreatedAsWithdrawn));
        let expected = refused.map(|found| Problem::FirstAs { expected: Asn(65000), found, routes: 1 });
        assert_eq!(problems, Vec::from_iter(expected));
    }
    // Not where it is turned off, not within an AS, and not from a route server.
    let lenient = Settings { enforce_first_as: false, ..first() };
    let internal = Settings { remote_as: Asn(64512), ..first() };
    let client = Settings { role: Some(Role::RouteServerClient), ..first() };
    for settings in [lenient, internal, client] {
        let more: &[u8] = if settings.internal() { &[0x40, 5, 4, 0, 0, 0, 100] } else { &[] };
        let (received, problems) = receive(settings, &attributes(&[65001], more));
        assert_eq!((received.update.reach.len(), problems), (1, vec![]));
    }
}

#[test]
fn a_route_with_an_as_set_is_taken_as_withdrawn() {
    // RFC 9774. The set holds the peer's AS.
    let set = [0x40, 1, 1, 0, 0x40, 2, 4, 1, 1, 0xfd, 0xe8, 0x40, 3, 4, 10, 0, 0, 2];
    let (received, problems) = receive(first(), &set);
    assert_eq!((received.update.withdrawn.len(), received.update.reach.len()), (1, 0));
    let [Problem::MalformedUpdate(problem)] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!(problem.fault, Fault::AsSet);
}

#[test]
fn a_route_with_our_own_as_in_its_path_is_kept_but_marked() {
    let (received, problems) = receive(first(), &attributes(&[65000, 64512], &[]));
    let loops = Loops { as_path: true, ..Loops::default() };
    assert_eq!(received.marks, Marks { loops, leak: false });
    assert!(!received.marks.eligible() && problems.is_empty());
    assert_eq!(received.update.reach.len(), 1);
    assert!(receive(first(), &attributes(&[65000, 65001], &[])).0.marks.eligible());
    // Wherever it stands, and whoever sends it.
    let internal = Settings { remote_as: Asn(64512), ..first() };
    for (path, as_path) in
        [(&[][..], false), (&[65001, 65002], false), (&[65001, 64512], true), (&[64512, 65001], true)]
    {
        let (received, _) = receive(internal.clone(), &attributes(path, &[0x40, 5, 4, 0, 0, 0, 100]));
        assert_eq!(received.marks.loops, Loops { as_path, ..Loops::default() }, "{path:?}");
    }
}

#[test]
fn a_reflected_route_of_our_own_is_marked_too() {
    // ORIGINATOR_ID, or one of the CLUSTER_LIST: 192.0.2.1 is ours.
    let internal = Settings { remote_as: Asn(64512), ..first() };
    let originator = Loops { originator_id: true, ..Loops::default() };
    let cluster = Loops { cluster_list: true, ..Loops::default() };
    for (attribute, loops) in [
        (&[0x80, 9, 4, 192, 0, 2, 1][..], originator),
        (&[0x80, 10, 8, 192, 0, 2, 9, 192, 0, 2, 1], cluster),
        (&[0x80, 9, 4, 192, 0, 2, 9], Loops::default()),
    ] {
        let more = [&[0x40, 5, 4, 0, 0, 0, 100][..], attribute].concat();
        let (received, _) = receive(internal.clone(), &attributes(&[65001], &more));
        assert_eq!(received.marks, Marks { loops, leak: false });
        // An external peer has no business with these attributes (RFC 7606 §7.9, §7.10).
        let (received, _) = receive(first(), &attributes(&[65000], attribute));
        assert_eq!(received.marks, Marks::default());
    }
}

#[test]
fn a_leaked_route_is_kept_to_be_seen_and_marked() {
    let otc = |asn: u32| [&[0xc0, 35, 4][..], &asn.to_be_bytes()].concat();
    let role = |role| Settings { role: Some(role), ..first() };
    for (ours, otc_as, leak) in [
        (Role::Provider, 65001, true),
        (Role::RouteServer, 65000, true),
        (Role::Peer, 65001, true),
        (Role::Peer, 65000, false),
        (Role::Customer, 65001, false),
        (Role::RouteServerClient, 65001, false),
    ] {
        let (received, problems) = receive(role(ours), &attributes(&[65000], &otc(otc_as)));
        assert_eq!(received.marks, Marks { leak, ..Marks::default() }, "{ours:?}");
        assert_eq!(received.update.reach.len(), 1, "not withdrawn");
        assert_eq!(received.update.attributes.only_to_customer, Some(Asn(otc_as)));
        let told = problems.contains(&Problem::RouteLeak { from: Asn(65000), otc: Asn(otc_as), routes: 1 });
        assert_eq!(told, leak);
    }
    // Without the attribute, what comes from above or beside us gets it.
    for (ours, added) in [(Role::Customer, Some(Asn(65000))), (Role::Provider, None)] {
        let (received, _) = receive(role(ours), &attributes(&[65000], &[]));
        assert_eq!(received.update.attributes.only_to_customer, added);
    }
    // Without a role nothing is looked at.
    let (received, _) = receive(first(), &attributes(&[65000], &otc(65001)));
    assert_eq!(received.marks, Marks::default());
}

#[test]
fn our_routes_carry_our_as_in_only_to_customer_down_and_sideways() {
    for (ours, theirs, expected) in [
        (Role::Provider, Role::Customer, Some(Asn(64512))),
        (Role::Peer, Role::Peer, Some(Asn(64512))),
        // The provider's side does not add it to a customer's routes, so this shows that we sent none.
        (Role::Customer, Role::Provider, None),
    ] {
        let role = |settings, role| Settings { role: Some(role), ..settings };
        let mut world = World::established(role(first(), ours), role(second(), theirs));
        world.input(0, plain(&[V4]));
        world.run(2 * LATENCY);
        let route = world.tables[1].route(V4).unwrap();
        assert_eq!(route.attributes.only_to_customer, expected, "{ours:?}");
        assert!(route.marks.eligible());
    }
}

#[test]
fn several_paths_for_a_prefix_are_told_apart_where_it_is_agreed_on() {
    // ADD-PATH: IPv4, send. Path 7 to 203.0.113.0/24.
    let open = open_with(&[MP_IPV4, &[69, 4, 0, 1, 1, 2]].concat());
    let (mut alone, connection) = Alone::established(Settings { add_path: true, ..first() }, &open);
    let attributes = attributes(&[65000], &[]);
    let length = (attributes.len() as u16).to_be_bytes();
    let body = [&[0, 0], &length[..], &attributes, &[0, 0, 0, 7, 24, 203, 0, 113]].concat();
    alone.receive(connection, &message(2, &body));
    let outputs = alone.drain();
    let [RibChange::Update(received)] = changes(&outputs)[..] else { panic!("{outputs:?}") };
    let nlri = received.update.reach[0].nlri[0];
    assert_eq!((nlri.path_id, nlri.prefix.to_string().as_str()), (7, V4));
}

#[test]
fn what_is_received_is_never_announced() {
    let mut world = World::established(first(), second());
    let theirs = desired(&allow_list(), &[(V4, RouteAttributes::default())]);
    world.input(1, proxima_bgp_session::Input::SetDesired(theirs));
    world.run(2 * LATENCY);
    assert_eq!(world.tables[0].prefixes(), [V4]);
    assert!(world.nodes[0].adj_rib_out().is_empty() && world.updates[0].is_empty());
}
