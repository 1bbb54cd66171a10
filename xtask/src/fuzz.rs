//! `cargo xtask fuzz`: libFuzzer on the decoders, one after the other.
//!
//! ```text
//!  bgp/fuzz/fuzz_targets/NAME.rs ─▶ cargo +nightly fuzz run ─▶ target/fuzz/corpus/NAME (what it finds on its way)
//!  bgp/fuzz/corpus/NAME (seeds) ──────────┘           └──────▶ bgp/fuzz/artifacts/NAME (what broke a target)
//! ```
//!
//! The seeds are replayed by `cargo xtask test` on the stable compiler. What broke a target becomes one of them once it is
//! mended.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

const PACKAGE: &str = "bgp/fuzz";
/// libFuzzer ends a run of one input after so many seconds, as hung.
const HUNG: u32 = 10;

/// Options of `cargo xtask fuzz`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The target to run; all, one after the other, when left out.
    target: Option<String>,
    /// Minutes for each target.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// Runs the fuzzer; the exit code is 1 when it broke a target.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let package = cargo::root().join(PACKAGE);
    let targets = targets(&package)?;
    let chosen: Vec<&String> = match &options.target {
        None => targets.iter().collect(),
        Some(name) => {
            let found = targets.iter().find(|target| *target == name);
            vec![found.with_context(|| format!("no target `{name}`; there are {}", targets.join(", ")))?]
        }
    };
    ensure_tools()?;
    let built = cargo::metadata()?.target_directory.join("fuzz");
    let mut broken = Vec::new();
    for target in chosen {
        let start = Instant::now();
        let held = fuzz(&package, &built, target, options.minutes)?;
        println!(
            "{target}: {} after {:.0} s",
            if held { "held" } else { "BROKEN" },
            start.elapsed().as_secs_f64()
        );
        if !held {
            broken.push(target.as_str());
        }
    }
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("\nbroken: {}; the inputs are in {PACKAGE}/artifacts", broken.join(", "));
    Ok(ExitCode::FAILURE)
}

/// The targets by name.
fn targets(package: &Path) -> Result<Vec<String>> {
    let directory = package.join("fuzz_targets");
    let files = fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))?;
    let mut names = Vec::new();
    for file in files {
        let path = file.with_context(|| format!("reading {}", directory.display()))?.path();
        names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// False when the target was broken.
fn fuzz(package: &Path, built: &Path, target: &str, minutes: u32) -> Result<bool> {
    let found = built.join("corpus").join(target);
    fs::create_dir_all(&found).with_context(|| format!("making {}", found.display()))?;
    let status = nightly("fuzz")
        .args(["run", "--fuzz-dir"])
        .arg(package)
        .arg("--target-dir")
        .arg(built)
        .arg(target)
        .args([found, package.join("corpus").join(target)])
        .arg("--")
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-timeout={HUNG}"))
        .arg(format!("-max_len={}", longest(target)))
        .arg("-print_final_stats=1")
        .current_dir(package)
        .status()
        .context("running cargo fuzz")?;
    Ok(status.success())
}

/// The most octets of an input: as long as a message may be where that makes a difference. Elsewhere long inputs only make
/// the search slower.
fn longest(target: &str) -> usize {
    match target {
        "message" | "update" => 65535,
        _ => 16384,
    }
}

/// Says what to install when something is missing.
fn ensure_tools() -> Result<()> {
    let works = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ensure!(
        works(nightly("--version").current_dir(cargo::root())),
        "libFuzzer needs a nightly compiler\nhint: rustup toolchain install nightly --profile minimal"
    );
    if !works(nightly("fuzz").arg("--version")) {
        bail!("cargo-fuzz is missing\nhint: cargo install --locked cargo-fuzz");
    }
    Ok(())
}

/// A Cargo command of the nightly toolchain.
fn nightly(name: &str) -> Command {
    // By rustup's own proxy: the CARGO of this process is the pinned toolchain's.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let proxy = home.map(|home| home.join("bin/cargo")).filter(|path| path.is_file());
    let mut command = Command::new(proxy.unwrap_or_else(|| "cargo".into()));
    command.arg("+nightly").arg(name).env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_messages_gets_the_longest_there_are() {
        let targets = targets(&cargo::root().join(PACKAGE)).unwrap();
        let whole: Vec<&String> = targets.iter().filter(|target| longest(target) == 65535).collect();
        assert_eq!(whole, ["message", "update"]);
    }

    #[test]
    fn every_target_has_seeds_and_is_built() {
        let package = cargo::root().join(PACKAGE);
        let manifest = fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let targets = targets(&package).unwrap();
        assert!(targets.len() >= 7, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is not in the manifest");
            let seeds = fs::read_dir(package.join("corpus").join(&target)).unwrap().count();
            assert!(seeds > 0, "{target} has no seeds");
        }
    }
}
