//! The harness holds what the scenarios lean on: real namespaces, real routers, real signals.
//!
//! Each test runs a check of `proxima-testnet selftest` in a sandbox of its own. Needs root or user namespaces,
//! util-linux, BIRD 2 and /dev/net/tun.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test, helpers and all")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");
const USER_NAMESPACE: &str = proxima_testnet::sandbox::USER_NAMESPACE;

fn selftest(check: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["selftest", check]).env_remove("RUST_LOG").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

fn holds(command: &mut Command) {
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    println!("{log}");
    assert!(output.status.success(), "{}\n{log}", output.status);
}

#[test]
fn a_sandbox_is_private_and_its_orphans_are_reaped() {
    holds(&mut selftest("sandbox"));
}

#[test]
fn a_sandbox_needs_no_root() {
    if geteuid().is_root() {
        // The binary may lie where only root can read, so keep root's files but use a user namespace.
        holds(selftest("sandbox").env(USER_NAMESPACE, "1"));
    } else {
        holds(&mut selftest("sandbox"));
    }
}

#[test]
fn routers_and_links_work_in_a_user_namespace() {
    holds(selftest("routers").env(USER_NAMESPACE, "1"));
}

#[test]
fn a_round_trip_takes_twice_the_delay_of_the_line() {
    holds(&mut selftest("link-delay"));
}

#[test]
fn the_same_seed_loses_the_same_packets() {
    holds(&mut selftest("link-loss"));
}

#[test]
fn a_line_carries_200_mbit() {
    holds(&mut selftest("link-rate"));
}

#[test]
fn a_pulled_line_has_no_carrier_and_works_again_when_plugged_in() {
    holds(&mut selftest("link-carrier"));
}

#[test]
fn three_routers_converge_and_regions_are_as_far_apart_as_described() {
    holds(&mut selftest("routers"));
}

#[test]
fn a_killed_app_is_noticed_by_its_standing_connection_and_can_come_back() {
    holds(&mut selftest("app-restart"));
}

#[test]
fn the_observers_see_routes_messages_and_a_marker_when_they_come_and_go() {
    holds(&mut selftest("observers"));
    holds(selftest("observers").env(USER_NAMESPACE, "1"));
}

/// The processes that have `mark` in their environment.
fn marked(mark: &str) -> Vec<String> {
    let carries_mark = |pid: &String| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(carries_mark)
        .collect()
}

/// A sandbox with programs in it, up and holding; `mark` is in the environment of all of them.
struct Held {
    outer: Child,
    stdout: BufReader<ChildStdout>,
    mark: String,
}

impl Held {
    fn start(test: &str, user_namespace: bool) -> Self {
        let mark = format!("HARNESS_TEST_MARK={test}-{}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = selftest("hold");
        command.env(name, value).stdout(Stdio::piped()).process_group(0);
        if user_namespace {
            command.env(USER_NAMESPACE, "1");
        }
        let mut outer = command.spawn().unwrap();
        let mut stdout = BufReader::new(outer.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { outer, stdout, mark }
    }

    /// The processes that carry the mark: outer, unshare, init, inner and the programs.
    fn processes(&self) -> Vec<String> {
        marked(&self.mark)
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.outer.id().cast_signed()), signal).unwrap();
    }

    /// Waits until every program that holds standard output has ended; the outer one's exit code.
    fn gone(mut self) -> Option<i32> {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        let status = self.outer.wait().unwrap();
        assert_eq!(self.processes(), Vec::<String>::new(), "left behind");
        status.code()
    }
}

#[test]
fn nothing_is_left_behind_when_the_outer_program_is_killed() {
    for user_namespace in [false, true] {
        let held = Held::start(&format!("kill-{user_namespace}"), user_namespace || !geteuid().is_root());
        assert!(held.processes().len() >= 6, "{:?}", held.processes());
        held.signal(Signal::SIGKILL);
        assert_eq!(held.gone(), None);
    }
}

#[test]
fn nothing_is_left_behind_when_unshare_is_killed() {
    let held = Held::start("unshare", !geteuid().is_root());
    let is_unshare = |pid: &&String| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "unshare\n";
    let pid: i32 = held.processes().iter().find(is_unshare).unwrap().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    assert_eq!(held.gone(), Some(128 + 9));
}

#[test]
fn a_signal_reaches_the_inner_program_and_its_exit_code_comes_back() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let held = Held::start(signal.as_str(), !geteuid().is_root());
        held.signal(signal);
        assert_eq!(held.gone(), Some(0), "{signal}");
    }
}

#[test]
fn a_demo_whose_daemon_does_not_run_fails_says_why_and_leaves_nothing_behind() {
    for (daemon, code, says) in [
        ("/bin/false", 1, ["FAILED: ", "-pop ended on its own (exit status: 1)"]),
        ("/nowhere/proximad", 2, ["could not run: ", "/nowhere/proximad"]),
    ] {
        let mark = format!("HARNESS_TEST_MARK=demo-{code}-{}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        // Far more than the demo waits for its world; with 124 as exit code.
        let output = Command::new("timeout")
            .args(["60", PROGRAM, "demo", "--proximad", daemon])
            .env_remove("RUST_LOG")
            .env("NO_COLOR", "1")
            .env(name, value)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{daemon}");
        assert!(says.iter().all(|part| said.contains(part)), "{says:?}");
        assert_eq!(marked(&mark), Vec::<String>::new(), "left behind");
    }
}
