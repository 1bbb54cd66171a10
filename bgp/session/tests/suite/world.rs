//! Two sessions, a network between them, a table for each, and one virtual clock.
//!
//! Bytes and closings take [`LATENCY`] and keep their order. Nothing is random but the seeds of the sessions.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_bgp_session::{
    AllowList, Cause, ConnectionId, Desired, GracefulRestart, Input, Leave, Local, Marks, Output, PeerUp,
    Problem, RibChange, Session, Settings, State, UpdateContent,
};
use proxima_bgp_wire::{Attributes, NextHop, Nlri};
use proxima_types::{Announcement, Asn, Family, Prefix, RouteAttributes};

/// One way.
pub const LATENCY: Duration = Duration::from_millis(20);

/// A millisecond less.
pub fn just_before(span: Duration) -> Duration {
    span.checked_sub(Duration::from_millis(1)).unwrap()
}

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

/// A route as a RIB holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub attributes: Attributes,
    pub next_hop: NextHop,
    pub marks: Marks,
    pub stale: bool,
}

/// What a RIB does with the changes of one peer, at its simplest.
#[derive(Debug, Default)]
pub struct Table {
    pub routes: BTreeMap<(Prefix, u32), Route>,
    /// Every change, in short.
    pub log: Vec<String>,
    pub peer: Option<Box<PeerUp>>,
    /// Announcements of what was held, fresh, just so.
    pub redundant: usize,
}

impl Table {
    /// The prefixes held, stale or not.
    pub fn prefixes(&self) -> Vec<String> {
        self.routes.keys().map(|(prefix, _)| prefix.to_string()).collect()
    }

    pub fn route(&self, text: &str) -> Option<&Route> {
        self.routes.get(&(prefix(text), 0))
    }

    /// The prefixes that are stale.
    pub fn stale(&self) -> Vec<String> {
        let stale = self.routes.iter().filter(|(_, route)| route.stale);
        stale.map(|((prefix, _), _)| prefix.to_string()).collect()
    }

    /// The family is complete: End-of-RIB came.
    pub fn complete(&self, family: Family) -> bool {
        self.log.contains(&format!("EndOfRib({family})"))
    }

    /// All, and those that are stale.
    fn counts(&self, family: Family) -> (u32, u32) {
        let of_family = || self.routes.iter().filter(|((prefix, _), _)| prefix.family() == family);
        (of_family().count() as u32, of_family().filter(|(_, route)| route.stale).count() as u32)
    }

    pub fn apply(&mut self, change: RibChange) {
        self.log.push(match &change {
            RibChange::PeerUp(_) => "PeerUp".to_owned(),
            RibChange::Update(_) => "Update".to_owned(),
            RibChange::EndOfRib(family) => format!("EndOfRib({family})"),
            RibChange::MarkStale(family) => format!("MarkStale({family})"),
            RibChange::BeginRefresh(family) => format!("BeginRefresh({family})"),
            RibChange::SweepStale(family) => format!("SweepStale({family})"),
            RibChange::DropFamily(family) => format!("DropFamily({family})"),
            RibChange::DropAll => "DropAll".to_owned(),
        });
        match change {
            RibChange::PeerUp(peer) => self.peer = Some(peer),
            RibChange::Update(received) => {
                assert!(self.peer.is_some(), "routes come from a peer that is up");
                for Nlri { prefix, path_id } in received.update.withdrawn {
                    self.routes.remove(&(prefix, path_id));
                }
                for reach in received.update.reach {
                    let attributes = received.update.attributes.clone();
                    let (next_hop, marks) = (reach.next_hop, received.marks);
                    let route = Route { attributes, next_hop, marks, stale: false };
                    for Nlri { prefix, path_id } in reach.nlri {
                        let before = self.routes.insert((prefix, path_id), route.clone());
                        self.redundant += usize::from(before.as_ref() == Some(&route));
                    }
                }
            }
            RibChange::EndOfRib(_) => {}
            RibChange::MarkStale(family) | RibChange::BeginRefresh(family) => {
                let of_family = self.routes.iter_mut().filter(|((prefix, _), _)| prefix.family() == family);
                of_family.for_each(|(_, route)| route.stale = true);
            }
            RibChange::SweepStale(family) => {
                self.routes.retain(|(prefix, _), route| !route.stale || prefix.family() != family);
            }
            RibChange::DropFamily(family) => self.routes.retain(|(prefix, _), _| prefix.family() != family),
            RibChange::DropAll => self.routes.clear(),
        }
    }
}

pub struct World {
    pub now: Instant,
    pub nodes: [Session; 2],
    pub tables: [Table; 2],
    /// Whether the node accepts connections.
    pub listens: [bool; 2],
    /// Everything sent into it is lost.
    pub cut: bool,
    /// Something was lost that TCP would have brought later.
    pub lossy: bool,
    flying: VecDeque<(Instant, Node, Packet)>,
    /// Each end of a live connection and the end at the other side.
    ends: BTreeMap<End, ConnectionId>,
    /// Who made the connection.
    initiators: BTreeMap<End, Node>,
    pub states: [Vec<(State, Cause)>; 2],
    pub sent: [Vec<Bytes>; 2],
    pub updates: [Vec<UpdateContent>; 2],
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
        hold_time: Duration::from_secs(9),
        connect_retry: Duration::from_secs(1),
        next_hop_ipv6: Some("2001:db8::1".parse().unwrap()),
        ..Settings::new(Asn(64512), Ipv4Addr::new(192, 0, 2, 1), Asn(65000))
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

pub const GRACEFUL: GracefulRestart = GracefulRestart {
    restart_time: Duration::from_mins(1),
    stale_time: Duration::from_secs(30),
    forwarding: true,
};

pub fn graceful(settings: Settings) -> Settings {
    Settings { graceful_restart: Some(GRACEFUL), ..settings }
}

/// The clock of the tests begins anywhere.
#[allow(clippy::disallowed_methods, reason = "a point to count from")]
pub fn epoch() -> Instant {
    Instant::now()
}

pub fn stop(reason: &str) -> Input {
    Input::Stop(Leave::Stop { reason: reason.to_owned() })
}

pub fn shutdown(reason: &str, drain: Duration) -> Input {
    Input::Shutdown { reason: reason.to_owned(), drain }
}

impl World {
    /// Both sessions started, nothing delivered yet.
    pub fn new(first: Settings, second: Settings) -> Self {
        let now = epoch();
        let mut world = Self {
            now,
            nodes: [Session::new(first, now, 1), Session::new(second, now, 2)],
            tables: Default::default(),
            listens: [true, true],
            cut: false,
            lossy: false,
            flying: VecDeque::new(),
            ends: BTreeMap::new(),
            initiators: BTreeMap::new(),
            states: Default::default(),
            sent: Default::default(),
            updates: Default::default(),
            problems: Default::default(),
        };
        world.input(0, Input::Up);
        world.input(1, Input::Up);
        world
    }

    /// A world whose sessions are established.
    pub fn established(first: Settings, second: Settings) -> Self {
        let mut world = Self::new(first, second);
        world.run(Duration::from_secs(5));
        world.assert_established();
        world
    }

    #[track_caller]
    pub fn assert_established(&self) {
        assert_eq!(self.state(), [State::Established; 2], "{:?}", self.states);
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
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `condition` holds, at most `span`; how long that took.
    #[track_caller]
    pub fn run_until(&mut self, span: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let (start, end) = (self.now, self.now + span);
        while !condition(self) {
            assert!(self.step(end), "not within {span:?}: {:?}", self.states);
        }
        self.now - start
    }

    /// The next thing that happens until `end`, if there is one.
    fn step(&mut self, end: Instant) -> bool {
        let packet = self.flying.front().map(|(at, ..)| *at);
        let timer = self.nodes.iter().filter_map(Session::poll_timeout).min();
        let Some(next) = [packet, timer].into_iter().flatten().min().filter(|next| *next <= end) else {
            return false;
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
        true
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

    /// The established connection breaks for both ends.
    pub fn break_session(&mut self) {
        let id = self.nodes[0].established().expect("established");
        self.break_connection(0, id);
    }

    /// The node's process ends: what it has not said it never says. The kernel closes its connections, unless
    /// `silently`: a host that is gone closes nothing.
    pub fn die(&mut self, node: Node, silently: bool) {
        for id in self.connections(node) {
            let peer = self.ends.remove(&(node, id)).unwrap();
            if silently {
                self.ends.remove(&(1 - node, peer));
            } else {
                self.send(1 - node, Packet::Fin { to: peer });
            }
        }
        self.flying.retain(|(_, to, _)| *to != node);
        self.listens[node] = false;
        self.nodes[node] = Session::new(self.nodes[node].settings().clone(), self.now, 7);
        self.tables[node] = Table::default();
        self.states[node].clear();
    }

    /// The node's process begins anew.
    pub fn start(&mut self, node: Node, settings: Settings) {
        self.listens[node] = true;
        self.nodes[node] = Session::new(settings, self.now, 7);
        self.input(node, Input::Up);
    }

    /// Another process goes on with the node's established session; what it says of it is not known to the new one.
    pub fn hand_over(&mut self, node: Node, settings: Settings) {
        let old = self.nodes[node].established().expect("established");
        self.input(node, Input::Stop(Leave::Upgrade));
        let snapshot = self.nodes[node].detach(self.now).expect("detached");
        let (session, new) = Session::resume(settings, 8, self.now, snapshot).expect("resumed");
        self.nodes[node] = session;
        self.tables[node] = Table::default();
        self.states[node] = vec![(State::Established, Cause::OpenConfirmed)];
        if let Some(peer) = self.ends.remove(&(node, old)) {
            self.ends.insert((node, new), peer);
            self.ends.insert((1 - node, peer), new);
            let initiator = self.initiators[&(node, old)];
            self.initiators.insert((node, new), initiator);
        }
        for (_, to, packet) in &mut self.flying {
            match packet {
                Packet::Data { to: id, .. } | Packet::Fin { to: id } if *to == node && *id == old => {
                    *id = new;
                }
                _ => {}
            }
        }
        self.collect(node);
    }

    /// NOTIFICATIONs `node` has sent, as code, subcode and data.
    pub fn notifications(&self, node: Node) -> Vec<(u8, u8, Vec<u8>)> {
        let notifications = self.sent[node].iter().filter(|bytes| bytes[18] == 3);
        notifications.map(|bytes| (bytes[19], bytes[20], bytes[21..].to_vec())).collect()
    }

    /// The types of the messages `node` has sent, KEEPALIVEs apart.
    pub fn types_sent(&self, node: Node) -> Vec<u8> {
        let mut types = Vec::new();
        for mut bytes in self.sent[node].iter().map(|bytes| &bytes[..]) {
            while let [.., _] = bytes {
                let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
                types.push(bytes[18]);
                bytes = &bytes[length..];
            }
        }
        types.retain(|kind| *kind != 4);
        types
    }

    fn send(&mut self, node: Node, packet: Packet) {
        if self.cut {
            self.lossy = true;
        } else {
            self.flying.push_back((self.now + LATENCY, node, packet));
        }
    }

    fn deliver(&mut self, node: Node, packet: Packet) {
        if self.cut {
            self.lossy = true;
            return;
        }
        let local: Local = IpAddr::V4(Ipv4Addr::new(10, 0, 0, node as u8 + 1)).into();
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
                self.tables[node].peer = None;
                self.states[node].push((to, cause));
            }
            Output::Rib(change) => self.rib(node, change),
            Output::Problem(problem) => self.problems[node].push(problem),
        }
    }

    fn rib(&mut self, node: Node, change: RibChange) {
        let before = Family::ALL.map(|family| self.tables[node].counts(family));
        self.tables[node].apply(change);
        for (family, before) in Family::ALL.into_iter().zip(before) {
            let (count, stale) = self.tables[node].counts(family);
            if (count, stale) != before {
                self.nodes[node].handle(self.now, Input::PrefixCount { family, count, stale });
            }
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
