//! A server that is a process of its own, ends with the test whatever happens to it, and has addresses nobody else has.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Instant,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::{Pid, User, chown},
};

use super::PATIENCE;

/// Where nobody else listens: a loopback address for each test process, a port for each server.
pub(crate) fn address() -> SocketAddr {
    static PORT: AtomicU16 = AtomicU16::new(20_000);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, 64 | high, middle, low), PORT.fetch_add(1, Ordering::Relaxed)).into()
}

/// The path of a program; when it is not there the test fails and says what to install.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(system)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is missing: apt-get install --no-install-recommends {package}"))
}

/// Whom servers run as that refuse to run as root.
#[derive(Debug, Clone, Copy)]
pub(crate) enum As {
    /// Who runs the test.
    Me,
    /// This user, where root runs the test.
    User(&'static str),
}

impl As {
    /// `program`, as that user; the kernel kills it when the thread that starts it ends.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new(self::program("setpriv", "util-linux"));
        if let (Self::User(user), true) = (self, is_root()) {
            let group = format!("--regid={user}");
            command.args([&format!("--reuid={user}"), &group, "--init-groups"]);
        }
        command.args(["--pdeathsig", "KILL"]).arg(program);
        command.current_dir("/").stdin(Stdio::null());
        command
    }

    /// Makes it the owner of `path`.
    pub(crate) fn own(self, path: &Path) {
        if let (Self::User(name), true) = (self, is_root()) {
            let user = User::from_name(name).unwrap().unwrap_or_else(|| panic!("there is no user `{name}`"));
            chown(path, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    /// Writes a file that is its own.
    pub(crate) fn write(self, path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        self.own(path);
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs a command to its end; what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let (printed, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{printed}{complained}", output.status);
    printed.trim().to_owned()
}

/// A running server and what it has written. Dropping it kills it and its children.
pub(crate) struct Server {
    child: Child,
    log: Arc<(Mutex<String>, Condvar)>,
}

impl Server {
    /// Starts `command` and waits until it has written `ready`.
    pub(crate) fn start(mut command: Command, ready: &str) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let log = Arc::default();
        read(child.stdout.take().unwrap(), &log);
        read(child.stderr.take().unwrap(), &log);
        let server = Self { child, log };
        server.says(ready);
        server
    }

    /// Waits until it has written `text`.
    pub(crate) fn says(&self, text: &str) {
        let (log, written) = &*self.log;
        let until = Instant::now() + PATIENCE;
        let mut log = log.lock().unwrap();
        while !log.contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not say `{text}`:\n{log}");
            log = written.wait_timeout(log, left).unwrap().0;
        }
    }

    pub(crate) fn id(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Kills it, as a crash would; its children are left to notice.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What has ended needs no killing.
        let _ = killpg(self.id(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, log: &Arc<(Mutex<String>, Condvar)>) {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let (log, written) = &*log;
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
            written.notify_all();
        }
    });
}
