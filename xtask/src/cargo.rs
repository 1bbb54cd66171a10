//! What Cargo knows: the workspace's packages and where builds go.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The part of `cargo metadata` used here.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Resolve,
    pub(crate) target_directory: PathBuf,
    pub(crate) workspace_root: PathBuf,
}

/// A package of the lock file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression.
    pub(crate) license: Option<String>,
    /// Registry or repository; absent for members of the workspace.
    pub(crate) source: Option<String>,
}

/// Who depends on whom, features applied.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

/// One package's dependencies.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) deps: Vec<Dependency>,
}

/// One dependency.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) pkg: String,
    pub(crate) dep_kinds: Vec<DependencyKind>,
}

/// Why it is depended on.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DependencyKind {
    /// `dev`, `build`, or absent for a normal dependency.
    pub(crate) kind: Option<String>,
}

impl Dependency {
    pub(crate) fn is_normal(&self) -> bool {
        self.dep_kinds.iter().any(|kind| kind.kind.is_none())
    }
}

/// What `cargo test` is told to build: the same wherever it is asked, so that nothing is built twice.
pub(crate) const TESTS: [&str; 4] = ["--workspace", "--lib", "--bins", "--tests"];

/// Where it runs; the same as in `deny.toml`. What is for other systems only is never built.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Asks Cargo for the workspace's metadata.
pub(crate) fn metadata() -> Result<Metadata> {
    let output = command("metadata")
        .args(["--format-version", "1"])
        .args(TARGETS.iter().flat_map(|target| ["--filter-platform", target]))
        .stderr(Stdio::inherit())
        .output()
        .context("running cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed ({})", output.status);
    serde_json::from_slice(&output.stdout).context("reading what cargo metadata printed")
}

/// A Cargo command at the workspace's root.
pub(crate) fn command(name: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.arg(name).current_dir(root());
    command
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds programs and returns the directory they are in.
pub(crate) fn build(profile: &str, programs: &[&str]) -> Result<PathBuf> {
    let mut build = command("build");
    build.args(["--profile", profile]);
    // By package, not by binary name alone: Cargo then sets features the same way every time.
    for package in ["proximad", "proxima-cli", "proxima-testnet"] {
        build.args(["--package", package]);
    }
    for program in programs {
        build.args(["--bin", program]);
    }
    let status = build.status().context("running cargo build")?;
    ensure!(status.success(), "the build failed ({status})");
    // The one profile whose directory has another name.
    let directory = if profile == "dev" { "debug" } else { profile };
    Ok(metadata()?.target_directory.join(directory))
}

/// Builds all tests and the programs they run, and returns the directory these are in.
pub(crate) fn build_tests() -> Result<PathBuf> {
    let status = command("test").args(TESTS).arg("--no-run").status().context("running cargo test")?;
    ensure!(status.success(), "the build failed ({status})");
    Ok(metadata()?.target_directory.join("debug"))
}
