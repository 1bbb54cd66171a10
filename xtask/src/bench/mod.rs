//! `cargo xtask bench`: Proxima next to its peers on the same machine, in the same minute.
//!
//! Machines differ and so do minutes, so a figure alone says little: each round measures all, in turns of order, and what
//! counts is the median of the rounds' ratios.

mod codec;
mod cpu;
mod l7;
mod probes;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::{packages::Task, soak};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// CPU of the proxy process per request over HTTP/1.1, /2 and /3, per TLS handshake and per large response, next to nginx, HAProxy,
    /// Envoy and Traefik: one worker each, the same backend.
    L7(l7::Options),
    /// Nanoseconds per UPDATE, decoded and encoded, next to netgauze-bgp-pkt and bgpkit-parser.
    Codec(codec::Options),
    /// CPU, lateness and memory of ten thousand HTTP probes a second.
    Probes(probes::Options),
    /// A full table of IPv4 routes: time until all are in the table, CPU and peak memory, next to BIRD, FRR and GoBGP.
    ///
    /// All arguments go to `proxima-testnet table`; `cargo xtask bench bgp --help` lists them.
    #[command(disable_help_flag = true)]
    Bgp {
        /// Arguments of `proxima-testnet table`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// 100 flaps of an app at 1 Hz: UPDATEs of this daemon next to those of ExaBGP's healthcheck.
    ///
    /// All arguments go to `proxima-testnet flaps`; `cargo xtask bench flaps --help` lists them.
    #[command(disable_help_flag = true)]
    Flaps {
        /// Arguments of `proxima-testnet flaps`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// Runs a measurement; the exit code is 1 when its claim does not hold.
pub(crate) fn run(bench: &Bench) -> Result<ExitCode> {
    match bench {
        Bench::L7(options) => l7::run(options),
        Bench::Codec(options) => codec::run(options),
        Bench::Probes(options) => probes::run(options),
        Bench::Bgp { arguments } => {
            soak::hand_over(Task::BenchBgp, &["table"], arguments).map(|never| match never {})
        }
        Bench::Flaps { arguments } => {
            soak::hand_over(Task::BenchFlaps, &["flaps"], arguments).map(|never| match never {})
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median(&[]).is_nan());
    }
}
