//! A session without a peer: bytes by hand, outputs one by one. And the routes all tests use.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use proxima_bgp_session::{
    AllowList, ConnectionId, Input, Local, Output, RibChange, Session, Settings, State,
};
use proxima_types::RouteAttributes;

use crate::world::{LATENCY, World, desired, epoch, prefix};

pub const V4: &str = "203.0.113.0/24";
pub const V4_B: &str = "198.51.100.0/24";
pub const V6: &str = "2001:db8:ac::/48";

pub fn allow_list() -> AllowList {
    AllowList::new([V4, V4_B, V6].map(prefix))
}

pub fn plain(routes: &[&str]) -> Input {
    let routes: Vec<_> = routes.iter().map(|text| (*text, RouteAttributes::default())).collect();
    Input::SetDesired(desired(&allow_list(), &routes))
}

/// The first node announces these routes.
pub fn set(world: &mut World, routes: &[&str]) {
    world.input(0, plain(routes));
    world.run(4 * LATENCY);
}

pub const MARKER: [u8; 16] = [0xff; 16];
pub const KEEPALIVE: &[u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13\x04";

pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = (19 + body.len()) as u16;
    [&MARKER[..], &length.to_be_bytes(), &[kind], body].concat()
}

/// An OPEN by hand: version, AS, hold time, identifier, parameters.
pub fn open(version: u8, asn: u16, hold: u16, id: [u8; 4], parameters: &[u8]) -> Vec<u8> {
    let length = [parameters.len() as u8];
    message(1, &[&[version], &asn.to_be_bytes()[..], &hold.to_be_bytes(), &id, &length, parameters].concat())
}

/// An OPEN of the second node with these capabilities, each with code, length and value.
pub fn open_with(capabilities: &[u8]) -> Vec<u8> {
    open(4, 65000, 9, [192, 0, 2, 2], &[&[2, capabilities.len() as u8], capabilities].concat())
}

pub fn open_of_second() -> Vec<u8> {
    open(4, 65000, 9, [192, 0, 2, 2], &[])
}

/// Capabilities as they stand in an OPEN.
pub const MP_IPV4: &[u8] = &[1, 4, 0, 1, 0, 1];
pub const MP_IPV6: &[u8] = &[1, 4, 0, 2, 0, 1];
pub const ROUTE_REFRESH: &[u8] = &[2, 0];
pub const ENHANCED_REFRESH: &[u8] = &[70, 0];

/// Graceful restart: R and N, 60 s, IPv4 with F or without.
pub fn restart(restarted: bool, notification: bool, forwarding: bool) -> Vec<u8> {
    let flags = u8::from(restarted) << 7 | u8::from(notification) << 6;
    vec![64, 6, flags, 60, 0, 1, 1, u8::from(forwarding) << 7]
}

/// ORIGIN IGP, AS_PATH of two-octet numbers, NEXT_HOP 10.0.0.2, and what follows.
pub fn attributes(path: &[u16], more: &[u8]) -> Vec<u8> {
    let asns: Vec<u8> = path.iter().flat_map(|asn| asn.to_be_bytes()).collect();
    let segment = if path.is_empty() { vec![] } else { [&[2, path.len() as u8], &asns[..]].concat() };
    let mut bytes = vec![0x40, 1, 1, 0, 0x40, 2, segment.len() as u8];
    bytes.extend([&segment[..], &[0x40, 3, 4, 10, 0, 0, 2], more].concat());
    bytes
}

/// An UPDATE that announces 203.0.113.0/24.
pub fn update(attributes: &[u8]) -> Vec<u8> {
    let length = (attributes.len() as u16).to_be_bytes();
    message(2, &[&[0, 0], &length[..], attributes, &[24, 203, 0, 113]].concat())
}

/// An UPDATE of attributes alone.
pub fn update_of(attributes: &[u8]) -> Vec<u8> {
    message(2, &[&[0, 0], &(attributes.len() as u16).to_be_bytes()[..], attributes].concat())
}

/// An UPDATE that announces 2001:db8::/32.
pub fn update_ipv6() -> Vec<u8> {
    let next_hop = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
    let reach = [&[0x80, 14, 26, 0, 2, 1, 16][..], &next_hop, &[0, 32, 0x20, 0x01, 0x0d, 0xb8]].concat();
    update_of(&[&reach[..], &[0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfd, 0xe8]].concat())
}

/// One whose next hop has 3 octets, so that where its routes begin can't be told.
pub fn unreadable_ipv6() -> Vec<u8> {
    update_of(&[0x80, 14, 8, 0, 2, 1, 3, 0, 0, 0, 0x40, 1, 1, 0, 0x40, 2, 0])
}

pub fn local() -> Local {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)).into()
}

pub fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
}

pub fn is_connect(output: &Output) -> bool {
    matches!(output, Output::Connect { .. })
}

pub fn closed(outputs: &[Output]) -> Vec<ConnectionId> {
    let close = |output: &Output| match output {
        Output::Close { connection } => Some(*connection),
        _ => None,
    };
    outputs.iter().filter_map(close).collect()
}

pub fn sent(outputs: &[Output], kind: u8) -> Vec<(ConnectionId, Bytes)> {
    let send = |output: &Output| match output {
        Output::Send { connection, bytes } if bytes[18] == kind => Some((*connection, bytes.clone())),
        _ => None,
    };
    outputs.iter().filter_map(send).collect()
}

pub fn opens(outputs: &[Output]) -> Vec<ConnectionId> {
    sent(outputs, 1).into_iter().map(|(connection, _)| connection).collect()
}

pub fn notifications(outputs: &[Output]) -> Vec<(ConnectionId, u8, u8)> {
    sent(outputs, 3).into_iter().map(|(connection, bytes)| (connection, bytes[19], bytes[20])).collect()
}

pub fn changes(outputs: &[Output]) -> Vec<&RibChange> {
    fn change(output: &Output) -> Option<&RibChange> {
        match output {
            Output::Rib(change) => Some(change),
            _ => None,
        }
    }
    outputs.iter().filter_map(change).collect()
}

/// A session at a moment that the test moves.
pub struct Alone {
    pub session: Session,
    pub now: Instant,
}

impl Alone {
    /// Started, passive, waiting for the peer.
    pub fn active(settings: Settings) -> Self {
        let now = epoch();
        let mut alone = Self { session: Session::new(Settings { passive: true, ..settings }, now, 1), now };
        alone.input(Input::Up);
        alone
    }

    /// With an accepted connection on which OPEN was sent.
    pub fn open_sent(settings: Settings) -> (Self, ConnectionId) {
        let mut alone = Self::active(settings);
        let connection = alone.accept();
        assert_eq!(alone.session.state(), State::OpenSent);
        alone.drain();
        (alone, connection)
    }

    /// Established with a peer that sent this OPEN.
    pub fn established(settings: Settings, open: &[u8]) -> (Self, ConnectionId) {
        let (mut alone, connection) = Self::open_sent(settings);
        alone.receive(connection, open);
        alone.receive(connection, KEEPALIVE);
        assert_eq!(alone.session.state(), State::Established, "{:?}", alone.drain());
        alone.drain();
        (alone, connection)
    }

    pub fn accept(&mut self) -> ConnectionId {
        let connection = self.session.next_connection();
        self.input(Input::Accepted { connection, local: local() });
        connection
    }

    pub fn input(&mut self, input: Input) {
        self.session.handle(self.now, input);
    }

    pub fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.input(Input::Received { connection, bytes: Bytes::copy_from_slice(bytes) });
    }

    pub fn drain(&mut self) -> Vec<Output> {
        drain(&mut self.session)
    }

    /// All UPDATEs there are to send.
    pub fn updates(&mut self) -> Vec<proxima_bgp_session::UpdateBatch> {
        std::iter::from_fn(|| self.session.poll_update()).collect()
    }

    /// Lets time pass, timer by timer.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.session.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.session.handle_timeout(self.now);
        }
        self.now = end;
    }
}
