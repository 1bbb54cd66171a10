//! Where a host's kernel sends packets for a prefix: what a router's routes come to in the end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use proxima_types::{Family, Prefix};
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia},
};

use crate::{
    error::{Error, Result},
    netns::NetNs,
};

/// The gateways of the main table's unicast route to exactly this prefix; empty when there is none.
pub fn gateways(ns: &NetNs, prefix: Prefix) -> Result<Vec<IpAddr>> {
    let doing = format!("reading the FIB of {}", ns.name());
    ns.netlink(move |handle| async move {
        let wanted = match prefix.family() {
            Family::Ipv4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::Ipv6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        };
        let mut routes = handle.route().get(wanted).execute();
        let mut found = Vec::new();
        while let Some(route) = routes.try_next().await.map_err(Error::netlink(doing.clone()))? {
            if is_to(&route, prefix) {
                found.extend(gateways_of(&route.attributes));
            }
        }
        Ok(found)
    })
}

fn is_to(route: &RouteMessage, prefix: Prefix) -> bool {
    let destination = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Destination(address) => ip(address) == Some(prefix.address()),
        _ => false,
    };
    route.header.kind == RouteType::Unicast
        && route.header.table == RouteHeader::RT_TABLE_MAIN
        && route.header.destination_prefix_length == prefix.length()
        && route.attributes.iter().any(destination)
}

fn gateways_of(attributes: &[RouteAttribute]) -> Vec<IpAddr> {
    let of_one = |attribute: &RouteAttribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address).into_iter().collect(),
        RouteAttribute::Via(RouteVia::Inet(v4)) => vec![(*v4).into()],
        RouteAttribute::Via(RouteVia::Inet6(v6)) => vec![(*v6).into()],
        RouteAttribute::MultiPath(hops) => {
            hops.iter().flat_map(|hop| gateways_of(&hop.attributes)).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    attributes.iter().flat_map(of_one).collect()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}
