//! `[limits]`.

use std::{num::NonZeroU32, time::Duration};

use proxima_types::Prefix;

use super::Withdrawals;

/// `[limits]`: what all groups together are held to, and what clients are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// The most withdrawals by health; absent: any number.
    pub withdrawals: Option<Withdrawals>,
    /// The most connections of one address; absent: any number.
    pub connections_per_ip: Option<ConnectionsPerIp>,
    /// How slow clients may be with bodies.
    pub body_rate: BodyRate,
}

/// `connections-per-ip` of [`Limits`]: connections beyond are refused before anything is read from them. All services of the
/// PoP count together, over TCP and over QUIC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsPerIp {
    /// So many at once, 1 to 1 000 000.
    pub most: NonZeroU32,
    /// IPv6 addresses with so many bits in common are one, 32 to 128. Default 64.
    pub ipv6_prefix: u8,
    /// Addresses that may have any number; without duplicates.
    pub exempt: Vec<Prefix>,
}

/// `body-rate` of [`Limits`]: how fast bodies have to move while nothing but the client is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyRate {
    /// Octets a second of a request's body, up to 1 000 000; 0: any. Default 240.
    pub request: u32,
    /// Octets a second that a client takes of a response, up to 1 000 000; 0: any. Default 0.
    pub response: u32,
    /// How long a client may be slower, 1 s to 1 h. Default 20 s.
    pub grace: Duration,
    /// Whether request bodies of unknown length are held to it too, until their response begins. Default false.
    pub streams: bool,
}

impl Default for BodyRate {
    fn default() -> Self {
        Self { request: 240, response: 0, grace: Duration::from_secs(20), streams: false }
    }
}
