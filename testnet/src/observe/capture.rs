//! A tcpdump on one interface of one host, read as it writes.
//!
//! Two threads: one reads frames from tcpdump's standard output and hands them to the sink with their time of capture
//! on the monotonic clock; one reads its standard error, to know when it listens and what the kernel dropped.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, ChildStderr, Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    clock::WallClock,
    pcap::{LinkType, PcapError, Reader, Record},
};
use crate::{
    error::{Error, Result},
    netns::NetNs,
};

const START_LIMIT: Duration = Duration::from_secs(10);
/// The kernel's ring for captured packets, in KiB.
const RING_KIB: &str = "16384";

/// A running capture. Dropping it ends tcpdump.
#[derive(Debug)]
pub struct Capture {
    interface: String,
    child: Child,
    frames: Option<JoinHandle<std::result::Result<u64, PcapError>>>,
    messages: Option<JoinHandle<Vec<String>>>,
}

/// What a capture came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Frames read.
    pub frames: u64,
    /// Frames the kernel dropped because the reader was too slow; anything but zero weakens a claim of absence.
    pub dropped: u64,
}

impl Capture {
    /// Starts tcpdump on `interface` of `host` with a pcap filter (empty: everything) and waits until it listens.
    ///
    /// `sink` gets each frame and when it was captured, on a thread of its own.
    pub fn start(
        host: &NetNs,
        interface: &str,
        filter: &str,
        sink: impl FnMut(LinkType, &Record, Instant) + Send + 'static,
    ) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", interface, "-n", "-U", "--immediate-mode", "-s", "0", "-B", RING_KIB, "-Z", "root"])
            .args(["--time-stamp-precision=nano", "-w", "-"])
            .args((!filter.is_empty()).then_some(filter))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = host.spawn(&mut command).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Error::Missing { what: "tcpdump".to_owned(), remedy: "apt-get install tcpdump".to_owned() }
            }
            other => other,
        })?;
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let stderr = child.stderr.take().expect("stderr was asked to be a pipe");
        let (listening, wait) = mpsc::sync_channel(1);
        let messages = thread::spawn(move || read_messages(stderr, &listening));
        let frames = thread::spawn(move || follow(BufReader::new(stdout), sink));
        let mut capture =
            Self { interface: interface.to_owned(), child, frames: Some(frames), messages: Some(messages) };
        if wait.recv_timeout(START_LIMIT).is_ok() {
            return Ok(capture);
        }
        let said = capture.end().join("\n");
        let doing = format!("capturing on {interface} of {}", host.name());
        Err(Error::io(doing)(io::Error::other(format!("tcpdump did not start to listen: {said}"))))
    }

    /// Ends the capture once everything it saw has reached the sink.
    pub fn finish(mut self) -> Result<Summary> {
        let doing = format!("capturing on {}", self.interface);
        let frames = self.frames.take();
        let messages = self.end();
        let frames = frames
            .map_or(Ok(Ok(0)), JoinHandle::join)
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            .map_err(|error| Error::io(doing)(io::Error::other(error)))?;
        let dropped = messages.iter().find_map(|line| dropped_by_kernel(line)).unwrap_or(0);
        Ok(Summary { frames, dropped })
    }

    /// Asks tcpdump to end, which first writes out what it has; returns what it said.
    fn end(&mut self) -> Vec<String> {
        let Some(messages) = self.messages.take() else { return Vec::new() };
        if matches!(self.child.try_wait(), Ok(None)) {
            // The child is not yet waited for, so its number can't belong to another process.
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT);
        }
        let messages = messages.join().unwrap_or_default();
        let _ = self.child.wait();
        messages
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
        if let Some(frames) = self.frames.take() {
            let _ = frames.join();
        }
    }
}

/// Reads frames until the stream ends; returns how many.
fn follow(
    stream: impl Read,
    mut sink: impl FnMut(LinkType, &Record, Instant),
) -> std::result::Result<u64, PcapError> {
    const RESAMPLE: Duration = Duration::from_millis(100);
    let mut reader = match Reader::new(stream) {
        Err(PcapError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
        other => other?,
    };
    let (mut clock, mut sampled) = (WallClock::sample(), Instant::now());
    let mut frames = 0;
    while let Some(record) = reader.next_record()? {
        if sampled.elapsed() > RESAMPLE {
            (clock, sampled) = (WallClock::sample(), Instant::now());
        }
        sink(reader.link(), &record, clock.instant(record.at));
        frames += 1;
    }
    Ok(frames)
}

fn read_messages(stderr: ChildStderr, listening: &mpsc::SyncSender<()>) -> Vec<String> {
    let mut lines = Vec::new();
    for line in BufReader::new(stderr).lines().map_while(io::Result::ok) {
        if line.contains("listening on") {
            // Nobody waits any more when it comes too late.
            let _ = listening.try_send(());
        }
        lines.push(line);
    }
    lines
}

fn dropped_by_kernel(line: &str) -> Option<u64> {
    line.strip_suffix(" packets dropped by kernel")
        .or_else(|| line.strip_suffix(" packet dropped by kernel"))?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_read_from_what_tcpdump_says_at_its_end() {
        assert_eq!(dropped_by_kernel("17 packets dropped by kernel"), Some(17));
        assert_eq!(dropped_by_kernel("1 packet dropped by kernel"), Some(1));
        assert_eq!(dropped_by_kernel("17 packets received by filter"), None);
    }

    #[test]
    fn a_capture_that_ends_before_its_header_has_no_frames() {
        assert_eq!(follow(io::empty(), |_, _, _| ()).unwrap(), 0);
    }
}
