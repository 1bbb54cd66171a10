//! A full table into a BGP speaker: how long until a best path is chosen for every route (the Loc-RIB), and what it costs.
//!
//! The others choose a best path as a route arrives; this daemon chooses when it is asked, so that it is asked, once it has all
//! routes, for how many prefixes it has a best path. Its time ends with that answer.
//!
//! ```text
//! per round, in turns of order: subject ◀── the same octets ── feeder        two hosts, one veth
//!                                  └─ routes, CPU time, peak memory
//! ```
//!
//! The feeder writes a prepared stream of UPDATEs as fast as it is taken. The clock runs from its first octet until the
//! subject says that it has them all. It is asked every [`ASK_EVERY`], and less often when the answer costs it much: a
//! tenth of its time goes into answers at most, which is what a figure can be wrong by.

pub mod feed;
pub mod subject;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use proxima_types::Asn;
use serde::Serialize;

use self::{
    feed::{Feed, Table},
    subject::{Running, Subject},
};
use crate::{
    error::{Error, Result},
    figures::{self, median},
    link::{End, veth},
    netns::NetNs,
    process::{cpu_time, memory},
    sandbox::Sandbox,
    wait::wait_until,
};

const FEEDER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
const SUBJECT: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
const FEEDER_AS: u32 = 65100;
const SUBJECT_AS: u32 = 65001;
const SEED: u64 = 20_260_101;
/// How often a subject is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How much longer than its last answer took a subject is left alone.
const ASK_PAUSE: u32 = 9;
/// A subject that takes longer has failed.
const GIVE_UP: Duration = Duration::from_mins(10);
/// Until a subject listens.
const START_LIMIT: Duration = Duration::from_secs(20);

/// What we claim of time: at most this share of BIRD's, and less than FRR's and GoBGP's.
const TIME_TO_BIRD: f64 = 1.5;
/// What we claim of peak memory: at most this share of BIRD's.
const MEMORY_TO_BIRD: f64 = 2.0;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// IPv4 routes in the table.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    routes: u32,
    /// Rounds; each measures every subject once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Whom to measure.
    #[arg(long, value_delimiter = ',', default_value = "proxima,bird,frr,gobgp")]
    subjects: Vec<Subject>,
    /// The daemon; by default the one beside this program.
    #[arg(long, value_name = "FILE")]
    proximad: Option<PathBuf>,
    /// Write every figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One subject in one round.
#[derive(Debug, Clone, Serialize)]
struct Figure {
    subject: Subject,
    round: u32,
    /// First octet sent until the last route was in the Loc-RIB, in milliseconds.
    loaded_ms: f64,
    /// First octet sent until the last was taken by the kernel, in milliseconds.
    written_ms: f64,
    /// CPU time of the subject's process meanwhile, in milliseconds.
    cpu_ms: u64,
    /// Its peak resident memory, in KiB.
    peak_kib: u64,
    /// Its resident memory before the table, in KiB.
    empty_kib: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    routes: u32,
    attribute_sets: u32,
    messages: u32,
    octets: usize,
    figures: Vec<Figure>,
    claims: Vec<Claim>,
}

/// A claim and whether it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Claim {
    what: String,
    ratio: f64,
    limit: f64,
    holds: bool,
}

/// Measures, prints, and judges.
///
/// # Errors
/// When a program is missing, ends, or does not take the table in time.
#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
pub async fn run(options: Options, sandbox: &Sandbox) -> Result<ExitCode> {
    let missing = subject::missing(&options.subjects);
    if !missing.is_empty() {
        return Err(Error::Missing {
            what: "a program to measure".to_owned(),
            remedy: format!("apt-get install {}", missing.join(" ")),
        });
    }
    let proximad = figures::proximad(options.proximad.as_deref())?;
    let table = Table::build(options.routes, Asn(FEEDER_AS), FEEDER, SEED);
    println!(
        "{} routes, {} sets of attributes, {} UPDATEs, {:.1} MB",
        table.routes,
        table.attribute_sets,
        table.messages,
        table.updates.len() as f64 / 1e6
    );
    let mut figures = Vec::new();
    for round in 1..=options.rounds {
        // Whoever comes first has a colder machine; so they take turns.
        let mut order = options.subjects.clone();
        order.rotate_left((round as usize - 1) % options.subjects.len());
        for subject in order {
            let dir = sandbox.dir().join(format!("{round}-{}", subject.name()));
            let figure = measure(subject, round, &proximad, &dir, &table).await?;
            println!(
                "round {round}  {:<8} {:>8.0} ms  CPU {:>6} ms  peak {:>6.1} MiB",
                subject.name(),
                figure.loaded_ms,
                figure.cpu_ms,
                figure.peak_kib as f64 / 1024.0
            );
            figures.push(figure);
        }
    }
    let claims = judge(&figures);
    print(&options.subjects, &figures, &claims);
    let holds = claims.iter().all(|claim| claim.holds);
    let report = Report {
        routes: table.routes,
        attribute_sets: table.attribute_sets,
        messages: table.messages,
        octets: table.updates.len(),
        figures,
        claims,
    };
    if let Some(path) = &options.json {
        figures::write_json(&report, path)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn measure(subject: Subject, round: u32, proximad: &Path, dir: &Path, table: &Table) -> Result<Figure> {
    let (feeder, host) = (NetNs::create("feeder")?, NetNs::create(subject.name())?);
    veth(
        &End { ns: &feeder, interface: "eth0", addresses: vec![(FEEDER.into(), 24)] },
        &End { ns: &host, interface: "eth0", addresses: vec![(SUBJECT.into(), 24)] },
    )?;
    let running = Running::start(subject, proximad, &host, dir)?;
    wait_until(START_LIMIT, || {
        running.check()?;
        let missing =
            || format!("{} does not answer; its log ends with:\n{}", subject.name(), running.log_tail());
        Ok(running.routes().map_or_else(missing, |_| String::new()))
    })
    .await?;
    let empty_kib = memory(running.pid(), "VmRSS")?;
    let cpu_before = cpu_time(running.pid())?;

    let send = || Feed::send(FEEDER, Running::address(), Asn(FEEDER_AS), table);
    let doing = format!("sending the table to {}", subject.name());
    let (outcome, loaded) = std::thread::scope(|scope| {
        let feeding = scope.spawn(|| feeder.run(send));
        let loaded = wait_for_all(&running, table.routes);
        (feeding.join(), loaded)
    });
    let feed = outcome
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?
        .map_err(Error::io(doing.clone()))?;
    let loaded = loaded?;
    feed.check().map_err(Error::io(doing))?;
    let ms = |until: Instant| (until - feed.began).as_secs_f64() * 1e3;
    Ok(Figure {
        subject,
        round,
        loaded_ms: ms(loaded),
        written_ms: ms(feed.written),
        cpu_ms: cpu_time(running.pid())?.saturating_sub(cpu_before).as_millis() as u64,
        peak_kib: memory(running.pid(), "VmHWM")?,
        empty_kib,
    })
}

/// Asks until the subject has all routes and has chosen among them.
fn wait_for_all(running: &Running, routes: u32) -> Result<Instant> {
    let start = Instant::now();
    loop {
        running.check()?;
        let asked = Instant::now();
        let has = running.routes().unwrap_or(0);
        let answered = Instant::now();
        if has >= routes {
            match running.select() {
                None => return Ok(answered),
                Some(selected) if selected >= routes => return Ok(Instant::now()),
                Some(_) => {}
            }
        }
        if start.elapsed() > GIVE_UP {
            return Err(Error::Late {
                within: GIVE_UP,
                missing: format!("{has} of {routes} routes are loaded"),
            });
        }
        std::thread::sleep(ASK_EVERY.max((answered - asked) * ASK_PAUSE));
    }
}

fn judge(figures: &[Figure]) -> Vec<Claim> {
    let median_of = |subject: Subject, value: fn(&Figure) -> f64| {
        median(figures.iter().filter(|figure| figure.subject == subject).map(value))
    };
    let time = |figure: &Figure| figure.loaded_ms;
    let memory = |figure: &Figure| figure.peak_kib as f64;
    let against = [
        (Subject::Bird, "time", TIME_TO_BIRD, time as fn(&Figure) -> f64),
        (Subject::Frr, "time", 1.0, time),
        (Subject::Gobgp, "time", 1.0, time),
        (Subject::Bird, "peak memory", MEMORY_TO_BIRD, memory),
    ];
    let claim = |(other, what, limit, value): (Subject, &str, f64, fn(&Figure) -> f64)| {
        let ratio = median_of(Subject::Proxima, value)? / median_of(other, value)?;
        Some(Claim { what: format!("{what} over {}'s", other.name()), ratio, limit, holds: ratio <= limit })
    };
    against.into_iter().filter_map(claim).collect()
}

#[expect(clippy::print_stdout, reason = "for a person at a terminal")]
fn print(subjects: &[Subject], figures: &[Figure], claims: &[Claim]) {
    println!("\n{:<10} {:>12} {:>12} {:>12}   (medians)", "", "loaded ms", "CPU ms", "peak MiB");
    for subject in subjects {
        let column = |value: fn(&Figure) -> f64| {
            let measured = figures.iter().filter(|figure| figure.subject == *subject);
            median(measured.map(value)).unwrap_or(f64::NAN)
        };
        println!(
            "{:<10} {:>12.0} {:>12.0} {:>12.1}",
            subject.name(),
            column(|figure| figure.loaded_ms),
            column(|figure| figure.cpu_ms as f64),
            column(|figure| figure.peak_kib as f64 / 1024.0)
        );
    }
    for claim in claims {
        let verdict = if claim.holds { "holds" } else { "DOES NOT HOLD" };
        println!("{:<24} {:.2}, limit {:.2}: {verdict}", claim.what, claim.ratio, claim.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(subject: Subject, loaded_ms: f64, peak_kib: u64) -> Figure {
        Figure { subject, round: 1, loaded_ms, written_ms: 0.0, cpu_ms: 0, peak_kib, empty_kib: 0 }
    }

    #[test]
    fn a_claim_fails_when_we_are_slower_or_larger_than_allowed() {
        let others = [figure(Subject::Bird, 100.0, 1000), figure(Subject::Frr, 200.0, 9000)];
        let with = |loaded_ms, peak_kib| {
            let ours = figure(Subject::Proxima, loaded_ms, peak_kib);
            judge(&[&others[..], &[ours]].concat()).iter().map(|claim| claim.holds).collect::<Vec<_>>()
        };
        assert_eq!(with(150.0, 2000), [true, true, true]);
        assert_eq!(with(151.0, 2001), [false, true, false]);
        assert_eq!(with(201.0, 100), [false, false, true]);
    }
}
