//! Latency distributions.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

const HIGHEST: Duration = Duration::from_mins(1);

/// A latency histogram: microseconds with three significant digits, up to a minute.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

/// The usual quantiles, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many requests.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 95 %.
    pub p95_ms: f64,
    /// 99 %.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        let highest = HIGHEST.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, highest, 3).expect("the bounds are valid constants"))
    }
}

impl Latencies {
    /// Adds a latency; beyond a minute it counts as a minute.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_micros() as u64);
    }

    /// The usual quantiles.
    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Quantiles {
            count: self.0.len(),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: self.0.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_keep_three_digits() {
        let mut latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        latencies.record(Duration::from_secs(100));
        let quantiles = latencies.quantiles();
        assert!((quantiles.p50_ms - 51.0).abs() < 0.1, "{quantiles:?}");
        assert!((quantiles.max_ms - 60_000.0).abs() < 60.0, "{quantiles:?}");
        assert_eq!(quantiles.count, 101);
    }
}
