//! What the announcement core says of groups: reasons, holds, alarms.

use std::time::{Duration, Instant};

use proxima_announce::{Bound, Cap, Group, Override, Reason};
use proxima_api::{self as api, GroupReason, Timestamp};
use proxima_health::{Breach, RegionScore};
use proxima_types::GroupName;

use crate::{orders::Orders, report::milliseconds};

/// What it takes to tell of groups: a moment of both clocks, and whose orders are in force.
#[derive(Clone, Copy)]
pub(crate) struct GroupWords<'a> {
    pub(crate) clocks: (Instant, Timestamp),
    pub(crate) orders: &'a Orders,
}

impl GroupWords<'_> {
    /// Why a group stands where it does.
    pub(crate) fn reason(&self, group: &GroupName, reason: &Reason) -> GroupReason {
        let boxed = |why: &Reason| Box::new(self.reason(group, why));
        match reason {
            Reason::FirstVerdicts { score: of, held } => {
                GroupReason::FirstVerdicts { score: score(of), held: self.held(held.as_ref()) }
            }
            Reason::Score { score: of, bound, penalty, held } => {
                let (score, penalty, held) = (score(of), *penalty, self.held(held.as_ref()));
                match *bound {
                    Bound::Zero => GroupReason::NothingUp { score, penalty },
                    Bound::Below(threshold) => GroupReason::ScoreBelow { score, threshold, penalty, held },
                    Bound::Above(threshold) => GroupReason::ScoreAbove { score, threshold, penalty, held },
                    Bound::Degraded => GroupReason::Degraded { score, penalty },
                }
            }
            Reason::Held { why, by } => GroupReason::Held { why: boxed(why), by: self.hold(by) },
            Reason::Left { why, held, evidence: seen } => GroupReason::Left {
                why: boxed(why),
                held: self.held(held.as_ref()),
                evidence: seen.as_ref().map(evidence),
            },
            Reason::Returned { evidence: seen, why } => {
                GroupReason::Returned { evidence: evidence(seen), why: why.as_deref().map(boxed) }
            }
            Reason::Fault { fault } => GroupReason::Fault { fault: fault.clone() },
            Reason::FaultOver { score: of, held } => {
                GroupReason::FaultOver { score: score(of), held: self.held(held.as_ref()) }
            }
            Reason::Silent { silent, limit } => {
                GroupReason::Silent { silent_ms: milliseconds(*silent), limit_ms: milliseconds(*limit) }
            }
            Reason::Operator { order } => match self.orders.told(group, order, self.clocks) {
                order if order.by == api::By::Daemon => GroupReason::Stopping,
                order => GroupReason::Operator { order },
            },
            Reason::Expired { order, why } => {
                let order = self.orders.told(group, order, self.clocks);
                GroupReason::Expired { order, why: why.as_deref().map(boxed) }
            }
            Reason::Drained { after, order } => match self.orders.told(group, order, self.clocks) {
                order if order.by == api::By::Daemon => GroupReason::Stopping,
                order => GroupReason::Drained { order, after_ms: milliseconds(*after) },
            },
            Reason::Reconfigured { score: of } => GroupReason::Reconfigured { score: of.as_ref().map(score) },
            Reason::Removed => GroupReason::Removed,
        }
    }

    /// The order in force for a group; none when health decides.
    pub(crate) fn order(&self, group: &Group) -> Option<api::Order> {
        let ordered = group.order().verb != Override::Auto;
        ordered.then(|| self.orders.told(group.name(), group.order(), self.clocks))
    }

    /// What keeps a group where it is.
    pub(crate) fn hold(&self, hold: &proxima_announce::Hold) -> api::Hold {
        use proxima_announce::Hold;
        match *hold {
            Hold::HoldDown { until, least } => {
                api::Hold::HoldDown { until: self.wall(until), least_ms: milliseconds(least) }
            }
            Hold::Damping { until, penalty, reuse } => {
                api::Hold::Damping { until: self.wall(until), penalty, reuse }
            }
            Hold::MinUp { until, least } => {
                api::Hold::MinUp { until: self.wall(until), least_ms: milliseconds(least) }
            }
            Hold::Quiet { until, quiet } => {
                api::Hold::Quiet { until: self.wall(until), quiet_ms: milliseconds(quiet) }
            }
            Hold::Others { evidence: ref seen } => api::Hold::Others { evidence: evidence(seen) },
            Hold::Cap { until, cap: Cap { most, within } } => {
                api::Hold::Cap { until: self.wall(until), most, within_ms: milliseconds(within) }
            }
        }
    }

    /// The alarms of a group that are on.
    pub(crate) fn alarms(&self, group: &Group) -> impl Iterator<Item = api::Alarm> {
        group.alarms().iter().map(|alarm| api::Alarm {
            group: alarm.group.clone(),
            kind: alarm_kind(&alarm.kind),
            since: self.wall(alarm.at),
        })
    }

    fn held(&self, hold: Option<&proxima_announce::Hold>) -> Option<api::Hold> {
        hold.map(|hold| self.hold(hold))
    }

    fn wall(&self, at: Instant) -> Timestamp {
        crate::report::wall(self.clocks, at)
    }
}

/// What an alarm is about.
pub(crate) fn alarm_kind(kind: &proxima_announce::AlarmKind) -> api::AlarmKind {
    use proxima_announce::AlarmKind;
    match kind {
        AlarmKind::LastAnnouncer { evidence: seen } => {
            api::AlarmKind::LastAnnouncer { evidence: evidence(seen) }
        }
        AlarmKind::LeftAlone { evidence: seen } => api::AlarmKind::LeftAlone { evidence: evidence(seen) },
        AlarmKind::Capped { cap: Cap { most, within } } => {
            api::AlarmKind::Capped { most: *most, within_ms: milliseconds(*within) }
        }
    }
}

/// What is seen of others.
pub(crate) fn evidence(evidence: &proxima_announce::Evidence) -> api::Evidence {
    let sighting = |seen: &proxima_announce::Sighting| api::Sighting {
        origin: std::net::Ipv4Addr::from_bits(seen.origin.0),
        leaving: seen.leaving,
    };
    api::Evidence {
        observing: evidence.observing,
        others: evidence.others.iter().map(sighting).collect(),
        counted: evidence.counted,
        least: evidence.least,
    }
}

fn score(of: &RegionScore) -> api::RegionScore {
    let service = |of: &proxima_health::ServiceScore| api::ServiceScore {
        service: of.service.clone(),
        score: of.score,
        count: of.count,
    };
    api::RegionScore {
        score: of.score,
        services: of.services.iter().map(service).collect(),
        degraded: of.degraded.iter().map(degradation).collect(),
    }
}

fn degradation(of: &proxima_health::Degradation) -> api::Degradation {
    use proxima_health::Degradation;
    match of {
        Degradation::Shared { backend } => api::Degradation::Shared { backend: backend.clone() },
        Degradation::Slo { service, breach } => match *breach {
            Breach::FirstByte { p95, limit, requests, probes } => api::Degradation::FirstByte {
                service: service.clone(),
                p95_ms: (p95 != Duration::MAX).then(|| milliseconds(p95)),
                limit_ms: milliseconds(limit),
                requests,
                probes,
            },
            Breach::Errors { rate, limit, requests, probes } => {
                api::Degradation::Errors { service: service.clone(), rate, limit, requests, probes }
            }
        },
    }
}
