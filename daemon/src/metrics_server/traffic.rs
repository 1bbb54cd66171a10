//! From the data plane's counters to metrics.

use std::{collections::BTreeMap, time::Duration};

use proxima_catchment_io::Stats as CatchmentStats;
use proxima_health::Breach;
use proxima_probe::{Spread, Tally};
use proxima_proxy::{
    BackendStats, Handshake, LatencyHistogram, QuicStats, RegionStats, Served, ServiceStats, Stats,
};
use proxima_telemetry::metrics::{Counter, Series, table};
use proxima_types::PoolName;

use crate::traffic::{Counts, Judged, Probed};

/// Every other bucket: two for each doubling.
const BUCKET_STEP: usize = 2;

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Takes over the counters, and appends the histograms to `text`.
pub(super) fn record(counts: &Counts, text: &mut String) {
    let Counts { stats, served, judged, probes } = counts;
    let Stats { services, backends, regions, accept_errors, access_lines_lost, quic } = stats;
    table::ACCESS_LINES_LOST.set(&[("reason", "full")], *access_lines_lost);
    table::ACCEPT_ERRORS.set(&[], *accept_errors);
    record_quic(*quic);
    for (name, counted) in services {
        record_service(name.as_str(), counted);
    }
    for (name, Served { requests, errors, silent: _, first_byte: _ }) in served {
        table::SERVICE_SERVED.set(&[("service", name.as_str())], *requests);
        table::SERVICE_ERRORS.set(&[("service", name.as_str())], *errors);
    }
    judged.iter().for_each(record_objectives);
    for (id, counted) in backends {
        record_backend(id.as_str(), counted);
    }
    for ((service, region), RegionStats { responses, .. }) in regions {
        for (class, total) in CLASSES.into_iter().zip(responses) {
            let labels = [("service", service.as_str()), ("region", region.as_str()), ("class", class)];
            table::REGION_RESPONSES.set(&labels, *total);
        }
    }
    let labelled: Vec<_> = regions
        .iter()
        .map(|((service, region), stats)| {
            ([("service", service.as_str()), ("region", region.as_str())], stats)
        })
        .collect();
    let of = |latency: fn(&RegionStats) -> &LatencyHistogram| {
        labelled.iter().map(move |(labels, stats)| series(labels, latency(stats)))
    };
    table::FIRST_BYTE.render(of(|stats| &stats.first_byte), text);
    table::RESPONSE_TIME.render(of(|stats| &stats.total), text);
    record_probes(probes, text);
}

fn record_probes(probes: &BTreeMap<PoolName, Probed>, text: &mut String) {
    for (pool, Probed { tally, age }) in probes {
        table::PROBE_AGE.set(&[("pool", pool.as_str())], age.as_secs_f64());
        for (result, total) in &tally.results {
            table::PROBES.set(&[("pool", pool.as_str()), ("result", result)], *total);
        }
    }
    let labels: Vec<_> =
        probes.iter().map(|(pool, probed)| ([("pool", pool.as_str())], &probed.tally)).collect();
    let of = |spread: fn(&Tally) -> &Spread| {
        labels.iter().map(move |(labels, tally)| spread_series(labels, spread(tally)))
    };
    table::PROBE_TIME.render(of(|tally| &tally.took), text);
    table::PROBE_LATENESS.render(of(|tally| &tally.late), text);
}

fn spread_series<'a>(labels: &'a [(&'static str, &'a str)], spread: &Spread) -> Series<'a> {
    Series {
        labels,
        buckets: spread.cumulative().map(|(end, below)| (end.as_secs_f64(), below)).collect(),
        sum: spread.sum().as_secs_f64(),
        count: spread.count(),
    }
}

fn record_quic(stats: QuicStats) {
    let QuicStats { forwarded, dropped, elsewhere, retries, crowded, failed } = stats;
    for (counter, total) in [
        (table::QUIC_FORWARDED, forwarded),
        (table::QUIC_DROPPED, dropped),
        (table::QUIC_ELSEWHERE, elsewhere),
        (table::QUIC_RETRIES, retries),
        (table::QUIC_CROWDED, crowded),
        (table::QUIC_FAILED, failed),
    ] {
        counter.set(&[], total);
    }
}

/// Takes over the counts of flows handed over between PoPs.
pub(super) fn record_catchment(stats: &CatchmentStats) {
    let CatchmentStats { asked, diverted, carried, injected, released, dropped } = *stats;
    for (counter, total) in [
        (table::CATCHMENT_ASKED, asked),
        (table::CATCHMENT_DIVERTED, diverted),
        (table::CATCHMENT_CARRIED, carried),
        (table::CATCHMENT_INJECTED, injected),
        (table::CATCHMENT_RELEASED, released),
        (table::CATCHMENT_DROPPED, dropped),
    ] {
        counter.set(&[], total);
    }
}

fn record_service(name: &str, counted: &ServiceStats) {
    let labels = [("service", name)];
    table::SERVICE_OPEN.set(&labels, counted.open as f64);
    table::SERVICE_IDLE.set(&labels, counted.idle as f64);
    table::SERVICE_STREAMS.set(&labels, counted.streams as f64);
    for (counter, total) in [
        (table::SERVICE_CONNECTIONS, counted.connections),
        (table::SERVICE_REQUESTS, counted.requests),
        (table::SERVICE_RECEIVED, counted.bytes_in),
        (table::SERVICE_SENT, counted.bytes_out),
        (table::SERVICE_BUDGET, counted.budget_exhausted),
        (table::SERVICE_UNROUTED, counted.unrouted),
        (table::SERVICE_CANCELLED, counted.cancelled),
        (table::SERVICE_CUT, counted.cut),
        (table::SERVICE_EVICTED, counted.evicted),
    ] {
        counter.set(&labels, total);
    }
    for (class, total) in CLASSES.into_iter().zip(counted.responses) {
        table::SERVICE_RESPONSES.set(&[("service", name), ("class", class)], total);
    }
    let by = |counter: Counter, label: &'static str, why: &str, total: u64| {
        counter.set(&[("service", name), (label, why)], total);
    };
    for (why, total) in [("descriptors", counted.shed), ("per-ip", counted.crowded)] {
        by(table::SERVICE_SHED, "reason", why, total);
    }
    for (why, total) in &counted.slow_clients {
        by(table::SERVICE_SLOW, "reason", why.name(), *total);
    }
    for (why, total) in &counted.failovers {
        by(table::SERVICE_FAILOVERS, "reason", why.name(), *total);
    }
    for (why, total) in &counted.failures {
        by(table::SERVICE_FAILURES, "reason", why.name(), *total);
    }
    for (why, total) in &counted.unserved {
        by(table::SERVICE_UNSERVED, "reason", why.name(), *total);
    }
    for (kind, total) in &counted.handshakes {
        let labels = [("service", name), ("version", kind.version()), ("resumed", resumed(*kind))];
        table::SERVICE_HANDSHAKES.set(&labels, *total);
    }
    for (why, total) in &counted.handshake_failures {
        by(table::SERVICE_HANDSHAKE_FAILURES, "reason", why.name(), *total);
    }
    for (fault, total) in &counted.refused {
        by(table::SERVICE_REFUSED, "fault", fault, *total);
    }
    for (fault, total) in &counted.malformed {
        by(table::SERVICE_MALFORMED, "fault", fault, *total);
    }
}

fn resumed(kind: Handshake) -> &'static str {
    if kind.is_resumed() { "yes" } else { "no" }
}

fn record_objectives(judged: &Judged) {
    let Judged { group, service, objectives, figures, breaches } = judged;
    let labels = [("group", group.as_str()), ("service", service.as_str())];
    if let Some(figures) = figures {
        if let Some(p95) = figures.p95 {
            table::SLO_P95.set(&labels, if p95 == Duration::MAX { f64::INFINITY } else { p95.as_secs_f64() });
        }
        table::SLO_ERRORS.set(&labels, figures.error_rate);
        table::SLO_PROBES.set(&labels, figures.probes as f64);
    }
    let missed = |of: fn(&Breach) -> bool| f64::from(u8::from(breaches.iter().any(of)));
    let objective = |objective, value| {
        table::SLO_BREACHED.set(&[labels[0], labels[1], ("objective", objective)], value);
    };
    if objectives.p95.is_some() {
        objective("p95", missed(|breach| matches!(breach, Breach::FirstByte { .. })));
    }
    if objectives.error_rate.is_some() {
        objective("error-rate", missed(|breach| matches!(breach, Breach::Errors { .. })));
    }
}

fn record_backend(id: &str, counted: &BackendStats) {
    let labels = [("backend", id)];
    table::BACKEND_PENDING.set(&labels, counted.pending as f64);
    for (counter, total) in [
        (table::BACKEND_ATTEMPTS, counted.requests),
        (table::BACKEND_CONNECTS, counted.connects),
        (table::BACKEND_REUSES, counted.reuses),
        (table::BACKEND_SERVER_ERRORS, counted.server_errors),
        (table::BACKEND_ANSWERS, counted.answers),
        (table::BACKEND_LATE, counted.late),
    ] {
        counter.set(&labels, total);
    }
    for (kind, total) in &counted.handshakes {
        let labels = [("backend", id), ("version", kind.version()), ("resumed", resumed(*kind))];
        table::BACKEND_HANDSHAKES.set(&labels, *total);
    }
    for (why, total) in &counted.failures {
        table::BACKEND_FAILURES.set(&[("backend", id), ("reason", why.name())], *total);
    }
}

fn series<'a>(labels: &'a [(&'static str, &'a str)], latency: &LatencyHistogram) -> Series<'a> {
    Series {
        labels,
        buckets: latency
            .cumulative()
            .step_by(BUCKET_STEP)
            .map(|(end, below)| (end.as_secs_f64(), below))
            .collect(),
        sum: latency.sum().as_secs_f64(),
        count: latency.count(),
    }
}

#[cfg(test)]
mod tests {
    use proxima_health::{Figures, Objectives};
    use proxima_proxy::{HandshakeFailure, Reason, Unserved};
    use proxima_types::ServiceName;

    use super::*;

    #[test]
    fn counters_of_the_data_plane_bear_their_service_backend_and_reason() {
        let service = ServiceStats {
            connections: 5,
            open: 2,
            streams: 3,
            shed: 4,
            crowded: 5,
            requests: 40,
            responses: [0, 37, 0, 1, 2],
            failovers: [(Reason::Connect, 3)].into(),
            unserved: [(Unserved::AllOutside, 2)].into(),
            refused: [("head-too-large", 1)].into(),
            handshakes: [(Handshake::Full13, 6), (Handshake::Resumed12, 1)].into(),
            handshake_failures: [(HandshakeFailure::NotTls, 9)].into(),
            ..ServiceStats::default()
        };
        let backend = BackendStats {
            requests: 43,
            failures: [(Reason::FirstByte, 1)].into(),
            handshakes: [(Handshake::Resumed13, 8)].into(),
            ..BackendStats::default()
        };
        let (web, eu) = ("web".parse().unwrap(), "eu".parse().unwrap());
        let region = RegionStats { responses: [0, 37, 0, 1, 2], ..RegionStats::default() };
        let stats = Stats {
            services: [("web".parse().unwrap(), service)].into(),
            backends: [("app/eu-1".parse().unwrap(), backend)].into(),
            regions: [((web, eu), region)].into(),
            access_lines_lost: 6,
            accept_errors: 0,
            quic: QuicStats { forwarded: 8, retries: 9, ..QuicStats::default() },
        };
        let web = || "web".parse::<ServiceName>().unwrap();
        let served = [(web(), Served { requests: 40, errors: 3, ..Served::default() })].into();
        let judged = Judged {
            group: "front".parse().unwrap(),
            service: web(),
            objectives: Objectives {
                p95: Some(Duration::from_millis(100)),
                error_rate: Some(0.1),
                ..Objectives::default()
            },
            figures: Some(Figures { requests: 40, probes: 7, error_rate: 0.075, p95: Some(Duration::MAX) }),
            breaches: vec![Breach::FirstByte {
                p95: Duration::MAX,
                limit: Duration::from_millis(100),
                requests: 40,
                probes: 7,
            }],
        };
        let tally = Tally { results: [("passed", 12), ("timeout", 3)].into(), ..Tally::default() };
        let probed = Probed { tally, age: Duration::from_millis(1500) };
        let probes = [("app".parse().unwrap(), probed)].into();
        let counts = Counts { stats, served, judged: vec![judged], probes };
        let (prometheus, mut text) = (proxima_telemetry::metrics::install().unwrap(), String::new());
        record(&counts, &mut text);
        record_catchment(&CatchmentStats { asked: 7, carried: 3, ..CatchmentStats::default() });
        text += &prometheus.render();
        for line in [
            r#"proxima_service_open_connections{service="web"} 2"#,
            r#"proxima_service_connections_total{service="web"} 5"#,
            r#"proxima_service_shed_connections_total{service="web",reason="descriptors"} 4"#,
            r#"proxima_service_shed_connections_total{service="web",reason="per-ip"} 5"#,
            r#"proxima_service_responses_total{service="web",class="5xx"} 2"#,
            r#"proxima_service_failovers_total{service="web",reason="connect"} 3"#,
            r#"proxima_service_unserved_total{service="web",reason="all-outside"} 2"#,
            r#"proxima_service_malformed_requests_total{service="web",fault="head-too-large"} 1"#,
            r#"proxima_service_tls_handshakes_total{service="web",version="1.3",resumed="no"} 6"#,
            r#"proxima_service_tls_handshakes_total{service="web",version="1.2",resumed="yes"} 1"#,
            r#"proxima_service_tls_handshake_failures_total{service="web",reason="not-tls"} 9"#,
            r#"proxima_backend_failures_total{backend="app/eu-1",reason="first-byte"} 1"#,
            r#"proxima_backend_tls_handshakes_total{backend="app/eu-1",version="1.3",resumed="yes"} 8"#,
            r#"proxima_service_served_total{service="web"} 40"#,
            r#"proxima_service_errors_total{service="web"} 3"#,
            r#"proxima_slo_first_byte_seconds{group="front",service="web"} inf"#,
            r#"proxima_slo_error_ratio{group="front",service="web"} 0.075"#,
            r#"proxima_slo_probes{group="front",service="web"} 7"#,
            r#"proxima_slo_breached{group="front",service="web",objective="p95"} 1"#,
            r#"proxima_slo_breached{group="front",service="web",objective="error-rate"} 0"#,
            r#"proxima_probes_total{pool="app",result="passed"} 12"#,
            r#"proxima_probes_total{pool="app",result="timeout"} 3"#,
            r#"proxima_probe_age_seconds{pool="app"} 1.5"#,
            r#"proxima_probe_seconds_count{pool="app"} 0"#,
            r#"proxima_probe_lateness_seconds_bucket{pool="app",le="0.25"} 0"#,
            r#"proxima_access_log_lines_lost_total{reason="full"} 6"#,
            "proxima_quic_forwarded_total 8",
            "proxima_quic_retries_total 9",
            "proxima_catchment_flows_asked_total 7",
            "proxima_catchment_packets_carried_total 3",
            r#"proxima_first_byte_seconds_bucket{service="web",region="eu",le="0.000064"} 0"#,
            r#"proxima_first_byte_seconds_count{service="web",region="eu"} 0"#,
            r#"proxima_response_seconds_count{service="web",region="eu"} 0"#,
            r#"proxima_region_responses_total{service="web",region="eu",class="2xx"} 37"#,
            r#"proxima_service_open_streams{service="web"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
