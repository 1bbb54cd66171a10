//! Nanoseconds per UPDATE: our BGP codec next to netgauze-bgp-pkt and bgpkit-parser, on the same octets.
//!
//! ```text
//!  cargo bench -p proxima-bgp-wire --bench codec ─▶ lines: round kind direction codec ns ─▶ ratios per round ─▶ medians
//! ```

use std::{
    fs,
    path::PathBuf,
    process::{ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::median;
use crate::cargo;

const OURS: &str = "proxima";

/// Options of the measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Rounds; each measures every codec once, for each kind of messages, decoding and encoding.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One codec in one round.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Figure {
    round: u32,
    kind: String,
    direction: String,
    codec: String,
    /// Nanoseconds per UPDATE.
    ns: f64,
}

/// What the rounds come to for one kind and direction.
#[derive(Debug, Serialize)]
struct Verdict {
    kind: String,
    direction: String,
    ours_ns: f64,
    others: Vec<Other>,
}

/// Another codec next to ours.
#[derive(Debug, Serialize)]
struct Other {
    codec: String,
    ns: f64,
    /// Our time over theirs, round by round: the median. Below 1 we are faster.
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rounds: u32,
    figures: Vec<Figure>,
    verdicts: Vec<Verdict>,
    /// Faster than both, for every kind, in both directions.
    holds: bool,
}

/// Measures, prints, and judges.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let figures = measure(options.rounds)?;
    let verdicts = verdicts(&figures);
    ensure!(!verdicts.is_empty(), "the benchmark printed no figures");
    let holds = verdicts.iter().flat_map(|verdict| &verdict.others).all(|other| other.ratio < 1.0);
    let report = Report { rounds: options.rounds, figures, verdicts, holds };
    print(&report);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(rounds: u32) -> Result<Vec<Figure>> {
    let output = cargo::command("bench")
        .args(["--package", "proxima-bgp-wire", "--bench", "codec", "--", &rounds.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo bench")?;
    ensure!(output.status.success(), "the benchmark ended with {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| parse(line).with_context(|| format!("the benchmark printed {line:?}"))).collect()
}

fn parse(line: &str) -> Option<Figure> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [round, kind, direction, codec, ns] = fields[..] else { return None };
    let [kind, direction, codec] = [kind, direction, codec].map(str::to_owned);
    Some(Figure { round: round.parse().ok()?, kind, direction, codec, ns: ns.parse().ok()? })
}

fn verdicts(figures: &[Figure]) -> Vec<Verdict> {
    let mut asked: Vec<(&str, &str)> = Vec::new();
    for figure in figures {
        let question = (figure.kind.as_str(), figure.direction.as_str());
        if !asked.contains(&question) {
            asked.push(question);
        }
    }
    asked.into_iter().map(|(kind, direction)| verdict(figures, kind, direction)).collect()
}

fn verdict(figures: &[Figure], kind: &str, direction: &str) -> Verdict {
    let of = |codec: &str| -> Vec<(u32, f64)> {
        let figures = figures.iter().filter(|figure| figure.kind == kind && figure.direction == direction);
        figures.filter(|figure| figure.codec == codec).map(|figure| (figure.round, figure.ns)).collect()
    };
    let middle = |values: &[(u32, f64)]| median(&values.iter().map(|(_, ns)| *ns).collect::<Vec<_>>());
    let ours = of(OURS);
    let mut codecs: Vec<&str> = figures.iter().map(|figure| figure.codec.as_str()).collect();
    codecs.sort_unstable();
    codecs.dedup();
    let others = codecs.into_iter().filter(|codec| *codec != OURS).map(|codec| {
        let theirs = of(codec);
        let ratios: Vec<f64> = ours
            .iter()
            .filter_map(|(round, ns)| {
                theirs.iter().find(|(other, _)| other == round).map(|(_, theirs)| ns / theirs)
            })
            .collect();
        Other { codec: codec.to_owned(), ns: middle(&theirs), ratio: median(&ratios) }
    });
    Verdict {
        kind: kind.to_owned(),
        direction: direction.to_owned(),
        ours_ns: middle(&ours),
        others: others.collect(),
    }
}

fn print(report: &Report) {
    println!("ns per UPDATE, medians of {} rounds; in brackets our time over theirs:\n", report.rounds);
    print!("{:<12} {:<8} {OURS:>8}", "messages", "");
    for other in &report.verdicts[0].others {
        print!(" {:>16}", other.codec);
    }
    println!();
    for Verdict { kind, direction, ours_ns, others } in &report.verdicts {
        print!("{kind:<12} {direction:<8} {ours_ns:>8.0}");
        for Other { ns, ratio, .. } in others {
            print!(" {:>16}", format!("{ns:.0} ({ratio:.2})"));
        }
        println!();
    }
    println!(
        "\nfaster than both, for every kind in both directions: {}",
        if report.holds { "holds" } else { "DOES NOT HOLD" }
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_benchmark_are_read() {
        let figure = parse("3 ipv6 decode netgauze 1642.2").unwrap();
        assert_eq!((figure.round, figure.codec.as_str()), (3, "netgauze"));
        assert!((figure.ns - 1642.2).abs() < f64::EPSILON);
        assert_eq!(parse("3 ipv6 decode netgauze"), None);
        assert_eq!(parse("warning: something 1 2"), None);
    }

    #[test]
    fn a_round_that_was_slow_for_all_changes_no_ratio() {
        let figure = |round, codec: &str, ns| Figure {
            round,
            kind: "table".to_owned(),
            direction: "decode".to_owned(),
            codec: codec.to_owned(),
            ns,
        };
        let figures = [
            figure(1, OURS, 50.0),
            figure(1, "other", 100.0),
            figure(2, "other", 300.0),
            figure(2, OURS, 150.0),
        ];
        let verdicts = verdicts(&figures);
        assert_eq!(verdicts.len(), 1);
        assert_eq!(verdicts[0].others.len(), 1);
        assert!((verdicts[0].others[0].ratio - 0.5).abs() < f64::EPSILON);
    }
}
