use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Upper ends of buckets.
const ENDS: [u64; 6] = [10, 50, 100, 200, 500, 1000];
/// Those of probes are others.
const PROBE_ENDS: [u64; 4] = [20, 100, 400, 1600];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn objectives() -> Objectives {
    Objectives { p95: Some(ms(100)), error_rate: Some(0.02), least: 20, ..Objectives::default() }
}

#[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
fn start() -> Instant {
    Instant::now()
}

fn count(counted: &mut Counted, requests: u64, latency: Option<Duration>) {
    counted.requests += requests;
    let Some(latency) = latency else {
        counted.errors += requests;
        counted.silent += requests;
        return;
    };
    for (end, below) in &mut counted.first_byte {
        *below += if latency < *end { requests } else { 0 };
    }
}

/// A service on a virtual clock.
struct World {
    window: SloWindow,
    now: Instant,
    counted: Counted,
    probed: Counted,
}

impl World {
    fn new(objectives: Objectives) -> Self {
        let first_byte = ENDS.map(|end| (ms(end), 0)).to_vec();
        let counted = Counted { first_byte, ..Counted::default() };
        let first_byte = PROBE_ENDS.map(|end| (ms(end), 0)).to_vec();
        let probed = Counted { first_byte, ..Counted::default() };
        let mut world = Self { window: SloWindow::new(objectives), now: start(), counted, probed };
        world.look(Duration::ZERO);
        world
    }

    /// Counts requests that took so long, or failed without a first byte.
    fn count(&mut self, requests: u64, latency: Option<Duration>) {
        count(&mut self.counted, requests, latency);
    }

    /// The same of probes.
    fn probe(&mut self, probes: u64, latency: Option<Duration>) {
        count(&mut self.probed, probes, latency);
    }

    fn look(&mut self, after: Duration) -> Vec<String> {
        self.now += after;
        self.window.handle(self.now, self.counted.clone(), self.probed.clone());
        self.window.breaches().map(|breach| breach.to_string()).collect()
    }

    /// A second in which `good` requests are fast, `slow` take 400 ms and `failed` have no first byte.
    fn second(&mut self, good: u64, slow: u64, failed: u64) -> Vec<String> {
        self.count(good, Some(ms(20)));
        self.count(slow, Some(ms(400)));
        self.count(failed, None);
        self.look(SECOND)
    }
}

#[test]
fn a_breach_needs_enough_requests_and_tells_its_figures() {
    let mut world = World::new(objectives());
    assert_eq!(world.second(9, 10, 0), [""; 0], "19 requests are too few");
    let told = world.second(1, 0, 0);
    assert_eq!(told, ["p95 to first byte 470ms of 20 requests, 100ms allowed"]);
    assert!(matches!(
        world.window.breaches().next(),
        Some(Breach::FirstByte { requests: 20, limit, .. }) if limit == ms(100)
    ));
}

#[test]
fn the_error_rate_is_breached_beyond_its_limit_and_not_at_it() {
    for (good, failed, breached) in [(98, 2, false), (97, 3, true)] {
        let mut world = World::new(objectives());
        world.second(good, 0, failed);
        assert_eq!(world.window.breaches().count() == 1, breached, "{failed} of {}", good + failed);
    }
    let mut world = World::new(objectives());
    let told = world.second(90, 0, 10);
    assert_eq!(
        told,
        [
            "more than 5 % of 100 requests had no first byte, p95 of 100ms allowed",
            "10.0 % of 100 requests failed, 2.0 % allowed",
        ]
    );
}

#[test]
fn a_breach_is_over_only_well_below_its_limit() {
    let mut world = World::new(Objectives { p95: None, ..objectives() });
    world.second(950, 0, 50);
    assert_eq!(world.window.breaches().count(), 1);
    // 50 errors among n requests: 2 % at 2500, 1.6 % at 3125.
    for (requests, breached) in [(1000, true), (500, true), (600, true), (30, false), (0, false)] {
        world.second(requests, 0, 0);
        let rate = world.window.figures().unwrap().error_rate;
        assert_eq!(world.window.breaches().count() == 1, breached, "{rate}");
    }
}

#[test]
fn what_has_left_the_window_counts_no_more() {
    let mut world = World::new(objectives());
    world.second(0, 1000, 0);
    for second in 1..60 {
        let breaches = world.second(100, 0, 0).len();
        // 5 % of what the window holds, at the latest when the slow ones are out of it.
        assert_eq!(breaches == 1, second < 30, "second {second}");
    }
    assert_eq!(world.window.figures().unwrap().requests, 3000);
}

#[test]
fn a_breach_without_traffic_is_over_when_a_window_has_passed() {
    let mut world = World::new(objectives());
    world.second(0, 50, 0);
    let mut seconds = 0;
    while !world.second(0, 0, 0).is_empty() {
        seconds += 1;
        assert!(seconds < 100, "it never ends");
    }
    assert!((58..=61).contains(&seconds), "leaves the window, and a window later: {seconds}");
}

#[test]
fn time_nobody_looked_at_is_no_evidence() {
    let mut world = World::new(objectives());
    world.second(0, 1000, 0);
    assert_eq!(world.window.breaches().count(), 1);
    world.count(1000, None);
    assert_eq!(world.look(Duration::from_secs(61)), [""; 0]);
    assert_eq!(world.window.figures(), None);
    assert_eq!(world.second(1000, 0, 0), [""; 0], "what happened meanwhile is not held against it");
}

#[test]
fn a_service_without_objectives_or_traffic_breaches_nothing() {
    let mut world = World::new(Objectives::default());
    assert_eq!(world.second(0, 1000, 1000), [""; 0]);
    let mut world = World::new(objectives());
    assert_eq!(world.window.figures(), None);
    assert_eq!(world.second(0, 0, 0), [""; 0]);
    assert_eq!(world.window.figures(), Some(Figures { requests: 0, probes: 0, error_rate: 0.0, p95: None }));
}

#[test]
fn the_percentile_is_interpolated_within_its_bucket() {
    for (latencies, expected) in [
        (vec![(100, 20)], ms(10) + ms(40).mul_f64(0.95)),
        (vec![(95, 20), (5, 400)], ms(50)),
        (vec![(94, 20), (6, 400)], ms(200) + ms(300) / 6),
        (vec![(1, 5)], ms(10)),
    ] {
        let mut world = World::new(objectives());
        for (requests, latency) in latencies {
            world.count(requests, Some(ms(latency)));
        }
        world.look(SECOND);
        assert_eq!(world.window.figures().unwrap().p95, Some(expected));
    }
}

#[test]
fn a_service_without_traffic_is_judged_by_its_probes() {
    let mut world = World::new(objectives());
    world.probe(19, Some(ms(300)));
    assert_eq!(world.look(SECOND), [""; 0], "as few probes tell no more than as few requests");
    world.probe(11, Some(ms(300)));
    // As the least number of requests, all within 100 to 400 ms.
    assert_eq!(world.look(SECOND), ["p95 to first byte 385ms of 20 probes, 100ms allowed"]);
    world.probe(60, Some(ms(15)));
    world.probe(10, None);
    assert_eq!(
        world.look(SECOND),
        [
            "more than 5 % of 20 probes had no first byte, p95 of 100ms allowed",
            "10.0 % of 20 probes failed, 2.0 % allowed"
        ]
    );
    for _ in 0..31 {
        world.probe(4, Some(ms(15)));
        world.look(SECOND);
    }
    assert_eq!(world.window.breaches().count(), 0, "over with the probes that failed");
}

#[test]
fn probes_stand_in_for_what_traffic_lacks_and_no_more() {
    for (requests, probes, weighed) in
        [(0, 10, 10), (0, 1000, 20), (5, 3, 3), (5, 1000, 15), (19, 1000, 1), (20, 1000, 0), (500, 1000, 0)]
    {
        let mut world = World::new(objectives());
        world.count(requests, Some(ms(20)));
        world.probe(probes, None);
        world.look(SECOND);
        let figures = world.window.figures().unwrap();
        assert_eq!((figures.requests, figures.probes), (requests, weighed), "{requests} and {probes}");
        let rate = weighed as f64 / (requests + weighed) as f64;
        assert!((figures.error_rate - rate).abs() < 1e-9, "{requests} and {probes}");
    }
}

#[test]
fn probes_that_are_answered_well_hide_no_requests_that_fail() {
    let mut world = World::new(objectives());
    world.count(19, Some(ms(20)));
    world.count(1, None);
    world.probe(10_000, Some(ms(1)));
    assert_eq!(world.look(SECOND), ["5.0 % of 20 requests failed, 2.0 % allowed"]);
}

#[test]
fn requests_and_probes_are_told_apart_where_both_count() {
    let mut world = World::new(Objectives { error_rate: None, ..objectives() });
    world.count(5, Some(ms(20)));
    world.probe(60, Some(ms(300)));
    // Of 20 the 19th: of the 15 probes the 14th, within 100 to 400 ms.
    assert_eq!(world.look(SECOND), ["p95 to first byte 380ms of 5 requests and 15 probes, 100ms allowed"]);
}

proptest! {
    /// Against a plain list of all requests: nothing of the window is missed, and nothing counts that lies a grain or a
    /// look before it.
    #[test]
    fn the_window_holds_what_a_list_of_requests_holds(
        steps in proptest::collection::vec((1u64..3000, 0u64..30, 0u64..5), 1..300),
    ) {
        let mut world = World::new(objectives());
        let mut list: Vec<(Instant, u64, u64)> = Vec::new();
        let mut widest = Duration::ZERO;
        for (millis, good, failed) in steps {
            world.count(good, Some(ms(20)));
            world.count(failed, None);
            world.look(ms(millis));
            widest = widest.max(ms(millis));
            list.push((world.now, good + failed, failed));
            let figures = world.window.figures().unwrap();
            let of = |span: Duration| {
                list.iter()
                    .filter(|(at, ..)| *at + span > world.now)
                    .fold((0, 0), |(all, bad), (_, requests, errors)| (all + requests, bad + errors))
            };
            let least = of(Objectives::WINDOW).0;
            let most = of(Objectives::WINDOW + Objectives::WINDOW / GRAIN + 2 * widest).0;
            prop_assert!((least..=most).contains(&figures.requests), "{least} {} {most}", figures.requests);
            prop_assert!(world.window.samples.len() <= GRAIN as usize + 4, "memory is bounded");
        }
    }

    #[test]
    fn a_breach_begins_only_beyond_the_limit_and_ends_only_below_the_lower_bar(
        seconds in proptest::collection::vec((0u64..200, 0u64..40, 0u64..20), 1..200),
    ) {
        let mut world = World::new(objectives());
        let mut was = [false; 2];
        for (good, slow, failed) in seconds {
            world.second(good, slow, failed);
            let Figures { requests, error_rate, p95, .. } = world.window.figures().unwrap();
            let is = [
                world.window.breaches().any(|breach| matches!(breach, Breach::FirstByte { .. })),
                world.window.breaches().any(|breach| matches!(breach, Breach::Errors { .. })),
            ];
            let over = [
                p95.map_or(0.0, |p95| p95.as_secs_f64()) / 0.1,
                error_rate / 0.02,
            ];
            for ((was, is), over) in was.into_iter().zip(is).zip(over) {
                match (was, is) {
                    (false, true) => prop_assert!(requests >= 20 && over > 1.0),
                    (true, false) if requests >= 20 => prop_assert!(over <= 0.8 + 1e-9),
                    (false, false) if requests >= 20 => prop_assert!(over <= 1.0 + 1e-9),
                    _ => {}
                }
            }
            was = is;
        }
    }
}
