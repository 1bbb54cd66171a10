//! TCP flows that survive a change of catchment.
//!
//! When a PoP withdraws an anycast prefix, or comes back, the routers move its clients to another PoP in the
//! middle of their TCP connections. The new PoP's kernel knows none of them and would answer each next packet
//! with a reset. This core hands such flows back to the PoP that owns them, for as long as they last:
//!
//! ```text
//! client ──ACK──▶ new PoP: no socket ─▶ kernel makes a reset ─▶ diverted into this core, not sent
//!                    │ Query(flow) to every other PoP
//!                    ◀─ Answer(owned) from the owner
//!                 the flow is diverted: each later packet of it ──Carry──▶ owner injects it to its own kernel
//! client ◀──────────────── the owner answers the client directly ─────────────────┘
//! ```
//!
//! Flows that stay where they are never touch this code: only a reset that the kernel makes for want of a
//! socket brings a flow here (such a reset carries no ACK flag, RFC 9293 §3.10.7.1; one that ends an existing
//! connection does). When no PoP owns the flow, or none answers in time, the reset goes out as if nothing had
//! been.
//!
//! - [`packet`]: what of an IP packet has to be known; [`message`]: what PoPs say to each other;
//! - [`core`](mod@core): the decisions, without I/O.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests need an instant to count from"))]

pub mod core;
pub mod message;
pub mod packet;

pub use crate::{
    core::{Catchment, Input, Limits, Output, PeerIndex, Stats},
    message::{Key, KeyError, Message, MessageError},
    packet::{Flow, Segment},
};
