//! One thread of a process made to stand still while the others go on, by ptrace(2).
//!
//! Whoever traces has to be another process than the traced one's parent: what stops a traced thread is told to the tracer
//! only, and the parent, who waits for the process's end, must not take it for that. So a program of ours is started for
//! each thread, `proxima-testnet stall THREAD`. When it is killed, the kernel lets the thread go on.

use std::{fs, path::Path, process::Command, time::Duration};

use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::{
    error::{Error, Result},
    netns::NetNs,
    process::Process,
    wait::wait_until,
};

const START: Duration = Duration::from_secs(10);

/// A thread that stands still until this is dropped.
#[derive(Debug)]
pub(super) struct Stall {
    _tracer: Process,
}

impl Stall {
    /// Stops the thread called `name` of process `pid`.
    pub(super) async fn begin(host: &NetNs, pid: Pid, name: &str, log: &Path) -> Result<Self> {
        let thread = thread_of(pid, name)?;
        let this = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let mut command = Command::new(this);
        command.args(["stall", &thread.to_string()]);
        let tracer = Process::start(host, &format!("stall-{name}"), command, log)?;
        wait_until(START, || {
            tracer.check()?;
            let status = read(pid, thread, "status")?;
            // proc_pid_status(5): `t` is a tracing stop.
            let stopped = status.lines().any(|line| line.starts_with("State:\tt"));
            Ok(if stopped { String::new() } else { format!("thread {name} of process {pid} to stand still") })
        })
        .await?;
        Ok(Self { _tracer: tracer })
    }
}

/// Stops a thread and keeps it so until this process or the thread ends: `proxima-testnet stall`.
///
/// # Errors
/// When the thread can't be traced.
pub fn hold(thread: i32) -> Result<()> {
    let thread = Pid::from_raw(thread);
    let doing = format!("stopping thread {thread}");
    ptrace::seize(thread, ptrace::Options::empty())
        .and_then(|()| ptrace::interrupt(thread))
        .map_err(Error::io(doing.clone()))?;
    loop {
        match waitpid(thread, Some(WaitPidFlag::__WALL)).map_err(Error::io(doing.clone()))? {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ok(()),
            // Stopped, and it stays so.
            _ => {}
        }
    }
}

/// The thread of this name; the first is the process itself.
fn thread_of(pid: Pid, name: &str) -> Result<Pid> {
    let tasks = format!("/proc/{pid}/task");
    let entries = fs::read_dir(&tasks).map_err(Error::io(format!("reading {tasks}")))?;
    let threads = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let named = |thread: &Pid| read(pid, *thread, "comm").is_ok_and(|comm| comm.trim() == name);
    threads.map(Pid::from_raw).find(named).ok_or_else(|| Error::Unknown {
        kind: "thread",
        name: name.to_owned(),
        known: format!("those in {tasks}"),
    })
}

fn read(pid: Pid, thread: Pid, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/task/{thread}/{file}");
    fs::read_to_string(&path).map_err(Error::io(format!("reading {path}")))
}
