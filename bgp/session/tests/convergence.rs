//! Whatever happens to two sessions, they do not panic, and once they are left alone the peer holds what is desired.

#![allow(clippy::unwrap_used, reason = "tests")]

mod world;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use proxima_bgp_session::{AllowList, Desired, Input, State};
use proxima_types::{Announcement, Community, Prefix, RouteAttributes};
use world::{World, first, second};

const PREFIXES: [&str; 6] = [
    "203.0.113.0/24",
    "198.51.100.0/24",
    "192.0.2.128/25",
    "2001:db8:ac::/48",
    "2001:db8:e::/48",
    "2001:db8::/64",
];

/// Something that happens to the world.
#[derive(Debug, Clone)]
enum Fate {
    Desire(usize, Vec<(usize, RouteAttributes)>),
    Release(usize),
    Stop(usize),
    Start(usize),
    Reset(usize),
    Cut(bool),
    Listen(usize, bool),
    /// Breaks one of the connections.
    Break(usize, usize),
    /// Bytes nobody sent arrive on one of the connections.
    Garbage(usize, usize, Vec<u8>),
    /// A whole message arrives at the wrong time.
    Message(usize, usize, usize),
    Pass(Duration),
}

/// Well-formed messages: KEEPALIVE, Cease 6/2, ROUTE-REFRESH for IPv6, End-of-RIB of IPv4, an OPEN of AS 65000.
const MESSAGES: [&[u8]; 5] = [
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x15\x03\x06\x02",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x17\x05\x00\x02\x00\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x17\x02\x00\x00\x00\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x1d\x01\x04\xfd\xe8\x00\x5a\x0a\x00\x00\x01\x00",
];

fn routes() -> impl Strategy<Value = Vec<(usize, RouteAttributes)>> {
    let attributes = (0u8..4, proptest::option::of(0u32..3), proptest::collection::vec(0u32..4, 0..3))
        .prop_map(|(prepend, med, communities)| RouteAttributes {
            prepend,
            med,
            communities: communities.into_iter().map(Community).collect(),
        });
    proptest::collection::vec((0..PREFIXES.len(), attributes), 0..8)
}

fn fate() -> impl Strategy<Value = Fate> {
    let node = 0usize..2;
    prop_oneof![
        4 => (node.clone(), routes()).prop_map(|(node, routes)| Fate::Desire(node, routes)),
        1 => node.clone().prop_map(Fate::Release),
        1 => node.clone().prop_map(Fate::Stop),
        2 => node.clone().prop_map(Fate::Start),
        1 => node.clone().prop_map(Fate::Reset),
        2 => any::<bool>().prop_map(Fate::Cut),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Fate::Listen(node, on)),
        2 => (node.clone(), 0usize..3).prop_map(|(node, which)| Fate::Break(node, which)),
        2 => (node.clone(), 0usize..3, proptest::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(node, which, bytes)| Fate::Garbage(node, which, bytes)),
        2 => (node, 0usize..3, 0..MESSAGES.len()).prop_map(|(node, which, message)| Fate::Message(node, which, message)),
        6 => (0u64..20_000).prop_map(|ms| Fate::Pass(Duration::from_millis(ms))),
    ]
}

fn allow_list() -> AllowList {
    AllowList::new(PREFIXES.map(world::prefix))
}

fn desired(routes: Vec<(usize, RouteAttributes)>) -> Desired {
    let announcements = routes
        .into_iter()
        .map(|(i, attributes)| Announcement { prefix: world::prefix(PREFIXES[i]), attributes });
    Desired::new(&allow_list(), announcements).unwrap()
}

fn inject(world: &mut World, node: usize, which: usize, bytes: Bytes) {
    if let Some(connection) = world.connections(node).get(which).copied() {
        world.input(node, Input::Received { connection, bytes });
    }
}

fn happen(world: &mut World, wanted: &mut [Desired; 2], fate: Fate) {
    match fate {
        Fate::Desire(node, routes) => {
            wanted[node] = desired(routes);
            world.input(node, Input::SetDesired(wanted[node].clone()));
        }
        Fate::Release(node) => world.input(node, Input::ReleaseEndOfRib),
        Fate::Stop(node) => world.input(node, Input::ManualStop { reason: "test".to_owned() }),
        Fate::Start(node) => world.input(node, Input::ManualStart),
        Fate::Reset(node) => world.input(node, Input::Reset),
        Fate::Cut(cut) => world.cut = cut,
        Fate::Listen(node, on) => world.listens[node] = on,
        Fate::Break(node, which) => {
            if let Some(id) = world.connections(node).get(which).copied() {
                world.break_connection(node, id);
            }
        }
        Fate::Garbage(node, which, bytes) => inject(world, node, which, bytes.into()),
        Fate::Message(node, which, message) => {
            inject(world, node, which, Bytes::from_static(MESSAGES[message]));
        }
        Fate::Pass(span) => world.run(span),
    }
}

/// Prefixes with what tells one set of attributes from another, as `node` holds them of the other.
fn held(world: &World, node: usize) -> BTreeMap<Prefix, (usize, Option<u32>, Vec<Community>)> {
    let routes = world.nodes[node].adj_rib_in().iter();
    let key = |prefix, route: &proxima_bgp_session::ReceivedRoute| {
        let attributes = &route.attributes;
        (prefix, (attributes.as_path.length() - 1, attributes.med, attributes.communities.to_vec()))
    };
    routes.map(|(prefix, route)| key(prefix, route)).collect()
}

fn announced(desired: &Desired) -> BTreeMap<Prefix, (usize, Option<u32>, Vec<Community>)> {
    let key = |attributes: &RouteAttributes| {
        (usize::from(attributes.prepend), attributes.med, attributes.communities.clone())
    };
    desired.iter().map(|(route, attributes)| (route.prefix(), key(attributes))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn left_alone_the_peer_holds_exactly_what_is_desired(
        fates in proptest::collection::vec(fate(), 0..40),
        passive: bool,
    ) {
        let mut world = World::new(first(), proxima_bgp_session::Settings { passive, ..second() });
        let mut wanted = [Desired::default(), Desired::default()];
        for fate in fates {
            happen(&mut world, &mut wanted, fate);
        }
        // Left alone, after an operator has looked at both.
        world.cut = false;
        world.listens = [true, true];
        world.input(0, Input::ManualStart);
        world.input(1, Input::Reset);
        world.run(Duration::from_mins(15));
        prop_assert_eq!(world.state(), [State::Established; 2], "{:?}", world.states);
        prop_assert_eq!(world.live_connections(), 1);
        for node in [0, 1] {
            prop_assert_eq!(held(&world, 1 - node), announced(&wanted[node]));
            prop_assert!(world.nodes[node].adj_rib_out().converged());
        }
        // And then nothing more is said.
        let quiet = world.updates.clone().map(|updates| updates.len());
        world.run(Duration::from_mins(5));
        prop_assert_eq!(world.updates.clone().map(|updates| updates.len()), quiet);
        prop_assert_eq!(world.state(), [State::Established; 2]);
    }
}
