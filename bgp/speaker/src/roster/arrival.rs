//! Whether a connection came the way its peer's configuration says.
//!
//! `source` and `interface` say where a session is, not only how we connect: who reaches us at another address, or by
//! another way, is not on it. And no session is at an address that is announced to its peers: it would end at any PoP.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use proxima_types::Prefix;
use tokio::net::TcpStream;

use crate::{PeerConfig, Remote, socket};

/// How it should have come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Astray {
    /// Not to an address that is announced.
    Announced { local: IpAddr, prefix: Prefix },
    /// To the configured one.
    Source { local: IpAddr, source: IpAddr },
    /// By the configured interface.
    Interface(String),
}

impl fmt::Display for Astray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced { local, prefix } => write!(
                f,
                "it came to {local}, which is in {prefix} and may be at any PoP; have the router connect to an address of \
                 this host alone"
            ),
            Self::Source { local, source } => write!(
                f,
                "it came to {local}, and `source` says {source}; have the router connect there, or correct `source`"
            ),
            Self::Interface(interface) => write!(
                f,
                "it did not come by {interface}, as `interface` says; check the router's way to here, or correct it"
            ),
        }
    }
}

impl Astray {
    /// What is wrong with the way of a connection of this peer's, if anything. `announced` finds the prefix that an address
    /// is in.
    pub(super) fn of(
        config: &PeerConfig,
        stream: &TcpStream,
        announced: impl Fn(IpAddr) -> Option<Prefix>,
    ) -> Option<Self> {
        // Without an address it is broken, which whoever takes it will notice.
        let to = stream.local_addr().ok()?;
        let local = to.ip().to_canonical();
        if let Some(prefix) = announced(local) {
            return Some(Self::Announced { local, prefix });
        }
        if let Some(source) =
            config.source.map(|source| source.to_canonical()).filter(|source| *source != local)
        {
            return Some(Self::Source { local, source });
        }
        match &config.remote {
            Remote::Address { interface: Some(interface), .. } if !came_by(stream, to, interface) => {
                Some(Self::Interface(interface.clone()))
            }
            // The interface of a link-local address has led to the peer.
            Remote::Address { .. } | Remote::Interface { .. } | Remote::Range { .. } => None,
        }
    }
}

fn came_by(stream: &TcpStream, to: SocketAddr, interface: &str) -> bool {
    let by = proxima_sys::arrival_interface(stream, to.is_ipv6()).ok();
    by.is_some() && by == socket::interface_index(interface)
}
