//! The real binary against a scripted daemon on a Unix socket of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bgp;
mod check;
mod commands;
mod errors;
mod follow;
mod peering;
mod support;
mod terminal;
