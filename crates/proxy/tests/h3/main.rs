//! HTTP/3 clients in front of HTTP/1.1 backends, between real sockets.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod cancels;
mod exchanges;
mod lifecycle;
mod refused;
mod support;
