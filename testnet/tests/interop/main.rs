//! The real `proximad` and real routers, asserted where it counts: in the router's table and in its kernel.
//!
//! | module | what it proves |
//! |---|---|
//! | [`routes`] | routes and their attributes, both ways; an orderly shutdown |
//! | [`attributes`] | what routers put into UPDATEs: faults, loops, old paths, GRACEFUL_SHUTDOWN; long messages |
//! | [`refresh`] | routes sent again, both ways |
//! | [`sessions`] | how sessions come up, stay up and end: timers, old speakers, who calls, what is said |
//! | [`collisions`] | two connections at once (RFC 4271 §6.8) |
//! | [`keys`] | who is let in: TCP MD5, GTSM |
//! | [`extras`] | what is negotiated: several paths, IPv6 next hops, roles, neighbours without an address |
//! | [`limits`] | how many prefixes each side takes |
//! | [`restarts`] | graceful restart, of the daemon and of the router |
//! | [`upgrades`] | another process of the daemon goes on with the session |
//! | [`liveness`] | BFD |
//! | [`samples`] | the configurations that come with the product, on both sides |
//!
//! Every test is a world of its own: a sandbox with two hosts, a cable between them, the daemon on one and a router on the
//! other. It needs root or user namespaces, and the routers' packages; it fails and says so where they are missing.
//! Tests wait for what they see, never for a time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests")]

mod attributes;
mod collisions;
mod extras;
mod keys;
mod limits;
mod liveness;
mod refresh;
mod restarts;
mod routes;
mod samples;
mod sessions;
mod support;
mod upgrades;
