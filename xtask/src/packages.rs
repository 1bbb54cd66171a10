//! What the tasks need of Debian, PyPI and crates.io: which packages, what for, and how they come.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    panic,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use crate::cargo;

/// A program that must be there.
struct Need {
    program: &'static str,
    package: &'static str,
    purpose: &'static str,
    tasks: &'static [Task],
}

/// Who needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Demo,
    Test,
    BenchL7,
    BenchBgp,
    BenchFlaps,
}

const NEEDS: &[Need] = &[
    Need {
        program: "bird",
        package: "bird2",
        purpose: "the worlds' routers",
        tasks: &[Task::Demo, Task::Test, Task::BenchBgp, Task::BenchFlaps],
    },
    Need {
        program: "birdc",
        package: "bird2",
        purpose: "asks the routers",
        tasks: &[Task::Demo, Task::Test],
    },
    Need {
        program: "ip",
        package: "iproute2",
        purpose: "network namespaces",
        tasks: &[Task::Demo, Task::Test],
    },
    Need { program: "nft", package: "nftables", purpose: "packet filters", tasks: &[Task::Demo, Task::Test] },
    Need {
        program: "unshare",
        package: "util-linux",
        purpose: "the sandbox",
        tasks: &[Task::Demo, Task::Test, Task::BenchBgp, Task::BenchFlaps],
    },
    Need {
        program: "nginx",
        package: "nginx-light",
        purpose: "the peer and the backend; an app to probe",
        tasks: &[Task::BenchL7, Task::Test],
    },
    Need {
        program: "haproxy",
        package: "haproxy",
        purpose: "another proxy to compare with",
        tasks: &[Task::Test],
    },
    Need { program: "node", package: "nodejs", purpose: "a backend to compare with", tasks: &[Task::Test] },
    Need { program: "curl", package: "curl", purpose: "an HTTP client", tasks: &[Task::Test] },
    Need {
        program: "openssl",
        package: "openssl",
        purpose: "a certificate, and a TLS client",
        tasks: &[Task::Test, Task::BenchL7],
    },
    Need {
        program: "h2load",
        package: "nghttp2-client",
        purpose: "HTTP/2 load",
        tasks: &[Task::Test, Task::BenchL7],
    },
    Need { program: "nghttp", package: "nghttp2-client", purpose: "an HTTP/2 client", tasks: &[Task::Test] },
    Need { program: "strace", package: "strace", purpose: "counts system calls", tasks: &[Task::BenchL7] },
    Need {
        program: "python3",
        package: "python3-venv",
        purpose: "runs clients, and installs other proxies, of PyPI",
        tasks: &[Task::Test, Task::BenchL7],
    },
    Need { program: "wrk", package: "wrk", purpose: "HTTP load", tasks: &[Task::Test, Task::BenchL7] },
    Need { program: "systemd", package: "systemd", purpose: "the service manager", tasks: &[Task::Test] },
    Need { program: "pgrep", package: "procps", purpose: "counts processes", tasks: &[Task::Test] },
    Need { program: "chromium", package: "chromium", purpose: "a browser", tasks: &[Task::Test] },
    Need {
        program: "vtysh",
        package: "frr",
        purpose: "a router to talk with",
        tasks: &[Task::Test, Task::BenchBgp],
    },
    Need {
        program: "gobgpd",
        package: "gobgpd",
        purpose: "a router to talk with",
        tasks: &[Task::Test, Task::BenchBgp],
    },
    Need { program: "bgpctl", package: "openbgpd", purpose: "a router to talk with", tasks: &[Task::Test] },
    Need {
        program: "exabgp",
        package: "exabgp",
        purpose: "a router to talk with, and a health check to compare with",
        tasks: &[Task::Test, Task::BenchFlaps],
    },
    Need { program: "pebble", package: "pebble", purpose: "an ACME server", tasks: &[Task::Test] },
    Need { program: "bgpdump", package: "bgpdump", purpose: "reads MRT files", tasks: &[Task::Test] },
    Need { program: "pmbmpd", package: "pmacct", purpose: "a BMP collector", tasks: &[Task::Test] },
    // Its own programs are not on the path; this one comes with them.
    Need {
        program: "pg_createcluster",
        package: "postgresql",
        purpose: "a database to probe",
        tasks: &[Task::Test],
    },
    Need {
        program: "redis-server",
        package: "redis-server",
        purpose: "a database to probe",
        tasks: &[Task::Test],
    },
    Need { program: "redis-cli", package: "redis-tools", purpose: "steers Redis", tasks: &[Task::Test] },
    Need {
        program: "dnsmasq",
        package: "dnsmasq-base",
        purpose: "a name server to probe",
        tasks: &[Task::Test],
    },
];

/// A package of PyPI that must be there, of one version.
struct PythonNeed {
    requirement: &'static str,
    purpose: &'static str,
    tasks: &'static [Task],
}

/// In an environment of their own, where the tests look for it: `python` in the target directory.
const PYTHON_NEEDS: &[PythonNeed] = &[
    PythonNeed { requirement: "aioquic==1.7.2", purpose: "an HTTP/3 client", tasks: &[Task::Test] },
    PythonNeed { requirement: "openai==3.51.0", purpose: "a client of LLMs", tasks: &[Task::Test] },
    PythonNeed { requirement: "httpx2[http2]==2.16.2", purpose: "HTTP/2 for it", tasks: &[Task::Test] },
    PythonNeed {
        requirement: "websockets==17.4",
        purpose: "a WebSocket client and server",
        tasks: &[Task::Test],
    },
    PythonNeed {
        requirement: "hypercorn[h3]==0.18.0",
        purpose: "a WebSocket server over HTTP/2 and HTTP/3",
        tasks: &[Task::Test],
    },
    PythonNeed { requirement: "grpcio==1.85.1", purpose: "a gRPC client and server", tasks: &[Task::Test] },
];

/// Installs what `task` needs and is missing; where that is not allowed, says the command. oha, which takes longest, is built
/// beside the others' downloads.
pub(crate) fn ensure(task: Task) -> Result<()> {
    thread::scope(|scope| {
        let oha = (task == Task::Test).then(|| scope.spawn(|| ensure_oha(Oha::Tested)));
        ensure_debian(task)?;
        ensure_python(task)?;
        match oha.map(thread::ScopedJoinHandle::join) {
            Some(Ok(built)) => built.map(drop),
            Some(Err(panic)) => panic::resume_unwind(panic),
            None => Ok(()),
        }
    })
}

/// How oha is built: what loads takes a while to build, what is only to work does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oha {
    /// For a test: that it works through the proxy.
    Tested,
    /// For a measurement: it must not be what is slow.
    Measures,
}

impl Oha {
    /// Where it is, below the target directory.
    fn root(self) -> &'static str {
        match self {
            Self::Tested => "tools/tested",
            Self::Measures => "tools",
        }
    }
}

/// oha, an HTTP/3 client, of one version, which Cargo builds below the target directory. Its path.
pub(crate) fn ensure_oha(built: Oha) -> Result<PathBuf> {
    const VERSION: &str = "1.16.0";
    let root = cargo::metadata()?.target_directory.join(built.root());
    let installed = fs::read_to_string(root.join(".crates.toml")).unwrap_or_default();
    if !installed.contains(&format!("\"oha {VERSION} (")) {
        println!("building oha {VERSION} (HTTP/3 load) into {}", root.display());
        let mut install = Command::new("cargo");
        install.args(["install", "--quiet", "--locked", "--features", "http3", "--version", VERSION, "oha"]);
        install.arg("--root").arg(&root);
        if built == Oha::Tested {
            install.arg("--debug").env("CARGO_PROFILE_DEV_DEBUG", "none");
        }
        succeeded(install.output(), "cargo install oha", "crates.io has to be reachable")?;
    }
    Ok(root.join("bin/oha"))
}

/// Makes the environment of Python anew where it lacks anything.
fn ensure_python(task: Task) -> Result<()> {
    let needs: Vec<_> = PYTHON_NEEDS.iter().filter(|need| need.tasks.contains(&task)).collect();
    if needs.is_empty() {
        return Ok(());
    }
    let directory = cargo::metadata()?.target_directory.join("python");
    let (made_of, requirements) = (directory.join("made-of.txt"), needs.iter().map(|need| need.requirement));
    let wanted = requirements.clone().collect::<Vec<_>>().join("\n");
    if fs::read_to_string(&made_of).is_ok_and(|made| made == wanted) {
        return Ok(());
    }
    let list: Vec<_> = needs.iter().map(|need| format!("{} ({})", need.requirement, need.purpose)).collect();
    println!("installing {} into {}", list.join(", "), directory.display());
    let environment = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&directory).output();
    succeeded(environment, "python3 -m venv", "apt-get install python3-venv")?;
    let mut pip = Command::new(directory.join("bin/pip"));
    pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(requirements);
    succeeded(
        pip.output(),
        "pip install",
        "PyPI, or a mirror that pip is configured for, has to be reachable",
    )?;
    fs::write(&made_of, wanted).with_context(|| format!("writing {}", made_of.display()))
}

fn succeeded(output: std::io::Result<Output>, what: &str, hint: &str) -> Result<()> {
    let output = output.with_context(|| format!("running {what}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{what} failed:\n{said}\nhint: {hint}");
    Ok(())
}

fn ensure_debian(task: Task) -> Result<()> {
    let missing: Vec<_> =
        NEEDS.iter().filter(|need| need.tasks.contains(&task) && !installed(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list: Vec<_> =
        missing.iter().map(|need| format!("{} ({}: {})", need.program, need.package, need.purpose)).collect();
    let mut names: Vec<_> = missing.iter().map(|need| need.package).collect();
    names.dedup();
    let command = format!("apt-get install --no-install-recommends {}", names.join(" "));
    if !installed("apt-get") {
        bail!("missing: {}\nhint: install them; on Debian: {command}", list.join(", "));
    }
    if !is_root() {
        bail!("missing: {}\nhint: sudo {command}", list.join(", "));
    }
    println!("installing {}", names.join(" "));
    let _quiet = NoServices::begin()?;
    // The lists may be absent or old; a failed update is told by the install that follows.
    apt_get(&["update", "-q"]).ok();
    apt_get(&[&["install", "-y", "-q", "--no-install-recommends"], names.as_slice()].concat())?;
    let absent: Vec<_> = missing.iter().filter(|need| !installed(need.program)).collect();
    ensure!(absent.is_empty(), "`{command}` went well, yet {} is not on the path", absent[0].program);
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .output()
        .context("running apt-get")?;
    if !output.status.success() {
        bail!("apt-get {} failed:\n{}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Whether a program is on the path or where Debian puts system programs.
fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    std::env::split_paths(&path).chain(system).any(|directory| directory.join(program).is_file())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

/// While it lives, installed packages do not start their services (Debian policy, section 9.3.3): the tasks want the
/// programs, not a BGP daemon and a web server on this machine.
struct NoServices {
    ours: bool,
}

impl NoServices {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    const SIGNATURE: &str = "# Of `cargo xtask`, while it installs packages.";

    fn begin() -> Result<Self> {
        let foreign = |text: String| !text.contains(Self::SIGNATURE);
        if Path::new(Self::POLICY).exists() && fs::read_to_string(Self::POLICY).map_or(true, foreign) {
            return Ok(Self { ours: false });
        }
        fs::write(Self::POLICY, Self::script(std::process::id()))
            .and_then(|()| fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("writing {}", Self::POLICY))?;
        Ok(Self { ours: true })
    }

    /// Refuses while process `of` lives. Left behind by one that was killed, it allows everything and removes itself.
    fn script(of: u32) -> String {
        format!("#!/bin/sh\n{}\n[ -d /proc/{of} ] && exit 101\nrm -f \"$0\"\nexit 0\n", Self::SIGNATURE)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(Self::POLICY)
        {
            eprintln!("warning: remove {} by hand: {error}", Self::POLICY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_left_behind_allows_services_and_removes_itself() {
        let path = std::env::temp_dir().join(format!("policy-rc.d-{}", std::process::id()));
        let run = |of: u32| {
            fs::write(&path, NoServices::script(of)).unwrap();
            Command::new("sh").arg(&path).status().unwrap().code()
        };
        assert_eq!((run(std::process::id()), path.exists()), (Some(101), true));
        // Above the highest process id there can be.
        assert_eq!((run(u32::MAX), path.exists()), (Some(0), false));
    }
}
