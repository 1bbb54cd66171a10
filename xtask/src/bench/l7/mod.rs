//! CPU per unit of work, and what clients see: proximad and other proxies before the same backend, in interleaved rounds.
//!
//! ```text
//!                     ┌▶ proximad ─┐
//!  wrk, h2load, oha ──┼▶ nginx ────┼▶ nginx as the backend
//!                     ├▶ HAProxy ──┤
//!                     └▶ Envoy, Traefik
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `work` | what is measured, by which load, and the bars |
//! | `figure` | what is not CPU: latency, tokens, memory |
//! | `proxies` | the configurations |
//! | `server` | a started program |
//! | `load` | the load generators and what they print |
//! | `tools` | what does not come from Debian: HAProxy, Envoy, Traefik, oha |

mod figure;
mod load;
mod proxies;
mod server;
mod tools;
mod work;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use self::{
    load::Load,
    proxies::Proxies,
    server::Server,
    work::{Measure, Work},
};
use super::{
    cpu::{Cpu, Switches},
    median,
};
use crate::{cargo, packages};

const WARM_UP_SECONDS: u32 = 1;
const OURS: &str = "proxima";

/// Options of the measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// What to measure; everything if nothing is named.
    #[arg(long, value_delimiter = ',')]
    work: Vec<Work>,
    /// Rounds; each measures every proxy once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of load per proxy and round.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Count the system calls of each proxy as well, in a round of its own.
    #[arg(long)]
    calls: bool,
    /// Measure this proximad instead of building one.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
    /// Measure with this proxima-testnet instead of building one.
    #[arg(long, value_name = "FILE")]
    testnet: Option<PathBuf>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One proxy in one round.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    proxy: &'static str,
    round: u32,
    requests: u64,
    requests_per_second: f64,
    /// CPU of the proxy's processes per request, in microseconds.
    cpu_us: f64,
    /// Of it in user code.
    user_us: f64,
    /// Context switches per request.
    switches: f64,
}

/// A proxy that ours is held against.
#[derive(Debug, Serialize)]
struct Bar {
    proxy: &'static str,
    /// Our CPU per request over theirs, round by round.
    ratios: Vec<f64>,
    median: f64,
    /// The most that the median may be.
    limit: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    work: &'static str,
    about: &'static str,
    kernel: String,
    seconds: u32,
    figures: Vec<Figure>,
    /// System calls per request, by proxy.
    calls: BTreeMap<&'static str, f64>,
    bars: Vec<Bar>,
    holds: bool,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum AnyReport {
    Cpu(Report),
    Figure(figure::Report),
}

impl AnyReport {
    fn holds(&self) -> bool {
        match self {
            Self::Cpu(report) => report.holds,
            Self::Figure(report) => report.holds,
        }
    }
}

/// Measures, prints, and judges.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    packages::ensure(packages::Task::BenchL7)?;
    let works = if options.work.is_empty() { Work::ALL.to_vec() } else { options.work.clone() };
    let tools = tools::install(works.contains(&Work::Http3))?;
    let built = |named: &Option<PathBuf>, program: &str| match named {
        Some(program) => Ok(program.clone()),
        None => Ok::<_, anyhow::Error>(cargo::build("release", &[program])?.join(program)),
    };
    let proximad = built(&options.proximad, "proximad")?;
    let has_figures = works.iter().any(|work| work.measure() == Measure::Figure);
    let testnet = if has_figures { built(&options.testnet, "proxima-testnet")? } else { PathBuf::new() };
    let directory = tempfile::tempdir().context("making a temporary directory")?;
    let mut reports = Vec::new();
    let (cpu, figures): (Vec<_>, Vec<_>) = works.into_iter().partition(|work| work.measure() == Measure::Cpu);
    if !cpu.is_empty() {
        let proxies = Proxies::start(directory.path(), &proximad, &tools)?;
        for work in cpu {
            let report = measure(work, &proxies, &tools, options)?;
            print(&report);
            reports.push(AnyReport::Cpu(report));
        }
    }
    for work in figures {
        let directory = directory.path().join(work.name());
        fs::create_dir(&directory).with_context(|| format!("making {}", directory.display()))?;
        let bench =
            figure::Bench { directory: &directory, proximad: &proximad, client: &testnet, tools: &tools };
        let report = bench.measure(work, options.rounds, options.seconds)?;
        report.print();
        reports.push(AnyReport::Figure(report));
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&reports).context("writing the report as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    let holds = reports.iter().all(AnyReport::holds);
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(work: Work, proxies: &Proxies, tools: &tools::Tools, options: &Options) -> Result<Report> {
    println!("\n{}: {}", work.name(), work.about());
    let mut servers: Vec<_> = proxies.of(work);
    let mut figures: Vec<Figure> = Vec::new();
    for round in 1..=options.rounds {
        for server in &servers {
            let figure = load(server, work, round, tools, options.seconds)?;
            println!(
                "round {round}  {:<8} {:>8.2} µs CPU/request  {:>8.0} requests/s  {:>5.2} switches/request",
                figure.proxy, figure.cpu_us, figure.requests_per_second, figure.switches
            );
            figures.push(figure);
        }
        // Whoever comes first has a colder machine; so they take turns.
        servers.rotate_left(1);
    }
    let calls = if options.calls { count_calls(&servers, work, tools)? } else { BTreeMap::new() };
    let bars: Vec<_> = work.bars().iter().map(|(proxy, limit)| bar(proxy, *limit, &figures)).collect();
    Ok(Report {
        work: work.name(),
        about: work.about(),
        kernel: kernel(),
        seconds: options.seconds,
        holds: bars.iter().all(|bar| bar.median <= bar.limit),
        figures,
        calls,
        bars,
    })
}

fn load(server: &Server, work: Work, round: u32, tools: &tools::Tools, seconds: u32) -> Result<Figure> {
    work.load(server, WARM_UP_SECONDS, tools)?;
    let pids = server.pids()?;
    let before = (Cpu::of(&pids)?, Switches::of(&pids)?);
    let Load { requests, rate } = work.load(server, seconds, tools)?;
    let spent = Cpu::of(&pids)?.since(before.0);
    let switches = Switches::of(&pids)?.since(before.1);
    ensure!(requests > 0, "{} answered no request", server.name);
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / requests as f64;
    Ok(Figure {
        proxy: server.name,
        round,
        requests,
        requests_per_second: rate,
        cpu_us: per_request(spent.total()),
        user_us: per_request(spent.user),
        switches: switches as f64 / requests as f64,
    })
}

/// System calls per request, by strace: the load is slower under it, but what is counted is the same.
fn count_calls(servers: &[&Server], work: Work, tools: &tools::Tools) -> Result<BTreeMap<&'static str, f64>> {
    let counted = servers.iter().map(|server| {
        let counting = load::Calls::begin(&server.pids()?)?;
        let Load { requests, .. } = work.load(server, 2, tools)?;
        Ok((server.name, counting.end()? as f64 / requests as f64))
    });
    counted.collect()
}

fn bar(proxy: &'static str, limit: f64, figures: &[Figure]) -> Bar {
    let of = |name, round| {
        let mut of = figures.iter().filter(|figure| figure.proxy == name && figure.round == round);
        of.next().map_or(f64::NAN, |figure| figure.cpu_us)
    };
    let rounds = figures.iter().map(|figure| figure.round).max().unwrap_or(0);
    let ratios: Vec<_> = (1..=rounds).map(|round| of(OURS, round) / of(proxy, round)).collect();
    Bar { proxy, median: median(&ratios), ratios, limit }
}

fn print(report: &Report) {
    println!(
        "\n{:<8} {:>10} {:>10} {:>12} {:>10} {:>8}",
        "proxy", "µs median", "µs user", "requests/s", "switches", "calls"
    );
    let mut names: Vec<_> = report.figures.iter().map(|figure| figure.proxy).collect();
    names.sort_unstable();
    names.dedup();
    for proxy in names {
        let column = |value: fn(&Figure) -> f64| {
            let of = report.figures.iter().filter(|figure| figure.proxy == proxy);
            median(&of.map(value).collect::<Vec<_>>())
        };
        println!(
            "{proxy:<8} {:>10.2} {:>10.2} {:>12.0} {:>10.2} {:>8}",
            column(|figure| figure.cpu_us),
            column(|figure| figure.user_us),
            column(|figure| figure.requests_per_second),
            column(|figure| figure.switches),
            report.calls.get(proxy).map_or_else(|| "-".to_owned(), |calls| format!("{calls:.2}")),
        );
    }
    for Bar { proxy, ratios, median, limit } in &report.bars {
        let each: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        println!(
            "{} / {proxy}: median {median:.2} of {} rounds ({}); limit {limit:.2}: {}",
            OURS,
            ratios.len(),
            each.join(" "),
            if median <= limit { "holds" } else { "DOES NOT HOLD" }
        );
    }
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Writes a file of the measurement.
fn write(directory: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(proxy: &'static str, round: u32, cpu_us: f64) -> Figure {
        Figure { proxy, round, requests: 1, requests_per_second: 1.0, cpu_us, user_us: 0.0, switches: 0.0 }
    }

    #[test]
    fn a_bar_holds_the_rounds_against_each_other() {
        let figures = [
            figure(OURS, 1, 8.0),
            figure("nginx", 1, 10.0),
            figure("nginx", 2, 20.0),
            figure(OURS, 2, 10.0),
            figure(OURS, 3, 9.0),
            figure("nginx", 3, 10.0),
        ];
        let bar = bar("nginx", 0.8, &figures);
        assert_eq!((bar.ratios.as_slice(), bar.median), (&[0.8, 0.5, 0.9][..], 0.8));
    }
}
