//! Whatever happens to two sessions, they do not panic, never say the same thing twice, and once they are left alone the
//! peer holds what is desired.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use proxima_bgp_session::{AllowList, Desired, Input, Leave, Settings, State};
use proxima_bgp_wire::Role;
use proxima_types::{Announcement, Community, Family, Prefix, RouteAttributes};

use crate::world::{self, World, first, graceful, second, shutdown, stop};

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
    Up(usize),
    Shutdown(usize, Duration),
    Reset(usize),
    Refresh(usize, Family),
    Bfd(usize, u8),
    Reconfigure(usize, usize),
    /// The process dies, loudly or not, and another begins at once.
    Restart(usize, bool),
    /// Another process takes over.
    HandOver(usize),
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
            local_pref: med,
            communities: communities.into_iter().map(Community).collect(),
            ..RouteAttributes::default()
        });
    proptest::collection::vec((0..PREFIXES.len(), attributes), 0..8)
}

fn fate() -> impl Strategy<Value = Fate> {
    let node = 0usize..2;
    prop_oneof![
        4 => (node.clone(), routes()).prop_map(|(node, routes)| Fate::Desire(node, routes)),
        1 => node.clone().prop_map(Fate::Release),
        1 => node.clone().prop_map(Fate::Stop),
        3 => node.clone().prop_map(Fate::Up),
        1 => (node.clone(), 0u64..30).prop_map(|(node, s)| Fate::Shutdown(node, Duration::from_secs(s))),
        1 => node.clone().prop_map(Fate::Reset),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, v4)| {
            Fate::Refresh(node, if v4 { Family::Ipv4 } else { Family::Ipv6 })
        }),
        1 => (node.clone(), 0u8..4).prop_map(|(node, what)| Fate::Bfd(node, what)),
        1 => (node.clone(), 0..VARIANTS).prop_map(|(node, variant)| Fate::Reconfigure(node, variant)),
        2 => (node.clone(), any::<bool>()).prop_map(|(node, silently)| Fate::Restart(node, silently)),
        1 => node.clone().prop_map(Fate::HandOver),
        2 => any::<bool>().prop_map(Fate::Cut),
        1 => (node.clone(), any::<bool>()).prop_map(|(node, on)| Fate::Listen(node, on)),
        2 => (node.clone(), 0usize..3).prop_map(|(node, which)| Fate::Break(node, which)),
        2 => (node.clone(), 0usize..3, proptest::collection::vec(any::<u8>(), 1..64))
            .prop_map(|(node, which, bytes)| Fate::Garbage(node, which, bytes)),
        2 => (node.clone(), 0usize..3, 0..MESSAGES.len()).prop_map(|(node, which, message)| Fate::Message(node, which, message)),
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
        Fate::Stop(node) => world.input(node, stop("test")),
        Fate::Up(node) => world.input(node, Input::Up),
        Fate::Shutdown(node, drain) => world.input(node, shutdown("test", drain)),
        Fate::Reset(node) => world.input(node, Input::Reset),
        Fate::Refresh(node, family) => world.input(node, Input::Refresh(family)),
        Fate::Bfd(node, what) => world.input(
            node,
            match what {
                0 => Input::BfdAdminDown,
                1 => Input::BfdDown { diagnostic: String::new(), independent: false },
                2 => Input::BfdDown { diagnostic: String::new(), independent: true },
                _ => Input::BfdUp,
            },
        ),
        Fate::Reconfigure(node, which) => {
            let settings = variant(world, node, which);
            world.input(node, Input::Reconfigure(Box::new(settings)));
        }
        Fate::Restart(node, silently) => {
            let settings = world.nodes[node].settings().clone();
            world.die(node, silently);
            world.start(node, settings);
            world.input(node, Input::SetDesired(wanted[node].clone()));
        }
        Fate::HandOver(node) => {
            if world.nodes[node].established().is_some() {
                let settings = world.nodes[node].settings().clone();
                world.hand_over(node, settings);
                world.input(node, Input::SetDesired(wanted[node].clone()));
            }
        }
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

const VARIANTS: usize = 5;

/// Settings that still lead to a session with the other node.
fn variant(world: &World, node: usize, which: usize) -> Settings {
    let old = world.nodes[node].settings().clone();
    match which {
        0 => Settings { passive: node == 1, ..old },
        1 => Settings {
            graceful_restart: if old.graceful_restart.is_some() { None } else { Some(world::GRACEFUL) },
            ..old
        },
        2 => Settings { next_hop_ipv4: Some([10, 0, 0, 9 + node as u8].into()), ..old },
        3 => Settings { hold_time: Duration::from_secs(if node == 0 { 9 } else { 30 }), ..old },
        _ => Settings { role: if old.role.is_some() { None } else { Some(Role::Peer) }, ..old },
    }
}

/// Prefixes with what tells one set of attributes from another, as `node` holds them of the other.
fn held(world: &World, node: usize) -> BTreeMap<Prefix, (usize, Option<u32>, Vec<Community>)> {
    let routes = world.tables[node].routes.iter();
    let key = |prefix: Prefix, route: &world::Route| {
        assert!(!route.stale, "{prefix} is still stale");
        let attributes = &route.attributes;
        (prefix, (attributes.as_path.length() - 1, attributes.med, attributes.communities.to_vec()))
    };
    routes.map(|((prefix, _), route)| key(*prefix, route)).collect()
}

fn announced(desired: &Desired) -> BTreeMap<Prefix, (usize, Option<u32>, Vec<Community>)> {
    let key = |attributes: &RouteAttributes| {
        (usize::from(attributes.prepend), attributes.med, attributes.communities.clone())
    };
    desired.iter().map(|(route, attributes)| (route.prefix(), key(attributes))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn left_alone_the_peer_holds_exactly_what_is_desired(
        fates in proptest::collection::vec(fate(), 0..40),
        passive: bool,
        restarts_gracefully: bool,
    ) {
        let settings = |settings| if restarts_gracefully { graceful(settings) } else { settings };
        let mut world = World::new(settings(first()), settings(Settings { passive, ..second() }));
        let mut wanted = [Desired::default(), Desired::default()];
        for fate in fates {
            happen(&mut world, &mut wanted, fate);
            for node in &world.nodes {
                prop_assert_eq!(node.state() == State::Established, node.established().is_some());
            }
        }
        // Left alone, after an operator has looked at both.
        world.cut = false;
        world.listens = [true, true];
        for node in [0, 1] {
            world.input(node, Input::BfdAdminDown);
            world.input(node, Input::Up);
            world.input(node, Input::ReleaseEndOfRib);
        }
        world.input(1, Input::Reset);
        world.run(Duration::from_mins(15));
        prop_assert_eq!(world.state(), [State::Established; 2], "{:?}", world.states);
        prop_assert_eq!(world.live_connections(), 1);
        for node in [0, 1] {
            prop_assert_eq!(held(&world, 1 - node), announced(&wanted[node]));
            prop_assert!(world.nodes[node].adj_rib_out().converged());
            // Where the network lost something, the sender may know better.
            prop_assert!(world.lossy || world.tables[node].redundant == 0, "{:?}", world.tables[node].log);
        }
        // And then nothing more is said.
        let quiet = world.updates.clone().map(|updates| updates.len());
        world.run(Duration::from_mins(5));
        prop_assert_eq!(world.updates.clone().map(|updates| updates.len()), quiet);
        prop_assert_eq!(world.state(), [State::Established; 2]);
    }

    #[test]
    fn a_session_left_by_its_process_says_nothing_more(
        fates in proptest::collection::vec(fate(), 0..20),
        which in 0..3,
    ) {
        let mut world = World::new(graceful(first()), graceful(second()));
        let mut wanted = [Desired::default(), Desired::default()];
        for fate in fates {
            happen(&mut world, &mut wanted, fate);
        }
        let leave = match which {
            0 => Leave::Restart,
            1 => Leave::Upgrade,
            _ => Leave::Stop { reason: String::new() },
        };
        world.input(0, Input::Stop(leave));
        let sent = world.sent[0].len();
        prop_assert_eq!(world.nodes[0].poll_timeout(), None);
        world.listens[0] = false;
        world.run(Duration::from_mins(5));
        prop_assert_eq!(world.sent[0].len(), sent);
    }
}
