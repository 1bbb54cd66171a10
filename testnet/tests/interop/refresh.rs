//! Routes sent again, both ways: ROUTE-REFRESH (RFC 2918) and the marks around the answer (RFC 7313), as they pass the cable.

use std::{collections::BTreeSet, net::IpAddr};

use proxima_testnet::router::{Announcement, Make};
use proxima_types::{Family, Prefix};

use crate::support::{Lab, POP, ROUTER, Step, Wire, in_sandbox, wait};

const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
/// What the router announces, and what it adds later.
const THEIRS: [&str; 3] = ["198.51.100.0/24", "198.51.101.0/24", "2001:db8:51::/48"];
const LATER: [&str; 2] = ["198.51.102.0/24", "2001:db8:52::/48"];
/// The code of enhanced route refresh (RFC 7313 §3.1).
const ENHANCED: u64 = 70;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// All that the daemon has of the router and that an answer with the same routes leaves as it is.
fn table(lab: &Lab) -> Vec<String> {
    let mut all: Vec<_> = lab
        .pop
        .received()
        .iter()
        .map(|route| {
            let stale = route.more["stale"].as_bool();
            let crate::support::Route { prefix, next_hop, as_path, med, communities, .. } = route;
            format!("{prefix} by {next_hop}, {as_path:?}, {med:?}, {communities:?}, stale: {stale:?}")
        })
        .collect();
    all.sort_unstable();
    all
}

fn wait_received(lab: &Lab, wanted: &[&str]) {
    wait(&format!("{wanted:?} of the router"), || {
        let routes = lab.pop.received();
        let has = |text: &&str| routes.iter().any(|route| route.prefix == prefix(text));
        if wanted.iter().all(has) { Ok(()) } else { Err(format!("{routes:?}")) }
    });
}

/// Whether the router offered to mark where its answers begin and end.
fn has_marks(lab: &Lab) -> bool {
    let peer = lab.pop.peer();
    let all = peer.more["capabilities"].as_array().unwrap();
    all.iter().any(|capability| capability["code"] == ENHANCED && capability["received"].is_string())
}

/// Prefixes of a family that the router announced and did not withdraw until a mark: its adj-RIB-out.
fn announced_until(wire: &Wire, mark: usize, family: Family) -> BTreeSet<Prefix> {
    let after = wire.steps(mark, ROUTER.into(), family).len();
    let mut steps = wire.steps(0, ROUTER.into(), family);
    steps.truncate(steps.len() - after);
    let mut held = BTreeSet::new();
    for step in steps {
        match step {
            Step::Announced(prefix) => drop(held.insert(prefix)),
            Step::Withdrawn(prefix) => drop(held.remove(&prefix)),
            Step::Request | Step::Begin | Step::End => {}
        }
    }
    held
}

/// How often one side asked for the routes of a family.
fn requests(wire: &Wire, mark: usize, from: IpAddr, family: Family) -> usize {
    wire.steps(mark, from, family).iter().filter(|step| **step == Step::Request).count()
}

/// What was said from a mark on, and the last step of it apart.
fn answered(wire: &Wire, mark: usize, from: IpAddr, family: Family) -> (Vec<Step>, Vec<Step>) {
    let mut steps = wire.steps(mark, from, family);
    let last = steps.split_off(steps.len().saturating_sub(1));
    (steps, last)
}

/// Nothing but what is asked for makes either side send its routes again: no session is lost to a busy machine.
fn lab(make: Make) -> Lab {
    let mut lab = Lab::new(make);
    lab.pop.hold_time = "90s";
    lab.peering.hold_time = 90;
    lab
}

// ---- the daemon asks

/// Each prefix that the router had announced before comes once more, between the marks where it knows them, and nothing else.
fn sends_all_again_when_asked(make: Make, with_marks: bool) {
    let mut lab = lab(make);
    if make == Make::Frr {
        // It answers once it has sent End-of-RIB, which it does only where graceful restart was offered.
        lab.pop.set("graceful-restart = {}");
    }
    let wire = Wire::of(&lab);
    for text in THEIRS {
        lab.router.announce(&Announcement::of(text).med(7)).unwrap();
    }
    lab.establish();
    wait_received(&lab, &THEIRS);
    wire.wait_announced(0, ROUTER.into(), &THEIRS);
    if make == Make::Frr {
        // It sends our own routes back, too.
        wait_received(&lab, &[IPV4, IPV6]);
        wire.wait_announced(0, ROUTER.into(), &[IPV4, IPV6]);
    }
    assert_eq!(has_marks(&lab), with_marks);

    let (mark, before) = (wire.mark(), table(&lab));
    lab.pop.command_peer("refresh", "");
    let whole = Family::ALL.map(|family| announced_until(&wire, mark, family));
    for (family, whole) in Family::ALL.into_iter().zip(&whole) {
        wait(&format!("{family} routes again"), || {
            let steps = wire.steps(mark, ROUTER.into(), family);
            let again = |prefix: &Prefix| steps.contains(&Step::Announced(*prefix));
            let ended = !with_marks || steps.contains(&Step::End);
            if ended && whole.iter().all(again) { Ok(()) } else { Err(format!("{steps:?}")) }
        });
    }
    // What comes too much would come before what the router says next.
    for text in LATER {
        lab.router.announce(&Announcement::of(text).med(7)).unwrap();
    }
    wait_received(&lab, &LATER);
    wire.wait_announced(mark, ROUTER.into(), &LATER);
    for ((family, whole), later) in Family::ALL.into_iter().zip(whole).zip(LATER) {
        assert_eq!(requests(&wire, mark, POP.into(), family), 1);
        let (mut steps, last) = answered(&wire, mark, ROUTER.into(), family);
        assert_eq!(last, [Step::Announced(prefix(later))], "{steps:?}");
        if with_marks {
            assert_eq!((steps.remove(0), steps.pop()), (Step::Begin, Some(Step::End)), "{steps:?}");
        }
        steps.sort_unstable();
        let once: Vec<_> = whole.into_iter().map(Step::Announced).collect();
        assert_eq!(steps, once);
    }
    let mut after = table(&lab);
    after.retain(|route| LATER.iter().all(|later| !route.starts_with(later)));
    assert_eq!(after, before);
    let peer = lab.pop.peer();
    assert_eq!((peer.established_count, &peer.more["messages"]["refreshes_sent"]), (1, &2.into()));
}

#[test]
fn bird_sends_all_again_between_marks_when_asked() {
    in_sandbox(|| sends_all_again_when_asked(Make::Bird, true));
}

#[test]
fn frr_sends_all_again_between_marks_when_asked() {
    in_sandbox(|| sends_all_again_when_asked(Make::Frr, true));
}

#[test]
fn gobgp_sends_all_again_when_asked() {
    in_sandbox(|| sends_all_again_when_asked(Make::GoBgp, false));
}

// ---- the router asks

/// Every route goes out once more and only once, between marks; `told` is what the router itself says of the marks.
fn gets_all_again_when_it_asks(make: Make, told: &[&str]) {
    let mut lab = lab(make);
    let wire = Wire::of(&lab);
    lab.establish();
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "", |_| true);
    }
    wire.wait_announced(0, POP.into(), &[IPV4, IPV6]);
    assert!(has_marks(&lab));
    let mark = wire.mark();
    lab.router.refresh(Family::Ipv4).unwrap();
    if !matches!(make, Make::Bird | Make::OpenBgpd) {
        // Those two ask for all families at once.
        lab.router.refresh(Family::Ipv6).unwrap();
    }
    for family in Family::ALL {
        wait(&format!("end of the {family} answer"), || {
            let steps = wire.steps(mark, POP.into(), family);
            if steps.contains(&Step::End) { Ok(()) } else { Err(format!("{steps:?}")) }
        });
    }
    wait("begin and end of the refresh in the router's words", || {
        let log = lab.router.session().unwrap().told + &lab.router.log();
        match told.iter().find(|words| !log.contains(**words)) {
            None => Ok(()),
            Some(missing) => Err(format!("no `{missing}` in {log}")),
        }
    });
    // What comes too much would come before what is said next.
    lab.pop.stop_apps(1);
    for text in [IPV4, IPV6] {
        lab.wait_path(text, "less attractive", |path| path.med == Some(200));
    }
    for family in Family::ALL {
        wait("change of health on the wire", || {
            let steps = wire.steps(mark, POP.into(), family);
            let end = steps.iter().position(|step| *step == Step::End).unwrap();
            if steps.len() > end + 1 { Ok(()) } else { Err(format!("{steps:?}")) }
        });
    }
    for text in [IPV4, IPV6] {
        let (prefix, family) = (prefix(text), prefix(text).family());
        assert_eq!(requests(&wire, mark, ROUTER.into(), family), 1);
        let once = [Step::Begin, Step::Announced(prefix), Step::End];
        assert_eq!(
            answered(&wire, mark, POP.into(), family),
            (once.to_vec(), vec![Step::Announced(prefix)]),
            "and then the change of health"
        );
    }
    let peer = lab.pop.peer();
    assert_eq!((peer.established_count, &peer.more["messages"]["refreshes_received"]), (1, &2.into()));
}

#[test]
fn bird_gets_all_again_once_between_marks_when_it_asks() {
    in_sandbox(|| gets_all_again_when_it_asks(Make::Bird, &["Got BEGIN-OF-RR", "Got END-OF-RR"]));
}

#[test]
fn frr_gets_all_again_once_between_marks_when_it_asks() {
    let told = ["rcvd route-refresh (BoRR)", "rcvd route-refresh (EoRR)"];
    in_sandbox(|| gets_all_again_when_it_asks(Make::Frr, &told));
}

#[test]
fn openbgpd_gets_all_again_once_between_marks_when_it_asks() {
    // Of both families: its counters of what it received.
    in_sandbox(|| gets_all_again_when_it_asks(Make::OpenBgpd, &["\"borr\":2", "\"eorr\":2"]));
}

#[test]
fn exabgp_gets_all_again_once_between_marks_when_it_asks() {
    in_sandbox(|| gets_all_again_when_it_asks(Make::ExaBgp, &["\"begin\"", "\"end\""]));
}

// ---- routers that cannot

/// It keeps what it was sent and looks at that again: nothing goes out, and it knows no marks.
#[test]
fn gobgp_looks_at_what_it_has_where_others_ask() {
    in_sandbox(|| {
        let mut lab = lab(Make::GoBgp);
        let wire = Wire::of(&lab);
        lab.establish();
        for text in [IPV4, IPV6] {
            lab.wait_path(text, "", |_| true);
        }
        assert!(!has_marks(&lab));
        for family in Family::ALL {
            lab.router.refresh(family).unwrap();
        }
        lab.router.announce(&Announcement::of(THEIRS[0])).unwrap();
        wait_received(&lab, &THEIRS[..1]);
        wire.wait_announced(0, ROUTER.into(), &THEIRS[..1]);
        for family in Family::ALL {
            assert_eq!(requests(&wire, 0, ROUTER.into(), family), 0);
        }
    });
}

/// It takes any request for one of a family that was not negotiated, while it sends routes of both.
#[test]
fn openbgpd_answers_no_request_since_it_knows_of_no_family() {
    in_sandbox(|| {
        let mut lab = lab(Make::OpenBgpd);
        let sent = [THEIRS[0], THEIRS[2]];
        for text in sent {
            lab.router.announce(&Announcement::of(text)).unwrap();
        }
        lab.establish();
        wait_received(&lab, &sent);
        lab.pop.command_peer("refresh", "");
        wait("both refusals", || {
            let log = lab.router.log();
            let refused = log
                .lines()
                .filter(|line| line.contains("route refresh: AID ") && line.ends_with("not negotiated"));
            if refused.count() == 2 { Ok(()) } else { Err(log) }
        });
        assert_eq!(lab.pop.peer().established_count, 1);
    });
}

/// It means to put marks around its answer and stumbles over them: the session is lost, and comes back with all routes.
#[test]
fn exabgp_loses_the_session_over_a_request_and_comes_back() {
    in_sandbox(|| {
        let mut lab = lab(Make::ExaBgp);
        lab.router.announce(&Announcement::of(THEIRS[0])).unwrap();
        lab.establish();
        wait_received(&lab, &THEIRS[..1]);
        lab.pop.command_peer("refresh", "");
        wait("second session", || match lab.pop.peer() {
            peer if peer.established_count == 2 => Ok(()),
            peer => Err(format!("{peer:?}")),
        });
        lab.wait_established();
        wait_received(&lab, &THEIRS[..1]);
    });
}
