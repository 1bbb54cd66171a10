//! `cargo xtask demo`: builds the programs and hands over to `proxima-testnet demo`.

use std::{convert::Infallible, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{cargo, packages};

/// Fast enough, at a fraction of the build time of a release.
const PROFILE: &str = "demo";
const PROGRAMS: &[&str] = &["proximad", "proxima", "proxima-testnet"];

/// Takes this process's place, so that Ctrl-C reaches the demo alone and its exit code is ours.
pub(crate) fn run(arguments: &[String]) -> Result<Infallible> {
    let mut demo = prepare(arguments)?;
    let error = demo.exec();
    Err(error).with_context(|| format!("starting {}", demo.get_program().display()))
}

/// The demo's command, with everything it needs built and installed.
pub(crate) fn prepare(arguments: &[String]) -> Result<Command> {
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        packages::ensure(packages::Task::Demo)?;
    }
    let directory = cargo::build(PROFILE, PROGRAMS)?;
    let mut demo = Command::new(directory.join("proxima-testnet"));
    demo.arg("demo").args(arguments);
    Ok(demo)
}
