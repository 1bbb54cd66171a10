//! What two OPENs agree on, as far as the bytes that follow depend on it.

use std::fmt;

use proxima_types::Family;

use crate::{AddPathMode, Capability, EXTENDED_MAX_LEN, MAX_LEN, Open};

/// An address family and subsequent family by number (RFC 4760), known to us or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AfiSafi {
    /// Address family identifier.
    pub afi: u16,
    /// Subsequent address family identifier.
    pub safi: u8,
}

/// SAFI of unicast routes.
pub(crate) const SAFI_UNICAST: u8 = 1;

impl AfiSafi {
    /// The family we know by these numbers, if any.
    pub fn family(self) -> Option<Family> {
        Family::ALL.into_iter().find(|family| Self::from(*family) == self)
    }
}

impl From<Family> for AfiSafi {
    fn from(family: Family) -> Self {
        Self { afi: family.afi(), safi: SAFI_UNICAST }
    }
}

impl fmt::Display for AfiSafi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.family() {
            Some(family) => family.fmt(f),
            None => write!(f, "AFI {} SAFI {}", self.afi, self.safi),
        }
    }
}

/// A set of address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Families {
    ipv4: bool,
    ipv6: bool,
}

impl Families {
    /// Neither.
    pub const NONE: Self = Self { ipv4: false, ipv6: false };
    /// IPv4 unicast alone: what a speaker without the multiprotocol capability means.
    pub const IPV4: Self = Self { ipv4: true, ipv6: false };
    /// Both.
    pub const ALL: Self = Self { ipv4: true, ipv6: true };

    /// Whether `family` is in the set.
    pub fn contains(self, family: Family) -> bool {
        match family {
            Family::Ipv4 => self.ipv4,
            Family::Ipv6 => self.ipv6,
        }
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The set but for `family`.
    #[must_use]
    pub fn without(self, family: Family) -> Self {
        match family {
            Family::Ipv4 => Self { ipv4: false, ..self },
            Family::Ipv6 => Self { ipv6: false, ..self },
        }
    }

    /// The families in both sets.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self { ipv4: self.ipv4 && other.ipv4, ipv6: self.ipv6 && other.ipv6 }
    }

    /// The families, IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        families.into_iter().fold(Self::NONE, |set, family| match family {
            Family::Ipv4 => Self { ipv4: true, ..set },
            Family::Ipv6 => Self { ipv6: true, ..set },
        })
    }
}

/// Which side of an AS border the peer is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum PeerKind {
    /// In another AS (eBGP): LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are not for us.
    #[default]
    External,
    /// In our AS (iBGP).
    Internal,
}

/// How the messages of a session are to be read and written.
///
/// `Negotiated::default()` holds before both OPENs are known: two-octet AS numbers, 4096 octets, IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a capability, agreed on or not by itself")]
pub struct Negotiated {
    /// AS numbers have four octets in AS_PATH and AGGREGATOR (RFC 6793).
    pub four_octet_as: bool,
    /// Families whose routes are exchanged (RFC 4760).
    pub families: Families,
    /// The peer's messages may have 65535 octets (RFC 8654 §4): we have offered to take them, whatever it offers.
    pub extended_messages_receive: bool,
    /// Ours may. Only if both sides offer it: the RFC asks for the peer's offer alone, but routers that need ours
    /// too before they take such messages are common.
    pub extended_messages_send: bool,
    /// The peer's IPv4 routes may have an IPv6 next hop (RFC 8950 §4): we have offered to take them.
    pub extended_next_hop_receive: bool,
    /// Ours may. Only if both sides offer it, for the same reason.
    pub extended_next_hop_send: bool,
    /// Families in which the peer's prefixes have path identifiers (RFC 7911).
    pub add_path_receive: Families,
    /// Families in which our prefixes have path identifiers; empty as long as we only offer to receive.
    pub add_path_send: Families,
    /// ROUTE-REFRESH may be sent to the peer (RFC 2918).
    pub route_refresh: bool,
    /// Marks go around the answer to a ROUTE-REFRESH (RFC 7313).
    pub enhanced_refresh: bool,
    /// A misshapen multiprotocol attribute costs its family only, not the session, where another family is left
    /// ([`Disposition::DisableFamily`](crate::Disposition::DisableFamily)). No capability: for a session that drops and
    /// ignores that family's routes from then on.
    pub disable_families: bool,
    /// Routes with an AS_SET in their path are taken as withdrawn (RFC 9774). No capability either: for a session,
    /// while a reader of dumps wants to see them.
    pub refuse_as_sets: bool,
    /// eBGP or iBGP.
    pub peer: PeerKind,
}

impl Negotiated {
    /// How a message has to be written that whoever reads this session's takes for the peer's: what it left out itself is left out,
    /// LOCAL_PREF and the like are not.
    #[must_use]
    pub fn as_the_peer_writes(self) -> Self {
        Self {
            add_path_send: self.add_path_receive,
            families: Families::ALL,
            extended_messages_send: self.extended_messages_receive,
            extended_next_hop_send: true,
            peer: PeerKind::Internal,
            ..self
        }
    }
}

impl Default for Negotiated {
    fn default() -> Self {
        Self {
            four_octet_as: false,
            families: Families::IPV4,
            extended_messages_receive: false,
            extended_messages_send: false,
            extended_next_hop_receive: false,
            extended_next_hop_send: false,
            add_path_receive: Families::NONE,
            add_path_send: Families::NONE,
            route_refresh: false,
            enhanced_refresh: false,
            disable_families: false,
            refuse_as_sets: false,
            peer: PeerKind::External,
        }
    }
}

impl Negotiated {
    /// What the OPEN we sent and the one we received agree on. The set of families may come out empty.
    pub fn between(ours: &Open, theirs: &Open) -> Self {
        let both = |capability: &Capability| ours.offers(capability) && theirs.offers(capability);
        let families = ours.families().intersection(theirs.families());
        let paths = |from: &Open, to: &Open| {
            let sends = from.add_path_families(|mode| matches!(mode, AddPathMode::Send | AddPathMode::Both));
            let receives =
                to.add_path_families(|mode| matches!(mode, AddPathMode::Receive | AddPathMode::Both));
            sends.intersection(receives).intersection(families)
        };
        Self {
            four_octet_as: ours.four_octet_as().is_some() && theirs.four_octet_as().is_some(),
            families,
            extended_messages_receive: ours.offers(&Capability::ExtendedMessage),
            extended_messages_send: both(&Capability::ExtendedMessage),
            extended_next_hop_receive: ours.offers_ipv6_next_hop_for_ipv4(),
            extended_next_hop_send: ours.offers_ipv6_next_hop_for_ipv4()
                && theirs.offers_ipv6_next_hop_for_ipv4(),
            add_path_receive: paths(theirs, ours),
            add_path_send: paths(ours, theirs),
            route_refresh: both(&Capability::RouteRefresh),
            disable_families: false,
            refuse_as_sets: false,
            enhanced_refresh: both(&Capability::RouteRefresh) && both(&Capability::EnhancedRouteRefresh),
            peer: if ours.asn == theirs.asn { PeerKind::Internal } else { PeerKind::External },
        }
    }

    /// The most octets a message of the peer may have; OPEN and KEEPALIVE have at most 4096 in any case.
    pub fn max_len_receive(self) -> usize {
        if self.extended_messages_receive { EXTENDED_MAX_LEN } else { MAX_LEN }
    }

    /// The most octets a message of ours may have; likewise.
    pub fn max_len_send(self) -> usize {
        if self.extended_messages_send { EXTENDED_MAX_LEN } else { MAX_LEN }
    }
}
