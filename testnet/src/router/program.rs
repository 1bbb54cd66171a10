//! What all routers need: a program that runs, a command that answers, a file that is written.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Make, Site};
use crate::{
    error::{Error, Result},
    process::Process,
    wait::block_until,
};

/// A killed program that is still there by then is stuck in the kernel.
const END: Duration = Duration::from_secs(5);

/// Starts a router's program, its output going to `NAME.log` in its directory.
pub(super) fn start(site: &Site, name: &str, package: &str, command: Command) -> Result<Process> {
    fs::create_dir_all(&site.dir).map_err(Error::io(format!("creating {}", site.dir.display())))?;
    let program = command.get_program().display().to_string();
    Process::start(&site.ns, name, command, &site.dir.join(format!("{name}.log"))).map_err(
        |error| match error {
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Error::Missing { what: program, remedy: format!("apt-get install {package}") }
            }
            other => other,
        },
    )
}

/// Kills a program and waits for its end.
pub(super) fn kill(process: &mut Option<Process>) -> Result<()> {
    let Some(process) = process.take() else { return Ok(()) };
    process.signal(Signal::SIGKILL)?;
    block_until(END, || {
        Ok(if process.is_running() { format!("{} does not end", process.name()) } else { String::new() })
    })
}

/// Writes a file of the router's.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io(format!("creating {}", dir.display())))?;
    }
    fs::write(path, text).map_err(Error::io(format!("writing {}", path.display())))
}

/// Runs a command on the router's host and returns what it says.
///
/// # Errors
/// [`Error::Router`] when it ends with another code than 0.
pub(super) fn ask(site: &Site, make: Make, command: &mut Command) -> Result<String> {
    let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
    let doing = format!("asking {make} for `{}`", words.join(" "));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = site.ns.spawn(command)?.wait_with_output().map_err(Error::io(doing))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(told);
    }
    let answer = told + &String::from_utf8_lossy(&output.stderr);
    Err(Error::Router { make: make.to_string(), command: words.join(" "), answer })
}

/// The same for an answer in JSON.
pub(super) fn ask_json(site: &Site, make: Make, command: &mut Command) -> Result<Value> {
    let words: Vec<_> = command.get_args().map(|word| word.display().to_string()).collect();
    json(make, &words.join(" "), &ask(site, make, command)?)
}

/// What a router answered to a command, which has to be JSON.
pub(super) fn json(make: Make, command: &str, answer: &str) -> Result<Value> {
    serde_json::from_str(answer).map_err(|error| Error::Router {
        make: make.to_string(),
        command: command.to_owned(),
        answer: format!("{answer}\n(which is not JSON: {error})"),
    })
}

/// Everything the logs in a router's directory hold, each under its name.
pub(super) fn logs(site: &Site) -> String {
    let Ok(entries) = fs::read_dir(&site.dir) else { return String::new() };
    let mut files: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort_unstable();
    let logs = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "log"));
    logs.fold(String::new(), |mut all, file| {
        let text = fs::read(file).unwrap_or_default();
        let _ = writeln!(all, "--- {}\n{}", file.display(), String::from_utf8_lossy(&text));
        all
    })
}
