//! Every metric there is: its name, what it means, its labels in braces. Base units.
#![allow(missing_docs, reason = "each has its help beside it")]

use super::{Counter, Gauge, Histogram};

// The process.
pub const BUILD_INFO: Gauge = Gauge::new("proxima_build_info", "1; what runs here {version, pop, region}");
pub const START_TIME: Gauge =
    Gauge::new("proxima_start_time_seconds", "When the process started, in seconds since 1970");
pub const DRAINED: Gauge = Gauge::new("proxima_drained", "1 when an operator drained this PoP");
pub const WORKERS: Gauge = Gauge::new("proxima_workers", "Data-plane workers");
pub const EVENTS: Counter = Counter::new("proxima_events_total", "Events published {kind}");
pub const EVENTS_LOST: Counter =
    Counter::new("proxima_events_lost_total", "Events that followers were too slow to read");
pub const LOG_LINES_LOST: Counter =
    Counter::new("proxima_log_lines_lost_total", "Log lines dropped because standard error was not read");

pub const ACCESS_LINES_LOST: Counter = Counter::new(
    "proxima_access_log_lines_lost_total",
    "Lines of the access log dropped: `full`, as whoever writes or reads them was behind, or `write-error` {reason}",
);

// Announcement groups.
pub const GROUP_SCORE: Gauge = Gauge::new(
    "proxima_group_score_ratio",
    "The region's healthy share of capacity for the group, 0 to 1; absent before the first verdicts {group}",
);
pub const GROUP_STATE: Gauge =
    Gauge::new("proxima_group_state", "1 for the state the group stands in {group, state}");
pub const GROUP_TRANSITIONS: Counter =
    Counter::new("proxima_group_transitions_total", "State changes of the group {group, to}");
pub const GROUP_PENALTY: Gauge = Gauge::new(
    "proxima_group_flap_penalty",
    "What flaps have cost the group by now; absent where they are not damped {group}",
);
pub const GROUP_OVERRIDE: Gauge = Gauge::new(
    "proxima_group_override",
    "1 for the operator's order that holds the group, health notwithstanding {group, order}",
);
pub const GROUP_OTHERS: Gauge = Gauge::new(
    "proxima_group_other_announcers",
    "PoPs seen to announce a guarded group that will stay when this one leaves; absent while nothing observes {group}",
);
pub const ALARM: Gauge =
    Gauge::new("proxima_alarm", "1 while something needs a person's attention {kind, group}");

// BGP peers.
pub const PEER_ESTABLISHED: Gauge =
    Gauge::new("proxima_bgp_peer_established", "1 when the session is established {peer}");
pub const PEER_STATE: Gauge =
    Gauge::new("proxima_bgp_peer_state", "1 for the state of RFC 4271 the session stands in {peer, state}");
pub const PEER_SHUTDOWN: Gauge = Gauge::new(
    "proxima_bgp_peer_shutdown",
    "1 when an operator or the configuration took the session down {peer}",
);
pub const PEER_LOSSES: Counter =
    Counter::new("proxima_bgp_session_losses_total", "How often an established session ended {peer}");
pub const PEER_UPDATES: Counter = Counter::new(
    "proxima_bgp_updates_sent_total",
    "UPDATE messages that announce or withdraw, sent to the peer {peer}",
);
pub const PEER_ADVERTISED: Gauge =
    Gauge::new("proxima_bgp_routes_advertised", "Routes the peer was sent and that stand {peer}");
pub const PEER_RECEIVED: Gauge =
    Gauge::new("proxima_bgp_routes_received", "Routes the peer sent and that stand {peer}");
pub const PEER_PREFIXES: Gauge =
    Gauge::new("proxima_bgp_prefixes_received", "Prefixes the peer sent and that stand {peer, family}");
pub const PEER_LIMIT: Gauge = Gauge::new(
    "proxima_bgp_prefixes_limit",
    "Beyond so many prefixes of a family something is done {peer, family}",
);
pub const PEER_MESSAGES: Counter =
    Counter::new("proxima_bgp_messages_total", "BGP messages of every type {peer, direction}");
pub const PEER_WITHDRAWN_FAULTY: Counter = Counter::new(
    "proxima_bgp_routes_treated_as_withdrawn_total",
    "Routes of the peer taken as withdrawn for a fault (RFC 7606) {peer}",
);
pub const BFD_STATE: Gauge =
    Gauge::new("proxima_bfd_state", "1 for the state of RFC 5880 the session stands in {peer, state}");
pub const BFD_DETECTION: Gauge = Gauge::new(
    "proxima_bfd_detection_seconds",
    "After so long without a packet the peer is gone; 0 before it was heard {peer}",
);
pub const BFD_LOSSES: Counter =
    Counter::new("proxima_bfd_session_losses_total", "How often a BFD session that was up went down {peer}");
pub const RELOADS: Counter =
    Counter::new("proxima_reloads_total", "Times the configuration was read again {result}");

// Backends.
pub const BACKEND_UP: Gauge = Gauge::new(
    "proxima_backend_up",
    "1 when the backend is up, 0 when it is down or unknown {backend, region}",
);
pub const BACKEND_RTT: Gauge = Gauge::new(
    "proxima_backend_rtt_seconds",
    "Round trip to the backend as probes measure it {backend, region}",
);
pub const BACKEND_ROLE: Gauge = Gauge::new(
    "proxima_backend_role",
    "1 for what the database server was when its probe last asked {backend, region, role}",
);
pub const BACKEND_LAG: Gauge = Gauge::new(
    "proxima_backend_replica_lag_seconds",
    "How far the replica was behind its primary when its probe last asked {backend, region}",
);
pub const BACKEND_CERTIFICATE: Gauge = Gauge::new(
    "proxima_backend_certificate_expiry_timestamp_seconds",
    "When the backend's certificate ends, in seconds since 1970 {backend, region}",
);
pub const BACKENDS_UNCHECKED: Gauge = Gauge::new(
    "proxima_backends_unchecked",
    "Backends whose checks can't be made; `proxima backends` says why",
);
pub const PROBES: Counter = Counter::new(
    "proxima_probes_total",
    "Probes by how they ended: `passed`, how they failed, or `not-made` by this host {pool, result}",
);
pub const PROBE_TIME: Histogram =
    Histogram::new("proxima_probe_seconds", "How long probes that could be made took {pool}");
pub const PROBE_LATENESS: Histogram = Histogram::new(
    "proxima_probe_lateness_seconds",
    "How much later than they were due probes began, for want of a slot or of the processor {pool}",
);
pub const PROBE_AGE: Gauge = Gauge::new(
    "proxima_probe_age_seconds",
    "Time since a probe ended, of the pool's backend for which that is longest ago {pool}",
);
pub const BACKEND_VERDICTS: Counter =
    Counter::new("proxima_backend_verdicts_total", "New verdicts on the backend {backend, to}");
pub const BACKEND_PENDING: Gauge =
    Gauge::new("proxima_backend_pending_exchanges", "Exchanges under way with the backend {backend}");
pub const BACKEND_ATTEMPTS: Counter =
    Counter::new("proxima_backend_attempts_total", "Exchanges tried with the backend {backend}");
pub const BACKEND_CONNECTS: Counter =
    Counter::new("proxima_backend_connects_total", "Connections made to the backend {backend}");
pub const BACKEND_REUSES: Counter =
    Counter::new("proxima_backend_reuses_total", "Exchanges on a connection that was kept alive {backend}");
pub const BACKEND_HANDSHAKES: Counter = Counter::new(
    "proxima_backend_tls_handshakes_total",
    "TLS handshakes with the backend that were done {backend, version, resumed}",
);
pub const BACKEND_FAILURES: Counter =
    Counter::new("proxima_backend_failures_total", "Exchanges that failed at the backend {backend, reason}");
pub const BACKEND_SERVER_ERRORS: Counter = Counter::new(
    "proxima_backend_server_errors_total",
    "Responses of the backend with a 5xx status {backend}",
);

pub const BACKEND_ANSWERS: Counter = Counter::new(
    "proxima_backend_answers_total",
    "Responses of the backend begun, and connections to it relayed {backend}",
);
pub const BACKEND_LATE: Counter = Counter::new(
    "proxima_backend_late_answers_total",
    "Those of them whose first byte took longer than `passive.first-byte` {backend}",
);

// Services.
pub const LISTENER_UP: Gauge =
    Gauge::new("proxima_listener_up", "1 when the listener accepts connections {service, address}");
pub const ACCEPT_ERRORS: Counter = Counter::new(
    "proxima_accept_errors_total",
    "Connections not accepted, for want of file descriptors or memory",
);
pub const SERVICE_OPEN: Gauge =
    Gauge::new("proxima_service_open_connections", "Client connections open now {service}");
pub const SERVICE_IDLE: Gauge = Gauge::new(
    "proxima_service_idle_connections",
    "Client connections of HTTP that are open and wait for a request {service}",
);
pub const SERVICE_STREAMS: Gauge = Gauge::new(
    "proxima_service_open_streams",
    "Requests under way on streams of HTTP/2 and HTTP/3 {service}",
);
pub const SERVICE_CONNECTIONS: Counter =
    Counter::new("proxima_service_connections_total", "Client connections accepted {service}");
pub const SERVICE_REQUESTS: Counter =
    Counter::new("proxima_service_requests_total", "Requests with a good head {service}");
pub const SERVICE_RESPONSES: Counter =
    Counter::new("proxima_service_responses_total", "Responses sent, our own included {service, class}");
pub const SERVICE_RECEIVED: Counter =
    Counter::new("proxima_service_received_bytes_total", "Read from clients {service}");
pub const SERVICE_SENT: Counter =
    Counter::new("proxima_service_sent_bytes_total", "Written to clients {service}");
pub const SERVICE_FAILOVERS: Counter = Counter::new(
    "proxima_service_failovers_total",
    "Attempts after the first one of a request, by why the one before failed {service, reason}",
);
pub const SERVICE_FAILURES: Counter = Counter::new(
    "proxima_service_failures_total",
    "Requests and connections given up, by why the last attempt failed {service, reason}",
);
pub const SERVICE_UNSERVED: Counter = Counter::new(
    "proxima_service_unserved_total",
    "Requests and connections without a backend to try {service, reason}",
);
pub const SERVICE_BUDGET: Counter = Counter::new(
    "proxima_service_retry_budget_exhausted_total",
    "Failures not tried again because the retry budget was used up {service}",
);
pub const SERVICE_REFUSED: Counter = Counter::new(
    "proxima_service_malformed_requests_total",
    "Requests refused as malformed {service, fault}",
);
pub const SERVICE_MALFORMED: Counter = Counter::new(
    "proxima_service_malformed_responses_total",
    "Responses of backends refused as malformed {service, fault}",
);
pub const SERVICE_UNROUTED: Counter =
    Counter::new("proxima_service_unrouted_total", "Requests that no route takes {service}");
pub const SERVICE_CANCELLED: Counter =
    Counter::new("proxima_service_cancelled_total", "Exchanges that ended because the client left {service}");
pub const SERVICE_SLOW: Counter =
    Counter::new("proxima_service_slow_clients_total", "Clients given up as too slow {service, reason}");
pub const SERVICE_SHED: Counter = Counter::new(
    "proxima_service_shed_connections_total",
    "Connections turned away, for want of file descriptors or as their address has too many {service, reason}",
);
pub const SERVICE_EVICTED: Counter = Counter::new(
    "proxima_service_evicted_connections_total",
    "Connections at rest that were closed because other clients needed their file descriptors {service}",
);
pub const QUIC_FORWARDED: Counter = Counter::new(
    "proxima_quic_forwarded_total",
    "Datagrams handed to the worker that owns their connection: the client has moved; those that came together count once",
);
pub const QUIC_DROPPED: Counter = Counter::new(
    "proxima_quic_dropped_total",
    "Datagrams that the worker that owns their connection had no room for",
);
pub const QUIC_ELSEWHERE: Counter =
    Counter::new("proxima_quic_elsewhere_total", "Datagrams of connections of another host or PoP, dropped");
pub const QUIC_RETRIES: Counter =
    Counter::new("proxima_quic_retries_total", "Clients told to show that their address is theirs");
pub const QUIC_CROWDED: Counter =
    Counter::new("proxima_quic_crowded_total", "First packets dropped for too many handshakes under way");
pub const QUIC_FAILED: Counter =
    Counter::new("proxima_quic_failed_handshakes_total", "Handshakes that failed");
pub const SERVICE_HANDSHAKES: Counter = Counter::new(
    "proxima_service_tls_handshakes_total",
    "TLS handshakes with clients that were done {service, version, resumed}",
);
pub const SERVICE_HANDSHAKE_FAILURES: Counter = Counter::new(
    "proxima_service_tls_handshake_failures_total",
    "TLS handshakes with clients that failed {service, reason}",
);
pub const SERVICE_CERTIFICATE: Gauge = Gauge::new(
    "proxima_service_certificate_expiry_timestamp_seconds",
    "When the certificate for the name ends, in seconds since 1970; absent while there is none; of several the first to end {service, name}",
);
pub const ORDER_FAILURES: Gauge = Gauge::new(
    "proxima_acme_order_failures",
    "Orders of the service's certificate that failed since one went well; 0: the last went well, or none was due {service, issuer}",
);
pub const ORDERS: Counter = Counter::new(
    "proxima_acme_orders_total",
    "Orders of certificates that came to an end: obtained or failed {service, issuer, result}",
);
pub const FIRST_BYTE: Histogram = Histogram::new(
    "proxima_first_byte_seconds",
    "From a request's head to the first byte of its response {service, region of the backend}",
);
pub const RESPONSE_TIME: Histogram = Histogram::new(
    "proxima_response_seconds",
    "From a request's head to the end of its response, of those that ended as they should, without tunnels {service, region of the backend}",
);
pub const REGION_RESPONSES: Counter = Counter::new(
    "proxima_region_responses_total",
    "Responses that the backends of a region have begun, by status class {service, region, class}",
);

pub const SERVICE_SERVED: Counter = Counter::new(
    "proxima_service_served_total",
    "Requests, or TCP connections, answered or failed; without those a fence keeps from every backend {service}",
);
pub const SERVICE_ERRORS: Counter = Counter::new(
    "proxima_service_errors_total",
    "Those of them that failed: status 5xx, cut off, or taken by nobody {service}",
);
pub const SERVICE_CUT: Counter = Counter::new(
    "proxima_service_cut_responses_total",
    "Responses that had begun and were cut off by the backend {service}",
);

// Objectives of announcement groups.
pub const SLO_P95: Gauge = Gauge::new(
    "proxima_slo_first_byte_seconds",
    "95th percentile of the time to first byte in the SLO's window; infinite when too many had none {group, service}",
);
pub const SLO_ERRORS: Gauge =
    Gauge::new("proxima_slo_error_ratio", "Share that failed in the SLO's window, 0 to 1 {group, service}");
pub const SLO_PROBES: Gauge = Gauge::new(
    "proxima_slo_probes",
    "Requests that probes stand in for in the SLO's window, where traffic is too little to tell {group, service}",
);
pub const SLO_BREACHED: Gauge =
    Gauge::new("proxima_slo_breached", "1 while the objective is not met {group, service, objective}");

// Flows handed over between PoPs.
pub const CATCHMENT_ASKED: Counter =
    Counter::new("proxima_catchment_flows_asked_total", "Flows the other PoPs were asked for");
pub const CATCHMENT_DIVERTED: Counter =
    Counter::new("proxima_catchment_flows_diverted_total", "Flows found to be another PoP's");
pub const CATCHMENT_CARRIED: Counter = Counter::new(
    "proxima_catchment_packets_carried_total",
    "Packets carried to the PoPs that own their flows",
);
pub const CATCHMENT_INJECTED: Counter = Counter::new(
    "proxima_catchment_packets_injected_total",
    "Packets of own flows that other PoPs carried here",
);
pub const CATCHMENT_RELEASED: Counter = Counter::new(
    "proxima_catchment_resets_released_total",
    "Resets sent after all: no PoP said it owns the flow",
);
pub const CATCHMENT_DROPPED: Counter =
    Counter::new("proxima_catchment_dropped_total", "Packets and queries dropped for what they were");

/// All gauges.
pub(super) const GAUGES: [Gauge; 37] = [
    SERVICE_CERTIFICATE,
    ORDER_FAILURES,
    BUILD_INFO,
    START_TIME,
    DRAINED,
    WORKERS,
    GROUP_SCORE,
    GROUP_STATE,
    GROUP_PENALTY,
    GROUP_OVERRIDE,
    GROUP_OTHERS,
    ALARM,
    PEER_ESTABLISHED,
    PEER_STATE,
    PEER_SHUTDOWN,
    PEER_ADVERTISED,
    PEER_RECEIVED,
    PEER_PREFIXES,
    PEER_LIMIT,
    BFD_STATE,
    BFD_DETECTION,
    BACKEND_UP,
    BACKEND_RTT,
    BACKEND_ROLE,
    BACKEND_LAG,
    BACKEND_CERTIFICATE,
    BACKENDS_UNCHECKED,
    PROBE_AGE,
    BACKEND_PENDING,
    LISTENER_UP,
    SERVICE_OPEN,
    SERVICE_IDLE,
    SERVICE_STREAMS,
    SLO_P95,
    SLO_ERRORS,
    SLO_PROBES,
    SLO_BREACHED,
];

/// All counters.
pub(super) const COUNTERS: [Counter; 57] = [
    EVENTS,
    EVENTS_LOST,
    LOG_LINES_LOST,
    ACCESS_LINES_LOST,
    GROUP_TRANSITIONS,
    PEER_LOSSES,
    PEER_UPDATES,
    PEER_MESSAGES,
    PEER_WITHDRAWN_FAULTY,
    BFD_LOSSES,
    RELOADS,
    PROBES,
    BACKEND_VERDICTS,
    BACKEND_ATTEMPTS,
    BACKEND_CONNECTS,
    BACKEND_REUSES,
    BACKEND_HANDSHAKES,
    BACKEND_FAILURES,
    BACKEND_SERVER_ERRORS,
    BACKEND_ANSWERS,
    BACKEND_LATE,
    ACCEPT_ERRORS,
    QUIC_FORWARDED,
    QUIC_DROPPED,
    QUIC_ELSEWHERE,
    QUIC_RETRIES,
    QUIC_CROWDED,
    QUIC_FAILED,
    SERVICE_CONNECTIONS,
    SERVICE_REQUESTS,
    SERVICE_RESPONSES,
    SERVICE_RECEIVED,
    SERVICE_SENT,
    SERVICE_FAILOVERS,
    SERVICE_FAILURES,
    SERVICE_UNSERVED,
    SERVICE_BUDGET,
    SERVICE_REFUSED,
    SERVICE_MALFORMED,
    SERVICE_UNROUTED,
    SERVICE_CANCELLED,
    SERVICE_SLOW,
    SERVICE_SERVED,
    SERVICE_ERRORS,
    SERVICE_CUT,
    SERVICE_SHED,
    SERVICE_EVICTED,
    REGION_RESPONSES,
    SERVICE_HANDSHAKES,
    SERVICE_HANDSHAKE_FAILURES,
    ORDERS,
    CATCHMENT_ASKED,
    CATCHMENT_DIVERTED,
    CATCHMENT_CARRIED,
    CATCHMENT_INJECTED,
    CATCHMENT_RELEASED,
    CATCHMENT_DROPPED,
];
