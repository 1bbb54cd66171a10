//! What thousands of HTTP probes a second cost, and how late they are.
//!
//! ```text
//!  cargo bench -p proxima-probe --bench load ─▶ lines: name figure ─▶ bars
//! ```

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::cargo;

/// What must hold for ten thousand targets at an interval of one second.
const BARS: [Bar; 3] = [
    Bar { figure: "cpu-percent", most: 35.0, title: "CPU of one core, in percent" },
    Bar { figure: "late-p99-ms", most: 50.0, title: "lateness of a probe, 99th percentile, in ms" },
    Bar { figure: "memory-mb", most: 150.0, title: "memory, at its peak, in MB" },
];

struct Bar {
    figure: &'static str,
    most: f64,
    title: &'static str,
}

/// Options of the measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Targets, each probed once a second.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    targets: u32,
    /// Seconds of measurement, after a warm-up of fifteen.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Report {
    targets: u32,
    seconds: u32,
    figures: BTreeMap<String, f64>,
    /// Below every bar.
    holds: bool,
}

/// Measures, prints, and judges.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let figures = measure(options)?;
    for bar in &BARS {
        ensure!(figures.contains_key(bar.figure), "the benchmark printed no `{}`", bar.figure);
    }
    let holds = BARS.iter().all(|bar| figures[bar.figure] <= bar.most);
    let report = Report { targets: options.targets, seconds: options.seconds, figures, holds };
    print(&report);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(options: &Options) -> Result<BTreeMap<String, f64>> {
    let output = cargo::command("bench")
        .args(["--package", "proxima-probe", "--bench", "load", "--"])
        .args([options.targets.to_string(), options.seconds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo bench")?;
    ensure!(output.status.success(), "the benchmark ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| parse(line).with_context(|| format!("the benchmark printed {line:?}"))).collect()
}

fn parse(line: &str) -> Option<(String, f64)> {
    let (name, figure) = line.split_once(' ')?;
    Some((name.to_owned(), figure.parse().ok()?))
}

fn print(report: &Report) {
    let Report { targets, figures, .. } = report;
    println!("{targets} HTTP targets, each probed once a second, by one thread:\n");
    for Bar { figure, most, title } in &BARS {
        let found = figures[*figure];
        let holds = if found <= *most { "holds" } else { "DOES NOT HOLD" };
        println!("{title:<48} {found:>8.1}   at most {most}: {holds}");
    }
    for (name, figure) in figures.iter().filter(|(name, _)| BARS.iter().all(|bar| bar.figure != **name)) {
        println!("{name:<48} {figure:>8.1}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark_are_read() {
        assert_eq!(parse("late-p99-ms 1.25"), Some(("late-p99-ms".to_owned(), 1.25)));
        assert_eq!(parse("late-p99-ms"), None);
        assert_eq!(parse("warning: something"), None);
    }
}
