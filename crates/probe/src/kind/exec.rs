//! Runs a program that knows how to ask: no shell, no standing connection, exit status 0 is success.
//!
//! ```text
//! a turn (32 programs at once in this process) ─▶ spawn ─▶ read ─┬─▶ exit ─▶ kill what is left of its group ─▶ reap ─▶ judge
//!                                                                   └─▶ time limit ─▶ kill its whole process group
//! ```
//!
//! The program is the daemon's user, in `/`, in a process group of its own, without standard input, at ordinary priority. Of the
//! environment it gets PATH and `PROXIMA_BACKEND`, `PROXIMA_ADDRESS` and `PROXIMA_PORT`, nothing else. The last
//! line of what it prints, on either output, is the detail of a failure. All else it prints is read and thrown away: 64 KiB
//! as fast as it comes, the rest at a pace that costs the prober nothing, so a chatterbox ends up at its time limit.
//!
//! Turns are kept for programs that end soon: one that takes longer than a moment gives way to them, see [`slots`](crate::slots).
//!
//! The group is killed before the program is reaped: until then nobody else can get its number.

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::LazyLock,
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::{self, Pid},
};
use proxima_health::{Failure, Findings, Phase};
use proxima_probe_kind::Exec;
use tokio::{
    net::unix::pipe,
    process::{Child, Command},
    signal::unix::{Signal as Signals, SignalKind, signal},
    task::spawn_blocking,
    time::sleep,
};

use super::{Call, Check, Checked};
use crate::{
    path::{Deadline, Path},
    said::said,
    slots::{Room, Slots},
    standing::Standing,
};

/// How many programs run at once, in all of this process.
const ROOM: Room = Room { quick: 8, late: 4, slow: 20 };
/// What a program may print as fast as it likes, in bytes.
const FREE_OUTPUT: usize = 64 * 1024;
/// From then on the pause between two readings.
const PAUSE: Duration = Duration::from_millis(10);
/// How much is read at once.
const READING: usize = 16 * 1024;
/// How much is read after the end: what a pipe may hold (pipe(7), `/proc/sys/fs/pipe-max-size`).
const AFTER_END: usize = 1024 * 1024;
/// How much of the end of what is printed is kept, in bytes.
const TAIL: usize = 1024;
/// Where a daemon without PATH lets programs look for programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static TURNS: LazyLock<Slots> = LazyLock::new(|| Slots::new(ROOM));

impl Check for Exec {
    fn slots(_call: &Call) -> &Slots {
        &TURNS
    }

    async fn check(&self, path: &Path, _standing: Option<Standing>, deadline: Deadline) -> Checked {
        run(self, path, deadline).await.into()
    }
}

/// Runs it once. The time limit is the program's own: it begins when its turn comes.
async fn run(exec: &Exec, path: &Path, deadline: Deadline) -> Result<Findings, Failure> {
    let mut program = Program::start(exec, path).await?;
    let (status, tail) = deadline.run(Phase::Answer, program.end()).await?;
    judge(status, &tail)
}

fn judge(status: ExitStatus, tail: &Tail) -> Result<Findings, Failure> {
    if status.success() {
        return Ok(Findings::default());
    }
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {signal}"),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => status.to_string(),
    };
    Err(Failure::Exit { status, output: tail.last_line() })
}

/// A program that has been started. Dropping it kills its process group; the runtime reaps it.
struct Program {
    child: Child,
    group: Pid,
    output: pipe::Receiver,
    /// Tells that a child of this process has ended, any of them.
    children: Signals,
    is_reaped: bool,
}

impl Program {
    async fn start(exec: &Exec, path: &Path) -> Result<Self, Failure> {
        // Before the program is there, so that its end isn't missed.
        let children = signal(SignalKind::child()).map_err(|error| local(error.to_string()))?;
        let mut command = command(exec, path)?;
        let (output, theirs) = io::pipe().map_err(|error| local(error.to_string()))?;
        // On a thread that may wait: until the program's file is there, the thread that starts it stands still.
        let started = spawn_blocking(move || {
            // It would inherit the control thread's.
            let _ = proxima_sys::set_nice(0);
            let child = command.stdout(theirs.try_clone()?).stderr(theirs).spawn()?;
            let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
            let group = group.ok_or_else(|| io::Error::other("it has ended before it began"))?;
            let output = pipe::Receiver::from_owned_fd(output.into())?;
            Ok(Self { child, group, output, children, is_reaped: false })
        });
        let started: io::Result<Self> = started.await.map_err(|error| local(error.to_string()))?;
        started.map_err(|error| local(cant_start(&exec.command[0], &error)))
    }

    /// Waits for its end, reads meanwhile, and leaves nothing of its group behind.
    async fn end(&mut self) -> Result<(ExitStatus, Tail), Failure> {
        let mut tail = Tail::default();
        loop {
            tokio::select! {
                biased;
                ended = ended(self.group, &mut self.children) => {
                    ended.map_err(|error| local(error.to_string()))?;
                    break;
                }
                () = read(&self.output, &mut tail), if !tail.is_whole => {}
            }
        }
        tail.rest(&self.output);
        kill(self.group);
        let status = self.child.wait().await.map_err(|error| local(error.to_string()))?;
        self.is_reaped = true;
        Ok((status, tail))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.is_reaped {
            kill(self.group);
        }
    }
}

fn cant_start(program: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("the program {program} is not there, or its interpreter is not"),
        io::ErrorKind::PermissionDenied => {
            format!("the program {program} may not be run by the daemon's user")
        }
        _ => format!("the program {program} can't be started: {error}"),
    }
}

fn command(exec: &Exec, path: &Path) -> Result<Command, Failure> {
    let Some((program, arguments)) = exec.command.split_first() else {
        return Err(local("no program is given".to_owned()));
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()))
        .env("PROXIMA_BACKEND", path.backend.as_str())
        .env("PROXIMA_ADDRESS", path.address.ip().to_string())
        .env("PROXIMA_PORT", path.address.port().to_string())
        .current_dir("/")
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// Waits until the process has ended, and leaves it to be reaped. Cancel-safe.
async fn ended(process: Pid, children: &mut Signals) -> io::Result<()> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
    while waitid(Id::Pid(process), flags)? == WaitStatus::StillAlive {
        children.recv().await;
    }
    Ok(())
}

fn kill(group: Pid) {
    // There is nothing to kill where all of it has ended.
    let _ = killpg(group, Signal::SIGKILL);
}

/// Reads a piece. Cancel-safe.
async fn read(output: &pipe::Receiver, tail: &mut Tail) {
    if tail.length >= FREE_OUTPUT {
        sleep(PAUSE).await;
    }
    // What can't be read any more has ended.
    tail.is_whole = match output.readable().await {
        Ok(()) => tail.take(output) == Some(0),
        Err(_) => true,
    };
}

/// The end of what a program prints.
#[derive(Debug, Default)]
struct Tail {
    /// More than [`TAIL`] at times, never more than that and a reading.
    bytes: Vec<u8>,
    /// How much has been printed.
    length: usize,
    /// Nothing more will come.
    is_whole: bool,
}

impl Tail {
    /// Reads what is there; how much that was, 0 at the end, and `None` when there is nothing yet.
    fn take(&mut self, output: &pipe::Receiver) -> Option<usize> {
        let mut piece = [0; READING];
        match output.try_read(&mut piece) {
            Ok(read) => {
                self.push(&piece[..read]);
                Some(read)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => Some(0),
        }
    }

    /// What is left after the end, without waiting for anybody who may still hold the other side. The event loop is not asked: it may
    /// have heard of the program's end before it heard of its last words.
    fn rest(&mut self, output: &pipe::Receiver) {
        let most = self.length + AFTER_END;
        let mut piece = [0; READING];
        while !self.is_whole && self.length < most {
            match unistd::read(output, &mut piece) {
                Ok(read) if read > 0 => self.push(&piece[..read]),
                _ => return,
            }
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.length += piece.len();
        self.bytes.extend_from_slice(piece);
        self.bytes.drain(..self.bytes.len().saturating_sub(TAIL));
    }

    /// The last line that says anything.
    fn last_line(&self) -> String {
        let lines = self.bytes.rsplit(|byte| matches!(byte, b'\n' | b'\r'));
        lines.map(<[u8]>::trim_ascii).find(|line| !line.is_empty()).map(said).unwrap_or_default()
    }
}

fn local(error: String) -> Failure {
    Failure::Local { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(pieces: &[&[u8]]) -> Tail {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.push(piece);
        }
        tail
    }

    #[tokio::test]
    async fn what_was_printed_is_read_though_the_event_loop_has_not_heard_of_it() {
        let (output, mut theirs) = io::pipe().unwrap();
        io::Write::write_all(&mut theirs, b"last words\n").unwrap();
        let output = pipe::Receiver::from_owned_fd(output.into()).unwrap();
        let mut tail = Tail::default();
        tail.rest(&output);
        assert_eq!(tail.last_line(), "last words");
    }

    #[test]
    fn the_last_line_that_says_anything_is_the_detail() {
        for (pieces, expected) in [
            (&[][..], ""),
            (&[&b"\n\n  \n"[..]][..], ""),
            (&[&b"one\ntwo"[..]][..], "two"),
            (&[&b"one\ntwo\n\n"[..]][..], "two"),
            (&[&b"one\nt"[..], &b"wo\r\n"[..]][..], "two"),
            (&[&b"10 %\r20 %\r"[..]][..], "20 %"),
            (&[&b"\x1b[31mred"[..]][..], "\\u{1b}[31mred"),
            (&[&b"\xff\xfe\n"[..]][..], "\u{fffd}\u{fffd}"),
        ] {
            assert_eq!(tail(pieces).last_line(), expected, "{pieces:?}");
        }
    }

    #[test]
    fn only_the_end_of_what_is_printed_is_kept() {
        let tail = tail(&[&[b'a'; READING][..]; 100]);
        assert_eq!((tail.length, tail.bytes.len()), (100 * READING, TAIL));
    }

    #[test]
    fn how_a_program_ended_is_said_in_words() {
        for (raw, expected) in
            [(2 << 8, "exit status 2: no"), (9, "killed by SIGKILL: no"), (64, "killed by signal 64: no")]
        {
            let judged = judge(ExitStatus::from_raw(raw), &tail(&[b"no\n"]));
            assert_eq!(judged.unwrap_err().to_string(), expected);
        }
        assert_eq!(judge(ExitStatus::from_raw(0), &tail(&[b"fine\n"])), Ok(Findings::default()));
    }
}
