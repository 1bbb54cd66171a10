use proxima_types::{Community, Score};

use super::*;
use crate::{Inside, ProbeFailure};

fn event(kind: EventKind) -> Event {
    Event { seq: 7, at: Timestamp::from_unix_micros(1_772_366_400_000_250), mono_ns: 123_456_789, kind }
}

fn samples() -> Vec<(EventKind, &'static str, Severity, &'static str)> {
    vec![
        (
            EventKind::BackendVerdict {
                backend: "app/eu-1".parse().unwrap(),
                region: "eu".parse().unwrap(),
                from: Health::Up,
                to: Health::Down,
                reason: VerdictReason::Hard { evidence: ProbeFailure::Refused },
                rtt_us: None,
                detected_in_us: Some(1200),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"backend-verdict","backend":"app/eu-1","region":"eu","from":"up","to":"down","reason":{"because":"hard","evidence":{"failure":"refused"}},"rtt_us":null,"detected_in_us":1200}"#,
            Severity::Warning,
            "backend app/eu-1 in eu: up -> down: connection refused (hard evidence)",
        ),
        (
            EventKind::ChecksFailing {
                backends: vec!["app/eu-1".parse().unwrap(), "app/eu-2".parse().unwrap()],
                more: 3,
                why: Some("the program /x is not there".into()),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"checks-failing","backends":["app/eu-1","app/eu-2"],"more":3,"why":"the program /x is not there"}"#,
            Severity::Warning,
            "can't check app/eu-1 app/eu-2 and 3 more: the program /x is not there",
        ),
        (
            EventKind::ChecksResumed { backends: vec!["app/eu-1".parse().unwrap()], more: 0 },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"checks-resumed","backends":["app/eu-1"]}"#,
            Severity::Info,
            "can check app/eu-1 again",
        ),
        (
            EventKind::GroupTransition {
                group: "web".parse().unwrap(),
                from: ReachState::Announced,
                to: ReachState::Withdrawn,
                reason: GroupReason::ScoreBelow {
                    score: Score::ZERO.into(),
                    threshold: Score::new(0.4),
                    penalty: None,
                    held: None,
                },
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"group-transition","group":"web","from":"announced","to":"withdrawn","reason":{"because":"score-below","score":0.0,"threshold":0.4}}"#,
            Severity::Error,
            "group web: announced -> withdrawn: score 0.00 is below 0.40",
        ),
        (
            EventKind::CertificateObtained {
                service: "web".parse().unwrap(),
                issuer: "le".parse().unwrap(),
                names: vec!["a.example".to_owned(), "b.example".to_owned()],
                ends: Timestamp::from_unix_micros(1_780_142_400_000_000),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"certificate-obtained","service":"web","issuer":"le","names":["a.example","b.example"],"ends":"2026-05-30T12:00:00.000000Z"}"#,
            Severity::Info,
            "service web: certificate for a.example b.example from le, ends 2026-05-30T12:00:00Z",
        ),
        (
            EventKind::CertificateFailed {
                service: "web".parse().unwrap(),
                issuer: "le".parse().unwrap(),
                error: "no route".to_owned(),
                retry_at: Some(Timestamp::from_unix_micros(1_772_366_520_000_000)),
                ends: Some(Timestamp::from_unix_micros(1_780_142_400_000_000)),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"certificate-failed","service":"web","issuer":"le","error":"no route","retry_at":"2026-03-01T12:02:00.000000Z","ends":"2026-05-30T12:00:00.000000Z"}"#,
            Severity::Warning,
            "service web: no certificate from le: no route; tried again 2026-03-01T12:02:00Z; the one in use ends 2026-05-30T12:00:00Z",
        ),
        (
            EventKind::CertificateFailed {
                service: "web".parse().unwrap(),
                issuer: "le".parse().unwrap(),
                error: "no route".to_owned(),
                retry_at: None,
                ends: None,
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"certificate-failed","service":"web","issuer":"le","error":"no route"}"#,
            Severity::Error,
            "service web: no certificate from le: no route; there is none in use yet",
        ),
        (
            EventKind::CertificateMissing { service: "web".parse().unwrap() },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"certificate-missing","service":"web"}"#,
            Severity::Error,
            "service web: no certificate yet, clients are refused until there is one",
        ),
        (
            EventKind::UpdateSent {
                peer: "router".parse().unwrap(),
                announced: vec!["203.0.113.0/24".parse().unwrap()],
                withdrawn: vec![],
                attributes: Some(RouteAttributes {
                    prepend: 2,
                    med: Some(200),
                    local_pref: None,
                    communities: vec![Community(0xfc00_0064)],
                    large_communities: vec![],
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"update-sent","peer":"router","announced":["203.0.113.0/24"],"withdrawn":[],"attributes":{"prepend":2,"med":200,"communities":["64512:100"]}}"#,
            Severity::Info,
            "peer router: update sent, announced 203.0.113.0/24 prepend 2 med 200 communities 64512:100",
        ),
        (
            EventKind::PeerState {
                peer: "router".parse().unwrap(),
                from: SessionState::Established,
                to: SessionState::Idle,
                reason: Some(SessionReason::NotificationSent {
                    code: 6,
                    subcode: 2,
                    meaning: "administrative shutdown".into(),
                    inside: None,
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-state","peer":"router","from":"established","to":"idle","reason":{"because":"notification-sent","code":6,"subcode":2,"meaning":"administrative shutdown"}}"#,
            Severity::Info,
            "peer router: established -> idle: sent NOTIFICATION 6/2: administrative shutdown",
        ),
        (
            EventKind::PeerState {
                peer: "router".parse().unwrap(),
                from: SessionState::Established,
                to: SessionState::Idle,
                reason: Some(SessionReason::NotificationSent {
                    code: 6,
                    subcode: 9,
                    meaning: "hard reset: administrative shutdown".into(),
                    inside: Some(Inside { code: 6, subcode: 2 }),
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-state","peer":"router","from":"established","to":"idle","reason":{"because":"notification-sent","code":6,"subcode":9,"meaning":"hard reset: administrative shutdown","inside":{"code":6,"subcode":2}}}"#,
            Severity::Info,
            "peer router: established -> idle: sent NOTIFICATION 6/9: hard reset: administrative shutdown",
        ),
        (
            EventKind::PeerState {
                peer: "router".parse().unwrap(),
                from: SessionState::Established,
                to: SessionState::Idle,
                reason: Some(SessionReason::NotificationSent {
                    code: 6,
                    subcode: 9,
                    meaning: "hard reset: maximum number of prefixes reached".into(),
                    inside: Some(Inside { code: 6, subcode: 1 }),
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-state","peer":"router","from":"established","to":"idle","reason":{"because":"notification-sent","code":6,"subcode":9,"meaning":"hard reset: maximum number of prefixes reached","inside":{"code":6,"subcode":1}}}"#,
            Severity::Error,
            "peer router: established -> idle: sent NOTIFICATION 6/9: hard reset: maximum number of prefixes reached",
        ),
        (
            EventKind::PeerState {
                peer: "router".parse().unwrap(),
                from: SessionState::Established,
                to: SessionState::Idle,
                reason: Some(SessionReason::Left {
                    why: "closed without a word: this speaker restarts".into(),
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-state","peer":"router","from":"established","to":"idle","reason":{"because":"left","why":"closed without a word: this speaker restarts"}}"#,
            Severity::Info,
            "peer router: established -> idle: closed without a word: this speaker restarts",
        ),
        (
            EventKind::PeerState {
                peer: "router".parse().unwrap(),
                from: SessionState::Established,
                to: SessionState::Idle,
                reason: Some(SessionReason::NotificationReceived {
                    code: 6,
                    subcode: 2,
                    meaning: "administrative shutdown".into(),
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-state","peer":"router","from":"established","to":"idle","reason":{"because":"notification-received","code":6,"subcode":2,"meaning":"administrative shutdown"}}"#,
            Severity::Error,
            "peer router: established -> idle: the peer sent NOTIFICATION 6/2: administrative shutdown",
        ),
        (
            EventKind::BfdState {
                peer: "racks/10.1.0.7".parse().unwrap(),
                from: BfdState::Up,
                to: BfdState::Down,
                diagnostic: Some("control detection time expired".into()),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"bfd-state","peer":"racks/10.1.0.7","from":"up","to":"down","diagnostic":"control detection time expired"}"#,
            Severity::Error,
            "bfd racks/10.1.0.7: up -> down: control detection time expired",
        ),
        (
            EventKind::PeerShutdown { peer: "router".parse().unwrap(), reason: "new line card".into() },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"peer-shutdown","peer":"router","reason":"new line card"}"#,
            Severity::Warning,
            "peer router: shut down: new line card",
        ),
        (
            EventKind::Reloaded {
                changes: Box::new(Reloaded {
                    peers: crate::Reloads { changed: vec!["tor1".into()], ..Default::default() },
                    groups: crate::Reloads { added: vec!["web".into()], ..Default::default() },
                    tls: vec!["services.web.tls".into()],
                    other: vec!["bgp.mrt".into(), "drain".into()],
                    ..Default::default()
                }),
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"reloaded","peers":{"added":[],"removed":[],"changed":["tor1"]},"bmp":{"added":[],"removed":[],"changed":[]},"groups":{"added":["web"],"removed":[],"changed":[]},"services":{"added":[],"removed":[],"changed":[]},"pools":{"added":[],"removed":[],"changed":[]},"backends":{"added":[],"removed":[],"changed":[]},"regions":{"added":[],"removed":[],"changed":[]},"tls":["services.web.tls"],"other":["bgp.mrt","drain"]}"#,
            Severity::Info,
            "configuration reloaded: peers: ~tor1; groups: +web; certificates and keys: ~services.web.tls; other: ~bgp.mrt ~drain",
        ),
        (
            EventKind::Restarting {
                helped_by: vec!["tor1".parse().unwrap()],
                dropped_by: vec!["tor2".parse().unwrap()],
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"restarting","helped_by":["tor1"],"dropped_by":["tor2"]}"#,
            Severity::Warning,
            "restarting, routes kept by tor1, dropped by tor2",
        ),
        (
            EventKind::AlarmRaised {
                group: "web".parse().unwrap(),
                alarm: AlarmKind::Capped { most: 2, within_ms: 60_000 },
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"alarm-raised","group":"web","alarm":"capped","most":2,"within_ms":60000}"#,
            Severity::Error,
            "alarm: group web: not withdrawn, by the cap of 2 within 60 s",
        ),
        (
            EventKind::OrderGiven {
                groups: vec!["api".parse().unwrap(), "web".parse().unwrap()],
                order: Order {
                    verb: crate::OrderVerb::Withdraw,
                    by: By::Operator { uid: Some(1000), pid: Some(4711) },
                    reason: Some("new kernel".into()),
                    since: Timestamp::from_unix_micros(1_772_366_400_000_250),
                    until: Some(Timestamp::from_unix_micros(1_772_370_000_000_250)),
                },
            },
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"order-given","groups":["api","web"],"order":{"verb":"withdraw","by":{"who":"operator","uid":1000,"pid":4711},"reason":"new kernel","since":"2026-03-01T12:00:00.000250Z","until":"2026-03-01T13:00:00.000250Z"}}"#,
            Severity::Warning,
            "order for api web: withdraw by uid 1000, pid 4711, until 2026-03-01T13:00:00Z: new kernel",
        ),
        (
            EventKind::Undrain,
            r#"{"seq":7,"at":"2026-03-01T12:00:00.000250Z","mono_ns":123456789,"kind":"undrain"}"#,
            Severity::Info,
            "undrained",
        ),
    ]
}

#[test]
fn events_are_flat_json_that_reads_back_and_one_line_for_people() {
    for (kind, json, severity, line) in samples() {
        let event = event(kind);
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        assert_eq!(serde_json::from_str::<Event>(json).unwrap(), event);
        assert_eq!(event.kind.severity(), severity, "{line}");
        assert_eq!(event.to_string(), format!("2026-03-01T12:00:00.000250Z {line}"));
        assert!(json.contains(&format!(r#""kind":"{}""#, event.kind.name())));
    }
}

#[test]
fn a_followed_line_is_an_event_or_a_count_of_lost_ones() {
    let lost = EventLine::Lost { lost: 12 };
    assert_eq!(serde_json::to_string(&lost).unwrap(), r#"{"lost":12}"#);
    assert_eq!(serde_json::from_str::<EventLine>(r#"{"lost":12}"#).unwrap(), lost);
    let line = EventLine::Event(event(EventKind::Undrain));
    let json = serde_json::to_string(&line).unwrap();
    assert_eq!(serde_json::from_str::<EventLine>(&json).unwrap(), line);
}
