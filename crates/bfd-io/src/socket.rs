//! The sockets (RFC 5881 §4, §5; RFC 5883 §5): per family one that receives single-hop packets, one that receives multihop
//! packets, and one that sends all, from one port, with TTL 255.
//!
//! One port for all sessions keeps each session's port stable, which RFC 5881 §4 demands; that it be another one for
//! each session, which it only recommends, would take a socket per session.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    libc,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4PacketInfo, Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6RecvPacketInfo, RcvBufForce},
    },
};
use proxima_bfd::{Arrival, MULTIHOP_PORT, Path, SINGLE_HOP_PORT, SOURCE_PORTS};
use socket2::{Domain, MsgHdr, Protocol, SockAddr, Socket, Type};

use crate::control::Control;

/// Room for what arrives while the thread is away: some thousand packets.
const RECEIVE_BUFFER: usize = 4 << 20;
/// DSCP CS6, network control.
const TRAFFIC_CLASS: u32 = 0xc0;
const TTL: u32 = 255;
/// More than any packet; a longer datagram is cut, its end is not looked at.
const LONGEST: usize = 256;
/// Ports tried for the sending socket.
const ATTEMPTS: usize = 64;

/// Receives packets of one family and one kind.
#[derive(Debug)]
pub(crate) struct Receiver {
    socket: Socket,
    multihop: bool,
    /// Room for control messages.
    control: Vec<u8>,
}

impl Receiver {
    fn open(address: IpAddr, multihop: bool, inherited: &mut Inherited) -> io::Result<Self> {
        let port = if multihop { MULTIHOP_PORT } else { SINGLE_HOP_PORT };
        let to = SocketAddr::new(address, port);
        let socket = match inherited.take(|bound| bound == to) {
            Some(socket) => socket,
            None => Self::bind(to)?,
        };
        let control = nix::cmsg_space!(libc::in6_pktinfo, libc::in_pktinfo, libc::c_int);
        Ok(Self { socket, multihop, control: vec![0; control.capacity()] })
    }

    fn bind(to: SocketAddr) -> io::Result<Socket> {
        let socket = open(Domain::for_address(to))?;
        if to.is_ipv4() {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            setsockopt(&socket, Ipv4RecvTtl, &true)?;
        } else {
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
            proxima_sys::accept_zero_checksum(&socket)?;
        }
        // Beyond the system's limit only with CAP_NET_ADMIN, up to it without.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BUFFER).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        }
        socket.bind(&to.into()).map_err(|error| {
            let text = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("udp {to} is taken; does another BFD daemon run on this host?")
                }
                _ => format!("binding udp {to}: {error}"),
            };
            io::Error::new(error.kind(), text)
        })?;
        Ok(socket)
    }

    /// The next datagram, and what it carries. None when there is none.
    pub(crate) fn receive<'a>(
        &mut self,
        buffer: &'a mut [u8; LONGEST],
    ) -> io::Result<Option<(Arrival, &'a [u8])>> {
        let mut slices = [IoSliceMut::new(buffer)];
        let result = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut slices,
            Some(&mut self.control),
            MsgFlags::MSG_DONTWAIT,
        );
        let message = match result {
            Ok(message) => message,
            Err(nix::Error::EAGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut arrival = Arrival {
            source: message.address.as_ref().and_then(ip).unwrap_or(UNKNOWN),
            destination: UNKNOWN,
            interface: 0,
            // Without a TTL nothing passes.
            ttl: 0,
            multihop: self.multihop,
        };
        for control in message.cmsgs()? {
            match control {
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    arrival.destination = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into();
                    arrival.interface = info.ipi_ifindex.cast_unsigned();
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    arrival.destination = Ipv6Addr::from(info.ipi6_addr.s6_addr).into();
                    arrival.interface = info.ipi6_ifindex;
                }
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                    arrival.ttl = u8::try_from(ttl).unwrap_or(0);
                }
                _ => {}
            }
        }
        let length = message.bytes;
        Ok(Some((arrival, &buffer[..length])))
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(address), _) => Some(address.ip().into()),
        (_, Some(address)) => Some(address.ip().into()),
        _ => None,
    }
}

/// Receivers of a host: two kinds in two families.
pub(crate) const RECEIVERS: usize = 4;

/// All sockets of the host.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) receivers: Vec<Receiver>,
    ipv4: Option<Socket>,
    ipv6: Option<Socket>,
}

/// Sockets of another process, with all their options. What each is for is told by what it is bound to.
#[derive(Debug)]
struct Inherited(Vec<Socket>);

impl Inherited {
    /// One that is bound to what is wanted.
    fn take(&mut self, wanted: impl Fn(SocketAddr) -> bool) -> Option<Socket> {
        let fits = |socket: &Socket| {
            let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
            bound.is_some_and(&wanted) && socket.r#type().is_ok_and(|kind| kind == Type::DGRAM)
        };
        let at = self.0.iter().position(fits)?;
        Some(self.0.swap_remove(at))
    }
}

/// Room for one datagram.
pub(crate) type Buffer = [u8; LONGEST];

impl Sockets {
    /// Opens those of the families that are on, unless they are among those that another process has handed over. IPv6
    /// that the kernel does not have is off.
    pub(crate) fn open(
        ipv4: Option<Ipv4Addr>,
        ipv6: Option<Ipv6Addr>,
        inherited: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let mut inherited = Inherited(inherited.into_iter().map(Socket::from).collect());
        let mut sockets = Self { receivers: Vec::new(), ipv4: None, ipv6: None };
        if let Some(address) = ipv4 {
            sockets.ipv4 = Some(sender(Ipv4Addr::UNSPECIFIED.into(), &mut inherited)?);
            sockets.receive_at(address.into(), &mut inherited)?;
        }
        if let Some(address) = ipv6 {
            match sender(Ipv6Addr::UNSPECIFIED.into(), &mut inherited) {
                Ok(sender) => {
                    sockets.ipv6 = Some(sender);
                    sockets.receive_at(address.into(), &mut inherited)?;
                }
                Err(error) if without_ipv6(&error) && ipv4.is_some() => {
                    tracing::warn!(%error, "no BFD over IPv6: the kernel has none");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(sockets)
    }

    fn receive_at(&mut self, address: IpAddr, inherited: &mut Inherited) -> io::Result<()> {
        for multihop in [false, true] {
            self.receivers.push(Receiver::open(address, multihop, inherited)?);
        }
        Ok(())
    }

    /// All of them once more, for another process.
    pub(crate) fn duplicate(&self) -> io::Result<Vec<OwnedFd>> {
        let receivers = self.receivers.iter().map(|receiver| &receiver.socket);
        let all = receivers.chain(&self.ipv4).chain(&self.ipv6);
        all.map(|socket| socket.try_clone().map(OwnedFd::from)).collect()
    }

    fn sender(&self, ipv4: bool) -> Option<&Socket> {
        if ipv4 { self.ipv4.as_ref() } else { self.ipv6.as_ref() }
    }

    /// Whether packets can be sent to `remote` at all.
    pub(crate) fn can_reach(&self, remote: IpAddr) -> bool {
        self.sender(remote.is_ipv4()).is_some()
    }

    /// Sends a packet, without waiting.
    pub(crate) fn send(&self, target: &Target, payload: &[u8]) -> io::Result<()> {
        let socket = self.sender(target.ipv4).ok_or(io::ErrorKind::Unsupported)?;
        let slices = [IoSlice::new(payload)];
        let message = MsgHdr::new()
            .with_addr(&target.address)
            .with_buffers(&slices)
            .with_control(target.control.as_bytes());
        socket.sendmsg(&message, libc::MSG_DONTWAIT).map(drop)
    }
}

/// Where a session's packets go, in the kernel's words.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    ipv4: bool,
    address: SockAddr,
    control: Control,
}

impl Target {
    pub(crate) fn new(path: &Path) -> Self {
        let Path { remote, local, interface, hops } = *path;
        let port = hops.port();
        let address = match remote {
            IpAddr::V4(remote) => SocketAddr::from((remote, port)),
            IpAddr::V6(remote) => std::net::SocketAddrV6::new(remote, port, 0, interface.unwrap_or(0)).into(),
        };
        let control = Control::packet_info(remote, local, interface);
        Self { ipv4: remote.is_ipv4(), address: address.into(), control }
    }
}

fn open(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A socket to send from, with a port of [`SOURCE_PORTS`] that is random, then stable.
fn sender(any: IpAddr, inherited: &mut Inherited) -> io::Result<Socket> {
    let ours = |bound: SocketAddr| bound.ip() == any && SOURCE_PORTS.contains(&bound.port());
    if let Some(socket) = inherited.take(ours) {
        return Ok(socket);
    }
    let socket = open(Domain::for_address(SocketAddr::new(any, 0)))?;
    if any.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
        socket.set_tos_v4(TRAFFIC_CLASS)?;
    } else {
        socket.set_unicast_hops_v6(TTL)?;
        socket.set_tclass_v6(TRAFFIC_CLASS)?;
    }
    let random = RandomState::new();
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for attempt in 0..ATTEMPTS {
        let among = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
        let port = SOURCE_PORTS.start() + (random.hash_one(attempt) % among) as u16;
        match socket.bind(&SocketAddr::new(any, port).into()) {
            Ok(()) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What a kernel without IPv6 says.
fn without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
