//! What can go wrong when starting or commanding a speaker, with the remedy.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use proxima_types::PeerName;

/// Why a speaker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be opened.
    #[error("cannot listen for BGP on {address}: {source}; {}", remedy(source, *address))]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// The operating system's words.
        source: io::Error,
    },
    /// The AS number or the router ID is 0.
    #[error("local-as and router-id must not be 0")]
    ZeroIdentity,
    /// A hold time that no OPEN can carry.
    #[error("hold-time = {0:?} can't be used; choose 0s, or 3s to 65535s in whole seconds")]
    HoldTime(Duration),
    /// Two peers with one name.
    #[error("two peers are named `{0}`; give each its own name")]
    DuplicateName(PeerName),
    /// Two peers with one address.
    #[error(
        "peers `{first}` and `{second}` both have the address {address}; incoming connections could not be told apart"
    )]
    DuplicateAddress {
        /// The peer listed first.
        first: PeerName,
        /// The peer listed second.
        second: PeerName,
        /// Their address.
        address: IpAddr,
    },
    /// A peer without families.
    #[error("peer `{0}` has no families; list \"ipv4\", \"ipv6\" or both")]
    NoFamilies(PeerName),
    /// A source address of the other IP version.
    #[error("peer `{peer}`: source {source_address} and address {address} are of different IP versions")]
    SourceFamily {
        /// The peer.
        peer: PeerName,
        /// Its source.
        source_address: IpAddr,
        /// Its address.
        address: IpAddr,
    },
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another BGP daemon holds port {}: stop it, or change bgp.listen", address.port())
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{} is not an address of this host: correct bgp.listen, or add the address", address.ip())
        }
        _ => "correct bgp.listen".to_owned(),
    }
}

/// Why a command to a peer failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No peer of this name.
    #[error("there is no BGP peer `{name}`; there are: {}", known.join(", "))]
    UnknownPeer {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The speaker was stopped.
    #[error("the BGP speaker has been stopped")]
    Stopped,
}
