//! HTTP/3 clients in front of HTTP/1.1 backends, between real sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "other test binaries use the rest")]
#[path = "../common/pki.rs"]
mod pki;

mod cancels;
mod deadlines;
mod exchanges;
mod lifecycle;
mod programs;
mod refused;
mod succession;
mod support;
mod unwilling;
