//! A program running on a host of the world: its log, its end.
//!
//! A thread per process waits for its end, so that an end nobody asked for is known at once and no zombie stays.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tokio::sync::watch;

use crate::{
    error::{Error, Result},
    netns::NetNs,
};

/// How many lines of a log an error shows.
const TAIL_LINES: usize = 15;

/// A started program. Dropping it kills the program.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command` inside `ns`; what it prints is appended to `log`. It gets its own process group.
    pub fn start(ns: &NetNs, name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .map_err(Error::io(format!("opening {}", log.display())))?;
        let stderr = file.try_clone().map_err(Error::io(format!("opening {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(file).stderr(stderr).process_group(0);
        let mut child = ns.spawn(&mut command)?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let (exited, exit) = watch::channel(None);
        thread::Builder::new()
            .name(format!("wait-{name}"))
            .spawn(move || {
                if let Ok(status) = child.wait() {
                    exited.send_replace(Some(status));
                }
            })
            .map_err(Error::io(format!("watching {name}")))?;
        tracing::debug!(process = name, %pid, "started");
        Ok(Self { name: name.to_owned(), pid, log: log.to_owned(), exit })
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, as the sandbox counts.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Sends a signal and returns the moment just before it was sent. Nothing happens to a program that has ended.
    pub fn signal(&self, signal: Signal) -> Result<Instant> {
        let before = Instant::now();
        if self.is_running()
            && let Err(errno) = signal::kill(self.pid, signal)
            && errno != nix::errno::Errno::ESRCH
        {
            return Err(Error::Io {
                doing: format!("sending {signal} to {}", self.name),
                source: errno.into(),
            });
        }
        Ok(before)
    }

    /// A handle to wait for the end with, apart from the process.
    pub fn exit(&self) -> Exit {
        Exit(self.exit.clone())
    }

    /// An error if the program has ended on its own.
    pub fn check(&self) -> Result<()> {
        match *self.exit.borrow() {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                program: self.name.clone(),
                status: status.to_string(),
                log: self.log_tail(),
            }),
        }
    }

    /// The file its output goes to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines it wrote.
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.signal(Signal::SIGKILL) {
            tracing::warn!(%error, "left a process behind");
        }
    }
}

/// The end of a process, to be waited for.
#[derive(Debug, Clone)]
pub struct Exit(watch::Receiver<Option<ExitStatus>>);

impl Exit {
    /// Waits for the end. `None` when it does not come within `within`.
    pub async fn wait(mut self, within: Duration) -> Option<ExitStatus> {
        match tokio::time::timeout(within, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(status)) => *status,
            _ => None,
        }
    }
}

/// User and system time of a process so far: fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
pub fn cpu_time(pid: Pid) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))?;
    // The command in field 2 may hold spaces and parentheses.
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Ok(Duration::from_millis(ticks.sum::<u64>() * 10))
}

/// A figure of `/proc/PID/status` such as `VmRSS`, in KiB.
pub fn memory(pid: Pid, figure: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))?;
    let line = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
    Ok(line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0))
}

/// The last lines of a log file, indented, for an error message.
pub fn tail(log: &Path) -> String {
    match fs::read(log) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            lines[from..].iter().flat_map(|line| ["  | ", line, "\n"]).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "  | (no log)\n".to_owned(),
        Err(error) => format!("  | (unreadable: {error})\n"),
    }
}
