//! The daemon as a process, with its admin interface.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_api::{
    ErrorBody, Event, EventKind, EventLine, GroupReason, SessionState, Status, Upgraded, paths,
};
use proxima_types::{Health, ReachState};
use serde::de::DeserializeOwned;

use super::{PATIENCE, record::Record};

/// A running `proximad`; killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    /// The process that has taken over from the last one.
    successor: Option<Pid>,
    socket: PathBuf,
    log: Arc<Record<String>>,
    events: Arc<Record<Event>>,
}

/// A `proximad` that did not start.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl Daemon {
    /// A command that starts the binary with this configuration.
    pub(crate) fn command(config: &Path) -> Command {
        with_config(Command::new(env!("CARGO_BIN_EXE_proximad")), config)
    }

    /// The same without the capabilities to bind low ports and to change routes, whoever runs the tests.
    /// In a network of its own, where ports below 1024 are the privileged ones whatever this host has set.
    pub(crate) fn unprivileged(config: &Path) -> Command {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let inner = "ip link set lo up && exec setpriv --bounding-set -net_bind_service,-net_admin \"$@\"";
        command.args(["--net", "sh", "-c", inner, "sh", env!("CARGO_BIN_EXE_proximad")]);
        with_config(command, config)
    }

    /// Runs a daemon that is expected not to start.
    pub(crate) fn fail(mut command: Command) -> Failed {
        let mut child = Reaped(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let log = record_log(child.0.stderr.take().unwrap());
        log.wait_closed("proximad");
        let code = child.0.wait().unwrap().code();
        Failed { code, stderr: log.snapshot().join("\n") }
    }

    /// Starts a daemon and follows its events.
    pub(crate) fn start(config: &Path, socket: &Path) -> Self {
        Self::launch(Self::command(config), socket)
    }

    /// The same by a command of one's own.
    pub(crate) fn launch(mut command: Command, socket: &Path) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = record_log(child.stderr.take().unwrap());
        // From here on a panic kills it.
        let (socket, events) = (socket.to_owned(), Arc::default());
        let mut daemon = Self { child, successor: None, socket, log, events };
        daemon.log.wait("a first event in the log", |lines| {
            lines.iter().any(|line| line.contains("started, pid")).then_some(())
        });
        daemon.events = daemon.follow();
        daemon
    }

    /// The process that serves.
    pub(crate) fn pid(&self) -> u32 {
        self.successor.map_or(self.child.id(), |pid| pid.as_raw().cast_unsigned())
    }

    /// Has the daemon hand over to another process, and follows that one's events from then on.
    pub(crate) fn upgrade(&mut self) -> Upgraded {
        let upgraded: Upgraded = self.post(paths::UPGRADE, "");
        assert_eq!(upgraded.from_pid, self.pid());
        self.successor = Some(Pid::from_raw(upgraded.pid.cast_signed()));
        self.events = self.follow();
        upgraded
    }

    /// Takes the process that answers at the admin socket now for the daemon, and follows its events.
    pub(crate) fn adopt(&mut self) -> u32 {
        let pid = self.ask::<Status>(paths::STATUS).pid;
        self.successor = Some(Pid::from_raw(pid.cast_signed()));
        self.events = self.follow();
        pid
    }

    /// Waits until the process that was started first has ended, and no other.
    pub(crate) fn wait_first_exit(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Standard error so far.
    pub(crate) fn log(&self) -> String {
        self.log.snapshot().join("\n")
    }

    /// Waits for a line of standard error with these words.
    pub(crate) fn wait_log(&self, words: &str) {
        self.log.wait(words, |lines| lines.iter().any(|line| line.contains(words)).then_some(()));
    }

    /// Waits until `find` finds what is looked for in all events so far.
    pub(crate) fn wait_events<R>(&self, what: &str, find: impl FnMut(&[Event]) -> Option<R>) -> R {
        self.events.wait(what, find)
    }

    /// Waits until the stream of events has ended, and returns all of them.
    pub(crate) fn wait_followed(&self) -> Vec<Event> {
        self.events.wait_closed("the stream of events");
        self.events.snapshot()
    }

    /// Waits for the first event for which `find` returns something.
    pub(crate) fn wait_event<R>(&self, what: &str, find: impl FnMut(&Event) -> Option<R> + Copy) -> R {
        self.events.wait(what, |events| events.iter().find_map(find))
    }

    pub(crate) fn wait_established(&self, name: &str) -> Event {
        self.wait_event("a session", |event| match &event.kind {
            EventKind::PeerState { peer, to: SessionState::Established, .. } if peer.as_str() == name => {
                Some(event.clone())
            }
            _ => None,
        })
    }

    /// Waits for the first transition of this group into `state` after event number `since`; the event, and why.
    pub(crate) fn wait_transition(&self, name: &str, state: ReachState, since: u64) -> (Event, GroupReason) {
        self.events.wait(&format!("{name} {state}"), |events| {
            events.iter().filter(|event| event.seq > since).find_map(|event| match &event.kind {
                EventKind::GroupTransition { group, to, reason, .. }
                    if group.as_str() == name && *to == state =>
                {
                    Some((event.clone(), reason.clone()))
                }
                _ => None,
            })
        })
    }

    /// Waits until the latest verdict on this backend is `health`.
    pub(crate) fn wait_verdict(&self, id: &str, health: Health) -> Event {
        self.events.wait(&format!("{id} {health}"), |events| {
            let mut verdicts = events.iter().rev().filter_map(|event| match &event.kind {
                EventKind::BackendVerdict { backend, to, .. } if backend.to_string() == id => {
                    Some((event, *to))
                }
                _ => None,
            });
            verdicts.next().filter(|(_, to)| *to == health).map(|(event, _)| event.clone())
        })
    }

    /// What `GET` of this path answers, as the interface's type.
    pub(crate) fn ask<T: DeserializeOwned>(&self, path: &str) -> T {
        let (status, body) = self.request("GET", path, "");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// What `POST` to this path answers.
    pub(crate) fn post<T: DeserializeOwned>(&self, path: &str, body: &str) -> T {
        let (status, body) = self.request("POST", path, body);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// An answer other than 200.
    pub(crate) fn refused(&self, method: &str, path: &str, body: &str) -> (u16, ErrorBody) {
        let (status, body) = self.request(method, path, body);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    /// Waits until the process's own handler has been called for a signal that was sent.
    pub(crate) fn wait_signal_taken(&self, signal: Signal) {
        let bit = 1_u64 << (signal as i32 - 1);
        let is_pending = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
            let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
            u64::from_str_radix(pending.trim(), 16).unwrap() & bit != 0
        };
        while is_pending() {
            thread::yield_now();
        }
    }

    /// Waits until the process has ended.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.log.wait_closed("proximad");
        self.child.wait().unwrap()
    }

    fn follow(&self) -> Arc<Record<Event>> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        // HTTP/1.0, so that the lines come without chunks around them.
        write!(stream, "GET {}?since=0&follow=true HTTP/1.0\r\n\r\n", paths::EVENTS).unwrap();
        let events = Arc::<Record<Event>>::default();
        let record = Arc::clone(&events);
        thread::spawn(move || {
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            for line in lines.skip_while(|line| !line.is_empty()).skip(1) {
                match serde_json::from_str(&line).unwrap() {
                    EventLine::Event(event) => record.push(event),
                    EventLine::Lost { lost } => panic!("{lost} events lost"),
                }
            }
            record.close();
        });
        events
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        reap(&mut self.child);
        if let Some(successor) = self.successor {
            kill(successor, Signal::SIGKILL).ok(); // it may have ended
            if !thread::panicking() {
                self.log.wait_closed("the process that has taken over");
            }
        }
        if thread::panicking() {
            eprintln!("--- proximad's log ---\n{}", self.log());
        }
    }
}

fn with_config(mut command: Command, config: &Path) -> Command {
    command.arg("--config").arg(config).env_remove("PROXIMA_LOG").env("NO_COLOR", "1");
    command
}

struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        reap(&mut self.0);
    }
}

fn reap(child: &mut Child) {
    // Both fail only where it has ended and was waited for already.
    child.kill().ok();
    child.wait().ok();
}

fn record_log(stderr: ChildStderr) -> Arc<Record<String>> {
    let log = Arc::<Record<String>>::default();
    let record = Arc::clone(&log);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            record.push(line);
        }
        record.close();
    });
    log
}
