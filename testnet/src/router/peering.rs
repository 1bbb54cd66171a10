//! What the session between a router and the PoP is to be like, whoever made the router.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use proxima_types::Family;

use super::Make;
use crate::error::{Error, Result};

/// The router's side of a session.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a setting of its own, as in the routers' configurations"
)]
#[derive(Debug, Clone)]
pub struct Peering {
    /// The router's AS.
    pub local_as: u32,
    /// The PoP's AS.
    pub remote_as: u32,
    /// The router's address on the link, its BGP identifier too.
    pub local: Ipv4Addr,
    /// The router's IPv6 address on the link: the next hop of IPv6 routes.
    pub local_ipv6: Ipv6Addr,
    /// Whom it talks to.
    pub neighbour: Neighbour,
    /// The families of the session.
    pub families: Vec<Family>,
    /// The hold time it offers, in seconds.
    pub hold_time: u16,
    /// It talks from this address of its own, over at most so many hops.
    pub multihop: Option<(IpAddr, u8)>,
    /// It waits for the PoP to connect.
    pub passive: bool,
    /// The TCP MD5 password (RFC 2385).
    pub password: Option<String>,
    /// GTSM for a directly connected neighbour (RFC 5082).
    pub ttl_security: bool,
    /// It does not offer four-octet AS numbers (RFC 6793).
    pub two_octet_as: bool,
    /// It offers graceful restart with this restart time in seconds (RFC 4724) and helps a peer that restarts.
    pub graceful_restart: Option<u16>,
    /// It sends all paths it has (RFC 7911).
    pub add_path: bool,
    /// It offers IPv6 next hops for IPv4 routes (RFC 8950).
    pub extended_next_hop: bool,
    /// It takes messages of up to 65535 octets (RFC 8654), where it does not do so by itself.
    pub extended_messages: bool,
    /// Its OPEN has parameters of extended length, however few there are (RFC 9072).
    pub extended_parameters: bool,
    /// It watches the PoP by BFD (RFC 5881).
    pub bfd: Option<Bfd>,
    /// The key of BFD by Meticulous Keyed SHA1 (RFC 5880 §6.7.4); its number is 1.
    pub bfd_key: Option<String>,
    /// How many prefixes of a family it takes from the PoP.
    pub max_prefixes: Option<u32>,
    /// A configuration file to take as it is, instead of one made from all this; `neighbour` is the PoP in it.
    pub sample: Option<PathBuf>,
    /// Its role (RFC 9234), and whether the PoP has to offer one.
    pub role: Option<(Role, bool)>,
}

/// Whom a router talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Neighbour {
    /// The PoP at this address.
    Address(IpAddr),
    /// The PoP at this link-local address on this interface.
    LinkLocal(Ipv6Addr, String),
    /// Whoever answers on this interface, by its link-local address.
    Interface(String),
}

/// BFD timers of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bfd {
    /// Desired transmit and required receive interval, in milliseconds.
    pub interval_ms: u32,
    /// Detection multiplier.
    pub multiplier: u8,
}

/// What a router is to the PoP (RFC 9234 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It sells transit to the PoP.
    Provider,
    /// It buys transit from the PoP.
    Customer,
    /// Neither pays.
    Peer,
}

impl Role {
    /// The word BIRD, FRR and OpenBGPD have for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Customer => "customer",
            Self::Peer => "peer",
        }
    }
}

impl Peering {
    /// An eBGP session for both families with nothing but the defaults, hold time 9 s.
    pub fn new(local_as: u32, remote_as: u32, local: (Ipv4Addr, Ipv6Addr), neighbour: IpAddr) -> Self {
        Self {
            local_as,
            remote_as,
            local: local.0,
            local_ipv6: local.1,
            neighbour: Neighbour::Address(neighbour),
            families: vec![Family::Ipv4, Family::Ipv6],
            hold_time: 9,
            multihop: None,
            passive: false,
            password: None,
            ttl_security: false,
            two_octet_as: false,
            graceful_restart: None,
            add_path: false,
            extended_next_hop: false,
            extended_messages: false,
            extended_parameters: false,
            bfd: None,
            bfd_key: None,
            max_prefixes: None,
            sample: None,
            role: None,
        }
    }

    /// The text of the sample, if there is one.
    pub(super) fn sample(&self) -> Result<Option<String>> {
        let read = |file: &PathBuf| {
            fs::read_to_string(file).map_err(Error::io(format!("reading {}", file.display())))
        };
        self.sample.as_ref().map(read).transpose()
    }

    /// The router's next hop for routes of a family.
    pub(super) fn next_hop(&self, family: Family) -> IpAddr {
        match family {
            Family::Ipv4 if !self.extended_next_hop => self.local.into(),
            Family::Ipv4 | Family::Ipv6 => self.local_ipv6.into(),
        }
    }

    /// Its own end of a session with `neighbour`.
    pub(super) fn local_end(&self, neighbour: IpAddr) -> IpAddr {
        match self.multihop {
            Some((address, _)) => address,
            None if neighbour.is_ipv6() => self.local_ipv6.into(),
            None => self.local.into(),
        }
    }

    /// The PoP's address.
    ///
    /// # Errors
    /// When the session is one by interface, which `make` cannot have here.
    pub(super) fn address(&self, make: Make) -> Result<IpAddr> {
        match &self.neighbour {
            Neighbour::Address(address) => Ok(*address),
            Neighbour::LinkLocal(address, _) => Err(cannot(make, &format!("talk to {address} here"))),
            Neighbour::Interface(interface) => Err(cannot(make, &format!("find a neighbour on {interface}"))),
        }
    }
}

/// That this make does not have what is asked for.
pub(super) fn cannot(make: Make, what: &str) -> Error {
    Error::Spec(format!("{make} cannot {what}"))
}
