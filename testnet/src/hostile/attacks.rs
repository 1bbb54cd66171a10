//! What a hostile peer does: one function per attack, each until its time is over.
//!
//! An attack does not judge: that the other side closes, refuses or ignores is its success or failure, told by the
//! victim's state afterwards.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use clap::ValueEnum;
use proxima_bgp_wire::{
    AsPath, Attributes, Capability, KEEPALIVE, Message, Negotiated, Open, RefreshKind, RouteRefresh, frame,
    update,
};
use proxima_types::{Asn, Family, Prefix};
use socket2::{Domain, SockRef, Socket, Type};

use crate::load::arrivals::Random;

/// Connections one attack holds open.
const HELD: usize = 1000;
/// Messages of one kind that a flood writes at once.
const CHUNK: u64 = 100;
/// How long a single step may wait for the other side.
const STEP: Duration = Duration::from_millis(500);

/// Where to attack, and from where.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Whom.
    pub victim: SocketAddr,
    /// From these addresses; the victim knows each as a peer, which it forgives less with every fault.
    pub from: &'static [Ipv4Addr],
    /// With this AS number, which the victim expects.
    pub asn: Asn,
    /// From this address, which the victim does not know.
    pub stranger: Ipv4Addr,
    /// From this one, which no answer of the victim reaches.
    pub deaf: Ipv4Addr,
}

/// What came of an attack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// What it is counted by ([`Attack::unit`]).
    pub steps: u64,
    /// In how many the session was up.
    pub sessions: u64,
}

/// One way to be hostile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attack {
    /// Messages with random faults, before and after the session is up.
    Malformed,
    /// An OPEN octet by octet, then a session that sends an octet now and then.
    Slow,
    /// UPDATEs as fast as they are taken.
    UpdateFlood,
    /// KEEPALIVEs and ROUTE-REFRESHes as fast as they are taken.
    RefreshFlood,
    /// Connections that say nothing.
    Silent,
    /// SYNs whose answers are never answered: connections stay half-open at the victim (RFC 4987).
    HalfOpen,
    /// Connections that are reset at once.
    ResetStorm,
    /// A session that asks for everything again and again and reads nothing.
    ZeroWindow,
    /// Connections as fast as they can be made, by the peer and by a stranger.
    ConnectFlood,
}

impl Attack {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Slow,
        Self::UpdateFlood,
        Self::RefreshFlood,
        Self::Silent,
        Self::HalfOpen,
        Self::ResetStorm,
        Self::ZeroWindow,
        Self::ConnectFlood,
    ];

    /// Whether it has to have had a session to mean anything.
    pub fn needs_a_session(self) -> bool {
        match self {
            Self::Malformed | Self::Slow | Self::UpdateFlood | Self::RefreshFlood | Self::ZeroWindow => true,
            Self::Silent | Self::HalfOpen | Self::ResetStorm | Self::ConnectFlood => false,
        }
    }

    /// What its steps are.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Malformed | Self::Silent | Self::ResetStorm | Self::ConnectFlood => "connections",
            Self::HalfOpen => "SYNs",
            Self::Slow => "octets",
            Self::UpdateFlood | Self::RefreshFlood | Self::ZeroWindow => "messages",
        }
    }

    /// Steps a second without which it shows nothing; `connects` is what a flood of connections has to come to.
    pub fn least_rate(self, connects: u32) -> u64 {
        match self {
            Self::Silent | Self::HalfOpen | Self::ResetStorm => 20,
            Self::ConnectFlood => connects.into(),
            Self::Malformed | Self::Slow | Self::UpdateFlood | Self::RefreshFlood | Self::ZeroWindow => 1,
        }
    }

    /// Attacks until `deadline`.
    pub fn run(self, target: &Target, deadline: Instant, seed: u64) -> Tally {
        let mut attacker = Attacker {
            target,
            deadline,
            random: Random::new(seed),
            tally: Tally::default(),
            turn: 0,
            held: VecDeque::new(),
        };
        while Instant::now() < deadline {
            // That the victim defends itself is no error of the attack.
            let _ = match self {
                Self::Malformed => attacker.malformed(),
                Self::Slow => attacker.slow(),
                Self::UpdateFlood => attacker.update_flood(),
                Self::RefreshFlood => attacker.refresh_flood(),
                Self::Silent => attacker.silent(),
                Self::HalfOpen => attacker.half_open(),
                Self::ResetStorm => attacker.reset_storm(),
                Self::ZeroWindow => attacker.zero_window(),
                Self::ConnectFlood => attacker.connect_flood(),
            };
            attacker.turn += 1;
        }
        while attacker.drop_oldest() {}
        attacker.tally
    }
}

struct Held {
    socket: Socket,
    /// Known to have been established, and counted.
    counted: bool,
}

struct Attacker<'a> {
    target: &'a Target,
    deadline: Instant,
    random: Random,
    tally: Tally,
    /// Counts every step, of whatever outcome.
    turn: usize,
    /// Connections kept for a while.
    held: VecDeque<Held>,
}

impl Attacker<'_> {
    /// The next of its addresses, in turn.
    fn address(&self) -> Ipv4Addr {
        self.target.from[self.turn % self.target.from.len()]
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((self.address(), 0)).into())?;
        socket.connect_timeout(&self.target.victim.into(), STEP)?;
        socket.set_read_timeout(Some(STEP))?;
        socket.set_write_timeout(Some(STEP))?;
        Ok(socket.into())
    }

    fn open(&self) -> io::Result<BytesMut> {
        let capabilities = vec![
            Capability::multiprotocol(Family::Ipv4),
            Capability::RouteRefresh,
            Capability::FourOctetAs(self.target.asn),
        ];
        let open = Open::new(self.target.asn, 90, self.address(), capabilities);
        let mut bytes = BytesMut::new();
        Message::Open(open).encode(Negotiated::default(), &mut bytes).map_err(io::Error::other)?;
        Ok(bytes)
    }

    /// Sends OPEN and KEEPALIVE by `write`, and waits for the victim's.
    fn establish(
        &mut self,
        mut stream: &TcpStream,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        write(&self.open()?)?;
        let mut inbox = BytesMut::new();
        loop {
            while let Some(length) = frame(&inbox, 4096).map_err(io::Error::other)? {
                match Message::decode(&inbox[..length], Negotiated::default()) {
                    Ok(Message::Open(_)) => write(&KEEPALIVE)?,
                    Ok(Message::Keepalive) => {
                        self.tally.sessions += 1;
                        return Ok(());
                    }
                    _ => return Err(io::ErrorKind::ConnectionRefused.into()),
                }
                inbox.advance(length);
            }
            let mut more = [0; 512];
            match stream.read(&mut more)? {
                0 => return Err(io::ErrorKind::ConnectionReset.into()),
                length => inbox.extend_from_slice(&more[..length]),
            }
        }
    }

    fn session(&mut self) -> io::Result<TcpStream> {
        let stream = self.connect()?;
        let mut writer = &stream;
        self.establish(&stream, |bytes| writer.write_all(bytes))?;
        Ok(stream)
    }

    fn routes(&mut self) -> BytesMut {
        let negotiated = Negotiated { four_octet_as: true, ..Negotiated::default() };
        let first = self.random.bits() as u32;
        let prefixes = (0..800).map(|n| {
            let address = Ipv4Addr::from(0x2000_0000 | (first.wrapping_add(n << 8) & 0x0fff_ff00));
            Prefix::truncating(address.into(), 24)
        });
        let length = self.random.bits() % 200;
        let path = (0..length).map(|_| Asn(1 + (self.random.bits() as u32 >> 1)));
        let as_path = AsPath::sequence(std::iter::once(self.target.asn).chain(path));
        let attributes = Attributes { as_path, ..Attributes::default() };
        let mut bytes = BytesMut::new();
        let next_hop = std::net::IpAddr::V4(self.address());
        update::announce(&attributes, next_hop.into(), prefixes, negotiated, &mut bytes)
            .expect("800 prefixes behind 200 numbers fit, in one message or in two");
        bytes
    }

    fn malformed(&mut self) -> io::Result<()> {
        let (mut stream, mut bytes) = if self.random.bits().is_multiple_of(4) {
            (self.connect()?, self.open()?)
        } else {
            (self.session()?, self.routes())
        };
        for _ in 0..=self.random.bits() % 4 {
            let at = self.random.bits() as usize % bytes.len();
            bytes[at] = self.random.bits() as u8;
        }
        stream.write_all(&bytes)?;
        self.tally.steps += 1;
        // Its answer, or its patience.
        let _ = stream.read(&mut [0; 4096]);
        Ok(())
    }

    fn slow(&mut self) -> io::Result<()> {
        let stream = self.connect()?;
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut sent = 0;
        let mut crawl = |bytes: &[u8]| {
            bytes.iter().try_for_each(|octet| {
                std::thread::sleep(Duration::from_millis(5));
                sent += 1;
                writer.write_all(&[*octet])
            })
        };
        let mut outcome = self.establish(&stream, &mut crawl);
        while outcome.is_ok() && !self.is_over() {
            outcome = crawl(&KEEPALIVE);
        }
        self.tally.steps += sent;
        outcome
    }

    fn update_flood(&mut self) -> io::Result<()> {
        let mut stream = self.session()?;
        while !self.is_over() {
            stream.write_all(&self.routes())?;
            self.tally.steps += 1;
        }
        Ok(())
    }

    fn refresh_flood(&mut self) -> io::Result<()> {
        let mut stream = self.session()?;
        let (mut reader, deadline) = (stream.try_clone()?, self.deadline);
        let chunk = [refresh().to_vec(), KEEPALIVE.to_vec()].concat().repeat(CHUNK as usize);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut inbox = vec![0; 65536];
                while Instant::now() < deadline && !matches!(reader.read(&mut inbox), Ok(0)) {}
            });
            while !self.is_over() {
                stream.write_all(&chunk)?;
                self.tally.steps += 2 * CHUNK;
            }
            Ok(())
        })
    }

    fn silent(&mut self) -> io::Result<()> {
        if self.held.len() >= HELD {
            self.drop_oldest();
        }
        let socket = self.connect()?.into();
        self.tally.steps += 1;
        self.held.push_back(Held { socket, counted: true });
        Ok(())
    }

    /// From an address that hears nothing of the victim.
    fn half_open(&mut self) -> io::Result<()> {
        if self.held.len() >= HELD {
            self.drop_oldest();
        }
        let socket = self.begin(self.target.deaf)?;
        self.tally.steps += 1;
        self.held.push_back(Held { socket, counted: true });
        Ok(())
    }

    fn reset_storm(&mut self) -> io::Result<()> {
        let mut stream = self.connect()?;
        // Closing with a zero linger time sends a reset.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        self.tally.steps += 1;
        stream.write_all(&self.open()?)
    }

    fn zero_window(&mut self) -> io::Result<()> {
        let mut stream = self.session()?;
        SockRef::from(&stream).set_recv_buffer_size(1)?;
        let chunk = refresh().repeat(CHUNK as usize);
        while !self.is_over() {
            match stream.write_all(&chunk) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    outcome?;
                    self.tally.steps += CHUNK;
                }
            }
        }
        Ok(())
    }

    /// Begins a connection without waiting for it, and drops one begun a while ago by a reset. Only those count that came
    /// to be established.
    fn connect_flood(&mut self) -> io::Result<()> {
        let known = self.random.bits().is_multiple_of(2);
        let from = if known { self.address() } else { self.target.stranger };
        let socket = self.begin(from)?;
        if self.held.len() >= HELD {
            self.drop_oldest();
        }
        // On one machine the handshake is often over when the call returns, and so may the connection be a moment later.
        let counted = socket.peer_addr().is_ok();
        self.tally.steps += u64::from(counted);
        self.held.push_back(Held { socket, counted });
        Ok(())
    }

    /// Begins a connection without waiting for it; it ends by a reset.
    fn begin(&self, from: Ipv4Addr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        match socket.connect(&self.target.victim.into()) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => {}
            outcome => outcome?,
        }
        Ok(socket)
    }

    /// Lets go of the connection that was held longest; false if none is.
    fn drop_oldest(&mut self) -> bool {
        let Some(Held { socket, counted }) = self.held.pop_front() else { return false };
        self.tally.steps += u64::from(!counted && was_established(&socket));
        true
    }
}

/// Whether a connection that was begun without waiting came about. One that is refused fails with another error than one
/// that is reset later.
fn was_established(socket: &Socket) -> bool {
    match socket.take_error() {
        Ok(None) => socket.peer_addr().is_ok(),
        Ok(Some(error)) => error.kind() == io::ErrorKind::ConnectionReset,
        Err(_) => false,
    }
}

fn refresh() -> BytesMut {
    let mut bytes = BytesMut::new();
    let request = RouteRefresh { family: Family::Ipv4.into(), kind: RefreshKind::Request };
    Message::RouteRefresh(request)
        .encode(Negotiated::default(), &mut bytes)
        .expect("a ROUTE-REFRESH always fits");
    bytes
}
