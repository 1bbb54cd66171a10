//! The network between PoPs and their routers: TCP connections over links that delay, lose and cut, and the BGP sessions at
//! both ends, which are the product's own.
//!
//! ```text
//!  PoP: Session ── Connection: a pipe each way ── Session: router ──▶ table of what the PoP announces
//!                  └ a lost segment comes later (retransmission), order is kept; a cut link holds segments back
//! ```
//!
//! Link `l` is that of PoP `l / routers`; its sessions are `2 l` (the PoP's) and `2 l + 1` (the router's).

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use bytes::Bytes;
use proxima_bgp_session::{
    AllowList, Cause, ConnectionId, Desired, Input, Local, Output, RibChange, Session, Settings, State,
    UpdateContent,
};
use proxima_types::{Announcement, Asn, Family, RouteAttributes};

use crate::{
    clock::{Clock, MS, Nanos, SECOND, span},
    queue::Event,
    router::Route,
    world::World,
};

/// The AS of all PoPs.
pub(crate) const LOCAL_AS: Asn = Asn(64512);
/// The AS of all routers.
const ROUTER_AS: Asn = Asn(65000);
/// What routers tell PoPs.
pub(crate) const LEARNED: &str = "100.64.0.0/10";
/// The first retransmission timeout.
const RETRANSMISSION: Nanos = 200 * MS;
/// A request to connect that was lost is sent again after this.
const SYN_AGAIN: Nanos = SECOND;

/// The PoP's side of a link.
pub(crate) const POP: usize = 0;
/// The router's side of a link.
pub(crate) const ROUTER: usize = 1;

/// What is between a PoP and one of its routers.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// One way.
    pub(crate) delay: Nanos,
    /// More of it by faults.
    pub(crate) extra: Nanos,
    /// Percent, by faults.
    pub(crate) loss: u32,
    /// How many faults cut the way towards each side.
    pub(crate) cut: [u8; 2],
    /// What the router holds, by group.
    pub(crate) routes: [Option<Route>; crate::world::MOST_GROUPS],
    /// The router has had the PoP's End-of-RIB in this session.
    pub(crate) told_all: bool,
    /// The router ended the last session itself, and so may not have read what the PoP had sent.
    pub(crate) given_up: bool,
    /// The PoP has had the router's End-of-RIB in this session.
    pub(crate) observed: bool,
    /// Since when both sides are established; `None`: they are not.
    pub(crate) up_since: Option<Nanos>,
}

/// One side of a link.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) session: Session,
    /// When its next timer event is due; `Nanos::MAX`: none is queued.
    armed: Nanos,
    connections: Vec<(ConnectionId, u32)>,
    pub(crate) state: State,
}

impl Connection {
    /// The link, and the side that connects.
    pub(crate) fn made_by(&self) -> (usize, usize) {
        (usize::from(self.link), usize::from(self.initiator))
    }
}

impl Endpoint {
    /// `started`: its process.
    pub(crate) fn new(settings: Settings, started: Instant, seed: u64) -> Self {
        Self {
            session: Session::new(settings, started, seed),
            armed: Nanos::MAX,
            connections: Vec::new(),
            state: State::Idle,
        }
    }
}

/// A TCP connection, or an attempt at one.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    link: u8,
    initiator: u8,
    ids: [Option<ConnectionId>; 2],
    open: [bool; 2],
    pipes: [Pipe; 2],
}

/// What is under way towards one side.
#[derive(Debug, Default)]
struct Pipe {
    segments: VecDeque<Segment>,
    /// When the last of them arrives.
    last: Nanos,
    /// How many have come to a cut and wait for its end.
    stalled: u32,
}

#[derive(Debug)]
enum Segment {
    /// Octets, and when they were sent.
    Data(Bytes, Nanos),
    Fin,
    Reset,
}

/// The side's view of a link's session.
pub(crate) fn settings(world: &World, link: usize, side: usize) -> Settings {
    let pop = world.pop_of(link);
    let pop_id = world.router_id(pop);
    let router_id = Ipv4Addr::new(10, 255, 0, link as u8 + 1);
    let (local, remote) = if side == POP { (LOCAL_AS, ROUTER_AS) } else { (ROUTER_AS, LOCAL_AS) };
    Settings {
        hold_time: span(world.shape.hold_time),
        connect_retry: span(SECOND),
        passive: side == ROUTER && !world.shape.routers_connect,
        families: vec![Family::Ipv4],
        ..Settings::new(local, if side == POP { pop_id } else { router_id }, remote)
    }
}

/// What routers tell PoPs: nothing that a PoP may pass on.
pub(crate) fn learned() -> Desired {
    let prefix = LEARNED.parse().expect("a valid prefix");
    let route = Announcement { prefix, attributes: RouteAttributes::default() };
    Desired::new(&AllowList::new([prefix]), [route]).expect("it is listed")
}

fn local(link: usize, side: usize) -> Local {
    IpAddr::V4(Ipv4Addr::new(10, link as u8, 0, side as u8 + 1)).into()
}

impl World {
    /// Hands a session news, and carries out what it asks for.
    pub(crate) fn tell(&mut self, session: usize, input: Input) {
        let now = self.session_clock(session).at(self.now);
        self.endpoints[session].session.handle(now, input);
        self.pump(session);
    }

    pub(crate) fn session_clock(&self, session: usize) -> Clock {
        if session % 2 == POP { self.pops[self.pop_of(session / 2)].clock } else { self.router_clock }
    }

    pub(crate) fn session_timer(&mut self, session: usize) {
        let endpoint = &mut self.endpoints[session];
        if endpoint.armed != self.now {
            return; // a later event stands for it, or the session is another one
        }
        endpoint.armed = Nanos::MAX;
        let now = self.session_clock(session).at(self.now);
        self.endpoints[session].session.handle_timeout(now);
        self.pump(session);
    }

    /// A timer event held back by a standstill: it is late, but the session's own.
    pub(crate) fn late_session_timer(&mut self, session: usize) {
        self.endpoints[session].armed = self.now;
        self.session_timer(session);
    }

    /// Does all that a session asks for.
    fn pump(&mut self, session: usize) {
        loop {
            while let Some(output) = self.endpoints[session].session.poll_output() {
                self.output(session, output);
            }
            let Some(batch) = self.endpoints[session].session.poll_update() else { break };
            if session % 2 == POP {
                self.trace_batch(session / 2, &batch.content);
            }
            if let Some(id) = self.endpoints[session].session.established() {
                self.write(session, id, batch.bytes);
            }
        }
        while let Some(output) = self.endpoints[session].session.poll_output() {
            self.output(session, output);
        }
        if let Some(at) = self.endpoints[session].session.poll_timeout() {
            let at = self.session_clock(session).when(at).max(self.now);
            if at < self.endpoints[session].armed {
                self.endpoints[session].armed = at;
                self.queue.push(at, Event::SessionTimer(session as u8));
            }
        }
    }

    fn output(&mut self, session: usize, output: Output) {
        match output {
            Output::Connect { connection } => self.connect(session, connection),
            Output::Send { connection, bytes } => self.write(session, connection, bytes),
            Output::Close { connection } => self.close(session, connection),
            Output::StateChanged { to, cause, .. } => {
                self.endpoints[session].state = to;
                if self.trace.on() {
                    let who = self.session_name(session);
                    self.trace.say(self.now, &who, format_args!("{to}: {cause}"));
                }
                if session % 2 == ROUTER {
                    self.links[session / 2].given_up = matches!(cause, Cause::NotificationSent { .. });
                }
                self.session_changed(session);
            }
            Output::Rib(change) if session % 2 == ROUTER => self.table_changes(session / 2, change),
            Output::Rib(RibChange::EndOfRib(_)) => {
                self.links[session / 2].observed = true;
                self.view_soon(self.pop_of(session / 2), 0);
            }
            Output::Rib(RibChange::DropAll) => {
                self.links[session / 2].observed = false;
                self.view_soon(self.pop_of(session / 2), 0);
            }
            Output::Rib(_) => {}
            Output::Problem(problem) => {
                if self.trace.on() {
                    let who = self.session_name(session);
                    self.trace.say(self.now, &who, format_args!("{problem}"));
                }
            }
        }
    }

    fn session_changed(&mut self, session: usize) {
        let link = session / 2;
        let both = [POP, ROUTER].map(|side| self.endpoints[2 * link + side].state == State::Established);
        let was = self.links[link].up_since.is_some();
        match (was, both == [true; 2]) {
            (false, true) => self.links[link].up_since = Some(self.now),
            (true, false) => self.links[link].up_since = None,
            _ => {}
        }
        if session % 2 == POP && !both[POP] && std::mem::take(&mut self.links[link].observed) {
            self.view_soon(self.pop_of(link), 0);
        }
    }

    fn connect(&mut self, session: usize, id: ConnectionId) {
        let (link, side) = (session / 2, session % 2);
        let number = self.connections_used;
        self.connections_used += 1;
        if number == self.connections.len() {
            self.connections.push(Connection::default());
        }
        let connection = &mut self.connections[number];
        connection.link = link as u8;
        connection.initiator = side as u8;
        connection.ids = [None; 2];
        connection.open = [false; 2];
        for pipe in &mut connection.pipes {
            pipe.segments.clear();
            pipe.last = 0;
            pipe.stalled = 0;
        }
        connection.ids[side] = Some(id);
        connection.open[side] = true;
        self.endpoints[session].connections.push((id, number as u32));
        let at = self.now + self.one_way(link, SYN_AGAIN);
        self.queue.push(at, Event::Syn(number as u32));
    }

    /// The time one way, with what retransmissions add.
    fn one_way(&mut self, link: usize, again: Nanos) -> Nanos {
        let Link { delay, extra, loss, .. } = self.links[link];
        let mut time = delay + extra;
        let mut wait = again;
        while loss > 0 && wait < again << 5 && self.net_random.chance(loss.into()) {
            time += wait;
            wait *= 2;
        }
        time
    }

    pub(crate) fn syn(&mut self, number: u32) {
        let connection = &self.connections[number as usize];
        let (link, from) = (usize::from(connection.link), usize::from(connection.initiator));
        let to = 1 - from;
        if !connection.open[from] || self.links[link].cut[to] > 0 {
            return;
        }
        let pop = self.pop_of(link);
        if to == POP && !self.pops[pop].running {
            if !self.pops[pop].is_dark() {
                let at = self.now + self.one_way(link, SYN_AGAIN);
                self.queue.push(at, Event::Refused(number));
            }
            return;
        }
        let session = 2 * link + to;
        let id = self.endpoints[session].session.next_connection();
        let at = self.now + self.one_way(link, SYN_AGAIN);
        let connection = &mut self.connections[number as usize];
        connection.ids[to] = Some(id);
        connection.open[to] = true;
        connection.pipes[from].last = at;
        self.endpoints[session].connections.push((id, number));
        self.queue.push(at, Event::SynAck(number));
        self.tell(session, Input::Accepted { connection: id, local: local(link, to) });
    }

    pub(crate) fn syn_ack(&mut self, number: u32, refused: bool) {
        let connection = &self.connections[number as usize];
        let (link, side) = (usize::from(connection.link), usize::from(connection.initiator));
        let Some(id) = connection.ids[side].filter(|_| connection.open[side]) else { return };
        if self.links[link].cut[side] > 0 {
            return;
        }
        let session = 2 * link + side;
        if refused {
            self.forget(session, id);
            self.tell(session, Input::ConnectFailed { connection: id, error: "refused".to_owned() });
        } else {
            self.tell(session, Input::Connected { connection: id, local: local(link, side) });
        }
    }

    fn write(&mut self, session: usize, id: ConnectionId, bytes: Bytes) {
        if let Some(number) = self.connection_of(session, id) {
            self.send(number, 1 - session % 2, Segment::Data(bytes, self.now));
        }
    }

    fn close(&mut self, session: usize, id: ConnectionId) {
        let Some(number) = self.forget(session, id) else { return };
        let other = 1 - session % 2;
        if self.connections[number as usize].ids[other].is_some() {
            self.send(number, other, Segment::Fin);
        }
    }

    fn connection_of(&self, session: usize, id: ConnectionId) -> Option<u32> {
        self.endpoints[session].connections.iter().find(|(known, _)| *known == id).map(|(_, number)| *number)
    }

    /// This side has done with a connection.
    fn forget(&mut self, session: usize, id: ConnectionId) -> Option<u32> {
        let connections = &mut self.endpoints[session].connections;
        let place = connections.iter().position(|(known, _)| *known == id)?;
        let (_, number) = connections.swap_remove(place);
        self.connections[number as usize].open[session % 2] = false;
        Some(number)
    }

    fn send(&mut self, number: u32, towards: usize, segment: Segment) {
        let link = usize::from(self.connections[number as usize].link);
        let at = self.now + self.one_way(link, RETRANSMISSION);
        let pipe = &mut self.connections[number as usize].pipes[towards];
        pipe.last = pipe.last.max(at);
        pipe.segments.push_back(segment);
        self.queue.push(pipe.last, Event::Segment { connection: number, towards: towards as u8 });
    }

    pub(crate) fn segment(&mut self, number: u32, towards: u8) {
        let side = usize::from(towards);
        let connection = &mut self.connections[number as usize];
        let link = usize::from(connection.link);
        if self.links[link].cut[side] > 0 {
            connection.pipes[side].stalled += 1;
            return;
        }
        let Some(segment) = connection.pipes[side].segments.pop_front() else { return };
        if side == POP && self.pops[self.pop_of(link)].is_dark() {
            return;
        }
        let connection = &mut self.connections[number as usize];
        let Some(id) = connection.ids[side].filter(|_| connection.open[side]) else {
            if matches!(segment, Segment::Data(..)) && connection.open[1 - side] {
                self.send(number, 1 - side, Segment::Reset);
            }
            return;
        };
        let session = 2 * link + side;
        let error = match segment {
            Segment::Data(bytes, sent) => {
                self.received_sent = sent;
                return self.tell(session, Input::Received { connection: id, bytes });
            }
            Segment::Fin => "closed by the peer",
            Segment::Reset => "reset by the peer",
        };
        self.forget(session, id);
        self.tell(session, Input::Closed { connection: id, error: error.to_owned() });
    }

    /// A cut towards one side has ended: what waited is sent again.
    pub(crate) fn mended(&mut self, link: usize, towards: usize) {
        for number in 0..self.connections_used {
            let connection = &mut self.connections[number];
            let stalled = std::mem::take(&mut connection.pipes[towards].stalled);
            if usize::from(connection.link) != link || stalled == 0 {
                connection.pipes[towards].stalled = stalled;
                continue;
            }
            let at = self.now + RETRANSMISSION;
            let pipe = &mut connection.pipes[towards];
            pipe.last = pipe.last.max(at);
            for _ in 0..stalled {
                let event = Event::Segment { connection: number as u32, towards: towards as u8 };
                self.queue.push(at, event);
            }
        }
    }

    /// The process at this end is gone: its kernel closes what it held, unless the host went dark with it.
    pub(crate) fn abandon(&mut self, session: usize, silently: bool) {
        let side = session % 2;
        let held = std::mem::take(&mut self.endpoints[session].connections);
        for (_, number) in held {
            self.connections[number as usize].open[side] = false;
            if !silently && self.connections[number as usize].ids[1 - side].is_some() {
                self.send(number, 1 - side, Segment::Fin);
            }
        }
        let settings = self.endpoints[session].session.settings().clone();
        let seed = self.net_random.next();
        let started = self.session_clock(session).at(self.now);
        self.endpoints[session] = Endpoint::new(settings, started, seed);
        self.session_changed(session);
    }

    /// BFD on one side of a link changes its mind, unless the path has changed its own meanwhile.
    pub(crate) fn bfd(&mut self, link: usize, side: usize, up: bool) {
        if self.path_works(link) != up {
            return;
        }
        let input = if up {
            Input::BfdUp
        } else {
            Input::BfdDown { diagnostic: "control detection time expired".to_owned(), independent: false }
        };
        self.tell(2 * link + side, input);
    }

    /// Packets of BFD go through both ways, and both ends send them.
    fn path_works(&self, link: usize) -> bool {
        let pop = &self.pops[self.pop_of(link)];
        self.links[link].cut == [0; 2] && pop.running && !pop.is_dark() && !pop.is_frozen()
    }

    /// Something about the path of a link has changed: BFD notices in its time.
    pub(crate) fn path_changed(&mut self, link: usize) {
        let Some(detection) = self.shape.bfd else { return };
        let up = self.path_works(link);
        let at = self.now + if up { SECOND } else { detection };
        for side in [POP, ROUTER] {
            if side == ROUTER || self.pops[self.pop_of(link)].running {
                self.queue.push(at, Event::Bfd { link: link as u8, side: side as u8, up });
            }
        }
    }

    fn trace_batch(&mut self, link: usize, content: &UpdateContent) {
        if !self.trace.on() {
            return;
        }
        let who = self.session_name(2 * link);
        let text = match content {
            UpdateContent::Withdrawn(prefixes) => format!("UPDATE: withdraws {prefixes:?}"),
            UpdateContent::Announced { prefixes, attributes } => {
                let communities: Vec<_> = attributes.communities.iter().map(ToString::to_string).collect();
                let large: Vec<_> = attributes.large_communities.iter().map(ToString::to_string).collect();
                let prepend = attributes.prepend;
                format!("UPDATE: announces {prefixes:?}, prepend {prepend}, {communities:?} {large:?}")
            }
            UpdateContent::EndOfRib(family) => format!("UPDATE: End-of-RIB {family}"),
            UpdateContent::RefreshBegun(_) | UpdateContent::RefreshEnded(_) => "ROUTE-REFRESH".to_owned(),
        };
        self.trace.say(self.now, &who, format_args!("{text}"));
    }

    fn session_name(&self, session: usize) -> String {
        let (link, side) = (session / 2, session % 2);
        let pop = self.pop_of(link);
        if side == POP { format!("pop{pop} to router{link}") } else { format!("router{link} to pop{pop}") }
    }
}
