//! CPU per small HTTP/1.1 request: proximad and nginx before the same backend, in interleaved rounds.

use std::{fs, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::{Options, cpu::Cpu, median, programs::Server, wrk};
use crate::{cargo, packages};

/// What we claim: at most this share of nginx's CPU.
const LIMIT: f64 = 0.9;
const WARM_UP_SECONDS: u32 = 1;

/// One proxy in one round.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    proxy: String,
    round: u32,
    requests: u64,
    requests_per_second: f64,
    p99: String,
    /// CPU of the proxy's processes per request, in microseconds.
    cpu_us: f64,
    /// Of it in user code.
    user_us: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    nginx_version: String,
    kernel: String,
    connections: u32,
    seconds: u32,
    figures: Vec<Figure>,
    /// Proxima's CPU per request over nginx's, round by round.
    ratios: Vec<f64>,
    median_ratio: f64,
    limit: f64,
    holds: bool,
}

/// Measures, prints, and judges.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    packages::ensure(packages::Task::BenchL7)?;
    let proximad = match &options.proximad {
        Some(program) => program.clone(),
        None => cargo::build("release", &["proximad"])?.join("proximad"),
    };
    let report = measure(options, &proximad)?;
    print(&report);
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&report).context("writing the report as JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if report.holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(options: &Options, proximad: &Path) -> Result<Report> {
    let directory = tempfile::tempdir().context("making a temporary directory")?;
    let backend = Server::nginx_backend(directory.path())?;
    let nginx = Server::nginx_proxy(directory.path(), backend.port)?;
    let proxima = Server::proximad(directory.path(), proximad, backend.port)?;
    let mut figures = Vec::new();
    let mut ratios = Vec::new();
    for round in 1..=options.rounds {
        // Whoever comes first has a colder machine; so they take turns.
        let order = if round % 2 == 1 { [&nginx, &proxima] } else { [&proxima, &nginx] };
        for server in order {
            let figure = load(server, round, options)?;
            println!(
                "round {round}  {:<8} {:>7.2} µs CPU/request  {:>7.0} requests/s  p99 {}",
                figure.proxy, figure.cpu_us, figure.requests_per_second, figure.p99
            );
            figures.push(figure);
        }
        let of = |server: &Server| {
            figures
                .iter()
                .rfind(|figure| figure.proxy == server.name)
                .map_or(f64::NAN, |figure| figure.cpu_us)
        };
        ratios.push(of(&proxima) / of(&nginx));
    }
    let median_ratio = median(&ratios);
    Ok(Report {
        nginx_version: nginx_version(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
        connections: options.connections,
        seconds: options.seconds,
        figures,
        median_ratio,
        ratios,
        limit: LIMIT,
        holds: median_ratio <= LIMIT,
    })
}

fn load(server: &Server, round: u32, options: &Options) -> Result<Figure> {
    wrk::load(server.port, WARM_UP_SECONDS, options)?;
    let pids = server.pids()?;
    let before = Cpu::of(&pids)?;
    let load = wrk::load(server.port, options.seconds, options)?;
    let spent = Cpu::of(&pids)?.since(before);
    ensure!(load.requests > 0, "{} answered no request", server.name);
    let per_request = |time: Duration| time.as_secs_f64() * 1e6 / load.requests as f64;
    Ok(Figure {
        proxy: server.name.clone(),
        round,
        requests: load.requests,
        requests_per_second: load.rate,
        p99: load.p99,
        cpu_us: per_request(spent.total()),
        user_us: per_request(spent.user),
    })
}

fn print(report: &Report) {
    println!(
        "\nCPU of the proxy per request ({} connections, {}):",
        report.connections, report.nginx_version
    );
    println!("{:<8} {:>10} {:>10} {:>12}", "proxy", "µs median", "µs user", "requests/s");
    for proxy in ["nginx", "proxima"] {
        let column = |value: fn(&Figure) -> f64| {
            let values: Vec<_> =
                report.figures.iter().filter(|figure| figure.proxy == proxy).map(value).collect();
            median(&values)
        };
        println!(
            "{proxy:<8} {:>10.2} {:>10.2} {:>12.0}",
            column(|figure| figure.cpu_us),
            column(|figure| figure.user_us),
            column(|figure| figure.requests_per_second)
        );
    }
    let ratios: Vec<_> = report.ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!(
        "\nratio proxima/nginx: median {:.2} of {} rounds ({}); limit {:.2}: {}",
        report.median_ratio,
        report.ratios.len(),
        ratios.join(" "),
        report.limit,
        if report.holds { "holds" } else { "DOES NOT HOLD" }
    );
}

/// What `nginx -v` says, on its standard error.
fn nginx_version() -> String {
    std::process::Command::new("nginx").arg("-v").output().map_or_else(
        |_| "nginx".to_owned(),
        |output| String::from_utf8_lossy(&output.stderr).trim().replace("nginx version: ", ""),
    )
}
