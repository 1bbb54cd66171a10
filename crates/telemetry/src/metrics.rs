//! Every metric: its name, what it means, and where its value comes from.
//!
//! Counters of events are counted as the journal takes them; gauges are set from the daemon's own status when someone scrapes.
//! Nothing here is on the path of a request: the data plane counts in cells of its own, which the status sums up.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use proxima_api::{Backends, EventKind, Peers, SessionState, Status};
use proxima_types::{Health, ReachState};

use self::Kind::{Counter, Gauge};

enum Kind {
    Counter,
    Gauge,
}

const BUILD_INFO: &str = "proxima_build_info";
const START_TIME: &str = "proxima_start_time_seconds";
const DRAINED: &str = "proxima_drained";
const WORKERS: &str = "proxima_workers";
const EVENTS: &str = "proxima_events_total";
const EVENTS_LOST: &str = "proxima_events_lost_total";
const LOG_LINES_LOST: &str = "proxima_log_lines_lost_total";
const GROUP_SCORE: &str = "proxima_group_score_ratio";
const GROUP_STATE: &str = "proxima_group_state";
const GROUP_TRANSITIONS: &str = "proxima_group_transitions_total";
const BACKEND_UP: &str = "proxima_backend_up";
const BACKEND_RTT: &str = "proxima_backend_rtt_seconds";
const BACKEND_VERDICTS: &str = "proxima_backend_verdicts_total";
const PEER_ESTABLISHED: &str = "proxima_bgp_peer_established";
const PEER_LOSSES: &str = "proxima_bgp_session_losses_total";
const PEER_UPDATES: &str = "proxima_bgp_updates_sent_total";
const PEER_ADVERTISED: &str = "proxima_bgp_routes_advertised";
const PEER_RECEIVED: &str = "proxima_bgp_routes_received";
const LISTENER_UP: &str = "proxima_listener_up";
const SERVICE_CONNECTIONS: &str = "proxima_service_connections";
const SERVICE_EXCHANGES: &str = "proxima_service_exchanges_total";

/// Name, kind and help of every metric. Base units; labels in braces.
const TABLE: [(&str, Kind, &str); 21] = [
    (BUILD_INFO, Gauge, "1; what runs here {version, pop, region}"),
    (START_TIME, Gauge, "When the process started, in seconds since 1970"),
    (DRAINED, Gauge, "1 when an operator drained this PoP"),
    (WORKERS, Gauge, "Data-plane workers"),
    (EVENTS, Counter, "Events published {kind}"),
    (EVENTS_LOST, Counter, "Events that followers were too slow to read"),
    (LOG_LINES_LOST, Counter, "Log lines dropped because standard error was not read"),
    (
        GROUP_SCORE,
        Gauge,
        "The region's healthy share of capacity for the group, 0 to 1; absent before the first verdicts {group}",
    ),
    (GROUP_STATE, Gauge, "1 for the state the group stands in {group, state}"),
    (GROUP_TRANSITIONS, Counter, "State changes of the group {group, to}"),
    (BACKEND_UP, Gauge, "1 when the backend is up, 0 when it is down or unknown {backend, region}"),
    (BACKEND_RTT, Gauge, "Round trip to the backend as probes measure it {backend, region}"),
    (BACKEND_VERDICTS, Counter, "New verdicts on the backend {backend, to}"),
    (PEER_ESTABLISHED, Gauge, "1 when the session is established {peer}"),
    (PEER_LOSSES, Counter, "How often an established session ended {peer}"),
    (PEER_UPDATES, Counter, "UPDATE messages that announce or withdraw, sent to the peer {peer}"),
    (PEER_ADVERTISED, Gauge, "Routes the peer was sent and that stand {peer}"),
    (PEER_RECEIVED, Gauge, "Routes the peer sent and that stand {peer}"),
    (LISTENER_UP, Gauge, "1 when the listener accepts connections {service, address}"),
    (SERVICE_CONNECTIONS, Gauge, "Client connections open now {service}"),
    (SERVICE_EXCHANGES, Counter, "Requests (HTTP) or connections (TCP) taken {service}"),
];

/// The process's metrics as Prometheus reads them.
#[derive(Clone)]
pub struct Prometheus(PrometheusHandle);

/// Why the metrics can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The process has a recorder already.
    #[error("the metrics are set up already")]
    Installed,
}

/// Sets up the process's metrics. They are kept in memory; whoever serves them renders them.
pub fn install() -> Result<Prometheus, MetricsError> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Installed)?;
    describe();
    Ok(Prometheus(handle))
}

impl Prometheus {
    /// The Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn describe() {
    for (name, kind, help) in TABLE {
        match kind {
            Counter => describe_counter!(name, help),
            Gauge => describe_gauge!(name, help),
        }
    }
}

/// Counts an event.
pub(crate) fn count_event(kind: &EventKind) {
    counter!(EVENTS, "kind" => kind.name()).increment(1);
    match kind {
        EventKind::BackendVerdict { backend, to, .. } => {
            counter!(BACKEND_VERDICTS, "backend" => backend.to_string(), "to" => to.to_string()).increment(1);
        }
        EventKind::GroupTransition { group, to, .. } => {
            counter!(GROUP_TRANSITIONS, "group" => group.to_string(), "to" => to.to_string()).increment(1);
        }
        EventKind::PeerState { peer, from: SessionState::Established, to, .. }
            if *to != SessionState::Established =>
        {
            counter!(PEER_LOSSES, "peer" => peer.to_string()).increment(1);
        }
        EventKind::UpdateSent { peer, .. } => {
            counter!(PEER_UPDATES, "peer" => peer.to_string()).increment(1);
        }
        _ => {}
    }
}

pub(crate) fn events_lost(count: u64) {
    counter!(EVENTS_LOST).increment(count);
}

pub(crate) fn log_line_lost() {
    counter!(LOG_LINES_LOST).increment(1);
}

/// Sets the gauges that tell of the daemon, its groups and services.
pub fn record_status(status: &Status) {
    let (pop, region) = (status.pop.to_string(), status.region.to_string());
    gauge!(BUILD_INFO, "version" => status.version.clone(), "pop" => pop, "region" => region).set(1.0);
    gauge!(START_TIME).set(status.started_at.unix_micros() as f64 / 1e6);
    gauge!(DRAINED).set(flag(status.drained.is_some()));
    gauge!(WORKERS).set(f64::from(status.workers));
    for group in &status.groups {
        if let Some(score) = group.score {
            gauge!(GROUP_SCORE, "group" => group.name.to_string()).set(score.share());
        }
        for state in [ReachState::Announced, ReachState::DePreferred, ReachState::Withdrawn] {
            let labels = [("group", group.name.to_string()), ("state", state.to_string())];
            gauge!(GROUP_STATE, &labels).set(flag(group.state == state));
        }
    }
    for service in &status.services {
        let name = service.name.to_string();
        gauge!(SERVICE_CONNECTIONS, "service" => name.clone()).set(service.connections as f64);
        counter!(SERVICE_EXCHANGES, "service" => name.clone()).absolute(service.exchanges);
        for listener in &service.listeners {
            let labels = [("service", name.clone()), ("address", listener.address.to_string())];
            gauge!(LISTENER_UP, &labels).set(flag(listener.error.is_none()));
        }
    }
}

/// Sets the gauges that tell of the peers.
pub fn record_peers(peers: &Peers) {
    for peer in &peers.peers {
        let name = peer.name.to_string();
        gauge!(PEER_ESTABLISHED, "peer" => name.clone()).set(flag(peer.state == SessionState::Established));
        gauge!(PEER_ADVERTISED, "peer" => name.clone()).set(peer.advertised as f64);
        gauge!(PEER_RECEIVED, "peer" => name).set(peer.received as f64);
    }
}

/// Sets the gauges that tell of the backends.
pub fn record_backends(backends: &Backends) {
    for backend in &backends.backends {
        let labels = [("backend", backend.id.to_string()), ("region", backend.region.to_string())];
        gauge!(BACKEND_UP, &labels).set(flag(backend.health == Health::Up));
        if let Some(rtt) = backend.rtt_us {
            gauge!(BACKEND_RTT, &labels).set(rtt as f64 / 1e6);
        }
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proxima_api::{
        Backend, BackendCounts, Group, GroupReason, Listener, Peer, PeerCounts, Phase, ProbeFailure,
        Protocol, Service, Timestamp, VerdictReason,
    };
    use proxima_types::{Asn, Score, Weight};

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
            groups: vec![Group {
                name: "web".parse().unwrap(),
                state: ReachState::DePreferred,
                since: at,
                score: Some(Score::new(0.5)),
                reason: GroupReason::ScoreBelow { score: Score::new(0.5), threshold: Score::new(0.8) },
                overridden: false,
                prefixes: vec![],
                services: vec![],
            }],
            services: vec![Service {
                name: "web".parse().unwrap(),
                protocol: Protocol::Http,
                listeners: vec![Listener { address: "203.0.113.1:80".parse().unwrap(), error: None }],
                connections: 3,
                exchanges: 12,
            }],
            peers: PeerCounts { total: 1, established: 1 },
            backends: BackendCounts { up: 1, down: 0, unknown: 0 },
            workers: 2,
            last_event: 0,
        }
    }

    fn peer() -> Peer {
        Peer {
            name: "router".parse().unwrap(),
            address: [10, 2, 1, 1].into(),
            port: 179,
            remote_as: Asn(65002),
            state: SessionState::Established,
            since: Timestamp::from_unix_micros(0),
            last_error: None,
            remote_router_id: None,
            hold_time_s: Some(9),
            families: vec![],
            advertised: 4,
            received: 6,
            updates_sent: 2,
            updates_received: 3,
            established_count: 1,
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
        }
    }

    fn events() -> [EventKind; 4] {
        [
            EventKind::BackendVerdict {
                backend: "app/eu-1".parse().unwrap(),
                region: "eu".parse().unwrap(),
                from: Health::Up,
                to: Health::Down,
                reason: VerdictReason::Hard { evidence: ProbeFailure::Refused },
                rtt_us: None,
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
        ]
    }

    fn rendered() -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let prometheus = Prometheus(recorder.handle());
        metrics::with_local_recorder(&recorder, || {
            describe();
            events().iter().for_each(count_event);
            events_lost(2);
            log_line_lost();
            record_status(&status());
            record_peers(&Peers { peers: vec![peer()] });
            record_backends(&Backends { backends: vec![backend()] });
        });
        prometheus.render()
    }

    #[test]
    fn the_table_names_every_metric_there_is_and_none_else() {
        let text = rendered();
        let helped: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        let typed: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let table: BTreeSet<&str> = TABLE.iter().map(|(name, ..)| *name).collect();
        assert_eq!(table.len(), TABLE.len());
        assert_eq!(helped, table);
        assert_eq!(typed, table);
        for (name, kind, _) in &TABLE {
            assert!(name.starts_with("proxima_"), "{name}");
            assert_eq!(matches!(kind, Counter), name.ends_with("_total"), "{name}");
        }
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
            r#"proxima_backend_up{backend="app/eu-1",region="eu"} 1"#,
            r#"proxima_backend_rtt_seconds{backend="app/eu-1",region="eu"} 0.00025"#,
            r#"proxima_backend_verdicts_total{backend="app/eu-1",to="down"} 1"#,
            r#"proxima_bgp_session_losses_total{peer="router"} 1"#,
            r#"proxima_bgp_routes_received{peer="router"} 6"#,
            r#"proxima_listener_up{service="web",address="203.0.113.1:80"} 1"#,
            r#"proxima_service_exchanges_total{service="web"} 12"#,
            r#"proxima_events_total{kind="update-sent"} 1"#,
            "proxima_events_lost_total 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
