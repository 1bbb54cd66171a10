//! The metrics and their Prometheus text.
//!
//! [`table`] names every metric. Counters of events are counted as the journal takes them (`tally`); everything is set from what
//! its owner says when someone scrapes. Nothing here is on the path of a request: the data plane counts in cells of its own.

mod histogram;
mod record;
pub mod table;
mod tally;

use std::time::Duration;

use metrics::{Label, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;

pub(crate) use self::record::count_event;
pub use self::{
    histogram::{Histogram, Series},
    record::{record_backends, record_certificates, record_events, record_peers, record_status},
};

/// What only grows.
#[derive(Debug, Clone, Copy)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
}

/// What rises and falls.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    name: &'static str,
    help: &'static str,
}

impl Counter {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// Takes a total that was counted elsewhere. One below the last is ignored.
    pub fn set(self, labels: &[(&'static str, &str)], total: u64) {
        counter!(self.name, self::labels(labels)).absolute(total);
    }

    pub(crate) fn add(self, labels: &[(&'static str, &str)], count: u64) {
        counter!(self.name, self::labels(labels)).increment(count);
        tally::add(self.name, labels, count);
    }
}

impl Gauge {
    const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// Takes the value of now.
    pub fn set(self, labels: &[(&'static str, &str)], value: f64) {
        gauge!(self.name, self::labels(labels)).set(value);
    }
}

fn labels(labels: &[(&'static str, &str)]) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect()
}

/// What no scrape has set for so long is left out.
const GONE_AFTER: Duration = Duration::from_secs(1);

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
    let recorder = builder().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Installed)?;
    describe();
    Ok(Prometheus(handle))
}

/// Everything is set at each scrape: what was not is of a peer, a service or a backend that is gone.
fn builder() -> PrometheusBuilder {
    let kinds = MetricKindMask::GAUGE | MetricKindMask::COUNTER;
    PrometheusBuilder::new().idle_timeout(kinds, Some(GONE_AFTER))
}

impl Prometheus {
    /// Counters and gauges in the Prometheus text format, version 0.0.4. Histograms render themselves.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn describe() {
    for Gauge { name, help } in table::GAUGES {
        describe_gauge!(name, help);
    }
    for Counter { name, help } in table::COUNTERS {
        describe_counter!(name, help);
    }
}

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;
