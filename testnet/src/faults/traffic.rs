//! What the clients of a region saw of a fault.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{case::Incident, scene::Scene};
use crate::{
    error::Result,
    load::{Kind, Outcome},
};

/// Requests that ended while a fault lasted, of its region's clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Seen {
    /// Small idempotent requests.
    pub(super) requests: u64,
    /// Of those, not answered with success.
    pub(super) failed: u64,
    /// How they failed.
    pub(super) failures: BTreeMap<String, u64>,
    /// Of those, given to apps more than once, which is harmless.
    pub(super) repeated: u64,
    /// Token streams.
    pub(super) streams: u64,
    /// Of those, cut short with the app that served them.
    pub(super) cut_with_app: u64,
    /// Of those, cut short although it lived.
    pub(super) cut: u64,
    /// Whose streams those were.
    pub(super) cut_of: BTreeMap<String, u64>,
    /// Of those, given to apps more than once: what must never be.
    pub(super) duplicated: u64,
}

/// How often each request was given to an app, by `x-request-id`, where that is more than once.
pub(super) struct Deliveries(BTreeSet<String>);

impl Deliveries {
    /// Reads what the apps wrote down.
    pub(super) fn read(scene: &Scene) -> Result<Self> {
        let (mut once, mut more) = (BTreeSet::new(), BTreeSet::new());
        for app in scene.world.regions().iter().flat_map(|region| &region.apps) {
            for line in app.requests()? {
                let id = line.split_once(' ').map_or(line.as_str(), |(_, id)| id).to_owned();
                if !once.insert(id.clone()) {
                    more.insert(id);
                }
            }
        }
        Ok(Self(more))
    }
}

impl Seen {
    /// What `outcomes` say of `incident`.
    pub(super) fn new(incident: &Incident, outcomes: &[Outcome], deliveries: &Deliveries) -> Self {
        let mut seen = Self::default();
        let ended = |outcome: &&Outcome| {
            *outcome.region == *incident.region && (incident.begun..=incident.ended).contains(&outcome.done)
        };
        for outcome in outcomes.iter().filter(ended) {
            let again = u64::from(deliveries.0.contains(&outcome.id));
            match outcome.kind {
                Kind::Stream => {
                    seen.streams += 1;
                    seen.duplicated += again;
                    let by_killed = outcome
                        .served
                        .as_ref()
                        .is_some_and(|served| incident.killed.iter().any(|app| **app == *served.app));
                    match outcome.cut() {
                        Some(_) if by_killed => seen.cut_with_app += 1,
                        Some(_) => {
                            seen.cut += 1;
                            let app = outcome.served.as_ref().map_or("nobody", |served| &*served.app);
                            *seen.cut_of.entry(app.to_owned()).or_default() += 1;
                        }
                        None => {}
                    }
                }
                Kind::Work | Kind::Fenced => {
                    seen.requests += 1;
                    seen.repeated += again;
                    if !outcome.succeeded() {
                        seen.failed += 1;
                        *seen.failures.entry(outcome.said()).or_default() += 1;
                    }
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use proxima_types::Family;

    use super::{super::catalogue::Fault, *};
    use crate::load::{Cut, Served, StreamEnd};

    fn outcome(id: &str, kind: Kind, from: Instant, until: Instant) -> Outcome {
        let stream = (kind == Kind::Stream).then_some(StreamEnd::Complete { events: 20 });
        Outcome {
            id: id.to_owned(),
            region: "eu".into(),
            kind,
            family: Family::Ipv4,
            intended: from,
            started: from,
            first_byte: None,
            done: until,
            attempts: 1,
            reconnects: 0,
            fresh: true,
            local_port: 1,
            result: Ok(200),
            served: Some(Served { region: "eu".into(), app: Arc::from("eu-1") }),
            stream,
        }
    }

    #[test]
    fn requests_count_for_the_fault_they_ended_in_and_streams_by_what_cut_them() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let incident = Incident {
            fault: Fault::OneApp,
            region: "eu".to_owned(),
            begun: at(10),
            ended: at(20),
            killed: vec!["eu-1".to_owned()],
            because: Vec::new(),
            figures: Vec::new(),
            claims: Vec::new(),
        };
        let cut = |id: &str, app: &str| {
            let mut cut = outcome(id, Kind::Stream, at(12), at(13));
            cut.stream = Some(StreamEnd::Cut { events: 1, how: Cut::Reset });
            cut.served = Some(Served { region: "eu".into(), app: app.into() });
            cut
        };
        let mut failed = outcome("e", Kind::Work, at(11), at(12));
        failed.result = Ok(502);
        let mut of_others = outcome("f", Kind::Work, at(11), at(12));
        of_others.region = "apac".into();
        let outcomes = [
            outcome("a", Kind::Work, at(8), at(9)),
            outcome("b", Kind::Work, at(9), at(11)),
            outcome("c", Kind::Stream, at(9), at(11)),
            outcome("i", Kind::Stream, at(19), at(30)),
            outcome("d", Kind::Work, at(21), at(22)),
            failed,
            of_others,
            cut("g", "eu-1"),
            cut("h", "eu-2"),
        ];
        let deliveries = Deliveries(["b", "c", "f"].map(str::to_owned).into());
        let seen = Seen::new(&incident, &outcomes, &deliveries);
        let expected = Seen {
            requests: 2,
            failed: 1,
            failures: BTreeMap::from([("502".to_owned(), 1)]),
            repeated: 1,
            streams: 3,
            cut_with_app: 1,
            cut: 1,
            cut_of: BTreeMap::from([("eu-2".to_owned(), 1)]),
            duplicated: 1,
        };
        assert_eq!(seen, expected);
    }
}
