//! `cargo xtask test`: everything CI runs, cheapest first.
//!
//! A failed step does not hide the others: all run, each with its time, and the last line counts them.

use std::{
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{arrows, cargo, demo, packages, supply};

/// Options of `cargo xtask test`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Leave out the demo, the last and longest step.
    #[arg(long)]
    no_demo: bool,
}

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("packages: what the tests talk to", || packages::ensure(packages::Task::Test)),
    ("format: cargo fmt --check", || succeed(cargo::command("fmt").args(["--all", "--check"]))),
    ("lint: cargo clippy", || {
        succeed(cargo::command("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    }),
    ("arrows: who may depend on whom", || none_found(arrows::violations(&cargo::metadata()?))),
    ("supply: licences, bans, sources", supply_step),
    ("tests", tests_step),
    ("doctests: cargo test --doc", || {
        succeed(cargo::command("test").args(["--workspace", "--doc", "--quiet"]))
    }),
    (DEMO, || succeed(&mut demo::prepare(&[])?)),
];

const DEMO: &str = "demo: a region fails and no user notices";

/// Runs every step; the exit code is 1 when one failed.
pub(crate) fn run(options: &Options) -> ExitCode {
    let steps: Vec<_> = STEPS.iter().filter(|(name, _)| !(options.no_demo && *name == DEMO)).collect();
    let begin = Instant::now();
    let (mut lines, mut passed, mut failed) = (Vec::new(), 0, 0);
    for (number, (name, step)) in steps.iter().enumerate() {
        println!("\n=== {}/{} {name}", number + 1, steps.len());
        let start = Instant::now();
        let ended = step();
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

/// The rules in `deny.toml`, by cargo-deny where it is installed. Advisories need the network and have a run of their own.
fn supply_step() -> Result<()> {
    let metadata = cargo::metadata()?;
    none_found(supply::violations(&metadata, &supply::rules(&metadata)?))?;
    if has_subcommand("deny") {
        return succeed(cargo::command("deny").args(["check", "bans", "licenses", "sources"]));
    }
    println!("cargo-deny is not installed; checked licences, bans and sources of deny.toml without it");
    Ok(())
}

fn tests_step() -> Result<()> {
    if has_subcommand("nextest") {
        return succeed(cargo::command("nextest").args(["run", "--workspace"]));
    }
    succeed(cargo::command("test").args(["--workspace", "--lib", "--bins", "--tests"]))
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

fn none_found(violations: Vec<String>) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    bail!("{} found:\n  {}", violations.len(), violations.join("\n  "))
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
