//! `cargo xtask demo`: builds the programs and hands over to `proxima-testnet demo`.

use std::{convert::Infallible, os::unix::process::CommandExt, process::Command};

use anyhow::{Context, Result};

use crate::{cargo, packages};

const PROGRAMS: &[&str] = &["proximad", "proxima", "proxima-testnet"];

/// How the programs are built.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Build {
    /// Optimised, in less time than a release: for those who watch.
    Optimised,
    /// The very programs that the tests run, which have built them already.
    AsTested,
}

/// Takes this process's place, so that Ctrl-C reaches the demo alone and its exit code is ours.
pub(crate) fn run(arguments: &[String]) -> Result<Infallible> {
    let mut demo = prepare(Build::Optimised, arguments)?;
    let error = demo.exec();
    Err(error).with_context(|| format!("starting {}", demo.get_program().display()))
}

/// The demo's command, with everything it needs built and installed.
pub(crate) fn prepare(build: Build, arguments: &[String]) -> Result<Command> {
    if !arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        packages::ensure(packages::Task::Demo)?;
    }
    let directory = match build {
        Build::Optimised => cargo::build("demo", PROGRAMS)?,
        Build::AsTested => cargo::build_tests()?,
    };
    let mut demo = Command::new(directory.join("proxima-testnet"));
    demo.arg("demo").args(arguments);
    Ok(demo)
}
