//! VIPs as local routes, by rtnetlink; and a fake for tests.
//!
//! AnyIP: one route of type `local` on the loopback device makes every address of a prefix the host's own, without
//! configuring each (`ip route add local 203.0.113.0/24 dev lo`). Ours carry a protocol number of their own,
//! [`ROUTE_PROTOCOL`]: leftovers of a run that crashed are recognised and adopted or removed, foreign routes are never
//! touched.
//!
//! An IPv4 socket can then be bound to any address of the prefix. An IPv6 one needs `IPV6_FREEBIND` for it, because the
//! kernel asks for a configured address there; packets arrive either way.
//!
//! [`Vips`] is the narrow face; [`KernelVips`] does it, [`FakeVips`] records it.

mod error;
mod fake;
mod kernel;
mod vips;

pub use error::{Action, VipError};
pub use fake::{Call, FakeVips};
pub use kernel::{KernelVips, ROUTE_PROTOCOL};
pub use vips::{Changes, Vips};
