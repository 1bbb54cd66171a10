//! Backends that speak HTTP/3, for clients of every version.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests over real sockets")]

#[allow(dead_code, reason = "a helper of several test binaries")]
#[path = "../h3/support.rs"]
mod support;

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../common/pki.rs"]
mod pki;

mod backend;
mod connections;
mod exchanges;
mod faults;
mod programs;
mod tls;
