//! TCP as a kernel shows it: counters, and who is connected with whom.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use proxima_testnet::netns::NetNs;

const BGP_PORT: u16 = 179;
/// States of a socket in `/proc/net/tcp` (proc(5)).
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// A counter of TCP in this thread's namespace: `/proc/net/snmp` (`Tcp:`) or `/proc/net/netstat` (`TcpExt:`).
pub(crate) fn tcp_counter(name: &str) -> u64 {
    ["snmp", "netstat"]
        .into_iter()
        .find_map(|table| {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            let mut lines = text.lines().filter(|line| line.starts_with("Tcp")).map(str::split_whitespace);
            let (names, values) = (lines.next()?, lines.next()?);
            names.zip(values).find(|(known, _)| *known == name).map(|(_, value)| value.parse().unwrap())
        })
        .unwrap_or_else(|| panic!("the kernel has no counter {name}"))
}

/// A connection for BGP that this end has not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Octets that were sent and not acknowledged.
    pub(crate) unacknowledged: u32,
}

impl Connection {
    /// Whether this end made it.
    pub(crate) fn is_called(&self) -> bool {
        self.remote.port() == BGP_PORT
    }
}

/// The established connections for BGP over IPv4 of a host.
pub(crate) fn connections(host: &NetNs) -> Vec<Connection> {
    sockets(host, ESTABLISHED)
}

/// Whether something on the host takes connections for BGP over IPv4.
pub(crate) fn listens(host: &NetNs) -> bool {
    !sockets(host, LISTEN).is_empty()
}

/// Sockets of IPv4 in a state, with the port of BGP at either end.
fn sockets(host: &NetNs, state: &str) -> Vec<Connection> {
    let text = host.run(|| fs::read_to_string("/proc/thread-self/net/tcp").unwrap()).unwrap();
    let mut found: Vec<_> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (queued, _) = words[4].split_once(':')?;
            let socket = Connection {
                local: address(words[1])?,
                remote: address(words[2])?,
                unacknowledged: u32::from_str_radix(queued, 16).ok()?,
            };
            let of_bgp = [socket.local, socket.remote].iter().any(|end| end.port() == BGP_PORT);
            (words[3] == state && of_bgp).then_some(socket)
        })
        .collect();
    found.sort_unstable_by_key(|socket| (socket.local, socket.remote));
    found
}

/// `0100000A:00B3`: the address as the machine has it in memory, the port as a number.
fn address(word: &str) -> Option<SocketAddr> {
    let (address, port) = word.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let address = Ipv4Addr::from(address.to_ne_bytes());
    Some(SocketAddrV4::new(address, u16::from_str_radix(port, 16).ok()?).into())
}
