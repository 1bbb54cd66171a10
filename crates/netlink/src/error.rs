//! Why a VIP can't be made or taken back.

use std::{fmt, io};

use proxima_types::Prefix;

/// Why a VIP can't be made or taken back, with the remedy. The system's words are part of the message, and so no source.
#[derive(Debug, thiserror::Error)]
pub enum VipError {
    /// No netlink socket.
    #[error(
        "can't open a netlink socket: {0}; in a sandbox allow AF_NETLINK (systemd: RestrictAddressFamilies=)"
    )]
    Open(io::Error),
    /// The process lacks a capability.
    #[error(
        "not permitted to {action} the local route {prefix}: CAP_NET_ADMIN is missing; give it to the service (systemd: \
         AmbientCapabilities=CAP_NET_ADMIN), or set vip = \"none\" and run `ip route add local {prefix} dev lo` yourself"
    )]
    Permission {
        /// What was tried.
        action: Action,
        /// The prefix.
        prefix: Prefix,
    },
    /// Somebody else has made the prefix local.
    #[error(
        "{prefix} is local already, by a route or an address Proxima did not make; remove it (`ip route show table local \
         {prefix}`), or set vip = \"none\""
    )]
    Foreign {
        /// The prefix.
        prefix: Prefix,
    },
    /// The loopback device is down.
    #[error("can't {action} the local route {prefix}: the loopback device is down; run `ip link set lo up`")]
    LoopbackDown {
        /// What was tried.
        action: Action,
        /// The prefix.
        prefix: Prefix,
    },
    /// IPv6 is switched off.
    #[error(
        "can't {action} the local route {prefix}: IPv6 is disabled on the loopback device; run `sysctl -w \
         net.ipv6.conf.lo.disable_ipv6=0`"
    )]
    Ipv6Disabled {
        /// What was tried.
        action: Action,
        /// The prefix.
        prefix: Prefix,
    },
    /// The whole address space.
    #[error(
        "{prefix} would make every address local and cut this host off; announce a longer prefix, or set vip = \"none\""
    )]
    WholeFamily {
        /// The prefix.
        prefix: Prefix,
    },
    /// Anything else the kernel answers.
    #[error("can't {action} the local route {prefix}: {error}")]
    Route {
        /// What was tried.
        action: Action,
        /// The prefix.
        prefix: Prefix,
        /// The kernel's answer.
        error: io::Error,
    },
    /// The routes can't be read.
    #[error("can't read the local routes: {0}")]
    List(io::Error),
}

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Making a prefix local.
    Add,
    /// Taking that back.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
        })
    }
}
