//! A process that is stopped by a signal and goes on: what its neighbours and it itself make of it.

use std::{
    io::{BufRead, BufReader, Write},
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proxima_bfd_io::{Cause, Meaning, SessionConfig, State};

use crate::common::{DEADLINE, Host, MS, SLACK, pause, session, settings};

/// Set in the environment of this program when it is the process to be frozen: its address, its neighbour's, interval in
/// milliseconds and multiplier.
const FROZEN: &str = "PROXIMA_BFD_TEST_FROZEN";

/// Another process with a session to this one. It prints its changes of state.
pub(crate) struct Frozen {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Frozen {
    pub(crate) fn start(own: Ipv4Addr, neighbour: Ipv4Addr, interval: u32, multiplier: u8) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "freeze::the_process_to_be_frozen", "--ignored", "--nocapture"])
            .env(FROZEN, format!("{own} {neighbour} {interval} {multiplier}"))
            .stdout(Stdio::piped())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok).filter(|line| line.contains("->")) {
                sender.send(line).ok();
            }
        });
        Self { child, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
#[ignore = "not a test: the other process of those below"]
fn the_process_to_be_frozen() {
    let Ok(words) = std::env::var(FROZEN) else { return };
    let words: Vec<_> = words.split(' ').collect();
    let [own, neighbour]: [Ipv4Addr; 2] = [words[0].parse().unwrap(), words[1].parse().unwrap()];
    let interval = words[2].parse::<u32>().unwrap() * MS;
    let mut host = Host::at(own);
    let config = session("neighbour", own.into(), neighbour.into());
    let settings = settings(interval, words[3].parse().unwrap());
    host.handle.add(SessionConfig { settings, ..config }).unwrap();
    // Until killed, or until nobody listens any more.
    loop {
        let Some(event) = host.try_event() else {
            pause(MS);
            continue;
        };
        let line = format!("{}->{} {:?}", event.change.from, event.change.to, event.change.cause);
        if writeln!(std::io::stdout(), "{line}").is_err() {
            return;
        }
    }
}

#[test]
fn a_freeze_shorter_than_the_neighbours_detection_time_ends_nothing_however_long_for_us() {
    let [us, them] = [Ipv4Addr::new(127, 37, 40, 1), Ipv4Addr::new(127, 37, 40, 2)];
    // We believe them dead after 10 s of silence, they us after 500 ms: if they judged before they read what has arrived
    // meanwhile, they would take their own absence for our silence.
    let mut host = Host::at(us);
    let mut config = session("them", us.into(), them.into());
    config.settings = settings(100 * MS, 5);
    host.handle.add(config).unwrap();
    let frozen = Frozen::start(them, us, 100, 100);
    for expected in ["Down->Init Handshake", "Init->Up Handshake"] {
        // The first of them is left out when we are in Init first.
        let line = frozen.line();
        if line.ends_with("->Up Handshake") {
            break;
        }
        assert_eq!(line, expected);
    }
    host.settled("them");
    assert_eq!(host.status("them").session.detection_time, Some(10_000 * MS));
    for _ in 0..2 {
        frozen.signal(Signal::SIGSTOP);
        pause(1500 * MS);
        frozen.signal(Signal::SIGCONT);
        pause(100 * MS);
    }
    assert!(host.try_event().is_none());
    assert!(frozen.lines.try_recv().is_err(), "the frozen process took its own absence for our silence");
    assert_eq!(host.state("them"), State::Up);
}

#[test]
fn a_longer_freeze_is_noticed_in_time_and_never_blamed_on_the_neighbour() {
    let [us, them] = [Ipv4Addr::new(127, 37, 41, 1), Ipv4Addr::new(127, 37, 41, 2)];
    let mut host = Host::at(us);
    let mut config = session("them", us.into(), them.into());
    config.settings = settings(100 * MS, 5);
    host.handle.add(config).unwrap();
    let frozen = Frozen::start(them, us, 100, 5);
    host.settled("them");
    while !frozen.line().contains("->Up") {}
    for _ in 0..3 {
        let at = std::time::Instant::now();
        frozen.signal(Signal::SIGSTOP);
        let event = host.meaning(Meaning::Failed);
        assert_eq!(event.change.cause, Cause::DetectionTimeExpired);
        assert!(event.at - at <= 500 * MS + SLACK, "{:?}", event.at - at);
        frozen.signal(Signal::SIGCONT);
        assert_eq!(frozen.line(), "Up->Down NeighborDown");
        while !frozen.line().contains("->Up") {}
        host.settled("them");
    }
}
