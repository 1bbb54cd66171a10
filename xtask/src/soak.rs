//! What takes longer than a test may: builds the programs and hands over to `proxima-testnet`, or to the simulator.

use std::{convert::Infallible, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};
use clap::Subcommand;

use crate::{
    cargo,
    packages::{self, Task},
    sim,
};

/// What to do for long.
#[derive(Debug, Subcommand)]
#[command(disable_help_flag = true)]
pub(crate) enum Soak {
    /// Freeze a PoP 20 times per router, with BFD at 50 ms × 3: time until its route is gone from the router's kernel.
    ///
    /// All arguments go to `proxima-testnet bfd freeze`.
    Freeze {
        /// Arguments of `proxima-testnet bfd freeze`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Keep all cores busy with the proxy for ten minutes: BFD at 10 ms × 3 must not fail.
    ///
    /// All arguments go to `proxima-testnet bfd saturate`.
    Saturate {
        /// Arguments of `proxima-testnet bfd saturate`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Inject faults into a world of four regions under load, with limits of time for a machine that is free.
    ///
    /// All arguments go to `proxima-testnet faults`.
    Faults {
        /// Arguments of `proxima-testnet faults`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Attack the daemon as a hostile BGP peer, with 10 000 connections a second among others: nobody else may be harmed.
    ///
    /// All arguments go to `proxima-testnet hostile`.
    Hostile {
        /// Arguments of `proxima-testnet hostile`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Attack the proxy with slow clients, floods over HTTP/2 and QUIC, and heads of a megabyte: nobody else may wait for more than twice as
    /// long.
    ///
    /// All arguments go to `proxima-testnet http-attacks`.
    HttpAttacks {
        /// Arguments of `proxima-testnet http-attacks`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Reload certificates, routes and pools a hundred times under load over HTTP/1.1, HTTP/2 and HTTP/3: no request may fail.
    ///
    /// The test of the daemon that `cargo xtask test` runs with fewer; all arguments go to `cargo test`.
    Reload {
        /// Arguments of `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Have one process succeed another a hundred times under load over HTTP/1.1, HTTP/2 and HTTP/3: no request may fail, and no router may hear
    /// anything but keepalives.
    ///
    /// The test of the daemon that `cargo xtask test` runs with fewer; all arguments go to `cargo test`.
    Upgrade {
        /// Arguments of `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a million simulated worlds with seeded faults.
    ///
    /// All arguments go to `proxima-sim`.
    Sim {
        /// Arguments of `proxima-sim`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// How many worlds a soak runs.
const WORLDS: &str = "1000000";
/// How many reloads, or upgrades.
const TIMES: &str = "100";

/// Takes this process's place, so that Ctrl-C reaches the soak alone and its exit code is ours.
pub(crate) fn run(soak: &Soak) -> Result<Infallible> {
    match soak {
        Soak::Freeze { arguments } => hand_over(Task::Test, &["bfd", "freeze"], arguments),
        Soak::Saturate { arguments } => hand_over(Task::Test, &["bfd", "saturate"], arguments),
        Soak::Faults { arguments } => hand_over(Task::Test, &["faults"], arguments),
        Soak::Hostile { arguments } => hand_over(Task::Test, &["hostile", "--connects", "10000"], arguments),
        Soak::HttpAttacks { arguments } => hand_over(Task::Test, &["http-attacks"], arguments),
        Soak::Reload { arguments } => test("redeploy::no_request_fails", "PROXIMA_RELOADS", arguments),
        Soak::Upgrade { arguments } => test("upgrade::no_request_of_any", "PROXIMA_UPGRADES", arguments),
        Soak::Sim { arguments } => {
            let seeds = ["--seeds", WORLDS].map(str::to_owned);
            sim::hand_over(&[&seeds, arguments.as_slice()].concat())
        }
    }
}

/// Becomes a test of the daemon that does what it does so many times.
fn test(name: &str, times: &str, arguments: &[String]) -> Result<Infallible> {
    let mut test = Command::new(env!("CARGO"));
    test.args(["test", "--release", "--package", "proximad", "--test", "process"]).args(arguments);
    test.args(["--", "--nocapture", name]).env(times, TIMES);
    Err(test.exec()).context("running cargo test")
}

/// Becomes a command of a released `proxima-testnet`, with everything it needs built and installed.
pub(crate) fn hand_over(task: Task, command: &[&str], arguments: &[String]) -> Result<Infallible> {
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        packages::ensure(task)?;
    }
    let directory = cargo::build("release", &["proximad", "proxima-testnet"])?;
    let mut program = Command::new(directory.join("proxima-testnet"));
    let error = program.args(command).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.get_program().display()))
}
