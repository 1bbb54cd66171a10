//! `cargo xtask test`: everything CI runs, cheapest first.
//!
//! A failed step does not hide the others: all run, each with its time, and the last line counts them.

use std::{
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{arrows, cargo, demo, docs, packages, settings, sim, supply};

/// Options of `cargo xtask test`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Run this step only; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = STEPS.map(|step| step.name))]
    only: Vec<String>,
    /// Leave out the demo, the last and longest step.
    #[arg(long)]
    no_demo: bool,
}

/// One step.
struct Step {
    name: &'static str,
    /// What it is about.
    about: &'static str,
    run: fn() -> Result<()>,
}

const STEPS: [Step; 10] = [
    Step {
        name: "packages",
        about: "what the tests talk to",
        run: || packages::ensure(packages::Task::Test),
    },
    Step { name: "format", about: "cargo fmt --check", run: format_step },
    Step { name: "lint", about: "cargo clippy, warnings are errors", run: lint_step },
    Step { name: "arrows", about: "who may depend on whom", run: arrows_step },
    Step { name: "supply", about: "licences, bans, sources", run: supply_step },
    Step { name: "docs", about: "the tests that it names, and what is generated", run: docs_step },
    Step { name: "tests", about: "every crate's tests", run: tests_step },
    Step { name: "doctests", about: "the examples in the documentation", run: doctests_step },
    Step { name: "worlds", about: "simulated, with seeded faults", run: || succeed(&mut sim::tested()?) },
    Step { name: DEMO, about: "a region fails and no user notices", run: demo_step },
];

const DEMO: &str = "demo";

/// Runs every step; the exit code is 1 when one failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let chosen = |name| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let steps: Vec<_> =
        STEPS.iter().filter(|step| chosen(step.name) && !(options.no_demo && step.name == DEMO)).collect();
    let begin = Instant::now();
    let (mut lines, mut passed, mut failed) = (Vec::new(), 0, 0);
    for (number, Step { name, about, run }) in steps.iter().enumerate() {
        println!("\n=== {}/{} {name}: {about}", number + 1, steps.len());
        let start = Instant::now();
        let ended = run();
        let took = seconds(start.elapsed());
        let line = match ended {
            Ok(()) => {
                passed += 1;
                format!("ok      {took:>8}  {name}")
            }
            Err(error) => {
                failed += 1;
                println!("error: {error:#}");
                format!("FAILED  {took:>8}  {name}")
            }
        };
        println!("--- {line}");
        lines.push(line);
    }
    println!("\n=== summary, {}", seconds(begin.elapsed()));
    for line in lines {
        println!("{line}");
    }
    println!("steps: {passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn format_step() -> Result<()> {
    succeed(cargo::command("fmt").args(["--all", "--check"]))
}

fn lint_step() -> Result<()> {
    succeed(cargo::command("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn arrows_step() -> Result<()> {
    none_found(&arrows::violations(&cargo::metadata()?))
}

/// The rules in `deny.toml`, by cargo-deny where it is installed. Advisories need the network and are
/// not checked here: `cargo deny check advisories`.
fn supply_step() -> Result<()> {
    let metadata = cargo::metadata()?;
    none_found(&supply::violations(&metadata, &supply::rules(&metadata)?))?;
    if has_subcommand("deny") {
        return succeed(cargo::command("deny").args(["check", "bans", "licenses", "sources"]));
    }
    println!("cargo-deny is not installed; checked licences, bans and sources of deny.toml without it");
    Ok(())
}

fn docs_step() -> Result<()> {
    let root = cargo::metadata()?.workspace_root;
    let mut violations = docs::violations(&root)?;
    violations.extend(settings::violations(&root));
    none_found(&violations)
}

/// What must hold, in the build the tests have made already. How fast it holds is measured by `cargo xtask demo`, not by a
/// test on a machine that may be busy: the limits of time are wider here.
fn demo_step() -> Result<()> {
    succeed(&mut demo::prepare(demo::Build::AsTested, &["--slack".to_owned(), "5".to_owned()])?)
}

/// Most tests wait for daemons most of their time: two of them for each core.
fn tests_step() -> Result<()> {
    if has_subcommand("nextest") {
        let at_once = 2 * std::thread::available_parallelism().context("counting the cores")?.get();
        let mut nextest = cargo::command("nextest");
        nextest.args(["run", "--no-fail-fast", "--test-threads", &at_once.to_string()]);
        return succeed(nextest.args(cargo::TESTS));
    }
    succeed(cargo::command("test").arg("--no-fail-fast").args(cargo::TESTS))
}

fn doctests_step() -> Result<()> {
    succeed(cargo::command("test").args(["--workspace", "--doc", "--quiet"]))
}

fn has_subcommand(name: &str) -> bool {
    let mut probe = cargo::command(name);
    probe.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("running {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

fn none_found(violations: &[String]) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{} found:\n  {}", violations.len(), violations.join("\n  "))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
