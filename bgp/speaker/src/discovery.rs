//! Who is at the other end of a link: unnumbered peers.
//!
//! Both routers advertise themselves (RFC 4861), and each takes the other's link-local address from its advertisements, as FRR's
//! `neighbor IFACE interface` does. A task per interface with a raw ICMPv6 socket of its own (CAP_NET_RAW):
//!
//! ```text
//!  ──▶ open the socket ──▶ solicit, advertise ──▶ every RESEND, or on a solicitation: advertise (solicit until found)
//!  ▲                                                   │
//!  └── interface gone or new, socket broken ◀──────────┘──▶ an advertisement: its source is the neighbour
//! ```
//!
//! Our advertisements say lifetime 0, so that hosts do not send us their packets; those of routers that only speak BGP say
//! so too, and a lifetime tells nothing here. That a router is silent does not mean that it is gone: its session tells.
//!
//! | the session is  | an advertisement of another than the known neighbour                                   |
//! |-----------------|----------------------------------------------------------------------------------------|
//! | established     | changes nothing, whoever sends it; the operator is told, every [`CONFLICT_INTERVAL`]    |
//! | not established | is taken: the router was replaced. If it was a stranger's, the router's next one mends it; |
//! |                 | but none within [`LEAST_CHANGE`] of the last that was taken                             |
//!
//! Advertisements are not signed. Who must not trust all that may be on a link uses a password for the session. A router that
//! calls is then heard once an advertisement of its own has told where the key holds; without a password it may call first.
//!
//! A Linux host that does not forward IPv6 follows advertisements itself (`net.ipv6.conf.IFACE.accept_ra`): set that to
//! 0 on the interface where the router's must not change the host's routes.

mod packet;

use std::{
    io::{self, IoSliceMut},
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, SockaddrLike, recvmsg};
use packet::Message;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::socket::interface_index;

/// Where routers listen for solicitations, and everybody for advertisements (RFC 4861 §4).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The time between two advertisements.
const RESEND: Duration = Duration::from_secs(10);
/// While nobody is found: MIN_DELAY_BETWEEN_RAS (RFC 4861 §10).
const RESEND_EARLY: Duration = Duration::from_secs(3);
/// Advertisements that answer solicitations are no closer together, whoever asks how often.
const LEAST_ANSWER: Duration = Duration::from_millis(500);
/// The neighbour changes no more often, so that whoever advertises itself under many addresses costs little.
const LEAST_CHANGE: Duration = RESEND_EARLY;
/// The least time between two words about advertisements of another than the neighbour.
const CONFLICT_INTERVAL: Duration = Duration::from_mins(1);
/// The wait before a socket is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// No message of interest is longer than what fits a link.
const LONGEST: usize = 1500;

/// The search on one interface. Ends with this.
#[derive(Debug)]
pub(crate) struct Discovery {
    /// Of the router's BGP.
    port: u16,
    neighbour: watch::Sender<Neighbour>,
    found: watch::Receiver<Neighbour>,
    seen: watch::Receiver<Neighbour>,
    conflicts: mpsc::Receiver<Conflict>,
    _task: JoinSet<()>,
}

/// Something new about the other end of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sighted {
    /// This, or another than before, is the router there.
    Neighbour,
    /// A second one shows itself.
    Conflict(Conflict),
}

/// An advertisement that was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The neighbour, with which the session is established.
    pub(crate) known: Ipv6Addr,
    /// Who else advertises itself.
    pub(crate) other: Ipv6Addr,
}

impl Discovery {
    /// Begins to look for the router on `interface`, whose BGP is at `port`.
    pub(crate) fn start(interface: String, port: u16) -> Self {
        let (neighbour, found) = watch::channel(Neighbour::default());
        let (teller, conflicts) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(search(interface, port, neighbour.clone(), teller));
        Self { port, neighbour, seen: found.clone(), found, conflicts, _task: task }
    }

    pub(crate) fn found(&self) -> watch::Receiver<Neighbour> {
        self.found.clone()
    }

    pub(crate) fn now(&self) -> Option<SocketAddr> {
        self.found.borrow().at
    }

    /// The session is established with the router at this address: it is the neighbour, until [`Self::unsettle`], also where
    /// it called before it advertised itself.
    pub(crate) fn settle(&self, with: SocketAddr) {
        self.neighbour.send_if_modified(|neighbour| {
            neighbour.settled = true;
            let other = neighbour.at.is_none_or(|known| known.ip() != with.ip());
            if other {
                let mut at = with;
                at.set_port(self.port);
                neighbour.at = Some(at);
            }
            other
        });
    }

    /// No session is established any more: whoever advertises itself next is the neighbour.
    pub(crate) fn unsettle(&self) {
        self.neighbour.send_if_modified(|neighbour| {
            neighbour.settled = false;
            false
        });
    }

    /// The next thing that is new. Cancel-safe.
    pub(crate) async fn sighted(&mut self) -> Sighted {
        tokio::select! {
            changed = self.seen.changed() => match changed {
                Ok(()) => Sighted::Neighbour,
                Err(_) => std::future::pending().await,
            },
            Some(conflict) = self.conflicts.recv() => Sighted::Conflict(conflict),
        }
    }
}

async fn search(
    interface: String,
    port: u16,
    neighbour: watch::Sender<Neighbour>,
    conflicts: mpsc::Sender<Conflict>,
) {
    let mut teller = Teller { conflicts, last: None };
    let mut told = None;
    loop {
        let error = match Link::open(&interface) {
            Ok(link) => {
                told = None;
                link.watch(port, &neighbour, &mut teller).await
            }
            Err(error) => error,
        };
        let text = error.to_string();
        if told.as_ref() != Some(&text) {
            tracing::warn!(interface, "BGP: cannot look for the router on the link, trying again: {text}");
            told = Some(text);
        }
        tokio::time::sleep(REOPEN).await;
    }
}

/// The router at the other end, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) at: Option<SocketAddr>,
    /// The session with it is established.
    settled: bool,
    /// When an advertisement last told who it is.
    changed: Option<Instant>,
}

/// What an advertisement is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The neighbour's.
    Known,
    /// Its sender is the neighbour from now on.
    Taken,
    /// Another's than the neighbour's, so soon after the last change that it is not followed.
    Early,
    /// Another's than the neighbour's, with which the session is established.
    Conflict(Conflict),
}

impl Neighbour {
    /// A router advertises itself; see the table at the top.
    fn advertised(&mut self, now: Instant, from: SocketAddrV6) -> Seen {
        match self.at {
            // The scope is the interface's number, and another where it was made anew.
            Some(SocketAddr::V6(known)) if self.settled && known.ip() != from.ip() => {
                Seen::Conflict(Conflict { known: *known.ip(), other: *from.ip() })
            }
            known if known == Some(from.into()) => Seen::Known,
            Some(known)
                if known.ip() != *from.ip()
                    && self.changed.is_some_and(|changed| now < changed + LEAST_CHANGE) =>
            {
                Seen::Early
            }
            _ => {
                self.at = Some(from.into());
                self.changed = Some(now);
                Seen::Taken
            }
        }
    }
}

/// Tells of conflicts, not too often: anyone on the link chooses how many there are.
struct Teller {
    conflicts: mpsc::Sender<Conflict>,
    last: Option<Instant>,
}

impl Teller {
    fn tell(&mut self, now: Instant, conflict: Conflict) {
        if self.last.is_none_or(|last| now >= last + CONFLICT_INTERVAL) {
            self.last = Some(now);
            self.conflicts.try_send(conflict).ok(); // one that waits says the same
        }
    }
}

/// Why there is no socket on an interface, or no longer.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("there is no interface {0}; correct `interface`, or add it")]
    NoInterface(String),
    #[error("a raw ICMPv6 socket needs CAP_NET_RAW (systemd: AmbientCapabilities=)")]
    Forbidden,
    #[error("the interface is another than before")]
    Replaced,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A raw ICMPv6 socket on one interface.
struct Link {
    interface: String,
    index: u32,
    ethernet: Option<[u8; 6]>,
    socket: UdpSocket,
}

impl Link {
    fn open(interface: &str) -> Result<Self, LinkError> {
        let index = interface_index(interface).ok_or_else(|| LinkError::NoInterface(interface.to_owned()))?;
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied { LinkError::Forbidden } else { error.into() }
        })?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_multicast_hops_v6(packet::HOP_LIMIT as u32)?;
        socket.set_unicast_hops_v6(packet::HOP_LIMIT as u32)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.join_multicast_v6(&ALL_ROUTERS, index)?;
        socket.set_nonblocking(true)?;
        // tokio's datagram socket: of ICMPv6 here.
        let socket = UdpSocket::from_std(std::net::UdpSocket::from(OwnedFd::from(socket)))?;
        Ok(Self { interface: interface.to_owned(), index, ethernet: ethernet_address(interface), socket })
    }

    /// Returns only with an error, after which the socket has to be opened anew.
    async fn watch(&self, port: u16, neighbour: &watch::Sender<Neighbour>, teller: &mut Teller) -> LinkError {
        let mut next = Instant::now();
        let mut last_answer: Option<Instant> = None;
        loop {
            let message = tokio::select! {
                biased;
                () = tokio::time::sleep_until(next.into()) => None,
                received = self.receive() => match received {
                    Ok(message) => message,
                    Err(error) => return error.into(),
                },
            };
            let now = Instant::now();
            match message {
                Some((Message::Advertisement, from)) => {
                    let mut seen = Seen::Known;
                    neighbour.send_if_modified(|neighbour| {
                        seen = neighbour.advertised(now, SocketAddrV6::new(from, port, 0, self.index));
                        seen == Seen::Taken
                    });
                    if let Seen::Conflict(conflict) = seen {
                        teller.tell(now, conflict);
                    }
                    continue;
                }
                Some((Message::Solicitation, _))
                    if last_answer.is_some_and(|last| now < last + LEAST_ANSWER) =>
                {
                    continue;
                }
                Some((Message::Solicitation, _)) => last_answer = Some(now),
                None if now < next => continue,
                None => next = now + if neighbour.borrow().at.is_some() { RESEND } else { RESEND_EARLY },
            }
            if interface_index(&self.interface) != Some(self.index) {
                return LinkError::Replaced;
            }
            self.speak(neighbour.borrow().at.is_none());
        }
    }

    /// Advertises us, and asks for others. A link that is down takes nothing; it is tried again in time.
    fn speak(&self, ask: bool) {
        self.send(&packet::advertisement(self.ethernet), ALL_NODES);
        if ask {
            self.send(&packet::solicitation(self.ethernet), ALL_ROUTERS);
        }
    }

    fn send(&self, bytes: &[u8], to: Ipv6Addr) {
        let to = SocketAddrV6::new(to, 0, 0, self.index);
        if let Err(error) = self.socket.try_send_to(bytes, to.into()) {
            tracing::debug!(interface = self.interface, %error, "a router advertisement was not sent");
        }
    }

    /// The next packet; None when it is of no interest. Cancel-safe.
    async fn receive(&self) -> io::Result<Option<(Message, Ipv6Addr)>> {
        self.socket.async_io(Interest::READABLE, || read_packet(&self.socket)).await
    }
}

fn read_packet(socket: &UdpSocket) -> io::Result<Option<(Message, Ipv6Addr)>> {
    let mut bytes = [0; LONGEST];
    let mut control = nix::cmsg_space!(i32);
    let mut buffers = [IoSliceMut::new(&mut bytes)];
    let received =
        recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut buffers, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let hop_limit = received.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::Ipv6HopLimit(limit) => Some(limit),
        _ => None,
    });
    let from = received.address.filter(|address| address.family().is_some()).map(|address| address.ip());
    let length = received.bytes;
    let Some(from) = from else { return Ok(None) };
    let message = packet::parse(&bytes[..length], hop_limit, from.is_unicast_link_local());
    Ok(message.map(|message| (message, from)))
}

/// The Ethernet address of an interface, if it has one.
fn ethernet_address(interface: &str) -> Option<[u8; 6]> {
    let entries = nix::ifaddrs::getifaddrs().ok()?;
    entries
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr()?.addr())
        .filter(|address| *address != [0; 6])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(address: &str) -> SocketAddrV6 {
        SocketAddrV6::new(address.parse().unwrap(), 179, 0, 2)
    }

    #[test]
    fn an_established_session_keeps_its_neighbour_and_another_is_taken_only_without_one() {
        let (router, other, now) = (end("fe80::b"), end("fe80::bad"), Instant::now());
        let mut neighbour = Neighbour::default();
        assert_eq!(neighbour.advertised(now, router), Seen::Taken);
        let now = now + LEAST_CHANGE;
        assert_eq!(neighbour.advertised(now, router), Seen::Known);
        neighbour.settled = true;
        let conflict = Conflict { known: *router.ip(), other: *other.ip() };
        assert_eq!(neighbour.advertised(now, other), Seen::Conflict(conflict));
        assert_eq!(neighbour.at, Some(router.into()));
        assert_eq!(neighbour.advertised(now, router), Seen::Known);
        neighbour.settled = false;
        assert_eq!(neighbour.advertised(now, other), Seen::Taken);
        let now = now + LEAST_CHANGE;
        assert_eq!(neighbour.advertised(now, router), Seen::Taken, "and its next one mends it");
    }

    #[test]
    fn whoever_advertises_itself_under_many_addresses_is_followed_once_in_a_while() {
        let mut neighbour = Neighbour::default();
        let start = Instant::now();
        let address = |number: u32| end(&format!("fe80::{:x}", number % 2 + 1));
        let taken = (0..1000_u32)
            .map(|number| neighbour.advertised(start + Duration::from_millis(10) * number, address(number)))
            .filter(|seen| *seen == Seen::Taken);
        assert_eq!(taken.count(), 4, "in ten seconds");
    }

    #[tokio::test]
    async fn the_router_a_session_is_established_with_is_the_neighbour_whoever_was_seen_last() {
        let (router, other) = (end("fe80::b"), end("fe80::bad"));
        let mut discovery = Discovery::start("no-such-interface".to_owned(), 179);
        discovery.neighbour.send_modify(|neighbour| _ = neighbour.advertised(Instant::now(), other));
        assert_eq!(discovery.sighted().await, Sighted::Neighbour);
        discovery.settle(SocketAddrV6::new(*router.ip(), 40_000, 0, 2).into());
        assert_eq!(discovery.sighted().await, Sighted::Neighbour);
        assert_eq!(discovery.now(), Some(router.into()), "at the port it listens on");
    }

    #[tokio::test]
    async fn a_router_that_calls_before_it_advertises_itself_is_the_neighbour_all_the_same() {
        let (router, other) = (end("fe80::b"), end("fe80::bad"));
        let mut discovery = Discovery::start("no-such-interface".to_owned(), 179);
        discovery.settle(SocketAddrV6::new(*router.ip(), 40_000, 0, 2).into());
        assert_eq!(discovery.sighted().await, Sighted::Neighbour);
        assert_eq!(discovery.now(), Some(router.into()));
        let mut neighbour = *discovery.found().borrow();
        let conflict = Conflict { known: *router.ip(), other: *other.ip() };
        assert_eq!(neighbour.advertised(Instant::now(), other), Seen::Conflict(conflict));
    }

    #[test]
    fn conflicts_are_told_once_in_a_while() {
        let (conflicts, mut told) = mpsc::channel(1);
        let mut teller = Teller { conflicts, last: None };
        let conflict = Conflict { known: *end("fe80::b").ip(), other: *end("fe80::bad").ip() };
        let start = Instant::now();
        for (after, expected) in [(0, true), (1, false), (59, false), (60, true), (61, false)] {
            teller.tell(start + Duration::from_secs(after), conflict);
            assert_eq!(told.try_recv().is_ok(), expected, "after {after} s");
        }
    }
}
