//! A full routing table, and a speaker that sends it as fast as the other side takes it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use proxima_bgp_wire::{
    AsPath, Attributes, Capability, KEEPALIVE, Message, Negotiated, Open, Origin, PeerKind, frame, update,
};
use proxima_types::{Asn, Community, Family, Prefix};

use crate::load::arrivals::Random;

/// What the speaker offers; with 0 no side needs KEEPALIVEs, so that nothing but the table is on the wire.
const HOLD_TIME: u16 = 0;
/// How long the other side may take to answer an OPEN, or to take a chunk of the table.
const PATIENCE: Duration = Duration::from_mins(2);
/// Written at once.
const CHUNK: usize = 256 * 1024;

/// A table of IPv4 routes as UPDATEs of an external four-octet peer.
#[derive(Debug, Clone)]
pub struct Table {
    /// The UPDATEs, one after the other.
    pub updates: Bytes,
    /// How many prefixes they announce, each once.
    pub routes: u32,
    /// How many different sets of attributes there are.
    pub attribute_sets: u32,
    /// How many messages.
    pub messages: u32,
}

impl Table {
    /// The same seed makes the same table. Of more than five million routes some would come twice.
    ///
    /// Shaped like the Internet's: three in five prefixes are /24s; a set of attributes is shared by seven prefixes on
    /// average, few of them by most; paths have two to seven numbers; half of the sets carry communities.
    pub fn build(routes: u32, asn: Asn, next_hop: Ipv4Addr, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let negotiated = Negotiated {
            four_octet_as: true,
            families: [Family::Ipv4].into_iter().collect(),
            peer: PeerKind::External,
            ..Negotiated::default()
        };
        let mut prefixes = Prefixes::default();
        let mut updates = BytesMut::new();
        let (mut left, mut attribute_sets, mut messages) = (routes, 0, 0);
        while left > 0 {
            let attributes = attributes(&mut random, asn);
            let shared_by = share(&mut random).min(left);
            let of_this_set: Vec<Prefix> = (0..shared_by).map(|_| prefixes.next(&mut random)).collect();
            let written = update::announce(
                &attributes,
                std::net::IpAddr::V4(next_hop).into(),
                of_this_set,
                negotiated,
                &mut updates,
            );
            messages += written.expect("attributes of this size leave room for prefixes") as u32;
            attribute_sets += 1;
            left -= shared_by;
        }
        Self { updates: updates.freeze(), routes, attribute_sets, messages }
    }
}

/// Prefixes that all differ, from 1.0.0.0 to below 127.0.0.0, with more specifics among them.
#[derive(Debug, Default)]
struct Prefixes {
    /// How many of each length were given.
    given: [u32; 25],
}

impl Prefixes {
    fn next(&mut self, random: &mut Random) -> Prefix {
        const FIRST: u32 = 1 << 24;
        const EIGHTS: u32 = 126;
        let length: u8 = match random.bits() % 20 {
            0..=11 => 24,
            12..=14 => 22,
            15..=16 => 23,
            17 => 21,
            18 => 20,
            _ => 19,
        };
        let number = &mut self.given[usize::from(length)];
        let there_are = u64::from(EIGHTS) << (length - 8);
        // A stride prime to the count visits all of them, far apart, as a router's table comes in no order.
        let spread = u64::from(*number) * 7_368_787 % there_are;
        *number += 1;
        let address = FIRST + ((spread as u32) << (32 - length));
        Prefix::truncating(Ipv4Addr::from(address).into(), length)
    }
}

/// How many prefixes share a set of attributes: mostly a few, sometimes hundreds.
fn share(random: &mut Random) -> u32 {
    match random.bits() % 100 {
        0..=39 => 1,
        40..=69 => 2 + (random.bits() % 4) as u32,
        70..=94 => 6 + (random.bits() % 10) as u32,
        95..=98 => 16 + (random.bits() % 48) as u32,
        _ => 64 + (random.bits() % 192) as u32,
    }
}

fn attributes(random: &mut Random, asn: Asn) -> Attributes {
    let hops = 1 + random.bits() % 6;
    let path: Vec<_> = (0..hops).map(|_| Asn(1 + (random.bits() % 399_999) as u32)).collect();
    let communities = match random.bits() % 2 {
        0 => 0,
        _ => 1 + random.bits() % 6,
    };
    Attributes {
        origin: if random.bits().is_multiple_of(10) { Origin::Incomplete } else { Origin::Igp },
        as_path: AsPath::sequence(std::iter::once(asn).chain(path)),
        med: random.bits().is_multiple_of(4).then(|| (random.bits() % 200) as u32),
        communities: (0..communities).map(|_| Community(random.bits() as u32 & 0x7fff_ffff)).collect(),
        ..Attributes::default()
    }
}

/// A session on which the table was sent. The other side keeps the routes until it is dropped.
#[derive(Debug)]
pub struct Feed {
    stream: TcpStream,
    /// When the first octet of the table was written.
    pub began: Instant,
    /// When the last one was.
    pub written: Instant,
}

impl Feed {
    /// Connects, opens a session, and sends all of the table.
    ///
    /// Returns when the last octet is written, which is before the other side has worked it off.
    pub fn send(from: Ipv4Addr, to: SocketAddr, asn: Asn, table: &Table) -> io::Result<Self> {
        let stream = connect(from, to)?;
        let open = Open::new(
            asn,
            HOLD_TIME,
            from,
            vec![
                Capability::multiprotocol(Family::Ipv4),
                Capability::RouteRefresh,
                Capability::FourOctetAs(asn),
            ],
        );
        handshake(&stream, open)?;
        let began = Instant::now();
        thread::scope(|scope| {
            // What the other side says is read, or it would stop taking.
            let answers = stream.try_clone()?;
            scope.spawn(move || drain(answers));
            let sent = (&stream).write_all_in_chunks(&table.updates);
            stream.set_read_timeout(Some(Duration::from_millis(1))).ok(); // ends the reader
            sent
        })?;
        Ok(Self { stream, began, written: Instant::now() })
    }

    /// An error when the other side has closed the session, with its NOTIFICATION if it sent one.
    pub fn check(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut inbox = [0; 4096];
        loop {
            match (&self.stream).read(&mut inbox) {
                Ok(0) => return Err(io::ErrorKind::ConnectionReset.into()),
                Ok(length) => notification(&inbox[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

trait Chunks {
    fn write_all_in_chunks(self, bytes: &[u8]) -> io::Result<()>;
}

impl Chunks for &TcpStream {
    fn write_all_in_chunks(mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(CHUNK).try_for_each(|chunk| self.write_all(chunk))
    }
}

fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// OPENs and KEEPALIVEs both ways.
fn handshake(mut stream: &TcpStream, open: Open) -> io::Result<()> {
    let mut out = BytesMut::new();
    Message::Open(open).encode(Negotiated::default(), &mut out).map_err(io::Error::other)?;
    stream.write_all(&out)?;
    let mut inbox = BytesMut::new();
    let mut confirmed = false;
    while !confirmed {
        let Some(length) = frame(&inbox, 4096).map_err(io::Error::other)? else {
            let mut more = [0; 4096];
            match stream.read(&mut more)? {
                0 => {
                    return Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "closed before the session was up",
                    ));
                }
                length => inbox.extend_from_slice(&more[..length]),
            }
            continue;
        };
        match Message::decode(&inbox[..length], Negotiated::default()).map_err(io::Error::other)? {
            Message::Open(_) => stream.write_all(&KEEPALIVE)?,
            Message::Keepalive => confirmed = true,
            Message::Notification(refusal) => return Err(io::Error::other(format!("refused: {refusal}"))),
            Message::Update(_) | Message::RouteRefresh(_) => {}
        }
        inbox.advance(length);
    }
    Ok(())
}

/// An error if these bytes begin with a NOTIFICATION.
fn notification(bytes: &[u8]) -> io::Result<()> {
    match frame(bytes, 4096) {
        Ok(Some(length)) => match Message::decode(&bytes[..length], Negotiated::default()) {
            Ok(Message::Notification(refusal)) => Err(io::Error::other(format!("closed: {refusal}"))),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Reads until there is nothing within the read timeout of the socket.
fn drain(mut stream: TcpStream) {
    let mut inbox = vec![0; 64 * 1024];
    stream.set_read_timeout(Some(Duration::from_millis(200))).ok(); // looks up now and then
    while !matches!(stream.read(&mut inbox), Ok(0) | Err(_)) {}
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_table_announces_each_prefix_once_and_is_the_same_every_time() {
        let build = || Table::build(30_000, Asn(65100), Ipv4Addr::new(10, 0, 0, 1), 7);
        let table = build();
        assert_eq!(table.updates, build().updates);
        let negotiated = Negotiated { four_octet_as: true, ..Negotiated::default() };
        let mut rest = &table.updates[..];
        let (mut prefixes, mut messages) = (HashSet::new(), 0);
        while let Some(length) = frame(rest, 4096).unwrap() {
            let Message::Update(update) = Message::decode(&rest[..length], negotiated).unwrap() else {
                panic!("only UPDATEs");
            };
            assert!(update.problems.is_empty(), "{:?}", update.problems);
            for reach in &update.reach {
                prefixes.extend(reach.nlri.iter().map(|nlri| nlri.prefix));
            }
            messages += 1;
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
        assert_eq!((prefixes.len(), messages), (30_000, table.messages));
        let shared = f64::from(table.routes) / f64::from(table.attribute_sets);
        assert!((5.0..10.0).contains(&shared), "{shared}");
    }
}
