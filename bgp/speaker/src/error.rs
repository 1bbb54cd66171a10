//! What can go wrong when starting or commanding a speaker, with the remedy.
//!
//! The operating system's words are part of a message, and so no source: whoever prints the chain would say them twice.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use proxima_types::{PeerName, Prefix};

use crate::Remote;

/// Why a speaker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be opened.
    #[error("cannot listen for BGP on {address}: {error}; {}", remedy(error, *address))]
    Listen {
        /// The address from the configuration.
        address: SocketAddr,
        /// The operating system's words.
        error: io::Error,
    },
    /// The AS number or the router ID is 0.
    #[error("local-as and router-id must not be 0")]
    ZeroIdentity,
    /// A hold time that no OPEN can carry.
    #[error("hold-time = {0:?} can't be used; choose 0s, or 3s to 65535s in whole seconds")]
    HoldTime(Duration),
    /// A peer that can't be.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// What guards a listening socket could not be set.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The RIB's thread could not be started.
    #[error("cannot start the thread of the routing table: {0}")]
    Thread(io::Error),
}

/// Why there can't be such a peer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Two peers with one name.
    #[error("two peers are named `{0}`; give each its own name")]
    DuplicateName(PeerName),
    /// Two peers with one address, range or interface.
    #[error("peers `{first}` and `{second}` both are {remote}; incoming connections could not be told apart")]
    DuplicateAddress {
        /// The peer listed first.
        first: PeerName,
        /// The peer listed second.
        second: PeerName,
        /// What they share.
        remote: Remote,
    },
    /// A peer without families.
    #[error("peer `{0}` has no families; list \"ipv4\", \"ipv6\" or both")]
    NoFamilies(PeerName),
    /// A hold time that no OPEN can carry.
    #[error(
        "peer `{peer}`: hold-time = {hold_time:?} can't be used; choose 0s, or 3s to 65535s in whole seconds"
    )]
    HoldTime {
        /// The peer.
        peer: PeerName,
        /// Its hold time.
        hold_time: Duration,
    },
    /// A source address of the other IP version.
    #[error("peer `{peer}`: source {source_address} and {remote} are of different IP versions")]
    SourceFamily {
        /// The peer.
        peer: PeerName,
        /// Its source.
        source_address: IpAddr,
        /// Where it is.
        remote: Remote,
    },
    /// A link-local address without its interface.
    #[error("peer `{peer}`: {address} is a link-local address; say on which `interface` it is")]
    NoInterface {
        /// The peer.
        peer: PeerName,
        /// Its address.
        address: IpAddr,
    },
}

/// Why a listening socket could not be made to guard a peer.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// No TCP MD5 signatures.
    #[error(
        "cannot have connections from {scope} signed by TCP MD5: {error}; the kernel needs CONFIG_TCP_MD5SIG"
    )]
    Md5 {
        /// The peer's address or range.
        scope: Prefix,
        /// The operating system's words.
        error: io::Error,
    },
    /// No filter by TTL.
    #[error(
        "cannot drop segments from too far away (ttl-security): {0}; more peers than net.core.optmem_max allows?"
    )]
    Ttl(io::Error),
}

fn write_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem => {
            "; make the directory and let the daemon's user write there, or name another (bgp.mrt.directory)"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; make room, or name another directory",
        _ => "",
    }
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

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No peer of this name.
    #[error("there is no BGP peer `{name}`; there are: {}", known.join(", "))]
    UnknownPeer {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The command is for a single session.
    #[error("`{0}` is a range of peers; name one of them, as in `{0}/ADDRESS`")]
    IsRange(PeerName),
    /// The peer is not configured by itself.
    #[error("`{0}` comes from a range; change or remove the range")]
    OfRange(PeerName),
    /// The change contradicts itself or other peers.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// What guards a listening socket could not be set; the peer is as it was before.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The speaker was stopped.
    #[error("the BGP speaker has been stopped")]
    Stopped,
}

/// Why a speaker was not handed over. All of it goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// A peer's task has not stood still in time.
    #[error(
        "the task of BGP peer `{0}` has not answered within a second; try again when the host has less to do"
    )]
    Busy(PeerName),
    /// Sessions stand still already.
    #[error("BGP sessions stand still for another hand-over; wait for the end of that")]
    UnderWay,
}

/// Why a table dump was not written.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file could not be written.
    #[error("cannot write the table to {path}: {error}{}", write_remedy(error))]
    Write {
        /// Where to.
        path: PathBuf,
        /// The operating system's words.
        error: io::Error,
    },
    /// The speaker was stopped.
    #[error("the BGP speaker has been stopped")]
    Stopped,
}
