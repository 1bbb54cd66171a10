//! Two sessions, a network between them, and one virtual clock.
//!
//! Bytes and closings take [`LATENCY`] and keep their order. Nothing is random but the seeds of the sessions.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its part")]

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_bgp_session::{
    AllowList, Cause, ConnectionId, Desired, Input, Output, Problem, RoutesReceived, Session, Settings,
    State, UpdateContent,
};
use proxima_types::{Announcement, Asn, Family, Prefix, RouteAttributes};

/// One way.
pub const LATENCY: Duration = Duration::from_millis(20);

/// The first session or the second.
pub type Node = usize;

/// An end of a connection.
type End = (Node, ConnectionId);

/// What crosses the network.
#[derive(Debug, Clone)]
enum Packet {
    Syn { from: ConnectionId },
    SynAck { to: ConnectionId },
    Refused { to: ConnectionId },
    Data { to: ConnectionId, bytes: Bytes },
    Fin { to: ConnectionId },
}

pub struct World {
    pub now: Instant,
    pub nodes: [Session; 2],
    /// Whether the node accepts connections.
    pub listens: [bool; 2],
    /// Everything sent into it is lost.
    pub cut: bool,
    flying: VecDeque<(Instant, Node, Packet)>,
    /// Each end of a live connection and the end at the other side.
    ends: BTreeMap<End, ConnectionId>,
    /// Who made the connection.
    initiators: BTreeMap<End, Node>,
    pub states: [Vec<(State, Cause)>; 2],
    pub sent: [Vec<Bytes>; 2],
    pub updates: [Vec<UpdateContent>; 2],
    pub received: [Vec<RoutesReceived>; 2],
    pub problems: [Vec<Problem>; 2],
}

pub fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

pub fn desired(allow: &AllowList, routes: &[(&str, RouteAttributes)]) -> Desired {
    let announcements = routes
        .iter()
        .map(|(text, attributes)| Announcement { prefix: prefix(text), attributes: attributes.clone() });
    Desired::new(allow, announcements).unwrap()
}

/// The first node's view: AS 64512, 192.0.2.1, towards AS 65000.
pub fn first() -> Settings {
    Settings {
        local_as: Asn(64512),
        router_id: Ipv4Addr::new(192, 0, 2, 1),
        remote_as: Asn(65000),
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_secs(1),
        passive: false,
        families: Family::ALL.to_vec(),
        next_hop_ipv4: None,
        next_hop_ipv6: Some("2001:db8::1".parse().unwrap()),
        max_prefixes: None,
    }
}

/// The second node's view: AS 65000, 192.0.2.2, towards AS 64512; passive.
pub fn second() -> Settings {
    Settings {
        local_as: Asn(65000),
        router_id: Ipv4Addr::new(192, 0, 2, 2),
        remote_as: Asn(64512),
        passive: true,
        next_hop_ipv6: Some("2001:db8::2".parse().unwrap()),
        ..first()
    }
}

/// The clock of the tests begins anywhere.
#[allow(clippy::disallowed_methods, reason = "a point to count from")]
pub fn epoch() -> Instant {
    Instant::now()
}

impl World {
    /// Both sessions started, nothing delivered yet.
    pub fn new(first: Settings, second: Settings) -> Self {
        let mut world = Self {
            now: epoch(),
            nodes: [Session::new(first, 1), Session::new(second, 2)],
            listens: [true, true],
            cut: false,
            flying: VecDeque::new(),
            ends: BTreeMap::new(),
            initiators: BTreeMap::new(),
            states: Default::default(),
            sent: Default::default(),
            updates: Default::default(),
            received: Default::default(),
            problems: Default::default(),
        };
        world.input(0, Input::ManualStart);
        world.input(1, Input::ManualStart);
        world
    }

    /// A world whose sessions are established.
    pub fn established(first: Settings, second: Settings) -> Self {
        let mut world = Self::new(first, second);
        world.run(Duration::from_secs(5));
        assert_eq!(world.state(), [State::Established; 2], "{:?}", world.states);
        world
    }

    pub fn state(&self) -> [State; 2] {
        [self.nodes[0].state(), self.nodes[1].state()]
    }

    pub fn input(&mut self, node: Node, input: Input) {
        self.nodes[node].handle(self.now, input);
        self.collect(node);
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let packet = self.flying.front().map(|(at, ..)| *at);
            let timer = self.nodes.iter().filter_map(Session::poll_timeout).min();
            let Some(next) = [packet, timer].into_iter().flatten().min().filter(|next| *next <= end) else {
                break;
            };
            assert!(next >= self.now || timer == Some(next), "time goes on");
            self.now = self.now.max(next);
            if packet == Some(next)
                && let Some((_, node, packet)) = self.flying.pop_front()
            {
                self.deliver(node, packet);
            } else {
                for node in [0, 1] {
                    self.nodes[node].handle_timeout(self.now);
                    self.collect(node);
                }
            }
        }
        self.now = end;
    }

    /// Which node made the connection both sessions are established on.
    pub fn initiator(&self) -> Node {
        let ends = [0, 1].map(|node| (node, self.nodes[node].established().expect("established")));
        assert_eq!(self.ends.get(&ends[0]), Some(&ends[1].1), "both are established on one connection");
        self.initiators[&ends[0]]
    }

    pub fn live_connections(&self) -> usize {
        self.ends.len() / 2
    }

    /// The connections alive at `node`.
    pub fn connections(&self, node: Node) -> Vec<ConnectionId> {
        self.ends.keys().filter(|(at, _)| *at == node).map(|(_, id)| *id).collect()
    }

    /// The connection breaks for both ends.
    pub fn break_connection(&mut self, node: Node, id: ConnectionId) {
        let Some(peer) = self.ends.remove(&(node, id)) else { return };
        self.ends.remove(&(1 - node, peer));
        self.input(node, Input::Closed { connection: id, error: "broken".to_owned() });
        self.input(1 - node, Input::Closed { connection: peer, error: "broken".to_owned() });
    }

    /// NOTIFICATIONs `node` has sent, as code, subcode and data.
    pub fn notifications(&self, node: Node) -> Vec<(u8, u8, Vec<u8>)> {
        let notifications = self.sent[node].iter().filter(|bytes| bytes[18] == 3);
        notifications.map(|bytes| (bytes[19], bytes[20], bytes[21..].to_vec())).collect()
    }

    fn send(&mut self, node: Node, packet: Packet) {
        if !self.cut {
            self.flying.push_back((self.now + LATENCY, node, packet));
        }
    }

    fn deliver(&mut self, node: Node, packet: Packet) {
        if self.cut {
            return;
        }
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, node as u8 + 1));
        match packet {
            Packet::Syn { from } if !self.listens[node] => self.send(1 - node, Packet::Refused { to: from }),
            Packet::Syn { from } => {
                let id = self.nodes[node].next_connection();
                self.ends.insert((node, id), from);
                self.ends.insert((1 - node, from), id);
                self.initiators.insert((node, id), 1 - node);
                self.initiators.insert((1 - node, from), 1 - node);
                self.send(1 - node, Packet::SynAck { to: from });
                self.input(node, Input::Accepted { connection: id, local });
            }
            Packet::SynAck { to } => self.input(node, Input::Connected { connection: to, local }),
            Packet::Refused { to } => {
                self.input(node, Input::ConnectFailed { connection: to, error: "refused".to_owned() });
            }
            Packet::Data { to, bytes } => {
                if self.ends.contains_key(&(node, to)) {
                    self.input(node, Input::Received { connection: to, bytes });
                }
            }
            Packet::Fin { to } => {
                if self.ends.remove(&(node, to)).is_some() {
                    self.input(
                        node,
                        Input::Closed { connection: to, error: "closed by the peer".to_owned() },
                    );
                }
            }
        }
    }

    fn collect(&mut self, node: Node) {
        loop {
            while let Some(output) = self.nodes[node].poll_output() {
                self.output(node, output);
            }
            let Some(batch) = self.nodes[node].poll_update() else { break };
            let connection = self.nodes[node].established().expect("updates go on an established connection");
            self.updates[node].push(batch.content);
            self.write(node, connection, batch.bytes);
        }
        if let Some(output) = self.nodes[node].poll_output() {
            self.output(node, output);
        }
    }

    fn output(&mut self, node: Node, output: Output) {
        match output {
            Output::Connect { connection } => self.send(1 - node, Packet::Syn { from: connection }),
            Output::Send { connection, bytes } => self.write(node, connection, bytes),
            Output::Close { connection } => {
                if let Some(peer) = self.ends.remove(&(node, connection)) {
                    self.send(1 - node, Packet::Fin { to: peer });
                }
            }
            Output::StateChanged { from, to, cause } => {
                let last = self.states[node].last().map_or(State::Idle, |(state, _)| *state);
                assert_eq!(last, from, "changes of state are reported without gaps");
                self.states[node].push((to, cause));
            }
            Output::RoutesReceived(routes) => self.received[node].push(routes),
            Output::Problem(problem) => self.problems[node].push(problem),
        }
    }

    fn write(&mut self, node: Node, connection: ConnectionId, bytes: Bytes) {
        self.sent[node].push(bytes.clone());
        if let Some(peer) = self.ends.get(&(node, connection)) {
            let to = *peer;
            self.send(1 - node, Packet::Data { to, bytes });
            self.nodes[node].handle(self.now, Input::Written { connection });
        }
    }
}
