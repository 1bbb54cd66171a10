//! `[limits]`: what all groups together are held to, and what clients are.

use std::{num::NonZeroU32, time::Duration};

use proxima_types::Prefix;

use super::{Raw, distinct, resolved};
use crate::{
    BodyRate, ConnectionsPerIp, Limits, Withdrawals,
    field::{Field, List},
    reference::Absent,
    report::Report,
    section::Section,
    value,
};

const IPV6_PREFIX: u8 = 64;
/// Octets a second: faster than that is no limit for the slow.
const FASTEST: u32 = 1_000_000;

pub(super) struct RawLimits {
    withdrawals: Field<RawWithdrawals>,
    connections: Field<RawConnections>,
    rate: RawRate,
}

struct RawWithdrawals {
    most: Field<NonZeroU32>,
    within: Field<Duration>,
}

struct RawConnections {
    most: Field<NonZeroU32>,
    ipv6_prefix: Field<u8>,
    exempt: Field<List<Prefix>>,
}

struct RawRate {
    request: Field<u32>,
    response: Field<u32>,
    grace: Field<Duration>,
    streams: Field<bool>,
}

impl RawLimits {
    pub(super) fn read(file: &mut Section<'_>) -> Self {
        let mut limits = file.defaulted(
            "limits",
            "What all groups together are held to, and what clients are. See [limits for \
            clients](limits.md).",
        );
        let raw = Self {
            withdrawals: limits
                .section(
                    "withdrawals",
                    Absent::means("any number"),
                    "The most withdrawals by health, of all groups; those beyond are de-preferred until \
                    there is room. A reload changes it at once.",
                )
                .map(RawWithdrawals::read),
            connections: limits
                .section(
                    "connections-per-ip",
                    Absent::means("any number"),
                    "The most connections of one address, of all services together, over TCP and QUIC; \
                    those beyond are refused before anything is read from them. A reload changes it for \
                    the next connection.",
                )
                .map(RawConnections::read),
            rate: RawRate::read(limits.defaulted(
                "body-rate",
                "How fast bodies have to move while nothing but the client is waited for. A reload changes \
                it for the next request.",
            )),
        };
        limits.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Limits> {
        let withdrawals = resolved(&self.withdrawals, |withdrawals| {
            Some(Withdrawals { most: *withdrawals.most.value()?, within: *withdrawals.within.value()? })
        })?;
        let connections_per_ip = resolved(&self.connections, |connections| {
            Some(ConnectionsPerIp {
                most: *connections.most.value()?,
                ipv6_prefix: connections.ipv6_prefix.or(IPV6_PREFIX)?,
                exempt: resolved(&connections.exempt, List::values)?.unwrap_or_default(),
            })
        })?;
        let default = BodyRate::default();
        let body_rate = BodyRate {
            request: self.rate.request.or(default.request)?,
            response: self.rate.response.or(default.response)?,
            grace: self.rate.grace.or(default.grace)?,
            streams: self.rate.streams.or(default.streams)?,
        };
        Some(Limits { withdrawals, connections_per_ip, body_rate })
    }
}

impl RawWithdrawals {
    fn read(mut withdrawals: Section<'_>) -> Self {
        let raw = Self {
            most: withdrawals
                .required("most", "2", value::integer(1..=1000), "So many withdrawals.")
                .map(at_least_one),
            within: withdrawals.required(
                "within",
                "\"60s\"",
                value::duration(Duration::from_secs(1)..=Duration::from_hours(24)),
                "Within any such time.",
            ),
        };
        withdrawals.close();
        raw
    }
}

impl RawConnections {
    fn read(mut connections: Section<'_>) -> Self {
        let raw = Self {
            most: connections
                .required("most", "1000", value::integer(1..=1_000_000), "So many at once.")
                .map(at_least_one),
            ipv6_prefix: connections.optional(
                "ipv6-prefix",
                value::integer(32..=128),
                Absent::is(IPV6_PREFIX),
                "IPv6 addresses with so many bits in common are one.",
            ),
            exempt: connections.optional_list(
                "exempt",
                value::parsed(),
                Absent::means("none"),
                "Addresses that may have any number, such as those of load balancers in front.",
            ),
        };
        connections.close();
        raw
    }
}

impl RawRate {
    fn read(mut rate: Section<'_>) -> Self {
        let default = BodyRate::default();
        let raw = Self {
            request: rate.optional(
                "request",
                value::integer(0..=FASTEST),
                Absent::is(default.request),
                "Octets a second of a request's body; `0`: any.",
            ),
            response: rate.optional(
                "response",
                value::integer(0..=FASTEST),
                Absent::is(default.response),
                "Octets a second that a client takes of a response; `0`: any.",
            ),
            grace: rate.optional(
                "grace",
                value::duration(Duration::from_secs(1)..=Duration::from_hours(1)),
                Absent::is(default.grace),
                "How long a client may be slower: then a request ends in 408, a response in a reset.",
            ),
            streams: rate.optional(
                "streams",
                value::boolean(),
                Absent::is(default.streams),
                "Whether request bodies of unknown length are held to it, too, until their response \
                begins.",
            ),
        };
        rate.close();
        raw
    }
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("read within a range that begins at 1")
}

pub(super) fn check(raw: &Raw, report: &Report) {
    let connections = raw.limits.connections.value();
    if let Some(exempt) = connections.and_then(|connections| connections.exempt.value()) {
        distinct(report, &exempt.elements, "limits.connections-per-ip.exempt");
    }
}
