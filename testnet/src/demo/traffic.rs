//! What the clients saw, put together: who failed, who was cut and why.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_types::Family;
use serde::Serialize;

use super::{FAILING, cycles::Run};
use crate::load::{Kind, Latencies, Outcome, StreamEnd, summary::Quantiles};

/// Everything the clients saw.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Traffic {
    /// Idempotent requests (`GET /work`) but those around a kill of the daemon.
    pub(super) idempotent: [Requests; 2],
    /// Idempotent requests under way while the daemon was killed, gone, or coming back.
    pub(super) idempotent_around_daemon_kills: [Requests; 2],
    /// Requests of all kinds per second while the apps of a region were killed and restored.
    pub(super) rate_during_app_kills: f64,
    /// Token streams.
    pub(super) streams: Streams,
    /// Fenced requests to the EU-only address begun after the last app was known to be down and ended before the restore, by what became of
    /// them.
    pub(super) fenced_during_outage: BTreeMap<String, u64>,
    /// Those begun after the kill but before that: they may meet an app in the moment of its death.
    pub(super) fenced_before_detection: BTreeMap<String, u64>,
    /// Fenced requests from another region to the anycast address.
    pub(super) fenced_abroad: FencedAbroad,
    /// Latency of idempotent requests by the client's region, while all was well.
    pub(super) latency_steady: BTreeMap<String, Quantiles>,
    /// The same from the kill of the apps until all had settled.
    pub(super) latency_during_app_kills: BTreeMap<String, Quantiles>,
    /// How much later than intended requests were started: the load generator's own error.
    pub(super) lateness: Quantiles,
}

/// Requests of one family.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Requests {
    /// How many were sent.
    pub(super) sent: u64,
    /// How many had no answer, or one that is not a success.
    pub(super) failed: u64,
    /// Repeats on a new connection, because one died before any byte of an answer.
    pub(super) reconnects: u64,
    /// Under way when their route moved to another PoP.
    pub(super) moved: u64,
    /// What failed, and how often.
    pub(super) failures: BTreeMap<String, u64>,
}

/// Fenced requests to a PoP outside the jurisdiction, by who answered.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct FencedAbroad {
    /// How many were sent.
    pub(super) sent: u64,
    /// Answered by an app of the jurisdiction.
    pub(super) by_jurisdiction: u64,
    /// Answered by an app elsewhere, or by who knows whom.
    pub(super) by_others: u64,
    /// Refused with 503 in an outage.
    pub(super) refused_during_outage: u64,
}

/// Token streams, by how they ended.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Streams {
    /// How many were asked for.
    pub(super) sent: u64,
    /// Ended with `[DONE]`.
    pub(super) complete: u64,
    /// Had no answer or an error as answer: the client may ask again.
    pub(super) not_begun: u64,
    /// Of those, around a kill of the daemon.
    pub(super) not_begun_around_daemon_kills: u64,
    /// What became of those not begun, and how often.
    pub(super) not_begun_because: BTreeMap<String, u64>,
    /// Cut because their own app was killed.
    pub(super) cut_own_app: u64,
    /// Cut because the daemon that carried them was killed.
    pub(super) cut_own_daemon: u64,
    /// Cut when BGP moved them to another PoP, their app and daemon alive.
    pub(super) cut_moved: u64,
    /// Cut for no known reason.
    pub(super) cut_unexplained: u64,
    /// Cut in a way that HTTP does not tell.
    pub(super) cut_untold: u64,
    /// Under way when BGP moved them to another PoP, their app and daemon alive.
    pub(super) moved: u64,
}

impl Streams {
    /// Cut although their app and the daemon that carried them lived.
    pub(super) fn cut_wrongly(&self) -> u64 {
        self.cut_moved + self.cut_unexplained
    }

    /// All that were cut.
    pub(super) fn cut(&self) -> u64 {
        self.cut_own_app + self.cut_own_daemon + self.cut_wrongly()
    }
}

/// Why a stream was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    OwnApp,
    OwnDaemon,
    Moved,
    Unexplained,
}

/// What the PoP knew of its apps' death when a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outage {
    NotYetKnown,
    Known,
}

/// When what happened to the failing region.
struct Moments<'a> {
    run: &'a Run,
}

impl Traffic {
    /// Puts together what `outcomes` say of `run`.
    pub(super) fn new(run: &Run, outcomes: &[Outcome]) -> Self {
        let moments = Moments { run };
        let mut traffic = Self {
            idempotent: Default::default(),
            idempotent_around_daemon_kills: Default::default(),
            rate_during_app_kills: moments.rate_during_app_kills(outcomes),
            streams: Streams::default(),
            fenced_during_outage: BTreeMap::new(),
            fenced_before_detection: BTreeMap::new(),
            fenced_abroad: FencedAbroad::default(),
            latency_steady: latencies(outcomes, |at| run.steady.from <= at && at < run.steady.until),
            latency_during_app_kills: latencies(outcomes, |at| {
                run.app_kills.iter().any(|kill| kill.killed <= at && at < kill.settled)
            }),
            lateness: lateness(outcomes),
        };
        for outcome in outcomes {
            match outcome.kind {
                Kind::Work => {
                    let all = if moments.around_daemon_kill(outcome) {
                        &mut traffic.idempotent_around_daemon_kills
                    } else {
                        &mut traffic.idempotent
                    };
                    all[usize::from(outcome.family == Family::Ipv6)].count(outcome, &moments);
                }
                Kind::Stream => traffic.streams.count(outcome, &moments),
                Kind::Fenced if &*outcome.region != FAILING => traffic.fenced_abroad.count(outcome, &moments),
                Kind::Fenced => {
                    let seen = match moments.outage(outcome) {
                        Some(Outage::Known) => &mut traffic.fenced_during_outage,
                        Some(Outage::NotYetKnown) => &mut traffic.fenced_before_detection,
                        None => continue,
                    };
                    *seen.entry(outcome.said()).or_default() += 1;
                }
            }
        }
        traffic
    }
}

impl Requests {
    fn count(&mut self, outcome: &Outcome, moments: &Moments<'_>) {
        self.sent += 1;
        self.reconnects += u64::from(outcome.reconnects);
        self.moved += u64::from(moments.moved(outcome));
        if !outcome.succeeded() {
            self.failed += 1;
            *self.failures.entry(outcome.said()).or_default() += 1;
        }
    }
}

impl FencedAbroad {
    fn count(&mut self, outcome: &Outcome, moments: &Moments<'_>) {
        self.sent += 1;
        // What an app answered is its answer, whatever the status.
        match &outcome.served {
            Some(served) if &*served.region == FAILING => self.by_jurisdiction += 1,
            Some(_) => self.by_others += 1,
            None if outcome.succeeded() => self.by_others += 1,
            None => {
                let refused = outcome.result == Ok(503) && moments.outage(outcome).is_some();
                self.refused_during_outage += u64::from(refused);
            }
        }
    }
}

impl Streams {
    fn count(&mut self, outcome: &Outcome, moments: &Moments<'_>) {
        self.sent += 1;
        let cause = moments.cause(outcome);
        self.moved += u64::from(moments.moved(outcome) && !matches!(cause, Cause::OwnApp | Cause::OwnDaemon));
        match outcome.stream {
            None => {
                self.not_begun += 1;
                self.not_begun_around_daemon_kills += u64::from(moments.around_daemon_kill(outcome));
                *self.not_begun_because.entry(outcome.said()).or_default() += 1;
            }
            Some(StreamEnd::Complete { .. }) => self.complete += 1,
            Some(StreamEnd::Cut { how, .. }) => {
                self.cut_untold += u64::from(!how.can_tell());
                match cause {
                    Cause::OwnApp => self.cut_own_app += 1,
                    Cause::OwnDaemon => self.cut_own_daemon += 1,
                    Cause::Moved => self.cut_moved += 1,
                    Cause::Unexplained => self.cut_unexplained += 1,
                }
            }
        }
    }
}

impl Moments<'_> {
    fn around_daemon_kill(&self, outcome: &Outcome) -> bool {
        self.run
            .daemon_kills
            .iter()
            .any(|kill| outcome.done >= kill.killed && outcome.intended <= kill.settled)
    }

    /// Begun after the apps were killed, ended before they were restored.
    fn outage(&self, outcome: &Outcome) -> Option<Outage> {
        let mut kills = self.run.app_kills.iter();
        let kill = kills.find(|kill| outcome.intended >= kill.killed && outcome.done <= kill.restored)?;
        match kill.decided {
            Some(decided) if outcome.intended < decided => Some(Outage::NotYetKnown),
            _ => Some(Outage::Known),
        }
    }

    /// Under way when the failing region's route of its family moved to another PoP.
    fn moved(&self, outcome: &Outcome) -> bool {
        let family = usize::from(outcome.family == Family::Ipv6);
        let of_apps =
            self.run.app_kills.iter().flat_map(|kill| [kill.fib_left[family], kill.fib_back[family]]);
        let of_daemon =
            self.run.daemon_kills.iter().flat_map(|kill| [kill.fib_left[family], kill.fib_back[family]]);
        &*outcome.region == FAILING && of_apps.chain(of_daemon).flatten().any(|at| outcome.active_at(at))
    }

    /// What would explain that the stream was cut.
    fn cause(&self, outcome: &Outcome) -> Cause {
        let by_failing_app = outcome.served.as_ref().is_some_and(|served| &*served.region == FAILING);
        let by_failing_pop = &*outcome.region == FAILING;
        if by_failing_app && self.run.app_kills.iter().any(|kill| outcome.active_at(kill.killed)) {
            Cause::OwnApp
        } else if by_failing_pop && self.run.daemon_kills.iter().any(|kill| outcome.active_at(kill.killed)) {
            Cause::OwnDaemon
        } else if self.moved(outcome) {
            Cause::Moved
        } else {
            Cause::Unexplained
        }
    }

    fn rate_during_app_kills(&self, outcomes: &[Outcome]) -> f64 {
        let within =
            |at: Instant| self.run.app_kills.iter().any(|kill| kill.killed <= at && at < kill.settled);
        let sent = outcomes.iter().filter(|outcome| within(outcome.intended)).count();
        let length: Duration =
            self.run.app_kills.iter().map(|kill| kill.settled.saturating_duration_since(kill.killed)).sum();
        sent as f64 / length.as_secs_f64()
    }
}

fn latencies(outcomes: &[Outcome], wanted: impl Fn(Instant) -> bool) -> BTreeMap<String, Quantiles> {
    let mut by_region: BTreeMap<&str, Latencies> = BTreeMap::new();
    let answered = outcomes.iter().filter(|outcome| outcome.kind == Kind::Work && outcome.succeeded());
    for outcome in answered.filter(|outcome| wanted(outcome.intended)) {
        by_region.entry(&outcome.region).or_default().record(outcome.latency());
    }
    by_region.into_iter().map(|(region, all)| (region.to_owned(), all.quantiles())).collect()
}

fn lateness(outcomes: &[Outcome]) -> Quantiles {
    let mut late = Latencies::default();
    for outcome in outcomes {
        late.record(outcome.started.saturating_duration_since(outcome.intended));
    }
    late.quantiles()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        demo::cycles::{AppKill, DaemonKill, Steady},
        load::{Cut, Failure, Served},
    };

    fn seconds(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    /// Apps killed at 10 s, restored at 14 s; daemon killed at 20 s, restarted at 22 s.
    pub(in crate::demo) fn run(start: Instant) -> Run {
        let at = |t| seconds(start, t);
        let both = |t| [Some(at(t)); 2];
        Run {
            steady: Steady {
                from: at(0.0),
                until: at(5.0),
                updates: vec![("eu".to_owned(), 0)],
                keepalives: vec![("eu".to_owned(), 2)],
            },
            app_kills: vec![AppKill {
                killed: at(10.0),
                detected: Some(at(10.001)),
                decided: Some(at(10.001)),
                withdrawn: both(10.002),
                fib_left: both(10.01),
                served_elsewhere: Some(at(10.1)),
                restored: at(14.0),
                announced: both(15.5),
                fib_back: both(15.6),
                clients_back: Some(at(17.0)),
                settled: at(18.0),
            }],
            daemon_kills: vec![DaemonKill {
                killed: at(20.0),
                fib_left: both(20.02),
                served_elsewhere: Some(at(20.1)),
                restarted: at(22.0),
                first_verdicts: Some(at(23.0)),
                opened: true,
                first_announcement: Some(at(23.001)),
                fib_back: both(23.05),
                clients_back: Some(at(25.0)),
                settled: at(26.0),
            }],
        }
    }

    fn stream(start: Instant, from: f64, until: f64, app: &str, end: StreamEnd) -> Outcome {
        let region: Arc<str> = app.rsplit_once('-').unwrap().0.into();
        Outcome {
            id: String::new(),
            region: FAILING.into(),
            kind: Kind::Stream,
            family: Family::Ipv4,
            intended: seconds(start, from),
            started: seconds(start, from),
            first_byte: None,
            done: seconds(start, until),
            attempts: 1,
            fresh: true,
            reconnects: 0,
            local_port: 1,
            result: Ok(200),
            served: Some(Served { region, app: app.into() }),
            stream: Some(end),
        }
    }

    const CUT: StreamEnd = StreamEnd::Cut { events: 3, how: Cut::Reset };
    const WHOLE: StreamEnd = StreamEnd::Complete { events: 40 };

    #[test]
    fn a_cut_stream_is_laid_to_what_happened_while_it_ran() {
        let start = Instant::now();
        let run = run(start);
        let cases = [
            (9.0, 10.0005, "eu-1", Cause::OwnApp),
            (10.005, 10.2, "us-east-1", Cause::Moved), // begun after the kill, served elsewhere, then re-routed
            (14.5, 15.7, "us-east-1", Cause::Moved),
            (19.0, 20.001, "eu-2", Cause::OwnDaemon),
            (22.5, 23.1, "us-east-1", Cause::Moved),
            (16.5, 17.0, "eu-1", Cause::Unexplained),
        ];
        for (from, until, app, cause) in cases {
            let outcome = stream(start, from, until, app, CUT);
            assert_eq!(Moments { run: &run }.cause(&outcome), cause, "{app} from {from} until {until}");
        }
    }

    #[test]
    fn streams_that_survive_a_move_are_counted_as_moved_and_complete() {
        let start = Instant::now();
        let run = run(start);
        let outcomes = [
            stream(start, 14.5, 16.5, "us-east-1", WHOLE),
            stream(start, 14.6, 15.7, "us-east-1", CUT),
            stream(start, 9.0, 10.0, "eu-1", StreamEnd::Cut { events: 1, how: Cut::Silent }),
        ];
        let streams = Traffic::new(&run, &outcomes).streams;
        assert_eq!((streams.moved, streams.complete, streams.cut_moved), (2, 1, 1));
        assert_eq!((streams.cut_own_app, streams.cut_untold, streams.cut_wrongly()), (1, 1, 1));
    }

    #[test]
    fn a_failure_belongs_to_the_daemon_kill_it_overlaps_and_else_counts_against_the_claim() {
        let start = Instant::now();
        let run = run(start);
        let failed = |from: f64, until: f64| Outcome {
            kind: Kind::Work,
            result: Err(Failure::Connect(std::io::ErrorKind::ConnectionRefused)),
            stream: None,
            served: None,
            ..stream(start, from, until, "eu-1", WHOLE)
        };
        let traffic = Traffic::new(&run, &[failed(10.1, 10.2), failed(19.9, 20.1), failed(20.5, 20.6)]);
        assert_eq!(traffic.idempotent[0].failed, 1);
        assert_eq!(traffic.idempotent_around_daemon_kills[0].failed, 2);
    }

    #[test]
    fn fenced_requests_count_when_wholly_within_the_outage_and_apart_before_it_is_known() {
        let start = Instant::now();
        let run = run(start);
        let fenced = |from: f64, until: f64, status: u16| Outcome {
            kind: Kind::Fenced,
            result: Ok(status),
            stream: None,
            ..stream(start, from, until, "eu-1", WHOLE)
        };
        let outcomes = [
            fenced(9.99, 10.001, 502),
            fenced(10.0005, 10.002, 502),
            fenced(10.001, 10.002, 503),
            fenced(13.0, 13.1, 503),
            fenced(13.9, 14.1, 200),
        ];
        let traffic = Traffic::new(&run, &outcomes);
        assert_eq!(traffic.fenced_during_outage, BTreeMap::from([("503".to_owned(), 2)]));
        assert_eq!(traffic.fenced_before_detection, BTreeMap::from([("502".to_owned(), 1)]));
    }

    #[test]
    fn fenced_requests_from_abroad_are_told_apart_by_who_answered() {
        let start = Instant::now();
        let run = run(start);
        let fenced = |from: f64, status: u16, app: Option<&str>| {
            let outcome = stream(start, from, from + 0.1, app.unwrap_or("eu-1"), WHOLE);
            Outcome {
                region: "us-east".into(),
                kind: Kind::Fenced,
                result: Ok(status),
                served: outcome.served.clone().filter(|_| app.is_some()),
                stream: None,
                ..outcome
            }
        };
        let outcomes = [
            fenced(9.0, 200, Some("eu-1")),
            fenced(9.0, 503, None),
            fenced(13.0, 503, None),
            fenced(13.0, 200, Some("us-east-1")),
        ];
        let traffic = Traffic::new(&run, &outcomes);
        let seen = &traffic.fenced_abroad;
        assert_eq!(
            (seen.sent, seen.by_jurisdiction, seen.by_others, seen.refused_during_outage),
            (4, 1, 1, 1)
        );
        assert!(traffic.fenced_during_outage.is_empty());
    }
}
