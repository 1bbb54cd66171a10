//! What is not CPU: what clients see of latency and tokens, and the memory of connections at rest.
//!
//! ```text
//!                               ┌▶ proximad ─┐
//!  proxima-testnet measure … ───┼▶ HAProxy ──┼▶ its source of tokens, or nginx
//!                               └▶ (direct) ─┘
//! ```
//!
//! Where it is what a proxy *adds* that counts, each round asks the source directly too, in plain text: what the client, the source
//! and the machine take is in both.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::Value;

use super::{
    OURS, kernel, load,
    proxies::{Site, backend},
    server::{Ports, Server},
    tools::Tools,
    work::Work,
};
use crate::bench::median;

/// Connections at rest, where the limit of open files allows as many.
const RESTING: u32 = 15_000;
/// Open files that a proxy needs beside those of clients at rest.
const OTHER_FILES: u32 = 1000;
/// From when all connections are at rest until memory is read: what their handshakes took is given back by then.
const SETTLE: Duration = Duration::from_secs(2);
/// Processors, where the proxy has one of its own: what clients and source take of two is more than is left then, and whom the scheduler
/// puts together with whom would be most of what is measured.
const PROXYS: u32 = 0;
const THEIRS: u32 = 1;

pub(super) struct Bench<'a> {
    pub(super) directory: &'a Path,
    pub(super) proximad: &'a Path,
    /// `proxima-testnet`.
    pub(super) client: &'a Path,
    pub(super) tools: &'a Tools,
}

/// One proxy in one round.
#[derive(Debug, Clone, Serialize)]
struct Reading {
    proxy: &'static str,
    round: u32,
    /// What is judged.
    figure: f64,
    /// Everything that the client told, and without a proxy.
    client: Value,
    direct: Value,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Bar {
    /// Whom ours is held against; none where the limit is a figure by itself.
    proxy: Option<&'static str>,
    ours: f64,
    theirs: Option<f64>,
    /// The most that ours may be: of theirs, or by itself.
    limit: f64,
    holds: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    work: &'static str,
    about: &'static str,
    kernel: String,
    seconds: u32,
    /// What had to be found out before.
    given: String,
    readings: Vec<Reading>,
    bars: Vec<Bar>,
    pub(super) holds: bool,
}

impl Bench<'_> {
    pub(super) fn measure(&self, work: Work, rounds: u32, seconds: u32) -> Result<Report> {
        println!("\n{}: {}", work.name(), work.about());
        let (given, readings) = match work {
            Work::Latency => self.latency(rounds, seconds)?,
            Work::FirstToken => self.tokens(work, rounds, seconds, &["first", "--rate", "500"], "first")?,
            Work::Streams => {
                let streams = ["tokens", "--streams", "2000", "--interval", "50"];
                self.tokens(work, rounds, seconds, &streams, "stretched")?
            }
            Work::Idle => self.idle(rounds)?,
            Work::Http1 | Work::Http2 | Work::Http3 | Work::Handshakes | Work::Large => {
                bail!("{} is measured by its CPU", work.name())
            }
        };
        let bars = bars(work, &readings);
        let holds = bars.iter().all(|bar| bar.holds);
        Ok(Report {
            work: work.name(),
            about: work.about(),
            kernel: kernel(),
            seconds,
            given,
            readings,
            bars,
            holds,
        })
    }

    /// Small requests at half of what nginx can do.
    fn latency(&self, rounds: u32, seconds: u32) -> Result<(String, Vec<Reading>)> {
        let backend = backend(self.directory)?;
        let site = Site::new(self.directory, self.proximad, self.tools, backend.plain)?;
        let servers = start(&site, Work::Latency)?;
        let nginx =
            servers.iter().find(|server| server.name == "nginx").context("nginx does not take part")?;
        let url = format!("http://127.0.0.1:{}/", nginx.plain);
        let peaks =
            (0..3).map(|_| Ok(load::wrk(64, seconds, &url, &[])?.rate)).collect::<Result<Vec<_>>>()?;
        let rate = median(&peaks) / 2.0;
        let given = format!("{rate:.0} requests/s");
        println!("{given}");
        let readings = each_round(rounds, &servers, |server, round| {
            let ask = |seconds: u32| {
                let to = format!("127.0.0.1:{}", server.plain);
                let (rate, seconds, seed) = (rate.to_string(), seconds.to_string(), round.to_string());
                self.figures(&["pace", "--to", &to, "--rate", &rate, "--seconds", &seconds, "--seed", &seed])
            };
            ask(1)?;
            let client = ask(seconds)?;
            let figure = p99(&client, "latency")?;
            Ok(Reading { proxy: server.name, round, figure, client, direct: Value::Null })
        })?;
        Ok((given, readings))
    }

    /// Token streams by a command of the client, and what each proxy adds to what it tells.
    fn tokens(
        &self,
        work: Work,
        rounds: u32,
        seconds: u32,
        command: &[&str],
        told: &str,
    ) -> Result<(String, Vec<Reading>)> {
        let ports = Ports::free()?;
        let mut source = Command::new(self.client);
        source.args(["measure", "source", "--listen", &format!("127.0.0.1:{}", ports.plain)]);
        let source = Server::start("source", ports, self.directory, &mut source)?;
        let mut site = Site::new(self.directory, self.proximad, self.tools, source.plain)?;
        // Without it HAProxy may hold small pieces of a response back in hope of more.
        site.haproxy = "  option http-no-delay\n";
        let servers = start(&site, work)?;
        let has_own_processor = work == Work::Streams;
        if has_own_processor {
            source.keep_to(THEIRS)?;
            servers.iter().try_for_each(|server| server.keep_to(PROXYS))?;
        }
        let seconds = seconds.to_string();
        let ask = |port: u16, more: &[&str]| {
            let to = format!("127.0.0.1:{port}");
            let arguments = [command, &["--to", &to, "--seconds", &seconds], more].concat();
            let processor = has_own_processor.then_some(THEIRS);
            self.figures_on(processor, &arguments)
        };
        let certificate = site.certificate().display().to_string();
        let (mut direct, mut asked_in) = (Value::Null, 0);
        let readings = each_round(rounds, &servers, |server, round| {
            if asked_in < round {
                (direct, asked_in) = (ask(source.plain, &[])?, round);
            }
            let client = ask(server.tls, &["--ca", &certificate])?;
            let figure = p99(&client, told)? - p99(&direct, told)?;
            Ok(Reading { proxy: server.name, round, figure, client, direct: direct.clone() })
        })?;
        Ok((String::new(), readings))
    }

    /// Memory before and after so many clients have come and rest. Each time in a new process: what one has taken once it may keep.
    fn idle(&self, rounds: u32) -> Result<(String, Vec<Reading>)> {
        let backend = backend(self.directory)?;
        let mut site = Site::new(self.directory, self.proximad, self.tools, backend.plain)?;
        let connections = RESTING.min(most_open_files()?.saturating_sub(OTHER_FILES));
        site.clients = connections + 100;
        let given = format!("{connections} connections");
        println!("{given}");
        let mut readings = Vec::new();
        let mut names: Vec<_> = [OURS].into_iter().chain(Work::Idle.others().iter().copied()).collect();
        for round in 1..=rounds {
            for name in &names {
                let server = site.start(name)?;
                let to = format!("127.0.0.1:{}", server.tls);
                // Everything that is made for the first client of all is there.
                Resting::hold(self.client, &to, site.certificate(), 100)?.end()?;
                let before = resident(&server)?;
                let resting = Resting::hold(self.client, &to, site.certificate(), connections)?;
                std::thread::sleep(SETTLE);
                let grown = resident(&server)?.saturating_sub(before);
                resting.end()?;
                let figure = grown as f64 / f64::from(connections);
                println!("round {round}  {name:<8} {figure:>8.2}");
                let proxy = server.name;
                readings.push(Reading { proxy, round, figure, client: Value::Null, direct: Value::Null });
            }
            names.rotate_left(1);
        }
        Ok((given, readings))
    }

    /// Runs the client; what it printed.
    fn figures(&self, arguments: &[&str]) -> Result<Value> {
        self.figures_on(None, arguments)
    }

    /// Runs the client, on this processor only where one is named; what it printed.
    fn figures_on(&self, processor: Option<u32>, arguments: &[&str]) -> Result<Value> {
        let mut command = match processor {
            None => Command::new(self.client),
            Some(processor) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &processor.to_string()]).arg(self.client);
                command
            }
        };
        let output = command.arg("measure").args(arguments).output().context("running proxima-testnet")?;
        let (said, figures) =
            (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        ensure!(output.status.success(), "proxima-testnet measure {}:\n{said}", arguments.join(" "));
        serde_json::from_str(&figures).with_context(|| format!("proxima-testnet measure printed {figures:?}"))
    }
}

fn start(site: &Site<'_>, work: Work) -> Result<Vec<Server>> {
    [OURS].into_iter().chain(work.others().iter().copied()).map(|name| site.start(name)).collect()
}

/// Reads each server once in each round, and lets them take turns.
fn each_round(
    rounds: u32,
    servers: &[Server],
    mut read: impl FnMut(&Server, u32) -> Result<Reading>,
) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    let mut servers: Vec<_> = servers.iter().collect();
    for round in 1..=rounds {
        for server in &servers {
            let reading = read(server, round)?;
            println!("round {round}  {:<8} {:>8.3}", reading.proxy, reading.figure);
            readings.push(reading);
        }
        servers.rotate_left(1);
    }
    Ok(readings)
}

/// The 99th percentile of one of the client's figures, in ms.
fn p99(client: &Value, figure: &str) -> Result<f64> {
    let found = client.get(figure).and_then(|quantiles| quantiles.get("p99_ms")).and_then(Value::as_f64);
    found.with_context(|| format!("no p99_ms of {figure} in {client}"))
}

fn bars(work: Work, readings: &[Reading]) -> Vec<Bar> {
    let middle = |proxy: &str| {
        let of = readings.iter().filter(|reading| reading.proxy == proxy);
        median(&of.map(|reading| reading.figure).collect::<Vec<_>>())
    };
    let ours = middle(OURS);
    let others = work.bars().iter().map(|(proxy, limit)| {
        let theirs = middle(proxy);
        Bar { proxy: Some(proxy), ours, theirs: Some(theirs), limit: *limit, holds: ours <= limit * theirs }
    });
    let by_itself =
        work.most().map(|limit| Bar { proxy: None, ours, theirs: None, limit, holds: ours <= limit });
    others.chain(by_itself).collect()
}

/// The hard limit of open files, which proxies raise theirs to.
fn most_open_files() -> Result<u32> {
    let limits = fs::read_to_string("/proc/self/limits").context("reading /proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1)).context("no `Max open files` in it")?;
    Ok(hard.parse().unwrap_or(u32::MAX))
}

/// The resident memory of all processes of a server, in KiB.
fn resident(server: &Server) -> Result<u64> {
    let mut sum = 0;
    for pid in server.pids()? {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += kib.with_context(|| format!("no VmRSS in {path}"))?;
    }
    Ok(sum)
}

/// Clients at rest, until this is dropped.
struct Resting {
    client: Child,
}

impl Resting {
    fn hold(program: &Path, to: &str, certificate: &Path, connections: u32) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["measure", "rest", "--to", to, "--connections", &connections.to_string(), "--ca"]);
        let client = command.arg(certificate).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut resting = Self { client: client.context("starting proxima-testnet")? };
        let mut line = String::new();
        let out = resting.client.stdout.take().context("no output of proxima-testnet")?;
        BufReader::new(out).read_line(&mut line).context("waiting for clients to rest")?;
        ensure!(line.trim() == connections.to_string(), "clients of {to} do not come to rest: {line:?}");
        Ok(resting)
    }

    /// Has each ask once more, and close.
    fn end(mut self) -> Result<()> {
        drop(self.client.stdin.take());
        let status = self.client.wait().context("waiting for clients at rest")?;
        ensure!(status.success(), "connections at rest were closed meanwhile");
        Ok(())
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        // It ends when its standard input does.
        drop(self.client.stdin.take());
        let _ = self.client.wait();
    }
}

impl Report {
    pub(super) fn print(&self) {
        let mut names: Vec<_> = self.readings.iter().map(|reading| reading.proxy).collect();
        names.sort_unstable();
        names.dedup();
        println!();
        for proxy in names {
            let of = self.readings.iter().filter(|reading| reading.proxy == proxy);
            let figures: Vec<_> = of.map(|reading| reading.figure).collect();
            let each: Vec<_> = figures.iter().map(|figure| format!("{figure:.3}")).collect();
            println!(
                "{proxy:<8} median {:>8.3} of {} rounds ({})",
                median(&figures),
                each.len(),
                each.join(" ")
            );
        }
        for Bar { proxy, ours, theirs, limit, holds } in &self.bars {
            let verdict = if *holds { "holds" } else { "DOES NOT HOLD" };
            match (proxy, theirs) {
                (Some(proxy), Some(theirs)) => {
                    println!(
                        "{OURS} / {proxy}: {:.2} of the medians; limit {limit:.2}: {verdict}",
                        ours / theirs
                    );
                }
                _ => println!("{OURS}: {ours:.3}; limit {limit:.3}: {verdict}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(proxy: &'static str, figure: f64) -> Reading {
        Reading { proxy, round: 1, figure, client: Value::Null, direct: Value::Null }
    }

    #[test]
    fn ours_is_held_against_the_medians_of_others() {
        let readings =
            [(OURS, 1.0), ("haproxy", 2.0), (OURS, 9.0), ("haproxy", 3.0), (OURS, 2.5), ("haproxy", 2.5)]
                .map(|(proxy, figure)| reading(proxy, figure));
        let bar = |ours, theirs, limit, holds| Bar {
            proxy: Some("haproxy"),
            ours,
            theirs: Some(theirs),
            limit,
            holds,
        };
        assert_eq!(bars(Work::Idle, &readings), [bar(2.5, 2.5, 1.0, true)]);
        assert_eq!(bars(Work::Idle, &readings[..2]), [bar(1.0, 2.0, 1.0, true)]);
        assert_eq!(bars(Work::Idle, &readings[2..4]), [bar(9.0, 3.0, 1.0, false)]);
    }

    #[test]
    fn what_is_added_to_streams_has_a_limit_of_its_own() {
        let late = bars(Work::Streams, &[reading(OURS, 2.1), reading("haproxy", 5.0)]);
        assert_eq!(late, [Bar { proxy: None, ours: 2.1, theirs: None, limit: 2.0, holds: false }]);
    }

    #[test]
    fn the_99th_percentile_is_found_in_what_the_client_prints() {
        let printed = serde_json::json!({ "late": { "count": 3, "p50_ms": 0.1, "p99_ms": 1.25 } });
        assert!((p99(&printed, "late").unwrap() - 1.25).abs() < f64::EPSILON);
        assert!(p99(&printed, "first").is_err());
    }
}
