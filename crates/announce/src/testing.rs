//! What the tests of all modules use.

use std::time::{Duration, Instant};

use proxima_health::RegionScore;
use proxima_types::{Asn, Prefix, RouteAttributes, Score};

use crate::{
    AlarmOver, Degraded, GroupConfig, GuardConfig, Origin, Output, Sighting, Transition, View, WhenDown,
    Withdrawn,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOLD_DOWN: Duration = Duration::from_secs(10);
pub(crate) const GRACEFUL: Duration = Duration::from_secs(5);
pub(crate) const QUIET: Duration = Duration::from_secs(20);
pub(crate) const AS: Asn = Asn(64512);
/// The PoP under test: two have a higher rank, two a lower.
pub(crate) const SELF: u8 = 3;

#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

pub(crate) fn origin(last: u8) -> Origin {
    Origin(u32::from_be_bytes([192, 0, 2, last]))
}

pub(crate) fn guard() -> GuardConfig {
    GuardConfig::new(AS, origin(SELF), 1, QUIET)
}

/// Of others that announce, by the last octet of their router-ids; those below zero are leaving.
pub(crate) fn sees(others: &[i8]) -> View {
    let sighting = |other: &i8| Sighting { origin: origin(other.unsigned_abs()), leaving: *other < 0 };
    View { observing: true, others: others.iter().map(sighting).collect() }
}

pub(crate) fn attributes(prepend: u8, communities: &[&str]) -> RouteAttributes {
    let communities = communities.iter().map(|text| text.parse().unwrap()).collect();
    RouteAttributes { prepend, communities, ..RouteAttributes::default() }
}

pub(crate) fn config() -> GroupConfig {
    GroupConfig {
        name: "web".parse().unwrap(),
        prefixes: ["203.0.113.0/24", "2001:db8:ac::/48"].map(|text| text.parse::<Prefix>().unwrap()).to_vec(),
        attributes: attributes(0, &["64512:100"]),
        degraded: Some(Degraded {
            below: Score::new(0.8),
            above: Score::new(0.9),
            attributes: attributes(2, &["64512:100", "64512:666"]),
        }),
        when_down: WhenDown::Withdraw(withdrawn()),
        damping: None,
        guard: None,
        dead_man: None,
    }
}

pub(crate) fn withdrawn() -> Withdrawn {
    Withdrawn { below: Score::new(0.4), above: Score::new(0.6), hold_down: HOLD_DOWN, min_up: Duration::ZERO }
}

pub(crate) fn score(share: f64) -> RegionScore {
    RegionScore {
        score: Score::new(share),
        at_best: Score::new(share),
        unknown: false,
        degraded: vec![],
        services: vec![],
    }
}

pub(crate) fn partly_unknown(share: f64, at_best: f64) -> RegionScore {
    RegionScore { at_best: Score::new(at_best), unknown: true, ..score(share) }
}

pub(crate) fn told(output: Output) -> String {
    match output {
        Output::Transition(Transition { from, to, reason, .. }) => format!("{from} → {to}: {reason}"),
        Output::Alarm(alarm) => format!("alarm: {}", alarm.kind),
        Output::AlarmOver(AlarmOver { alarm, .. }) => format!("over: {}", alarm.kind),
    }
}
