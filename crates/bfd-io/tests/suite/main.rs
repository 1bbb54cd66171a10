//! The driver on real sockets: with itself on loopback addresses, with BIRD and FRR in network namespaces.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod bird;
mod common;
mod freeze;
mod frr;
mod handover;
mod link;
mod load;
mod loopback;
mod sandbox;
