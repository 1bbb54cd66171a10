//! TLS 1.2 and 1.3: rustls with aws-lc-rs.
//!
//! | module | what it is for |
//! |---|---|
//! | [`identity`] | certificates and keys, from PEM |
//! | [`names`] | which certificate a client gets |
//! | [`server`] | what a service is told: certificates, versions, whose clients it takes |
//! | [`tickets`] | sessions that go on at another PoP |
//! | [`accept`] | a client's handshake |
//! | [`hello`] | how one begins, while challenges are pending |
//! | [`client`] | TLS to backends |
//! | [`stream`] | bytes over TLS |
//! | [`verified`] | which handshakes over QUIC were full ones |
//!
//! A handshake takes what the snapshot holds at its first byte; from then on its connection depends on no snapshot any more.
//! 0-RTT stays off: what it carries can be replayed (RFC 8446 §8).

/// HTTP/2, as ALPN has it (RFC 9113 §3.1).
pub(crate) const H2: &[u8] = b"h2";
/// HTTP/3 (RFC 9114 §3.1).
const HTTP3: &[u8] = b"h3";
/// HTTP/1.1.
const HTTP1: &[u8] = b"http/1.1";
/// What some clients of HTTP/1.0 say.
const HTTP10: &[u8] = b"http/1.0";

/// What a client offers that wants to see a challenge's certificate, and nothing else (RFC 8737 §6.2).
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

mod accept;
mod client;
mod ending;
mod hello;
mod identity;
mod names;
mod server;
mod stream;
mod tickets;
mod verified;

pub(crate) use self::{
    accept::{Patience, serve},
    client::TlsToBackend,
    stream::TlsStream,
    tickets::OwnTicketKeys,
};
pub use self::{
    client::{Authorities, TlsClient, TlsClientOptions},
    identity::{Chain, ChainError, Identity, KeyError},
    server::{Clients, ForwardedCertificate, MinVersion, TlsError, TlsServer, TlsServerOptions},
    tickets::{TicketKeys, TicketKeysError},
};
