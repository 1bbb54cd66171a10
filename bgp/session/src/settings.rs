//! What the operator decides about one peer, and the constants the RFCs leave to the implementation.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proxima_bgp_wire::{Families, NextHop, Role};
use proxima_types::{Asn, Family};
use serde::{Deserialize, Serialize};

use crate::{Local, written};

/// The hold time until the peer's OPEN has been received (RFC 4271 §8.2.2 suggests four minutes).
pub const OPEN_HOLD_TIME: Duration = Duration::from_mins(4);

/// The longest wait between two attempts, however many have failed.
pub const RETRY_CEILING: Duration = Duration::from_secs(30);

/// A session that stood this long has shown itself stable: its loss begins a new backoff.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);

/// How long a peer may take nothing of what we send before the session ends, unless twice the hold time is longer
/// (RFC 9687 §3).
pub const SEND_HOLD_TIME: Duration = Duration::from_mins(8);

/// How long a session that BFD ended waits for BFD to come up again before it tries without.
pub const BFD_HOLD_OFF: Duration = Duration::from_secs(30);

/// How long the answer to a route refresh may take from its mark of beginning to its mark of end, before what it has
/// not confirmed goes all the same (RFC 7313 §4 leaves the time to us).
pub const REFRESH_TIME: Duration = Duration::from_mins(10);

/// Faults of received routes are told this often at most, each kind by itself; the counters miss none.
pub const PROBLEM_INTERVAL: Duration = Duration::from_secs(10);

/// The longest restart time the capability can say (RFC 4724 §3: 12 bits of seconds).
pub const MAX_RESTART_TIME: Duration = Duration::from_secs(4095);

/// LOCAL_PREF towards internal peers.
pub const LOCAL_PREF: u32 = 100;

/// One peer as configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of the operator's, by itself")]
pub struct Settings {
    /// The own AS number.
    pub local_as: Asn,
    /// The own BGP identifier; not 0.0.0.0.
    pub router_id: Ipv4Addr,
    /// The AS number the peer must have; equal to `local_as` for an internal peer.
    pub remote_as: Asn,
    /// The hold time to propose, in whole seconds: 0, or 3 to 65535.
    pub hold_time: Duration,
    /// The first wait of the backoff between attempts; doubles up to [`RETRY_CEILING`].
    pub connect_retry: Duration,
    /// Wait for the peer to connect, never connect to it.
    pub passive: bool,
    /// The families to offer; at least one.
    pub families: Vec<Family>,
    /// The next hop of IPv4 routes, and nothing beside it; see [`Settings::next_hop`].
    pub next_hop_ipv4: Option<Ipv4Addr>,
    /// The next hop of IPv6 routes, and nothing beside it; see [`Settings::next_hop`].
    pub next_hop_ipv6: Option<Ipv6Addr>,
    /// The most paths to prefixes that the peer may send of each family, and what happens beyond that; without limit when absent.
    pub max_prefixes: Option<MaxPrefixes>,
    /// What we are to the peer (RFC 9234). Of no effect towards an internal peer.
    #[serde(with = "written::role")]
    pub role: Option<Role>,
    /// The peer has to say its role too.
    pub role_strict: bool,
    /// Graceful restart (RFC 4724, RFC 8538), both as the one that restarts and as the one that helps; not offered
    /// when absent.
    pub graceful_restart: Option<GracefulRestart>,
    /// Offer to receive several paths for one prefix (RFC 7911).
    pub add_path: bool,
    /// Offer IPv4 routes with IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Offer messages beyond 4096 octets (RFC 8654).
    pub extended_messages: bool,
    /// The path of an external peer's routes has to begin with its AS (RFC 4271 §6.3). Of no effect towards a route server
    /// by `role`, which does not put itself into the path (RFC 7947 §2.2.2).
    pub enforce_first_as: bool,
}

/// A limit on received prefixes, for each family by itself. With several paths to a prefix (RFC 7911) each of them counts;
/// stale ones don't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaxPrefixes {
    /// The most there may be; 1 or more.
    pub limit: u32,
    /// Says so once when this share of the limit is reached, in percent (1 to 100).
    pub warn_at: u8,
    /// What happens beyond the limit.
    pub action: LimitAction,
    /// A session closed for it is tried again after this time; stays down until [`Input::Up`](crate::Input::Up) or
    /// [`Input::Reset`](crate::Input::Reset) when absent.
    pub restart: Option<Duration>,
}

/// What happens to a peer that sends more prefixes than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitAction {
    /// The session is closed with Cease 6/1 (RFC 4486 §4).
    Close,
    /// All are taken, with a warning.
    Warn,
    /// What is new beyond the limit is not taken in, with a warning; the session, and what is announced on it, stays.
    Discard,
}

impl MaxPrefixes {
    /// How many fresh paths the RIB takes in of each family, if it is to leave out the others.
    pub fn most_taken(self) -> Option<u32> {
        (self.action == LimitAction::Discard).then_some(self.limit)
    }

    /// Closes the session beyond `limit`, for good; warns at 80 %.
    pub fn new(limit: u32) -> Self {
        Self { limit, warn_at: 80, action: LimitAction::Close, restart: None }
    }
}

/// Graceful restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GracefulRestart {
    /// How long the peer may keep our routes while we are gone, in whole seconds up to [`MAX_RESTART_TIME`]; and how
    /// long after our start we say that we have restarted.
    pub restart_time: Duration,
    /// How long we keep the peer's routes once it is back, until its End-of-RIB.
    pub stale_time: Duration,
    /// The data plane goes on forwarding while we restart: F is set also while we say that we have restarted.
    pub forwarding: bool,
}

/// What a change of settings means for a session that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing changes.
    None,
    /// It takes effect in the session as it is.
    InPlace,
    /// It was or could have been said in an OPEN, so the session has to begin anew.
    Reopen,
}

impl Settings {
    /// A peer with defaults: hold time 90 s, first retry after 5 s, both families, no limit, nothing optional but
    /// extended messages and the check of the first AS.
    pub fn new(local_as: Asn, router_id: Ipv4Addr, remote_as: Asn) -> Self {
        Self {
            local_as,
            router_id,
            remote_as,
            hold_time: Duration::from_secs(90),
            connect_retry: Duration::from_secs(5),
            passive: false,
            families: Family::ALL.to_vec(),
            next_hop_ipv4: None,
            next_hop_ipv6: None,
            max_prefixes: None,
            role: None,
            role_strict: false,
            graceful_restart: None,
            add_path: false,
            extended_next_hop: false,
            extended_messages: true,
            enforce_first_as: true,
        }
    }

    /// Whether the peer is in the own AS.
    pub fn internal(&self) -> bool {
        self.local_as == self.remote_as
    }

    /// Our role towards the peer; none towards an internal one, whatever is configured (RFC 9234 §4).
    pub fn effective_role(&self) -> Option<Role> {
        self.role.filter(|_| !self.internal())
    }

    /// Whether the path of the peer's routes has to begin with its AS.
    pub(crate) fn checks_first_as(&self) -> bool {
        self.enforce_first_as && !self.internal() && self.role != Some(Role::RouteServerClient)
    }

    /// The proposed hold time in the seconds of an OPEN.
    pub fn hold_seconds(&self) -> u16 {
        u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX)
    }

    /// The families to offer, as a set.
    pub(crate) fn offered(&self) -> Families {
        self.families.iter().copied().collect()
    }

    /// The next hop for routes of `family` on a session whose local end is `local`; none when there is no address to
    /// take.
    ///
    /// | routes | configured                | else, on a session over IPv4 | over IPv6                         |
    /// |--------|---------------------------|------------------------------|-----------------------------------|
    /// | IPv4   | `next_hop_ipv4`, alone    | the local address            | that of IPv6 if RFC 8950 is agreed |
    /// | IPv6   | `next_hop_ipv6`, alone    | none                         | the local address, with the link-local one of a shared subnet (RFC 2545 §3) |
    ///
    /// Over link-local addresses that one stands in both places, as routers without a global address do it.
    pub fn next_hop(&self, family: Family, local: Local, extended: bool) -> Option<NextHop> {
        let own_ipv6 = || match local.address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => {
                let link_local =
                    if address.is_unicast_link_local() { Some(address) } else { local.link_local };
                Some(NextHop { address: IpAddr::V6(address), link_local })
            }
        };
        match (family, local.address) {
            (Family::Ipv4, IpAddr::V4(address)) => {
                Some(IpAddr::V4(self.next_hop_ipv4.unwrap_or(address)).into())
            }
            (Family::Ipv4, IpAddr::V6(_)) => match self.next_hop_ipv4 {
                Some(address) => Some(IpAddr::V4(address).into()),
                None if extended => own_ipv6(),
                None => None,
            },
            (Family::Ipv6, _) => match self.next_hop_ipv6 {
                Some(address) => Some(IpAddr::V6(address).into()),
                None => own_ipv6(),
            },
        }
    }

    /// What it means for a session to go from these settings to `new` ones.
    pub fn change_to(&self, new: &Self) -> Change {
        if self == new {
            return Change::None;
        }
        let graceful_restart = match (self.graceful_restart, new.graceful_restart) {
            (Some(old), Some(new)) => Some(GracefulRestart { stale_time: new.stale_time, ..old }),
            (old, _) => old,
        };
        let as_open_to_change = Self {
            connect_retry: new.connect_retry,
            passive: new.passive,
            next_hop_ipv4: new.next_hop_ipv4,
            next_hop_ipv6: new.next_hop_ipv6,
            max_prefixes: new.max_prefixes,
            enforce_first_as: new.enforce_first_as,
            graceful_restart,
            ..self.clone()
        };
        if as_open_to_change == *new { Change::InPlace } else { Change::Reopen }
    }
}
