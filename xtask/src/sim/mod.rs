//! `cargo xtask sim`: builds the simulator, optimised, and hands over to it; or breaks rules in the cores on purpose, and sees
//! whether the simulator finds out.

use std::{
    convert::Infallible,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::cargo;

mod mutants;
mod tree;

/// Options of `cargo xtask sim`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Break one rule after the other in a copy of the cores: the simulator has to find each.
    #[arg(long)]
    mutations: bool,
    /// Arguments of `proxima-sim`, or names of mutations; `cargo xtask sim -- --help` lists the former.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// The profile it is built with.
const PROFILE: &str = "sim";
const PROGRAM: &str = "proxima-sim";
/// How many worlds are part of the tests.
const TESTED: u64 = 20_000;

/// Runs the simulator; the exit code is 1 when a rule was broken, or a mutation was not found.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.mutations {
        return mutants::run(&options.arguments);
    }
    hand_over(&options.arguments).map(|never| match never {})
}

/// Takes this process's place, so that Ctrl-C reaches the simulator alone and its exit code is ours.
pub(crate) fn hand_over(arguments: &[String]) -> Result<Infallible> {
    let mut program = Command::new(build()?);
    let error = program.args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", program.get_program().display()))
}

/// The worlds that are part of the tests.
pub(crate) fn tested() -> Result<Command> {
    let mut program = Command::new(build()?);
    program.args(["--seeds", &TESTED.to_string()]);
    Ok(program)
}

fn build() -> Result<PathBuf> {
    build_in(&cargo::root(), &cargo::metadata()?.target_directory, &[])
}

/// Builds the simulator of a source tree, and returns where it is.
fn build_in(tree: &Path, target: &Path, options: &[&str]) -> Result<PathBuf> {
    let mut build = cargo::command("build");
    build.current_dir(tree).env("CARGO_TARGET_DIR", target);
    build.args(["--quiet", "--profile", PROFILE, "--package", PROGRAM]).args(options);
    let status = build.status().context("running cargo build")?;
    ensure!(status.success(), "the build of {} failed ({status})", tree.display());
    Ok(target.join(PROFILE).join(PROGRAM))
}
