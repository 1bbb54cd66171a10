//! Sockets: how they are set up for a peer, making a connection, and what to do when it can't be made.
//!
//! | option                        | connecting      | accepted        | when the setting changes |
//! |-------------------------------|-----------------|-----------------|--------------------------|
//! | TCP MD5 (RFC 2385)            | before the SYN  | by the listener, at once | on the next connection |
//! | TTL, least TTL (RFC 5082)     | before the SYN  | at once         | at once                  |
//! | interface                     | before the SYN  | at once         | on the next connection   |
//! | source                        | before the SYN  | –               | on the next connection   |
//! | keep-alive, user timeout      | before the SYN  | at once         | at once                  |
//! | no delay, priority, low-water | once connected  | at once         | –                        |
//!
//! That an accepted connection came to the source, and by the interface, was looked at before it was given to its peer.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::AsFd,
    time::Duration,
};

use nix::sys::socket::SockaddrStorage;
use proxima_bgp_session::Local;
use proxima_sys::Md5Scope;
use proxima_types::Prefix;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{Distance, PeerConfig, Remote, gtsm};

/// Internetwork control (RFC 791, RFC 4594 CS6): routing before other traffic.
const TRAFFIC_CLASS: u32 = 0xc0;
/// Octets the kernel may hold beyond those in flight.
const UNSENT: u32 = 16 * 1024;
/// Connections the kernel keeps for us to accept.
const BACKLOG: i32 = 64;
/// How long a connection may be silent before the kernel asks for a sign of life.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
/// The time from one such question to the next, and how many may stay unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// TTL towards an external peer on the shared subnet, and towards an internal one.
const TTL_EXTERNAL: u32 = 1;
const TTL_INTERNAL: u32 = 64;
/// TTL of those who use GTSM.
const TTL_SECURITY: u32 = 255;

/// Connects to a peer at `remote`. The error is for a person.
pub(crate) async fn connect(
    peer: PeerConfig,
    internal: bool,
    remote: SocketAddr,
) -> Result<TcpStream, String> {
    let socket = prepare(&peer, internal, remote)?;
    let stream = socket.connect(remote).await.map_err(|error| connect_error(&peer, remote, &error))?;
    tune(&stream);
    Ok(stream)
}

fn prepare(peer: &PeerConfig, internal: bool, remote: SocketAddr) -> Result<TcpSocket, String> {
    let socket = Socket::new(Domain::for_address(remote), Type::STREAM, Some(Protocol::TCP))
        .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
        .map_err(|error| format!("no socket: {error}"))?;
    if let Some(interface) = peer.remote.interface() {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(|error| format!("cannot bind to interface {interface}: {error}"))?;
    }
    if let Some(key) = &peer.password {
        proxima_sys::set_tcp_md5(&socket, Md5Scope::host(remote.ip()), key.as_bytes())
            .map_err(|error| format!("cannot sign segments with the password: {error}"))?;
    }
    apply_distance(&socket, remote.is_ipv6(), peer.distance, internal)
        .map_err(|error| format!("cannot set the TTL: {error}"))?;
    apply_timers(&socket, peer);
    if let Some(source) = peer.source {
        let scope = if let SocketAddr::V6(remote) = remote { remote.scope_id() } else { 0 };
        let local = match source {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                SocketAddrV6::new(address, 0, 0, scope).into()
            }
            source => SocketAddr::new(source, 0),
        };
        socket.bind(&local.into()).map_err(|error| source_error(source, &error))?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Sets up a connection that a listener accepted; it inherited signatures and filters. The key is set once more, since one
/// that waited to be accepted while the listener got its key has none.
pub(crate) fn set_up_accepted(stream: &TcpStream, peer: &PeerConfig, internal: bool) -> io::Result<()> {
    let ipv6 = stream.local_addr()?.is_ipv6();
    match &peer.remote {
        Remote::Address { address, interface: Some(interface) } if !is_link_local(*address) => {
            SockRef::from(stream).bind_device(Some(interface.as_bytes()))?;
        }
        // What comes to a link-local address stays on its link.
        Remote::Address { .. } | Remote::Interface { .. } | Remote::Range { .. } => {}
    }
    if let Some(key) = &peer.password {
        let from = stream.peer_addr()?.ip();
        proxima_sys::set_tcp_md5(stream, Md5Scope::host(from), key.as_bytes())?;
    }
    apply_distance(stream, ipv6, peer.distance, internal)?;
    gtsm::unfilter(stream);
    apply_timers(stream, peer);
    tune(stream);
    Ok(())
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// TTL and least TTL. The kernel drops what comes from too far, which is no error here or there.
pub(crate) fn apply_distance(
    socket: impl AsFd,
    ipv6: bool,
    distance: Distance,
    internal: bool,
) -> io::Result<()> {
    let (ttl, least) = match distance {
        Distance::Usual if internal => (TTL_INTERNAL, 0),
        Distance::Usual => (TTL_EXTERNAL, 0),
        Distance::Multihop(hops) => (hops.get().into(), 0),
        Distance::Security(hops) => (TTL_SECURITY, gtsm::least_ttl(hops.get())),
    };
    let options = SockRef::from(&socket);
    if ipv6 {
        options.set_unicast_hops_v6(ttl)?;
    } else {
        options.set_ttl_v4(ttl)?;
    }
    proxima_sys::set_least_ttl(&socket, ipv6, least)
}

/// Keep-alive and user timeout. A kernel that refuses them costs no session: BGP has timers of its own.
pub(crate) fn apply_timers(socket: impl AsFd, peer: &PeerConfig) {
    let options = SockRef::from(&socket);
    let keepalive = if peer.keepalive {
        let pace = TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_RETRIES);
        options.set_tcp_keepalive(&pace)
    } else {
        options.set_keepalive(false)
    };
    if let Err(error) = keepalive {
        tracing::debug!(%error, "cannot set SO_KEEPALIVE");
    }
    if let Err(error) = options.set_tcp_user_timeout(peer.tcp_user_timeout) {
        tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
    }
}

/// No delay for small messages, little that is unsent in the kernel, so that a withdrawal does not wait behind stale
/// announcements to a slow peer, and the priority of routing. A kernel that refuses any of it costs no session.
pub(crate) fn tune(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let socket = SockRef::from(stream);
    if let Err(error) = socket.set_tcp_notsent_lowat(UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
    let marked = match stream.peer_addr() {
        Ok(SocketAddr::V6(_)) => socket.set_tclass_v6(TRAFFIC_CLASS),
        Ok(SocketAddr::V4(_)) => socket.set_tos_v4(TRAFFIC_CLASS),
        Err(error) => Err(error),
    };
    if let Err(error) = marked {
        tracing::debug!(%error, "cannot mark the connection as internetwork control");
    }
}

/// Listens on an address; IPv6 alone on an IPv6 one, so that `[::]` and `0.0.0.0` can stand side by side.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A peer with GTSM takes a SYN+ACK for near only with this; which TTL a connection has is set once it is accepted.
    if address.is_ipv6() {
        socket.set_unicast_hops_v6(TTL_SECURITY)?;
    } else {
        socket.set_ttl_v4(TTL_SECURITY)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The index of an interface, if it is there.
pub(crate) fn interface_index(interface: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(interface).ok()
}

/// Our end of a connection, with the link-local address of its interface, and the subnet, where the peer shares it with us.
pub(crate) fn local_end(local: IpAddr, remote: IpAddr, distance: Distance, internal: bool) -> Local {
    let address = local.to_canonical();
    let shared = match distance {
        Distance::Usual => !internal,
        Distance::Security(hops) => hops.get() == 1,
        Distance::Multihop(_) => false,
    };
    // The loopback is no subnet that packets are forwarded on.
    if !shared || address.is_loopback() {
        return address.into();
    }
    let link_local = link_local_beside(address);
    // An internal peer's next hops may be anywhere.
    let subnet = if internal { None } else { subnet_of(address).filter(|subnet| subnet.contains(remote)) };
    Local { address, link_local, subnet }
}

/// The link-local address of the interface that has `address`.
fn link_local_beside(address: IpAddr) -> Option<Ipv6Addr> {
    let IpAddr::V6(address) = address else { return None };
    if address.is_unicast_link_local() {
        return Some(address);
    }
    let all: Vec<(String, Ipv6Addr)> = nix::ifaddrs::getifaddrs()
        .ok()?
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in6()?.ip();
            Some((entry.interface_name, address))
        })
        .collect();
    let (interface, _) = all.iter().find(|(_, own)| *own == address)?;
    all.iter().find(|(of, own)| of == interface && own.is_unicast_link_local()).map(|(_, own)| *own)
}

/// The subnet that `address` of ours is on.
fn subnet_of(address: IpAddr) -> Option<Prefix> {
    let ip = |address: &SockaddrStorage| -> Option<IpAddr> {
        let ipv4 = address.as_sockaddr_in().map(|address| address.ip().into());
        ipv4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
    };
    nix::ifaddrs::getifaddrs().ok()?.find_map(|entry| {
        let mask = entry.netmask.as_ref().and_then(ip)?;
        (entry.address.as_ref().and_then(ip)? == address).then_some(())?;
        let length = match mask {
            IpAddr::V4(mask) => u32::from(mask).leading_ones(),
            IpAddr::V6(mask) => u128::from(mask).leading_ones(),
        };
        Some(Prefix::truncating(address, u8::try_from(length).ok()?))
    })
}

fn source_error(source: IpAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("source {source} is not an address of this host; correct `source`, or add the address")
        }
        _ => format!("cannot connect from source {source}: {error}"),
    }
}

fn connect_error(peer: &PeerConfig, remote: SocketAddr, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "nothing listens there: start BGP on the router, or correct `address` and `port`"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
            if peer.distance == Distance::Usual =>
        {
            "no route to it: check the link, the local address and `address`; a router that is not on a shared subnet \
             needs `multihop`"
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no route to it: check the link, the local address and `address`"
        }
        io::ErrorKind::TimedOut if peer.password.is_some() => {
            "no answer: check that both sides have the same password, the link, and firewalls between here and the router"
        }
        io::ErrorKind::TimedOut => "no answer: check the link, and firewalls between here and the router",
        io::ErrorKind::PermissionDenied => "a local firewall forbids it",
        _ => "retrying",
    };
    format!("{remote}: {error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, num::NonZeroU8};

    use proxima_types::Asn;

    use super::*;

    fn hops(hops: u8) -> NonZeroU8 {
        NonZeroU8::new(hops).unwrap()
    }

    #[test]
    fn packets_to_an_external_peer_end_at_the_shared_subnet_unless_configured_otherwise() {
        for (distance, internal, ttl) in [
            (Distance::Usual, false, 1),
            (Distance::Usual, true, 64),
            (Distance::Multihop(hops(3)), false, 3),
            (Distance::Multihop(hops(3)), true, 3),
            (Distance::Security(hops(1)), false, 255),
            (Distance::Security(hops(254)), true, 255),
        ] {
            for domain in [Domain::IPV4, Domain::IPV6] {
                let socket = Socket::new(domain, Type::STREAM, None).unwrap();
                let ipv6 = domain == Domain::IPV6;
                apply_distance(&socket, ipv6, distance, internal).unwrap();
                let set = if ipv6 { socket.unicast_hops_v6() } else { socket.ttl_v4() };
                assert_eq!(set.unwrap(), ttl, "{distance:?} {internal}");
            }
        }
    }

    /// Keep-alive, with its pace, and user timeout.
    fn timers(stream: &TcpStream) -> (Option<(Duration, Duration, u32)>, Option<Duration>) {
        let options = SockRef::from(stream);
        let pace = options.keepalive().unwrap().then(|| {
            (
                options.tcp_keepalive_time().unwrap(),
                options.tcp_keepalive_interval().unwrap(),
                options.tcp_keepalive_retries().unwrap(),
            )
        });
        (pace, options.tcp_user_timeout().unwrap())
    }

    #[tokio::test]
    async fn connections_made_and_accepted_have_keep_alive_and_user_timeout_as_configured() {
        let listener = listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).unwrap();
        let remote = Remote::address(Ipv4Addr::LOCALHOST.into());
        let usual = PeerConfig::new("router".parse().unwrap(), remote, Asn(65000));
        let pace = (Duration::from_secs(15), Duration::from_secs(5), 3);
        let timeout = Some(Duration::from_millis(1500));
        let other = PeerConfig { keepalive: false, tcp_user_timeout: timeout, ..usual.clone() };
        for (peer, expected) in [(&usual, (Some(pace), None)), (&other, (None, timeout))] {
            let made = connect(peer.clone(), true, listener.local_addr().unwrap()).await.unwrap();
            let (accepted, _) = listener.accept().await.unwrap();
            set_up_accepted(&accepted, peer, true).unwrap();
            assert_eq!((timers(&made), timers(&accepted)), (expected, expected));
            // The setting changes, to the kernel's own way too.
            for (again, expected) in [(&other, (None, timeout)), (&usual, (Some(pace), None))] {
                apply_timers(&made, again);
                assert_eq!(timers(&made), expected);
            }
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_made_before_the_listener_had_the_key_is_held_to_it_all_the_same() {
        let listener = listen(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let mut router = TcpStream::connect(at).await.unwrap();
        let (mut stream, from) = listener.accept().await.unwrap();
        let mut peer = PeerConfig::new("router".parse().unwrap(), Remote::address(from.ip()), Asn(65000));
        peer.password = Some(crate::Password::new(b"late").unwrap());
        set_up_accepted(&stream, &peer, false).unwrap();
        // What is signed is taken now, which without a key here it would not be.
        proxima_sys::set_tcp_md5(&router, Md5Scope::host(at.ip()), b"late").unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut router, b"signed").await.unwrap();
        let mut bytes = [0; 6];
        let read = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut bytes);
        tokio::time::timeout(Duration::from_mins(1), read).await.expect("the octets come").unwrap();
        assert_eq!(&bytes, b"signed");
    }

    #[test]
    fn the_shared_subnet_is_that_of_the_interface_and_the_loopback_is_none() {
        let home: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(subnet_of(home), Some("127.0.0.0/8".parse().unwrap()));
        assert_eq!(subnet_of("192.0.2.1".parse().unwrap()), None, "not an address of this host");
        assert_eq!(local_end(home, home, Distance::Usual, false), home.into());
        let far = local_end("192.0.2.1".parse().unwrap(), home, Distance::Multihop(hops(2)), false);
        assert_eq!(far.subnet, None);
    }
}
