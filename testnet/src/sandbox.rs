//! One private place for a whole world: new mount, pid, network and (when not root) user namespaces.
//!
//! ```text
//! outer   the program as called: waits, passes signals on, exits with the inner one's code
//!   unshare (util-linux)  dies with outer (setpriv --pdeathsig), and its child with it (--kill-child)
//!     init  pid 1 of the new pid namespace: reaps orphans, passes signals on; its end is everything's end
//!       inner  the program again, where [`enter`] returns
//! ```
//!
//! However any of them ends, SIGKILL included, the kernel ends the rest: every process inside dies with init, and
//! with the last process the namespaces, interfaces and mounts are gone. Nothing has to be cleaned up, ever.

use std::{
    env, fs,
    io::{self, BufReader, Read as _},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio, exit},
    thread,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::{
        signal::{self, SigSet, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, geteuid},
};

use crate::error::{Error, Result};

/// Tells a re-executed program which of the processes above it is.
const STAGE: &str = "PROXIMA_TESTNET_STAGE";
/// Set to `1` to use a user namespace even as root.
pub const USER_NAMESPACE: &str = "PROXIMA_TESTNET_USER_NAMESPACE";
/// The exit code after the outer process has vanished or a second signal came.
const ABORTED: i32 = 130;

/// The inside of a sandbox.
#[derive(Debug, Clone)]
pub struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    /// A private directory in memory, gone with the sandbox.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Goes on inside a sandbox: re-executes this program, with the same arguments, in new namespaces, and returns in
/// there only. Out here it never returns unless with an error: it exits with the inner program's code, or 128 plus
/// the number of the signal that ended it.
///
/// Inside, SIGINT, SIGTERM and SIGHUP sent to the outer process arrive as usual; a second one ends everything.
/// Standard input is empty. To be called first in `main`, before any thread starts.
pub fn enter() -> Result<Sandbox> {
    match env::var(STAGE).as_deref() {
        Err(_) => outer(),
        Ok("init") => init(),
        Ok(_) => Ok(Sandbox { dir: private_dir() }),
    }
}

fn private_dir() -> PathBuf {
    PathBuf::from("/run/proxima-testnet")
}

fn this_program() -> Result<Command> {
    let program = env::current_exe().map_err(Error::io("finding this program's own binary"))?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1));
    Ok(command)
}

// ---- outer

fn outer() -> Result<Sandbox> {
    let flags = namespace_flags();
    try_namespaces(&flags)?;

    // From here on signals are taken in turn below, whenever they come.
    let watched = watched_signals();
    watched.thread_block().map_err(Error::io("blocking signals"))?;
    let (reader, writer) = io::pipe().map_err(Error::io("creating a pipe"))?;
    let inner = this_program()?;
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", "unshare"])
        .args(&flags)
        .arg("--")
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(STAGE, "init")
        .stdin(OwnedFd::from(reader))
        .process_group(0);
    let mut child = command.spawn().map_err(missing_program)?;
    exit(supervise(&mut child, writer, &watched)?)
}

fn namespace_flags() -> Vec<&'static str> {
    let mut flags = vec!["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"];
    if !geteuid().is_root() || env::var_os(USER_NAMESPACE).is_some_and(|value| value == "1") {
        flags.extend(["--user", "--map-root-user"]);
    }
    flags
}

/// Tries with a program that does nothing, so that a refusal is told apart from a failure of what follows.
fn try_namespaces(flags: &[&str]) -> Result<()> {
    let attempt = Command::new("unshare").args(flags).args(["--", "true"]).stdin(Stdio::null()).output();
    let output = attempt.map_err(missing_program)?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Sandbox { reason, remedy: remedy() })
}

fn missing_program(source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::NotFound {
        return Error::Missing {
            what: "unshare or setpriv (util-linux)".to_owned(),
            remedy: "apt-get install util-linux".to_owned(),
        };
    }
    Error::Io { doing: "starting unshare".to_owned(), source }
}

/// What stands in the way of namespaces here, as far as the kernel tells.
fn remedy() -> String {
    if geteuid().is_root() {
        return "root may not create namespaces here: in a container, start it with --privileged".to_owned();
    }
    let blocked_when = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "15000"),
    ];
    for (key, bad, good) in blocked_when {
        let value = fs::read_to_string(Path::new("/proc/sys").join(key)).unwrap_or_default();
        if value.trim() == bad {
            return format!("run as root, or allow it: sysctl -w {}={good}", key.replace('/', "."));
        }
    }
    "run as root; in a container, start it with --privileged".to_owned()
}

fn watched_signals() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set
}

/// Passes signals on, as bytes in the pipe that init reads, until the child has ended; its exit code.
fn supervise(child: &mut Child, mut to_init: impl io::Write, watched: &SigSet) -> Result<i32> {
    loop {
        if let Some(status) = child.try_wait().map_err(Error::io("waiting for the sandbox"))? {
            return Ok(exit_code(status));
        }
        let signal = watched.wait().map_err(Error::io("waiting for a signal"))?;
        if signal != Signal::SIGCHLD {
            // When init is gone, so is the child, and the loop ends by that.
            let _ = to_init.write_all(&[signal as u8]);
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

// ---- init

fn init() -> Result<Sandbox> {
    // The outer process had them blocked, and a mask is inherited.
    watched_signals().thread_unblock().map_err(Error::io("unblocking signals"))?;
    let run = Path::new("/run");
    mount(Some("tmpfs"), run, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=0755"))
        .map_err(Error::io("mounting a private /run"))?;
    let dir = private_dir();
    fs::create_dir(&dir).map_err(Error::io(format!("creating {}", dir.display())))?;

    let mut command = this_program()?;
    // Where Debian keeps bird, nft and others, and a user's PATH may not lead.
    let path = env::var("PATH").unwrap_or_default() + ":/usr/local/sbin:/usr/sbin:/sbin";
    command.env(STAGE, "inner").env("PATH", path).env("TMPDIR", &dir).stdin(Stdio::null());
    let inner = command.spawn().map_err(Error::io("starting the inner program"))?;
    let inner = Pid::from_raw(inner.id().cast_signed());
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || pass_signals_on(inner))
        .map_err(Error::io("starting a thread"))?;
    exit(reap_until_ended(inner)?)
}

/// Sends the inner program what the outer one got. Ends everything on the second signal, and when the outer
/// process is gone.
fn pass_signals_on(inner: Pid) {
    let mut got_one = false;
    for byte in BufReader::new(io::stdin()).bytes() {
        let signal = byte.ok().and_then(|number| Signal::try_from(i32::from(number)).ok());
        let Some(signal) = signal.filter(|_| !got_one) else { break };
        got_one = true;
        // When the inner program has ended, the main thread is about to exit.
        let _ = signal::kill(inner, signal);
    }
    exit(ABORTED)
}

fn reap_until_ended(inner: Pid) -> Result<i32> {
    loop {
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == inner => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == inner => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::Io { doing: "reaping".to_owned(), source: errno.into() }),
        }
    }
}
