use std::collections::BTreeSet;

use proxima_api::{
    Alarm, AlarmKind, Backend, BackendCounts, Backends, BfdSession, BfdState, By, Certificate,
    CertificateOrder, Certificates, EventKind, Evidence, Group, GroupReason, Listener, Messages, Order,
    OrderVerb, Peer, PeerCounts, Peers, Phase, PrefixCount, ProbeFailure, Protocol, ServerRole, Service,
    SessionState, Status, Timestamp, VerdictReason,
};
use proxima_types::{Asn, Family, Health, ReachState, Score, Weight};

use super::*;

fn status() -> Status {
    let at = Timestamp::from_unix_micros(1_772_366_400_000_000);
    Status {
        pop: "eu1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        jurisdiction: "EU".parse().unwrap(),
        version: "0.1.0".into(),
        pid: 1,
        router_id: [10, 2, 0, 2].into(),
        local_as: Asn(64512),
        started_at: at,
        uptime_ms: 5,
        phase: Phase::Running,
        drained: None,
        alarms: vec![Alarm {
            group: "web".parse().unwrap(),
            kind: AlarmKind::Capped { most: 1, within_ms: 60_000 },
            since: at,
        }],
        groups: vec![Group {
            name: "web".parse().unwrap(),
            state: ReachState::DePreferred,
            since: at,
            score: Some(Score::new(0.5)),
            reason: GroupReason::ScoreBelow {
                score: Score::new(0.5).into(),
                threshold: Score::new(0.8),
                penalty: Some(1.5),
                held: None,
            },
            by_health: ReachState::DePreferred,
            hold: None,
            order: Some(Order {
                verb: OrderVerb::Announce,
                by: By::Operator { uid: Some(1000), pid: None },
                reason: None,
                since: at,
                until: None,
            }),
            penalty: Some(1.5),
            others: Some(Evidence { observing: true, others: vec![], counted: 0, least: 1 }),
            prefixes: vec![],
            services: vec![],
        }],
        services: vec![Service {
            name: "web".parse().unwrap(),
            protocol: Protocol::Http,
            listeners: vec![Listener { address: "203.0.113.1:80".parse().unwrap(), open: true }],
            connections: 3,
            exchanges: 12,
        }],
        peers: PeerCounts { total: 1, established: 1 },
        backends: BackendCounts { up: 1, down: 0, unknown: 0, unchecked: 1 },
        workers: 2,
        last_event: 0,
    }
}

fn peer() -> Peer {
    Peer {
        name: "router".parse().unwrap(),
        configured: "10.2.1.1".into(),
        address: Some([10, 2, 1, 1].into()),
        port: 179,
        remote_as: Asn(65002),
        internal: false,
        state: SessionState::Established,
        since: Timestamp::from_unix_micros(0),
        since_ms: 0,
        held: None,
        last_error: None,
        last_sent: None,
        last_received: None,
        last_transport_error: None,
        local: None,
        remote: None,
        remote_router_id: None,
        hold_time_s: Some(9),
        timers: vec![],
        capabilities: vec![],
        families: vec![],
        roles: None,
        bfd: Some(bfd()),
        prefixes: vec![PrefixCount { family: Family::Ipv4, received: 6, limit: Some(100), stale: false }],
        advertised: 4,
        received: 6,
        messages: Messages { sent: 9, received: 8, treated_as_withdrawn: 1, ..Messages::default() },
        updates_sent: 2,
        updates_received: 3,
        established_count: 1,
        flaps: 0,
    }
}

fn bfd() -> BfdSession {
    BfdSession {
        peer: "router".parse().unwrap(),
        remote: [10, 2, 1, 1].into(),
        local: None,
        interface: None,
        multihop: false,
        authenticated: false,
        state: BfdState::Up,
        since: Timestamp::from_unix_micros(0),
        since_ms: 0,
        diagnostic: None,
        remote_state: Some(BfdState::Up),
        remote_diagnostic: None,
        local_discriminator: 1,
        remote_discriminator: 2,
        multiplier: 3,
        transmit_us: 50_000,
        receive_us: 50_000,
        detection_us: 150_000,
        packets_sent: 0,
        packets_received: 0,
        packets_discarded: 0,
        flaps: 0,
    }
}

fn backend() -> Backend {
    Backend {
        id: "app/eu-1".parse().unwrap(),
        region: "eu".parse().unwrap(),
        jurisdiction: "EU".parse().unwrap(),
        provider: None,
        address: "10.2.11.2:8080".parse().unwrap(),
        tier: 0,
        weight: Weight(100),
        health: Health::Up,
        since: Timestamp::from_unix_micros(0),
        reason: None,
        rtt_us: Some(250),
        shared: true,
        role: Some(ServerRole::Replica),
        lag_ms: Some(1500),
        certificate_ends: Some(Timestamp::from_unix_micros(2_000_000_000_000_000)),
        unchecked: None,
        distance: None,
    }
}

/// One of a file, one that is ordered and ends earlier, and one that is still waited for.
fn certificates() -> Certificates {
    let certificate = |service: &str, ends: Option<i64>, failures| Certificate {
        service: service.parse().unwrap(),
        file: "/f.pem".to_owned(),
        names: vec!["a.example".to_owned()],
        ends: ends.map(|seconds| Timestamp::from_unix_micros(seconds * 1_000_000)),
        order: Option::map(failures, |failures| CertificateOrder {
            issuer: "le".parse().unwrap(),
            next: None,
            failures,
            error: None,
        }),
    };
    let of_web =
        [certificate("web", Some(2_000_000_000), None), certificate("web", Some(1_900_000_000), Some(0))];
    Certificates { certificates: of_web.into_iter().chain([certificate("api", None, Some(3))]).collect() }
}

fn events() -> [EventKind; 9] {
    [
        EventKind::BackendVerdict {
            backend: "app/eu-1".parse().unwrap(),
            region: "eu".parse().unwrap(),
            from: Health::Up,
            to: Health::Down,
            reason: VerdictReason::Hard { evidence: ProbeFailure::Refused },
            rtt_us: None,
            detected_in_us: None,
        },
        EventKind::GroupTransition {
            group: "web".parse().unwrap(),
            from: ReachState::Announced,
            to: ReachState::Withdrawn,
            reason: GroupReason::Stopping,
        },
        EventKind::PeerState {
            peer: "router".parse().unwrap(),
            from: SessionState::Established,
            to: SessionState::Idle,
            reason: None,
        },
        EventKind::UpdateSent {
            peer: "router".parse().unwrap(),
            announced: vec![],
            withdrawn: vec![],
            attributes: None,
        },
        EventKind::BfdState {
            peer: "router".parse().unwrap(),
            from: BfdState::Up,
            to: BfdState::Down,
            diagnostic: None,
        },
        EventKind::Reloaded { changes: Box::default() },
        EventKind::ReloadRefused { error: "no such file".into() },
        EventKind::CertificateFailed {
            service: "web".parse().unwrap(),
            issuer: "le".parse().unwrap(),
            error: String::new(),
            retry_at: Some(Timestamp::from_unix_micros(0)),
            ends: None,
        },
        EventKind::CertificateObtained {
            service: "web".parse().unwrap(),
            issuer: "le".parse().unwrap(),
            names: vec![],
            ends: Timestamp::from_unix_micros(0),
        },
    ]
}

fn rendered() -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = Prometheus(recorder.handle());
    metrics::with_local_recorder(&recorder, || {
        describe();
        events().iter().for_each(count_event);
        table::EVENTS_LOST.add(&[], 2);
        table::LOG_LINES_LOST.add(&[], 1);
        record_status(&status());
        record_peers(&Peers { peers: vec![peer()] });
        record_backends(&Backends { backends: vec![backend()] });
        record_certificates(&certificates());
    });
    prometheus.render()
}

fn names() -> Vec<&'static str> {
    let gauges = table::GAUGES.iter().map(|gauge| gauge.name);
    gauges.chain(table::COUNTERS.iter().map(|counter| counter.name)).collect()
}

#[test]
fn names_are_unique_and_tell_counters_by_their_end() {
    let all = names();
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for name in all {
        assert!(name.starts_with("proxima_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(
            table::COUNTERS.iter().any(|counter| counter.name == name),
            name.ends_with("_total"),
            "{name}"
        );
    }
}

#[test]
fn every_rendered_metric_is_in_the_table_with_its_help() {
    let text = rendered();
    let families = |keyword: &str| -> BTreeSet<String> {
        text.lines()
            .filter_map(|line| Some(line.strip_prefix(keyword)?.split(' ').next()?.to_owned()))
            .collect()
    };
    let (helped, typed) = (families("# HELP "), families("# TYPE "));
    assert_eq!(helped, typed);
    let table: BTreeSet<String> = names().into_iter().map(str::to_owned).collect();
    assert!(typed.is_subset(&table), "{typed:?}");
}

#[test]
fn values_bear_base_units_and_states_are_one_hot() {
    let text = rendered();
    for line in [
        r#"proxima_build_info{version="0.1.0",pop="eu1",region="eu"} 1"#,
        "proxima_start_time_seconds 1772366400",
        r#"proxima_group_score_ratio{group="web"} 0.5"#,
        r#"proxima_group_state{group="web",state="de-preferred"} 1"#,
        r#"proxima_group_state{group="web",state="withdrawn"} 0"#,
        r#"proxima_group_transitions_total{group="web",to="withdrawn"} 1"#,
        r#"proxima_group_flap_penalty{group="web"} 1.5"#,
        r#"proxima_group_override{group="web",order="announce"} 1"#,
        r#"proxima_group_override{group="web",order="withdraw"} 0"#,
        r#"proxima_group_other_announcers{group="web"} 0"#,
        r#"proxima_alarm{kind="capped",group="web"} 1"#,
        r#"proxima_alarm{kind="last-announcer",group="web"} 0"#,
        "proxima_backends_unchecked 1",
        r#"proxima_backend_up{backend="app/eu-1",region="eu"} 1"#,
        r#"proxima_backend_rtt_seconds{backend="app/eu-1",region="eu"} 0.00025"#,
        r#"proxima_backend_role{backend="app/eu-1",region="eu",role="replica"} 1"#,
        r#"proxima_backend_role{backend="app/eu-1",region="eu",role="primary"} 0"#,
        r#"proxima_backend_replica_lag_seconds{backend="app/eu-1",region="eu"} 1.5"#,
        r#"proxima_backend_certificate_expiry_timestamp_seconds{backend="app/eu-1",region="eu"} 2000000000"#,
        r#"proxima_backend_verdicts_total{backend="app/eu-1",to="down"} 1"#,
        r#"proxima_bgp_session_losses_total{peer="router"} 1"#,
        r#"proxima_bgp_routes_received{peer="router"} 6"#,
        r#"proxima_bgp_peer_state{peer="router",state="established"} 1"#,
        r#"proxima_bgp_peer_state{peer="router",state="idle"} 0"#,
        r#"proxima_bgp_peer_shutdown{peer="router"} 0"#,
        r#"proxima_bgp_prefixes_received{peer="router",family="ipv4"} 6"#,
        r#"proxima_bgp_prefixes_limit{peer="router",family="ipv4"} 100"#,
        r#"proxima_bgp_messages_total{peer="router",direction="received"} 8"#,
        r#"proxima_bgp_routes_treated_as_withdrawn_total{peer="router"} 1"#,
        r#"proxima_bfd_state{peer="router",state="up"} 1"#,
        r#"proxima_bfd_detection_seconds{peer="router"} 0.15"#,
        r#"proxima_bfd_session_losses_total{peer="router"} 1"#,
        r#"proxima_reloads_total{result="applied"} 1"#,
        r#"proxima_reloads_total{result="refused"} 1"#,
        r#"proxima_service_certificate_expiry_timestamp_seconds{service="web",name="a.example"} 1900000000"#,
        r#"proxima_acme_order_failures{service="web",issuer="le"} 0"#,
        r#"proxima_acme_order_failures{service="api",issuer="le"} 3"#,
        r#"proxima_acme_orders_total{service="web",issuer="le",result="obtained"} 1"#,
        r#"proxima_acme_orders_total{service="web",issuer="le",result="failed"} 1"#,
        r#"proxima_listener_up{service="web",address="203.0.113.1:80"} 1"#,
        r#"proxima_events_total{kind="update-sent"} 1"#,
        "proxima_events_lost_total 2",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_peer_that_is_gone_has_no_metrics_any_more_and_others_go_on_counting() {
    let recorder = builder().build_recorder();
    let prometheus = Prometheus(recorder.handle());
    let scrape = |peers: Vec<Peer>| {
        metrics::with_local_recorder(&recorder, || {
            let (peers, backends) = (Peers { peers }, Backends { backends: vec![backend()] });
            record_peers(&peers);
            record_events(&status(), &peers, &backends);
        });
        prometheus.render()
    };
    metrics::with_local_recorder(&recorder, || events().iter().for_each(count_event));
    let (gauge, counter, losses) =
        ("proxima_bgp_peer_established{", "proxima_bgp_messages_total{", "proxima_bgp_session_losses_total{");
    let others = "proxima_backend_verdicts_total{backend=\"app/eu-1\",to=\"down\"}";
    let text = scrape(vec![peer()]);
    assert!([gauge, counter, losses, others].iter().all(|line| text.contains(line)), "{text}");
    let begun = std::time::Instant::now();
    let text = loop {
        let text = scrape(vec![]);
        if [gauge, counter, losses].iter().all(|line| !text.contains(line)) {
            break text;
        }
        assert!(begun.elapsed() < 10 * GONE_AFTER, "it stays");
        std::thread::yield_now();
    };
    assert!(text.contains(others), "{text}");
    // Anew, and not from where another one of that name had come to.
    let text = scrape(vec![Peer { messages: Messages { sent: 2, ..Messages::default() }, ..peer() }]);
    assert!(text.contains("proxima_bgp_messages_total{peer=\"router\",direction=\"sent\"} 2"), "{text}");
}
