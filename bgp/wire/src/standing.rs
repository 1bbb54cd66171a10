//! What the attributes of a received route say against it: that it has been here (RFC 4271 §9.1.2, RFC 4456 §8), or that it
//! was leaked (RFC 9234 §5). Sessions tell of it and the routing table acts on it; what the rules are is said here alone.

use std::net::Ipv4Addr;

use proxima_types::Asn;

use crate::{Attributes, Role};

/// By what a route shows that it has been here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loops {
    /// Our AS is in AS_PATH.
    pub as_path: bool,
    /// We are the ORIGINATOR_ID. (External peers have none: the codec discards it.)
    pub originator_id: bool,
    /// We are in CLUSTER_LIST; likewise.
    pub cluster_list: bool,
}

impl Loops {
    /// Those of a route with these attributes, for a speaker with this AS and BGP identifier.
    pub fn of(attributes: &Attributes, asn: Asn, router_id: Ipv4Addr) -> Self {
        Self {
            as_path: attributes.as_path.contains(asn),
            originator_id: attributes.rare.originator_id == Some(router_id),
            cluster_list: attributes.rare.cluster_list.contains(&router_id),
        }
    }

    /// Whether there is one.
    pub fn any(self) -> bool {
        self.as_path || self.by_reflection()
    }

    /// Whether a reflector has sent the route back to us.
    pub fn by_reflection(self) -> bool {
        self.originator_id || self.cluster_list
    }
}

impl Role {
    /// Whether a route that comes with this ONLY_TO_CUSTOMER from AS `from` to us in this role is a leak (RFC 9234 §5,
    /// ingress 1 and 2).
    pub fn is_leak(self, only_to_customer: Option<Asn>, from: Asn) -> bool {
        match (self, only_to_customer) {
            (Self::Provider | Self::RouteServer, Some(_)) => true,
            (Self::Peer, Some(otc)) => otc != from,
            (Self::Customer | Self::RouteServerClient, Some(_)) | (_, None) => false,
        }
    }

    /// The ONLY_TO_CUSTOMER that a route without it gets when it comes from AS `from` to us in this role (ingress 3).
    pub fn marks_received(self, from: Asn) -> Option<Asn> {
        match self {
            Self::Customer | Self::Peer | Self::RouteServerClient => Some(from),
            Self::Provider | Self::RouteServer => None,
        }
    }
}
