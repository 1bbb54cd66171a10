//! Sessions on one virtual clock: how they come up, collide, restart and end, and what they say and take.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "tests")]

mod bfd;
mod by_hand;
mod collisions;
mod convergence;
mod ending;
mod faults;
mod graceful_restart;
mod handover;
mod inbound;
mod limits;
mod opening;
mod orders;
mod outbound;
mod refresh;
mod world;
