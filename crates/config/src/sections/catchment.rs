//! `[catchment]`: where running connections are handed over between PoPs.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::Raw;
use crate::{
    Catchment,
    field::{At, Field, List},
    reader::Reader,
    reference::Absent,
    report::{Report, Wrong},
    section::Section,
    value,
};

const ANSWER_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct RawCatchment {
    listen: Field<SocketAddr>,
    peers: Field<List<SocketAddr>>,
    key_file: Field<PathBuf>,
    answer_within: Field<Duration>,
}

impl RawCatchment {
    pub(super) fn read(file: &mut Section<'_>) -> Field<Self> {
        let doc = "Running TCP connections are handed over when routers move their clients between PoPs. A \
            change needs a restart.";
        file.section("catchment", Absent::means("such connections are reset"), doc).map(Self::keys)
    }

    fn keys(mut catchment: Section<'_>) -> Self {
        let raw = Self {
            listen: catchment.required(
                "listen",
                "\"192.0.2.11:7078\"",
                listen(),
                "The UDP address that the other PoPs know this one by.",
            ),
            peers: catchment.required_list(
                "peers",
                "[\"192.0.2.21:7078\"]",
                value::endpoint(),
                "The other PoPs, of the same family.",
            ),
            key_file: catchment.required(
                "key-file",
                "\"/etc/proxima/catchment.key\"",
                value::absolute_path(),
                "A file with 64 hexadecimal digits, the same on all PoPs.",
            ),
            answer_within: catchment.optional(
                "answer-within",
                value::duration(Duration::from_millis(10)..=Duration::from_secs(10)),
                Absent::is(ANSWER_WITHIN),
                "How long a reset waits for the other PoPs' answers: at least a round trip to the \
                farthest.",
            ),
        };
        catchment.close();
        raw
    }

    pub(super) fn resolve(&self) -> Option<Catchment> {
        Some(Catchment {
            listen: *self.listen.value()?,
            peers: self.peers.value()?.values()?,
            key_file: self.key_file.value()?.clone(),
            answer_within: self.answer_within.or(ANSWER_WITHIN)?,
        })
    }
}

/// Peers are told apart by their addresses, and each is another host.
pub(super) fn check(raw: &Raw, report: &Report) {
    let Some(catchment) = raw.catchment.value() else { return };
    let (Some(listen), Some(peers)) = (catchment.listen.value(), catchment.peers.value()) else { return };
    let mut seen: Vec<&At<SocketAddr>> = Vec::new();
    for peer in &peers.elements {
        let address = peer.value;
        let wrong = if address.ip() == listen.ip() {
            Wrong::new(format!("{address} is this PoP itself")).hint("name the other PoPs' addresses")
        } else if address.is_ipv4() != listen.is_ipv4() {
            Wrong::new(format!("{address} can't be reached from {listen}"))
                .hint("give all PoPs addresses of one family")
        } else if seen.iter().any(|other| other.value.ip() == address.ip()) {
            Wrong::new(format!("{} is named twice", address.ip())).hint("name each other PoP once")
        } else {
            seen.push(peer);
            continue;
        };
        report.here(peer.span.clone(), "catchment.peers", wrong);
    }
}

fn listen() -> Reader<SocketAddr> {
    value::listen().then(|address| {
        if address.ip().is_unspecified() {
            return Err(Wrong::new(format!("{address} is no address the other PoPs could name"))
                .hint("write the address of this host that they reach"));
        }
        Ok(address)
    })
}
