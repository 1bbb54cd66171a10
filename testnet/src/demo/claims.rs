//! What must hold, and whether it did.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{
    FAILING,
    cycles::{AppKill, DaemonKill, Run},
    stage::{Ended, Wire},
    traffic::Traffic,
};
use crate::figures::middle;

const WITHDRAWAL_LIMIT: Duration = Duration::from_millis(30);
const FIB_LIMIT: Duration = Duration::from_millis(100);
const LEAST_RATE: f64 = 500.0;

/// One claim with its figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Claim {
    #[serde(rename = "claim")]
    pub(super) what: String,
    /// The middle of all kills; absent for claims that are counts.
    pub(super) median: Option<String>,
    /// The worst of all kills, or the count.
    pub(super) worst: String,
    pub(super) limit: String,
    pub(super) holds: bool,
    /// What the figure is of, or why it does not hold.
    pub(super) note: String,
}

impl Claim {
    /// The same, but it does not hold when there are `reasons` against it; they are told.
    fn unless(mut self, reasons: impl Iterator<Item = String>) -> Self {
        for reason in reasons {
            self.holds = false;
            self.note = format!("{}; {reason}", self.note);
        }
        self
    }
}

/// All claims, in the order of the story.
pub(super) fn judge(run: &Run, traffic: &Traffic, ended: &Ended, load: f64, slack: u32) -> Vec<Claim> {
    let mut claims = vec![steady(run, &ended.wires)];
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let reaction = |kill: &AppKill| after(kill.killed, kill.withdrawn[family]);
        claims.push(timed(
            format!("apps killed -> withdrawal on the wire, {name}"),
            run.app_kills.iter().map(reaction),
            WITHDRAWAL_LIMIT * slack,
        ));
    }
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let reaction = |kill: &AppKill| after(kill.killed, kill.fib_left[family]);
        claims.push(timed(
            format!("apps killed -> gone from the router's FIB, {name}"),
            run.app_kills.iter().map(reaction),
            FIB_LIMIT * slack,
        ));
    }
    claims.extend(failed_requests(traffic));
    claims.push(rate(traffic, load));
    claims.push(cut_streams(traffic));
    claims.push(untold_cuts(traffic));
    claims.push(fenced_answers(traffic));
    claims.push(fenced_abroad(traffic));
    claims.push(fenced_octets(ended));
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let reaction = |kill: &DaemonKill| after(kill.killed, kill.fib_left[family]);
        claims.push(timed(
            format!("daemon SIGKILLed -> gone from the FIB, {name}"),
            run.daemon_kills.iter().map(reaction),
            FIB_LIMIT * slack,
        ));
    }
    claims.push(too_early(run, &ended.wires));
    claims.push(came_back(run));
    claims
}

/// Time from `from` to `to`, where it happened.
pub(super) fn after(from: Instant, to: Option<Instant>) -> Option<Duration> {
    to.map(|to| to.saturating_duration_since(from))
}

/// Median and worst; `None` where something did not happen counts as worse than anything.
pub(super) fn median_and_worst(
    times: impl Iterator<Item = Option<Duration>>,
) -> (Option<Duration>, Option<Duration>) {
    let mut times: Vec<_> = times.map(|time| time.unwrap_or(Duration::MAX)).collect();
    times.sort_unstable();
    let known = |time: Option<&Duration>| time.copied().filter(|time| *time != Duration::MAX);
    (known(middle(&times)), known(times.last()))
}

/// Milliseconds for a person.
pub(super) fn millis(time: Option<Duration>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| format!("{:.1} ms", time.as_secs_f64() * 1e3))
}

fn timed(what: String, times: impl Iterator<Item = Option<Duration>>, limit: Duration) -> Claim {
    let times: Vec<_> = times.collect();
    let (median, worst) = median_and_worst(times.iter().copied());
    let never = times.iter().filter(|time| time.is_none()).count();
    Claim {
        what,
        median: Some(millis(median)),
        worst: millis(worst),
        limit: format!("{} ms", limit.as_millis()),
        holds: !times.is_empty() && never == 0 && worst.is_some_and(|worst| worst <= limit),
        note: match never {
            0 => format!("of {}", times.len()),
            _ => format!("did not happen {never} times of {}", times.len()),
        },
    }
}

fn count(what: &str, count: u64, note: String) -> Claim {
    Claim {
        what: what.to_owned(),
        median: None,
        worst: count.to_string(),
        limit: "0".to_owned(),
        holds: count == 0,
        note,
    }
}

fn steady(run: &Run, wires: &[Wire]) -> Claim {
    let sum: usize = run.steady.updates.iter().map(|(_, count)| count).sum();
    let length = run.steady.until.saturating_duration_since(run.steady.from);
    let keepalives: usize = run.steady.keepalives.iter().map(|(_, count)| count).sum();
    let note = format!(
        "in {:.0} s, from {} PoPs; {keepalives} KEEPALIVEs seen",
        length.as_secs_f64(),
        run.steady.updates.len()
    );
    let silent = run.steady.keepalives.iter().filter(|(_, count)| *count == 0);
    let silent = silent.map(|(pop, _)| format!("no KEEPALIVE of {pop} seen"));
    let none = wires.is_empty().then(|| "no PoP was watched".to_owned());
    count("UPDATEs in steady health", sum as u64, note)
        .unless(none.into_iter().chain(silent).chain(wires.iter().filter_map(blind)))
}

/// Why the absence of a message on this wire would prove nothing.
fn blind(wire: &Wire) -> Option<String> {
    (wire.frames_dropped > 0 || wire.unreadable > 0).then(|| {
        format!(
            "{}: {} frames missed, {} messages unreadable",
            wire.pop, wire.frames_dropped, wire.unreadable
        )
    })
}

fn failed_requests(traffic: &Traffic) -> Vec<Claim> {
    let names = ["failed idempotent requests, IPv4", "failed idempotent requests, IPv6"];
    let claims = names.into_iter().zip(&traffic.idempotent).map(|(name, requests)| {
        let reasons: Vec<_> = requests.failures.iter().map(|(what, n)| format!("{n} x {what}")).collect();
        let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join(", ")) };
        let mut claim = count(name, requests.failed, format!("of {}{reasons}", requests.sent));
        claim.holds &= requests.sent > 0;
        claim
    });
    claims.collect()
}

fn rate(traffic: &Traffic, load: f64) -> Claim {
    let least = LEAST_RATE * load.min(1.0);
    Claim {
        what: "load while the apps were killed and restored".to_owned(),
        median: None,
        worst: format!("{:.0}/s", traffic.rate_during_app_kills),
        limit: format!(">= {least:.0}/s"),
        holds: traffic.rate_during_app_kills >= least,
        note: format!(
            "requests; started late by {:.1} ms at p99{}",
            traffic.lateness.p99_ms,
            if load < 1.0 { format!("; {}", reduced_load(load)) } else { String::new() }
        ),
    }
}

/// What a load below 1 leaves open.
pub(super) fn reduced_load(load: f64) -> String {
    format!("the load was reduced to {load}: the claim of {LEAST_RATE:.0} requests/s was not tested")
}

fn cut_streams(traffic: &Traffic) -> Claim {
    let streams = &traffic.streams;
    let note = format!("of {}; {} were moved to another PoP midway", streams.sent, streams.moved);
    let mut claim = count("streams cut although their app and daemon lived", streams.cut_wrongly(), note);
    claim.holds &= streams.complete > 0;
    claim
}

fn untold_cuts(traffic: &Traffic) -> Claim {
    let note = format!("of {} cut", traffic.streams.cut());
    count("cut streams whose client could not tell", traffic.streams.cut_untold, note)
}

fn fenced_answers(traffic: &Traffic) -> Claim {
    let seen = &traffic.fenced_during_outage;
    let all: u64 = seen.values().sum();
    let refused = seen.get("503").copied().unwrap_or(0);
    let list: Vec<_> = seen.iter().map(|(what, n)| format!("{n} x {what}")).collect();
    let before: Vec<_> =
        traffic.fenced_before_detection.iter().map(|(what, n)| format!("{n} x {what}")).collect();
    let before =
        if before.is_empty() { String::new() } else { format!("; before detection {}", before.join(", ")) };
    let mut claim = count(
        "EU-only address: fenced requests not 503 in outage",
        all - refused,
        format!("of {all}: {}{before}", list.join(", ")),
    );
    claim.holds &= refused > 0;
    claim
}

/// Fenced requests to a PoP outside the jurisdiction: answered within it or refused, never answered elsewhere.
fn fenced_abroad(traffic: &Traffic) -> Claim {
    let seen = &traffic.fenced_abroad;
    let note = format!(
        "of {}: {} answered in {FAILING}, {} x 503 in the outage, {} failed otherwise",
        seen.sent,
        seen.by_jurisdiction,
        seen.refused_during_outage,
        seen.sent - seen.by_jurisdiction - seen.by_others - seen.refused_during_outage
    );
    let lacks = |lack: bool, what: &str| lack.then(|| what.to_owned());
    count("anycast: fenced requests answered elsewhere", seen.by_others, note).unless(
        [
            lacks(seen.by_jurisdiction == 0, "none was ever answered"),
            lacks(seen.refused_during_outage == 0, "none was refused in the outage"),
        ]
        .into_iter()
        .flatten(),
    )
}

fn fenced_octets(ended: &Ended) -> Claim {
    let seen = ended.borders.iter().map(|border| border.marker_seen).sum();
    let dropped: u64 = ended.borders.iter().map(|border| border.frames_dropped).sum();
    let searched: u64 = ended.borders.iter().map(|border| border.octets).sum();
    let note = format!(
        "in {:.1} MB on {} links; seen {} times on the PoP's own link{}",
        searched as f64 / 1e6,
        ended.borders.len(),
        ended.control.marker_seen,
        if dropped == 0 { String::new() } else { format!("; {dropped} frames missed") }
    );
    let mut claim = count("EU-only address: requests seen at the border", seen, note);
    // A search that finds nothing where there is something proves nothing.
    claim.holds &= ended.control.marker_seen > 0 && dropped == 0;
    let unsearched = ended.borders.iter().filter(|border| border.octets == 0);
    let unsearched = unsearched.map(|border| format!("nothing passed the link to {}", border.towards));
    let none = ended.borders.is_empty().then(|| "no link was watched".to_owned());
    claim.unless(none.into_iter().chain(unsearched))
}

fn too_early(run: &Run, wires: &[Wire]) -> Claim {
    let early = |kill: &&DaemonKill| match (kill.first_verdicts, kill.first_announcement) {
        (Some(verdicts), Some(announcement)) => announcement < verdicts,
        _ => true,
    };
    let leads = run.daemon_kills.iter().map(|kill| {
        kill.first_verdicts.zip(kill.first_announcement).map(|(v, a)| a.saturating_duration_since(v))
    });
    let (median, _) = median_and_worst(leads);
    let note = format!(
        "of {} restarts; the first UPDATE {} after the verdicts",
        run.daemon_kills.len(),
        millis(median)
    );
    let unseen = run.daemon_kills.iter().filter(|kill| !kill.opened).count();
    let unseen = (unseen > 0).then(|| format!("{unseen} times no OPEN was seen before"));
    let wires = wires.iter().filter(|wire| wire.pop == FAILING);
    count("announced before the first verdicts", run.daemon_kills.iter().filter(early).count() as u64, note)
        .unless(unseen.into_iter().chain(wires.filter_map(blind)))
}

fn came_back(run: &Run) -> Claim {
    let apps = run.app_kills.iter().map(|kill| kill.fib_back);
    let daemons = run.daemon_kills.iter().map(|kill| kill.fib_back);
    let backs: Vec<_> = apps.chain(daemons).collect();
    let missing = backs.iter().filter(|back| back.contains(&None)).count();
    count("times the routes did not come back", missing as u64, format!("of {}", backs.len()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        super::{
            stage::Border,
            traffic::{self, FencedAbroad},
        },
        *,
    };
    use crate::observe::Journal;

    fn border(marker_seen: u64) -> Border {
        Border { towards: "us-east".to_owned(), marker_seen, octets: 1000, frames: 10, frames_dropped: 0 }
    }

    fn wire(unreadable: usize, frames_dropped: u64) -> Wire {
        Wire { pop: FAILING.to_owned(), unreadable, frames_dropped }
    }

    fn ended(at_border: u64, at_pop: u64) -> Ended {
        Ended {
            outcomes: Arc::new(Journal::default()),
            wires: vec![wire(0, 0)],
            borders: vec![border(at_border), border(0)],
            control: border(at_pop),
            daemon_log: None,
        }
    }

    #[test]
    fn the_median_never_flatters_and_what_never_happened_is_the_worst() {
        let times = |all: &[Option<u64>]| {
            median_and_worst(
                all.iter().map(|time| time.map(Duration::from_millis)).collect::<Vec<_>>().into_iter(),
            )
        };
        let ms = |n| Some(Duration::from_millis(n));
        assert_eq!(times(&[Some(3), Some(1), Some(2)]), (ms(2), ms(3)));
        assert_eq!(times(&[Some(1), Some(2)]), (ms(2), ms(2)));
        assert_eq!(times(&[Some(1), None, Some(2)]), (ms(2), None));
        assert_eq!(times(&[]), (None, None));
    }

    #[test]
    fn the_border_claim_fails_when_the_marker_crosses_and_when_the_search_could_not_have_found_it() {
        assert!(fenced_octets(&ended(0, 7)).holds);
        assert!(!fenced_octets(&ended(1, 7)).holds);
        assert!(!fenced_octets(&ended(0, 0)).holds);
        let mut one_link_silent = ended(0, 7);
        one_link_silent.borders[1].octets = 0;
        assert!(!fenced_octets(&one_link_silent).holds);
    }

    #[test]
    fn no_update_counts_only_where_the_capture_would_have_seen_one() {
        let mut run = traffic::tests::run(Instant::now());
        assert!(steady(&run, &[wire(0, 0)]).holds);
        for wires in [vec![], vec![wire(1, 0)], vec![wire(0, 1)]] {
            let claim = steady(&run, &wires);
            assert!(!claim.holds, "{wires:?}: {}", claim.note);
        }
        assert!(!too_early(&run, &[wire(0, 1)]).holds);
        run.steady.keepalives[0].1 = 0;
        let claim = steady(&run, &[wire(0, 0)]);
        assert!(!claim.holds && claim.note.contains("no KEEPALIVE of eu"), "{}", claim.note);
    }

    #[test]
    fn a_fenced_request_answered_elsewhere_fails_its_claim_and_so_does_one_that_nobody_refused() {
        let run = traffic::tests::run(Instant::now());
        let claim = |by_jurisdiction, by_others, refused_during_outage| {
            let mut traffic = Traffic::new(&run, &[]);
            traffic.fenced_abroad =
                FencedAbroad { sent: 9, by_jurisdiction, by_others, refused_during_outage };
            fenced_abroad(&traffic)
        };
        assert!(claim(5, 0, 4).holds);
        assert!(!claim(5, 1, 3).holds);
        assert!(!claim(5, 0, 0).holds);
        assert!(!claim(0, 0, 4).holds);
    }

    #[test]
    fn an_announcement_before_the_verdicts_is_caught() {
        let mut run = traffic::tests::run(Instant::now());
        let wires = [wire(0, 0)];
        assert!(too_early(&run, &wires).holds);
        run.daemon_kills[0].opened = false;
        assert!(!too_early(&run, &wires).holds);
        run.daemon_kills[0].opened = true;
        run.daemon_kills[0].first_announcement = Some(run.daemon_kills[0].restarted);
        assert!(!too_early(&run, &wires).holds);
    }

    #[test]
    fn a_withdrawal_that_is_late_or_never_comes_fails_its_claim() {
        let limit = Duration::from_millis(30);
        let claim = |times: &[Option<Duration>]| timed(String::new(), times.iter().copied(), limit);
        assert!(claim(&[Some(limit)]).holds);
        assert!(!claim(&[Some(limit), Some(limit + Duration::from_nanos(1))]).holds);
        let never = claim(&[Some(limit), None]);
        assert!(!never.holds);
        assert_eq!(never.worst, "never");
    }
}
