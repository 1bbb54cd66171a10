//! Whole worlds in network namespaces: harness, link emulator, scenarios, demo.
//!
//! ```text
//! sandbox   one private user/pid/mount/net namespace; when its first process ends, everything in it ends
//!   netns   network namespaces inside it: the hosts of a world
//!   link    veth pairs (LAN) and emulated TAP pairs (WAN: delay, jitter, loss, carrier)
//!   process programs running on a host, their logs and their ends
//!   world   regions with a router (BIRD), a PoP host (proximad), app servers and a client host
//!   app     the app server the worlds run
//! router    routers of other makers, each with one session to the daemon
//! load      open-loop clients: what users see
//! crowd     a world that is watched, with clients in every region
//! bfd       a frozen PoP and a busy one, seen by a router
//! good_peer a peer that has to notice nothing
//! hostile   a peer that does what it should not
//! http_attacks clients of HTTP that do harm, beside others
//! parsing   how ambiguous and unusual requests are read, here and elsewhere
//! measure   what requests and tokens take through a proxy
//! table     a full table into this daemon and into others
//! observe   the wire, the kernel's routes and the fence, seen from outside the daemon
//! demo      a region fails under load; what its users notice
//! faults    one fault after the other, each with its claims
//! flaps     an app that flaps, next to another announcer's health check
//! figures   what the measurements have in common
//! witness   whether the machine itself stood still meanwhile
//! ```
//!
//! The harness meets the daemon only at its process boundary: a binary, a config file, a socket.
#![allow(clippy::disallowed_methods, reason = "a driver: it measures real programs on the real clock")]

pub mod app;
pub mod bfd;
mod crowd;
pub mod demo;
pub mod error;
pub mod faults;
pub mod figures;
pub mod flaps;
mod good_peer;
pub mod hostile;
pub mod http_attacks;
pub mod link;
pub mod load;
pub mod measure;
pub mod netns;
pub mod observe;
pub mod parsing;
pub mod process;
pub mod router;
pub mod sandbox;
pub mod selftest;
pub mod table;
pub mod wait;
pub mod witness;
pub mod world;

pub use error::{Error, Result};
