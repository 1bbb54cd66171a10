//! HTTP over TLS between real sockets, with curl, openssl and rustls as clients.

#![allow(clippy::unwrap_used, reason = "test helpers")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/pki.rs"]
mod pki;

mod certificates;
mod challenges;
mod clients;
mod exchange;
mod handshakes;
mod http2;
mod programs;
mod resumption;
mod upstream;
