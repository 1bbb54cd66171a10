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
//! Our advertisements say lifetime 0, so that hosts do not send us their packets. The neighbour found last stays until
//! another shows itself: that a router is silent does not mean that it is gone, its session tells.
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
use tokio::{io::Interest, net::UdpSocket, sync::watch, task::JoinSet};

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
/// The wait before a socket is opened again.
const REOPEN: Duration = Duration::from_secs(1);
/// No message of interest is longer than what fits a link.
const LONGEST: usize = 1500;

/// The search on one interface. Ends with this.
#[derive(Debug)]
pub(crate) struct Discovery {
    found: watch::Receiver<Option<SocketAddr>>,
    seen: watch::Receiver<Option<SocketAddr>>,
    _task: JoinSet<()>,
}

impl Discovery {
    /// Begins to look for the router on `interface`, whose BGP is at `port`.
    pub(crate) fn start(interface: String, port: u16) -> Self {
        let (sender, found) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(search(interface, port, sender));
        Self { seen: found.clone(), found, _task: task }
    }

    pub(crate) fn found(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.found.clone()
    }

    pub(crate) fn now(&self) -> Option<SocketAddr> {
        *self.found.borrow()
    }

    /// Ends when another router was found. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.seen.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn search(interface: String, port: u16, found: watch::Sender<Option<SocketAddr>>) {
    let mut told = None;
    loop {
        let error = match Link::open(&interface) {
            Ok(link) => {
                told = None;
                link.watch(port, &found).await
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
    async fn watch(&self, port: u16, found: &watch::Sender<Option<SocketAddr>>) -> LinkError {
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
                    let neighbour = SocketAddr::V6(SocketAddrV6::new(from, port, 0, self.index));
                    found.send_if_modified(|found| found.replace(neighbour) != Some(neighbour));
                    continue;
                }
                Some((Message::Solicitation, _))
                    if last_answer.is_some_and(|last| now < last + LEAST_ANSWER) =>
                {
                    continue;
                }
                Some((Message::Solicitation, _)) => last_answer = Some(now),
                None if now < next => continue,
                None => next = now + if found.borrow().is_some() { RESEND } else { RESEND_EARLY },
            }
            if interface_index(&self.interface) != Some(self.index) {
                return LinkError::Replaced;
            }
            self.speak(found.borrow().is_none());
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
