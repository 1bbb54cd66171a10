//! A full table: builds the programs and hands over to `proxima-testnet table`.

use std::{convert::Infallible, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{cargo, packages};

/// Takes this process's place, so that Ctrl-C reaches the measurement alone and its exit code is ours.
pub(crate) fn run(arguments: &[String]) -> Result<Infallible> {
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        packages::ensure(packages::Task::BenchBgp)?;
    }
    let directory = cargo::build("release", &["proximad", "proxima-testnet"])?;
    let mut table = Command::new(directory.join("proxima-testnet"));
    let error = table.arg("table").args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", table.get_program().display()))
}
