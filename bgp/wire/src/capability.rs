//! Capabilities offered in OPEN (RFC 5492), those we know by type, the others as they came.

use std::fmt;

use bytes::{BufMut, BytesMut};
use proxima_types::{Asn, Family};

use crate::{AfiSafi, reader::Reader};

/// One capability.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Capability {
    /// Routes of a family (RFC 4760), known to us or not.
    Multiprotocol(AfiSafi),
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh,
    /// IPv6 next hops for IPv4 routes and the like (RFC 8950).
    ExtendedNextHop(Vec<ExtendedNextHop>),
    /// Messages of up to 65535 octets (RFC 8654).
    ExtendedMessage,
    /// The speaker's role in the business relation (RFC 9234).
    Role(Role),
    /// Graceful restart (RFC 4724, RFC 8538).
    GracefulRestart(GracefulRestart),
    /// AS numbers of four octets, and the speaker's own (RFC 6793).
    FourOctetAs(Asn),
    /// Several paths per prefix (RFC 7911).
    AddPath(Vec<AddPath>),
    /// Marks around a route refresh (RFC 7313).
    EnhancedRouteRefresh,
    /// One we do not know, or one that is not shaped as its RFC says; ignored.
    Unknown {
        /// Capability code.
        code: u8,
        /// Its value, at most 255 octets.
        value: Vec<u8>,
    },
}

/// A family whose routes may have a next hop of another family (RFC 8950 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedNextHop {
    /// AFI of the routes.
    pub afi: u16,
    /// SAFI of the routes, in two octets here.
    pub safi: u16,
    /// AFI of the next hop.
    pub next_hop_afi: u16,
}

impl ExtendedNextHop {
    /// IPv4 unicast routes with an IPv6 next hop.
    pub const IPV4_OVER_IPV6: Self = Self { afi: 1, safi: 1, next_hop_afi: 2 };
}

/// BGP roles (RFC 9234 §4.1), the speaker's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Sells transit to the other side.
    Provider = 0,
    /// Route server.
    RouteServer = 1,
    /// Client of a route server.
    RouteServerClient = 2,
    /// Buys transit from the other side.
    Customer = 3,
    /// Neither.
    Peer = 4,
}

impl Role {
    pub(crate) const CAPABILITY: u8 = ROLE;

    /// The role the other side of the session has.
    #[must_use]
    pub fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether a peer may have the role `other` when ours is this one (RFC 9234 §4.2).
    pub fn goes_with(self, other: Self) -> bool {
        self.counterpart() == other
    }
}

/// As configurations write it: `route-server-client`.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Provider => "provider",
            Self::RouteServer => "route-server",
            Self::RouteServerClient => "route-server-client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}

/// Graceful restart (RFC 4724 §3, RFC 8538 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the speaker has just restarted, and its peer must not wait for its End-of-RIB before it sends routes: two that have
    /// both restarted would wait for each other.
    pub restarted: bool,
    /// N: hold-timer expiry and NOTIFICATIONs other than a hard reset are graceful too.
    pub notification: bool,
    /// Seconds until the session should be back, 0 to 4095.
    pub restart_time: u16,
    /// Families it holds for.
    pub families: Vec<GracefulRestartFamily>,
}

/// A family of [`GracefulRestart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GracefulRestartFamily {
    /// The family.
    pub family: AfiSafi,
    /// F: forwarding went on during the restart.
    pub forwarding: bool,
}

/// A family of the add-path capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddPath {
    /// The family.
    pub family: AfiSafi,
    /// Which way.
    pub mode: AddPathMode,
}

/// Which way several paths go (RFC 7911 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AddPathMode {
    /// The speaker can receive them.
    Receive = 1,
    /// The speaker would send them.
    Send = 2,
    /// Both.
    Both = 3,
}

/// A capability without which no UPDATE could be read is misshapen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const EXTENDED_NEXT_HOP: u8 = 5;
const EXTENDED_MESSAGE: u8 = 6;
const ROLE: u8 = 9;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;
const ADD_PATH: u8 = 69;
const ENHANCED_ROUTE_REFRESH: u8 = 70;
const FQDN: u8 = 73;
const SOFTWARE_VERSION: u8 = 75;

/// Flags of graceful restart, in the upper four bits of its first two octets.
const GR_RESTARTED: u16 = 0x8000;
const GR_NOTIFICATION: u16 = 0x4000;
const GR_RESTART_TIME: u16 = 0x0fff;
const GR_FORWARDING: u8 = 0x80;

impl Capability {
    /// Routes of one of our families.
    pub fn multiprotocol(family: Family) -> Self {
        Self::Multiprotocol(family.into())
    }

    /// The capability code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => MULTIPROTOCOL,
            Self::RouteRefresh => ROUTE_REFRESH,
            Self::ExtendedNextHop(_) => EXTENDED_NEXT_HOP,
            Self::ExtendedMessage => EXTENDED_MESSAGE,
            Self::Role(_) => ROLE,
            Self::GracefulRestart(_) => GRACEFUL_RESTART,
            Self::FourOctetAs(_) => FOUR_OCTET_AS,
            Self::AddPath(_) => ADD_PATH,
            Self::EnhancedRouteRefresh => ENHANCED_ROUTE_REFRESH,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// What the IANA registry calls the capability, if its code is registered.
    pub fn name(&self) -> Option<&'static str> {
        name(self.code())
    }

    /// One capability from its code and value.
    ///
    /// A misshapen family or four-octet AS number is an error, as UPDATEs could not be read without it; any other
    /// misshapen capability is taken as one we do not know.
    pub(crate) fn decode(code: u8, value: &[u8]) -> Result<Self, Malformed> {
        let known = match code {
            MULTIPROTOCOL => return multiprotocol(value).ok_or(Malformed),
            FOUR_OCTET_AS => {
                return value
                    .try_into()
                    .map(|octets| Self::FourOctetAs(Asn(u32::from_be_bytes(octets))))
                    .map_err(|_| Malformed);
            }
            ROUTE_REFRESH => value.is_empty().then_some(Self::RouteRefresh),
            EXTENDED_MESSAGE => value.is_empty().then_some(Self::ExtendedMessage),
            ENHANCED_ROUTE_REFRESH => value.is_empty().then_some(Self::EnhancedRouteRefresh),
            EXTENDED_NEXT_HOP => list(value, extended_next_hop).map(Self::ExtendedNextHop),
            ROLE => role(value).map(Self::Role),
            GRACEFUL_RESTART => graceful_restart(value).map(Self::GracefulRestart),
            ADD_PATH => list(value, add_path).map(Self::AddPath),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Self::Unknown { code, value: value.to_vec() }))
    }

    /// Appends code, length and value; the caller has checked that the value has at most 255 octets.
    pub(crate) fn encode(&self, buf: &mut BytesMut) {
        buf.put_u8(self.code());
        let length = buf.len();
        buf.put_u8(0);
        self.encode_value(buf);
        buf[length] = (buf.len() - length - 1) as u8;
    }

    /// Octets of the value.
    pub(crate) fn value_len(&self) -> usize {
        match self {
            Self::Multiprotocol(_) | Self::FourOctetAs(_) => 4,
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => 0,
            Self::ExtendedNextHop(families) => families.len() * 6,
            Self::Role(_) => 1,
            Self::GracefulRestart(restart) => 2 + restart.families.len() * 4,
            Self::AddPath(families) => families.len() * 4,
            Self::Unknown { value, .. } => value.len(),
        }
    }

    fn encode_value(&self, buf: &mut BytesMut) {
        match self {
            Self::Multiprotocol(family) => {
                buf.put_u16(family.afi);
                buf.put_u8(0);
                buf.put_u8(family.safi);
            }
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::ExtendedNextHop(families) => {
                for entry in families {
                    buf.put_u16(entry.afi);
                    buf.put_u16(entry.safi);
                    buf.put_u16(entry.next_hop_afi);
                }
            }
            Self::Role(role) => buf.put_u8(*role as u8),
            Self::GracefulRestart(restart) => {
                let flag = |set: bool, bit: u16| if set { bit } else { 0 };
                buf.put_u16(
                    flag(restart.restarted, GR_RESTARTED)
                        | flag(restart.notification, GR_NOTIFICATION)
                        | restart.restart_time.min(GR_RESTART_TIME),
                );
                for entry in &restart.families {
                    buf.put_u16(entry.family.afi);
                    buf.put_u8(entry.family.safi);
                    buf.put_u8(if entry.forwarding { GR_FORWARDING } else { 0 });
                }
            }
            Self::FourOctetAs(asn) => buf.put_u32(asn.0),
            Self::AddPath(families) => {
                for entry in families {
                    buf.put_u16(entry.family.afi);
                    buf.put_u8(entry.family.safi);
                    buf.put_u8(entry.mode as u8);
                }
            }
            Self::Unknown { value, .. } => buf.put_slice(value),
        }
    }
}

fn multiprotocol(value: &[u8]) -> Option<Capability> {
    let [high, low, _reserved, safi] = *value.first_chunk()?;
    (value.len() == 4)
        .then_some(Capability::Multiprotocol(AfiSafi { afi: u16::from_be_bytes([high, low]), safi }))
}

/// Reads entries until the value is used up; `None` if one is cut short or makes no sense.
fn list<T>(value: &[u8], mut entry: impl FnMut(&mut Reader<'_>) -> Option<T>) -> Option<Vec<T>> {
    let mut reader = Reader::new(value);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(entry(&mut reader)?);
    }
    Some(entries)
}

fn extended_next_hop(reader: &mut Reader<'_>) -> Option<ExtendedNextHop> {
    Some(ExtendedNextHop { afi: reader.u16()?, safi: reader.u16()?, next_hop_afi: reader.u16()? })
}

fn add_path(reader: &mut Reader<'_>) -> Option<AddPath> {
    let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
    let mode = match reader.u8()? {
        1 => AddPathMode::Receive,
        2 => AddPathMode::Send,
        3 => AddPathMode::Both,
        _ => return None,
    };
    Some(AddPath { family, mode })
}

fn role(value: &[u8]) -> Option<Role> {
    match value {
        [0] => Some(Role::Provider),
        [1] => Some(Role::RouteServer),
        [2] => Some(Role::RouteServerClient),
        [3] => Some(Role::Customer),
        [4] => Some(Role::Peer),
        _ => None,
    }
}

fn graceful_restart(value: &[u8]) -> Option<GracefulRestart> {
    let (flags_and_time, families) = value.split_first_chunk()?;
    let flags_and_time = u16::from_be_bytes(*flags_and_time);
    let families = list(families, |reader| {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        Some(GracefulRestartFamily { family, forwarding: reader.u8()? & GR_FORWARDING != 0 })
    })?;
    Some(GracefulRestart {
        restarted: flags_and_time & GR_RESTARTED != 0,
        notification: flags_and_time & GR_NOTIFICATION != 0,
        restart_time: flags_and_time & GR_RESTART_TIME,
        families,
    })
}

/// Registered capabilities, for people.
fn name(code: u8) -> Option<&'static str> {
    Some(match code {
        MULTIPROTOCOL => "multiprotocol",
        ROUTE_REFRESH => "route refresh",
        3 => "outbound route filtering",
        4 => "multiple routes to a destination",
        EXTENDED_NEXT_HOP => "extended next hop",
        EXTENDED_MESSAGE => "extended message",
        7 => "BGPsec",
        8 => "multiple labels",
        ROLE => "role",
        GRACEFUL_RESTART => "graceful restart",
        FOUR_OCTET_AS => "four-octet AS number",
        67 => "dynamic capability",
        68 => "multisession",
        ADD_PATH => "add-path",
        ENHANCED_ROUTE_REFRESH => "enhanced route refresh",
        71 => "long-lived graceful restart",
        72 => "routing policy distribution",
        FQDN => "FQDN",
        74 => "BFD",
        SOFTWARE_VERSION => "software version",
        76 => "paths limit",
        128 => "route refresh (before RFC 2918)",
        130 => "outbound route filtering (before RFC 5291)",
        _ => return None,
    })
}

/// `graceful restart: 120 s, ipv4, ipv6 (forwarding)`.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "capability {}", self.code())?,
        }
        let details = self.details();
        if details.is_empty() { Ok(()) } else { write!(f, ": {details}") }
    }
}

impl Capability {
    /// What its value says, for people; empty when it says nothing.
    pub fn details(&self) -> String {
        match self {
            Self::Multiprotocol(family) => family.to_string(),
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => String::new(),
            Self::ExtendedNextHop(families) => listed(families),
            Self::Role(role) => role.to_string(),
            Self::GracefulRestart(restart) => restart.to_string(),
            Self::FourOctetAs(asn) => asn.to_string(),
            Self::AddPath(families) => listed(families),
            Self::Unknown { code, value } => unknown(*code, value),
        }
    }
}

fn listed<T: fmt::Display>(entries: &[T]) -> String {
    entries.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Two capabilities hold text that names the peer; of others the octets are shown.
fn unknown(code: u8, value: &[u8]) -> String {
    let mut reader = Reader::new(value);
    let mut text = || {
        let length = reader.u8()?;
        // The peer chose these characters; control characters must not reach a terminal.
        Some(String::from_utf8_lossy(reader.take(length.into())?).escape_debug().to_string())
    };
    let names = match code {
        FQDN => text().zip(text()).map(
            |(host, domain)| {
                if domain.is_empty() { host } else { format!("{host}.{domain}") }
            },
        ),
        SOFTWARE_VERSION => text(),
        _ => None,
    };
    names.unwrap_or_else(|| crate::explain::octets(value))
}

impl fmt::Display for ExtendedNextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u8::try_from(self.safi) {
            Ok(safi) => write!(f, "{}", AfiSafi { afi: self.afi, safi })?,
            Err(_) => write!(f, "AFI {} SAFI {}", self.afi, self.safi)?,
        }
        match self.next_hop_afi {
            1 => f.write_str(" over ipv4"),
            2 => f.write_str(" over ipv6"),
            afi => write!(f, " over AFI {afi}"),
        }
    }
}

impl fmt::Display for AddPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            AddPathMode::Receive => "receive",
            AddPathMode::Send => "send",
            AddPathMode::Both => "send and receive",
        };
        write!(f, "{} {mode}", self.family)
    }
}

impl fmt::Display for GracefulRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.restart_time)?;
        f.write_str(if self.restarted { ", restarted" } else { "" })?;
        f.write_str(if self.notification { ", also after a NOTIFICATION" } else { "" })?;
        for entry in &self.families {
            let kept = if entry.forwarding { " (forwarding)" } else { "" };
            write!(f, ", {}{kept}", entry.family)?;
        }
        Ok(())
    }
}
