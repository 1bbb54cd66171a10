//! The real `proximad` as its surroundings see it: routers by bytes on TCP, apps and clients by HTTP, operators by the
//! admin socket and by standard error.
//!
//! | module | what it proves |
//! |---|---|
//! | [`announce`] | what goes over BGP, and when |
//! | [`stop`] | the ways a daemon ends, and what peers and clients see of it |
//! | [`reload`] | the configuration read again: what changes, what is refused |
//! | [`peering`] | commands to peers, what they sent, restart |
//! | [`bfd`] | a neighbour that falls silent |
//! | [`serve`] | requests: nearest first, inside the fence |
//! | [`priority`] | who goes first when every core is busy |
//! | [`operate`] | status, drain, metrics, the command line |
//! | [`bad_start`] | what keeps it from starting, each with its remedy |
//! | [`bad_peer`] | routers that are away, silent or talk nonsense |
//! | [`bad_http`] | clients and apps that talk nonsense |
//!
//! Every test has its own daemon, apps and routers on ports of its own, and waits for events, never for a time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod announce;
mod bad_http;
mod bad_peer;
mod bad_start;
mod bfd;
mod operate;
mod peering;
mod priority;
mod reload;
mod serve;
mod stop;
mod support;
