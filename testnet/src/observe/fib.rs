//! The router's kernel routing table, followed by its own route notifications (`RTNLGRP_IPV4_ROUTE`, `_IPV6_ROUTE`).
//!
//! What counts is where packets for a prefix go: to the PoP's link, elsewhere, or nowhere.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Instant,
};

use futures_util::{StreamExt, TryStreamExt};
use proxima_types::Prefix;
use rtnetlink::{
    Handle, MulticastGroup, RouteMessageBuilder,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType},
    },
};

use super::Journal;
use crate::{
    error::{Error, Result},
    netns::{NetNs, NsRuntime, index_of},
};

/// Where the router sends packets for a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// To the PoP's link.
    ToPop,
    /// To another interface.
    Elsewhere,
    /// There is no route.
    Nowhere,
}

/// A change of one prefix's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// When the notification was read; the kernel sends it as it makes the change.
    pub at: Instant,
    /// The prefix.
    pub prefix: Prefix,
    /// Where packets go from here on.
    pub to: Points,
}

/// Follows the routes of one router's kernel.
#[derive(Debug)]
pub struct FibWatch {
    changes: Arc<Journal<Change>>,
    _runtime: NsRuntime,
}

impl FibWatch {
    /// Subscribes, then reads the present routes: both end up in [`FibWatch::changes`].
    pub async fn start(router: &NetNs, pop_interface: &str) -> Result<Self> {
        let runtime = router.runtime("fib")?;
        let changes = Arc::new(Journal::default());
        let (name, journal) = (pop_interface.to_owned(), Arc::clone(&changes));
        let started = runtime.spawn(async move { follow(&name, journal).await });
        let doing = format!("following routes of {}", router.name());
        started.await.map_err(|error| Error::io(doing)(std::io::Error::other(error)))??;
        Ok(Self { changes, _runtime: runtime })
    }

    /// Every change, oldest first.
    pub fn changes(&self) -> &Journal<Change> {
        &self.changes
    }

    /// Where packets for `prefix` go now.
    pub fn points(&self, prefix: Prefix) -> Points {
        self.changes.read(0, |changes| {
            changes.iter().rfind(|change| change.prefix == prefix).map_or(Points::Nowhere, |change| change.to)
        })
    }

    /// When `prefix` stopped to point to the PoP at or after `since`; waits for it until `deadline`.
    pub async fn left_pop(&self, prefix: Prefix, since: Instant, deadline: Instant) -> Option<Instant> {
        self.first(prefix, since, deadline, |to| to != Points::ToPop).await
    }

    /// When `prefix` began to point to the PoP at or after `since`; waits for it until `deadline`.
    pub async fn reached_pop(&self, prefix: Prefix, since: Instant, deadline: Instant) -> Option<Instant> {
        self.first(prefix, since, deadline, |to| to == Points::ToPop).await
    }

    async fn first(
        &self,
        prefix: Prefix,
        since: Instant,
        deadline: Instant,
        wanted: impl Fn(Points) -> bool,
    ) -> Option<Instant> {
        let of_prefix = |change: &&Change| change.prefix == prefix && change.at >= since && wanted(change.to);
        self.changes.wait(0, deadline, |changes| changes.iter().find(of_prefix).map(|change| change.at)).await
    }
}

/// Subscribes and reads what is there; the rest goes on in a task of the same runtime.
async fn follow(pop_interface: &str, journal: Arc<Journal<Change>>) -> Result<()> {
    let groups = [MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route];
    let (connection, handle, mut notifications) =
        rtnetlink::new_multicast_connection(&groups).map_err(Error::io("subscribing to route changes"))?;
    tokio::spawn(connection);
    let mut table = Table { pop: index_of(&handle, pop_interface).await?, routes: HashMap::new() };
    for (prefix, to) in present(&handle, &mut table).await? {
        journal.push(Change { at: Instant::now(), prefix, to });
    }
    tokio::spawn(async move {
        // The handle keeps the connection open.
        let _handle = handle;
        while let Some((message, _)) = notifications.next().await {
            let at = Instant::now();
            let change = match message.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => table.added(&route),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelRoute(route)) => table.removed(&route),
                _ => None,
            };
            if let Some((prefix, to)) = change {
                journal.push(Change { at, prefix, to });
            }
        }
    });
    Ok(())
}

async fn present(handle: &Handle, table: &mut Table) -> Result<Vec<(Prefix, Points)>> {
    let requests =
        [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()];
    let mut changes = Vec::new();
    for request in requests {
        let mut routes = handle.route().get(request).execute();
        while let Some(route) = routes.try_next().await.map_err(Error::netlink("reading the routes"))? {
            changes.extend(table.added(&route));
        }
    }
    Ok(changes)
}

/// The routes as the notifications tell them.
#[derive(Debug)]
struct Table {
    /// Index of the interface to the PoP.
    pop: u32,
    /// The interfaces each prefix's route leads to.
    routes: HashMap<Prefix, Vec<u32>>,
}

impl Table {
    /// A new route takes the place of an older one of the same prefix.
    fn added(&mut self, route: &RouteMessage) -> Option<(Prefix, Points)> {
        let (prefix, interfaces) = read_route(route)?;
        let to = if interfaces.contains(&self.pop) { Points::ToPop } else { Points::Elsewhere };
        self.routes.insert(prefix, interfaces);
        Some((prefix, to))
    }

    /// A removed route counts only while it is the one in place: a replacement may be told before its removal.
    fn removed(&mut self, route: &RouteMessage) -> Option<(Prefix, Points)> {
        let (prefix, interfaces) = read_route(route)?;
        if self.routes.get(&prefix) != Some(&interfaces) {
            return None;
        }
        self.routes.remove(&prefix);
        Some((prefix, Points::Nowhere))
    }
}

/// Prefix and outgoing interfaces of a unicast route of the main table.
fn read_route(route: &RouteMessage) -> Option<(Prefix, Vec<u32>)> {
    if route.header.kind != RouteType::Unicast || route.header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let (mut address, mut interfaces) = (None, Vec::new());
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(v4)) => address = Some(IpAddr::V4(*v4)),
            RouteAttribute::Destination(RouteAddress::Inet6(v6)) => address = Some(IpAddr::V6(*v6)),
            RouteAttribute::Oif(index) => interfaces.push(*index),
            RouteAttribute::MultiPath(hops) => interfaces.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    Some((Prefix::truncating(address?, route.header.destination_prefix_length), interfaces))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POP: u32 = 4;
    const WAN: u32 = 5;

    fn route(prefix: &str, interface: u32) -> RouteMessage {
        let prefix: Prefix = prefix.parse().unwrap();
        let mut message = match prefix.address() {
            IpAddr::V4(to) => {
                RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, prefix.length()).build()
            }
            IpAddr::V6(to) => {
                RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to, prefix.length()).build()
            }
        };
        message.attributes.push(RouteAttribute::Oif(interface));
        message
    }

    #[test]
    fn a_route_that_moves_points_elsewhere_in_whichever_order_it_is_told() {
        for prefix in ["203.0.113.0/24", "2001:db8:ac::/48"] {
            let known = prefix.parse().unwrap();
            let mut table = Table { pop: POP, routes: HashMap::new() };
            assert_eq!(table.added(&route(prefix, POP)), Some((known, Points::ToPop)));
            // Replaced in one step, the removal told afterwards.
            assert_eq!(table.added(&route(prefix, WAN)), Some((known, Points::Elsewhere)));
            assert_eq!(table.removed(&route(prefix, POP)), None);
            // Removed first, then added.
            assert_eq!(table.removed(&route(prefix, WAN)), Some((known, Points::Nowhere)));
            assert_eq!(table.added(&route(prefix, POP)), Some((known, Points::ToPop)));
        }
    }

    #[test]
    fn local_addresses_and_the_default_route_are_not_prefixes_to_follow() {
        let mut table = Table { pop: POP, routes: HashMap::new() };
        let mut local = route("203.0.113.1/32", POP);
        local.header.table = 255;
        assert_eq!(table.added(&local), None);
        let mut default = route("0.0.0.0/0", POP);
        default.attributes.retain(|a| !matches!(a, RouteAttribute::Destination(_)));
        assert_eq!(table.added(&default), None);
    }
}
