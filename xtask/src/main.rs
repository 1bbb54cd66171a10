//! The project's own tasks: `cargo xtask demo | test | docs | bench | soak | fuzz | sim`.
//!
//! ```text
//! demo   packages ─▶ build ─▶ proxima-testnet demo (takes this process's place)
//! test   packages ─▶ fmt, clippy, arrows, licences, tests, doctests, demo: each a step with its time
//! docs   settings ─▶ configs/proxima.schema.json, docs/config.md
//! bench  packages ─▶ build ─▶ interleaved rounds against nginx, BIRD, FRR, GoBGP, ExaBGP
//! soak   packages ─▶ build ─▶ what takes longer than a test may
//! sim    build ─▶ worlds by seed; or mutants of the cores, which worlds have to find
//! fuzz   nightly build of bgp/fuzz ─▶ libFuzzer on each decoder
//! ```
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a program for a person at a terminal")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod arrows;
mod bench;
mod cargo;
mod demo;
mod docs;
mod fuzz;
mod packages;
mod settings;
mod sim;
mod soak;
mod supply;
mod test;

/// The project's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make a world of three regions, fail one under load, and show what its users noticed.
    ///
    /// All arguments go to `proxima-testnet demo`; `cargo xtask demo --help` lists them.
    #[command(disable_help_flag = true)]
    Demo {
        /// Arguments of `proxima-testnet demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run everything CI runs.
    Test(test::Options),
    /// Write the JSON Schema and the reference page of the configuration anew.
    Docs,
    /// What takes longer than a test may.
    Soak {
        #[command(subcommand)]
        soak: soak::Soak,
    },
    /// Measure next to other proxies and routers.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Look for bytes that break a decoder.
    Fuzz(fuzz::Options),
    /// Run simulated worlds with seeded faults; `--seed N` replays one, `--mutations` breaks the cores on purpose.
    Sim(sim::Options),
}

/// The exit code for "could not run": something is missing.
const COULD_NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Demo { arguments } => demo::run(&arguments).map(|never| match never {}),
        Task::Test(options) => Ok(test::run(&options)),
        Task::Docs => renew_docs(),
        Task::Soak { soak } => soak::run(&soak).map(|never| match never {}),
        Task::Bench { bench } => bench::run(&bench),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Sim(options) => sim::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(COULD_NOT_RUN)
    })
}

fn renew_docs() -> anyhow::Result<ExitCode> {
    let renewed = settings::renew(&cargo::metadata()?.workspace_root)?;
    for path in &renewed {
        println!("written: {path}");
    }
    if renewed.is_empty() {
        println!("nothing has changed");
    }
    Ok(ExitCode::SUCCESS)
}
