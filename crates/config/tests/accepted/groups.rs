//! Announcement groups, and what health makes of them.

use std::time::Duration;

use proxima_config::{
    BodyRate, ConnectionsPerIp, Damping, Group, Passive, Slo, WhenDown, Withdrawals, Withdrawn,
};

use crate::{
    common::{self, with},
    parse,
};

fn web(text: &str) -> Group {
    let group = parse(text).groups.into_values().find(|group| group.name.as_str() == "web");
    group.expect("the sound file has it")
}

#[test]
fn a_group_that_asks_for_nothing_is_damped_but_not_guarded_and_heeds_no_traffic() {
    let group = web(&with("hold-down = \"2s\"\n", ""));
    assert!(group.damping.is_some_and(|damping| damping.half_life == Duration::from_mins(1)));
    assert_eq!(group.guard, None);
    assert_eq!(group.degraded.unwrap().slo, None);
    let WhenDown::Withdraw(Withdrawn { hold_down, min_up, .. }) = group.when_down else {
        panic!("withdraws")
    };
    assert_eq!((hold_down, min_up), (Duration::from_secs(10), Duration::ZERO));
    assert_eq!(parse(common::SOUND).limits.withdrawals, None);
}

#[test]
fn damping_has_defaults_of_its_own() {
    let damping = |more: &str| {
        web(&with("[services.api]", &format!("[announce.web.damping]\n{more}\n[services.api]")))
            .damping
            .unwrap()
    };
    let (minute, default) = (Duration::from_mins(1), damping(""));
    let undamped =
        web(&with("hold-down = \"2s\"\n", "")
            .replace("[announce.web]\n", "[announce.web]\ndamping = \"none\"\n"));
    assert_eq!(undamped.damping, None);
    let expected = Damping { half_life: minute, suppress: 3.0, reuse: 1.0, max_suppress: 4 * minute };
    assert_eq!(default, expected);
    assert_eq!(damping("half-life = \"30s\"").max_suppress, 2 * minute);
    assert_eq!(damping("half-life = \"24h\"").max_suppress, Duration::from_hours(24));
    let own = damping("suppress = 2\nreuse = 0.5\nmax-suppress = \"60s\"");
    assert_eq!(own, Damping { suppress: 2.0, reuse: 0.5, max_suppress: minute, ..expected });
}

#[test]
fn a_guard_names_those_who_tell_and_waits_for_ten_seconds() {
    let guard = |more: &str| {
        let section = format!("[announce.web.guard]\nobserve = [\"tor1\"]\n{more}\n[services.api]");
        web(&with("[services.api]", &section)).guard.unwrap()
    };
    let plain = guard("");
    assert_eq!((plain.min_announcers.get(), plain.quiet), (1, Duration::from_secs(10)));
    assert_eq!(plain.observe, ["tor1".parse().unwrap()]);
    let own = guard("min-announcers = 2\nquiet = \"500ms\"");
    assert_eq!((own.min_announcers.get(), own.quiet), (2, Duration::from_millis(500)));
}

#[test]
fn an_slo_has_a_limit_or_two() {
    let slo = |text: &str| {
        web(&with("prepend = 2\n", &format!("prepend = 2\nslo = {text}\n"))).degraded.unwrap().slo.unwrap()
    };
    let plain = Slo {
        p95: Some(Duration::from_millis(100)),
        error_rate: None,
        window: Duration::from_secs(30),
        min_requests: 100.try_into().unwrap(),
    };
    assert_eq!(slo("{ p95 = \"100ms\" }"), plain);
    let rate = Some(proxima_types::Score::new(0.02));
    assert_eq!(slo("{ error-rate = 0.02 }"), Slo { p95: None, error_rate: rate, ..plain });
    assert_eq!(
        slo("{ p95 = \"100ms\", error-rate = 0.02, window = \"1m\", min-requests = 10 }"),
        Slo {
            error_rate: rate,
            window: Duration::from_mins(1),
            min_requests: 10.try_into().unwrap(),
            ..plain
        }
    );
}

#[test]
fn real_traffic_is_evidence_unless_the_file_says_otherwise() {
    let passive = |keys: &str| {
        let text = with("[pools.raw]\n", &format!("[pools.raw]\n{keys}\n"));
        parse(&text)
            .pools
            .into_values()
            .find(|pool| pool.name.as_str() == "raw")
            .expect("it is there")
            .passive
    };
    let usual = Passive { error_limit: 10.try_into().unwrap(), first_byte: None, mark_down: None };
    assert_eq!((passive(""), passive("passive = {}")), (Some(usual), Some(usual)));
    assert_eq!(passive("passive = { observe = false }"), None);
    let first_byte = Some(Duration::from_millis(500));
    let own = Passive { error_limit: 3.try_into().unwrap(), first_byte, mark_down: None };
    assert_eq!(passive("passive = { error-limit = 3, first-byte = \"500ms\" }"), Some(own));
    let marking =
        |keys: &str| passive(&format!("passive = {{ on-error = \"mark-down\"{keys} }}")).unwrap().mark_down;
    assert_eq!(marking(""), Some(Duration::from_secs(30)));
    assert_eq!(marking(", hold-down = \"5s\""), Some(Duration::from_secs(5)));
    assert_eq!(passive("passive = { on-error = \"fail-check\" }"), Some(usual));
}

#[test]
fn a_shared_backend_gates_what_has_no_backend_in_the_own_region() {
    let shared = |text: &str| {
        let backends = parse(text).pools.into_values().flat_map(|pool| pool.backends);
        backends.filter(|backend| backend.shared).map(|backend| backend.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(shared(common::SOUND), [""; 0]);
    let elsewhere = with(
        "name = \"eu-1\"\nregion = \"eu\"\naddress = \"10.1.0.10:8080\"",
        "name = \"eu-1\"\nregion = \"us-east\"\naddress = \"10.1.0.10:8080\"\nshared = true",
    );
    let anywhere = elsewhere.replace("residency = { allow = [\"EU\"] }", "residency = { allow = [\"US\"] }");
    assert_eq!(shared(&anywhere), ["app/eu-1"]);
}

#[test]
fn a_dead_checker_withdraws_after_30_s_or_three_of_the_quickest_probes_unless_the_file_says_otherwise() {
    let after = |text: &str| web(text).dead_man;
    assert_eq!(after(common::SOUND), Some(Duration::from_secs(30)));
    let slow = with("interval = \"1s\", timeout = \"500ms\"", "interval = \"20s\", timeout = \"2s\"");
    assert_eq!(after(&slow), Some(Duration::from_secs(72)));
    let given = |wait: &str| after(&with("communities =", &format!("dead-man = \"{wait}\"\ncommunities =")));
    assert_eq!((given("5s"), given("0s")), (Some(Duration::from_secs(5)), None));
}

#[test]
fn withdrawals_of_all_groups_together_may_be_limited() {
    let config = parse(&with("[admin]", "[limits]\nwithdrawals = { most = 2, within = \"60s\" }\n[admin]"));
    let limit = Withdrawals { most: 2.try_into().unwrap(), within: Duration::from_mins(1) };
    assert_eq!(config.limits.withdrawals, Some(limit));
}

#[test]
fn clients_are_held_to_a_rate_by_default_and_to_a_number_if_one_is_given() {
    let limits = parse(common::SOUND).limits;
    assert_eq!(limits.connections_per_ip, None);
    let default = BodyRate { request: 240, response: 0, grace: Duration::from_secs(20), streams: false };
    assert_eq!(limits.body_rate, default);
    let given = "[limits]\nconnections-per-ip = { most = 100, ipv6-prefix = 56, exempt = [\"10.0.0.0/8\"] }\n\
                 body-rate = { request = 0, response = 500, grace = \"5s\", streams = true }\n[admin]";
    let limits = parse(&with("[admin]", given)).limits;
    let exempt = vec!["10.0.0.0/8".parse().unwrap()];
    let per_ip = ConnectionsPerIp { most: 100.try_into().unwrap(), ipv6_prefix: 56, exempt };
    assert_eq!(limits.connections_per_ip, Some(per_ip));
    let rate = BodyRate { request: 0, response: 500, grace: Duration::from_secs(5), streams: true };
    assert_eq!(limits.body_rate, rate);
    let short = parse(&with("[admin]", "[limits]\nconnections-per-ip = { most = 1 }\n[admin]"));
    let short = short.limits.connections_per_ip.unwrap();
    assert_eq!((short.ipv6_prefix, short.exempt), (64, Vec::new()));
}
