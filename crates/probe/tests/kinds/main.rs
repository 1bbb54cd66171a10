//! Each kind of probe against a server of another maker: nginx, quinn and h3, tonic, PostgreSQL, Redis, dnsmasq; and against
//! real programs.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test: it fails by panic and measures by the clock"
)]

mod agent;
mod certificates;
mod dns;
mod exec;
mod grpc;
mod http;
mod notice;
mod pace;
mod postgres;
mod quic;
mod redis;
mod support;
