//! The real binary against a scripted daemon on a Unix socket of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod check;
mod commands;
mod errors;
mod follow;
mod support;
mod terminal;
