//! VIPs by rtnetlink.
//!
//! One task drives the netlink socket; it ends when the [`KernelVips`] is dropped. The socket belongs to the network
//! namespace of the thread that opens it.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures_util::TryStreamExt;
use proxima_types::{Family, Prefix};
use rtnetlink::{
    Handle, RouteMessageBuilder, new_connection_with_strict_check,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use tokio::task::JoinHandle;

use crate::{Action, VipError, Vips};

/// The `rtm_protocol` of our routes. `ip route show table local proto 117` lists them.
pub const ROUTE_PROTOCOL: u8 = 117;

/// RT_TABLE_LOCAL.
const LOCAL_TABLE: u32 = 255;
/// The loopback device has the first index in every network namespace (LOOPBACK_IFINDEX).
const LOOPBACK: u32 = 1;
const ESRCH: i32 = 3;
const EPERM: i32 = 1;
const EACCES: i32 = 13;

/// The kernel's VIPs.
#[derive(Debug)]
pub struct KernelVips {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl KernelVips {
    /// Opens a netlink socket. To be called within a tokio runtime.
    pub fn open() -> Result<Self, VipError> {
        let (connection, handle, _) = new_connection_with_strict_check().map_err(VipError::Open)?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    async fn list(&self, family: Family) -> Result<Vec<Prefix>, VipError> {
        let question = local_route(match family {
            Family::Ipv4 => RouteMessageBuilder::<Ipv4Addr>::new().build(),
            Family::Ipv6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
        });
        let routes: Vec<RouteMessage> = self
            .handle
            .route()
            .get(question)
            .execute()
            .try_collect()
            .await
            .map_err(|e| VipError::List(cause(e)))?;
        Ok(routes.iter().filter(|route| is_ours(route)).filter_map(destination).collect())
    }
}

impl Drop for KernelVips {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Vips for KernelVips {
    async fn present(&self) -> Result<Vec<Prefix>, VipError> {
        let mut prefixes = self.list(Family::Ipv4).await?;
        prefixes.extend(self.list(Family::Ipv6).await?);
        prefixes.sort();
        Ok(prefixes)
    }

    async fn add(&self, prefix: Prefix) -> Result<(), VipError> {
        if prefix.length() == 0 {
            return Err(VipError::WholeFamily { prefix });
        }
        let Err(error) = self.handle.route().add(anyip_route(prefix)).execute().await else {
            return Ok(());
        };
        let source = cause(error);
        match source.kind() {
            io::ErrorKind::AlreadyExists if self.list(prefix.family()).await?.contains(&prefix) => Ok(()),
            io::ErrorKind::AlreadyExists => Err(VipError::Foreign { prefix }),
            _ => Err(explained(Action::Add, prefix, source)),
        }
    }

    async fn remove(&self, prefix: Prefix) -> Result<(), VipError> {
        let Err(error) = self.handle.route().del(anyip_route(prefix)).execute().await else {
            return Ok(());
        };
        let source = cause(error);
        match source.raw_os_error() {
            Some(ESRCH) => Ok(()),
            _ => Err(explained(Action::Remove, prefix, source)),
        }
    }
}

/// `local PREFIX dev lo table local proto 117`; IPv4 with scope host.
fn anyip_route(prefix: Prefix) -> RouteMessage {
    local_route(match prefix.address() {
        IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(address, prefix.length())
            .scope(RouteScope::Host)
            .output_interface(LOOPBACK)
            .build(),
        IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(address, prefix.length())
            .output_interface(LOOPBACK)
            .build(),
    })
}

fn local_route(mut route: RouteMessage) -> RouteMessage {
    route.header.table = LOCAL_TABLE as u8;
    route.header.kind = RouteType::Local;
    route.header.protocol = RouteProtocol::from(ROUTE_PROTOCOL);
    route
}

fn is_ours(route: &RouteMessage) -> bool {
    let table = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    u8::from(route.header.protocol) == ROUTE_PROTOCOL
        && route.header.kind == RouteType::Local
        && table.unwrap_or(u32::from(route.header.table)) == LOCAL_TABLE
}

fn destination(route: &RouteMessage) -> Option<Prefix> {
    let length = route.header.destination_prefix_length;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            Prefix::new((*address).into(), length).ok()
        }
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
            Prefix::new((*address).into(), length).ok()
        }
        _ => None,
    })
}

/// The kernel's error number, where there is one.
fn cause(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        error => io::Error::other(error),
    }
}

fn explained(action: Action, prefix: Prefix, error: io::Error) -> VipError {
    match (error.raw_os_error(), error.kind()) {
        (Some(EPERM), _) => VipError::Permission { action, prefix },
        (Some(EACCES), _) if prefix.family() == Family::Ipv6 => VipError::Ipv6Disabled { action, prefix },
        (_, io::ErrorKind::NetworkDown) => VipError::LoopbackDown { action, prefix },
        _ => VipError::Route { action, prefix, error },
    }
}
