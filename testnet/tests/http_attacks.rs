//! Clients of HTTP that do harm, harm nobody else: others are answered, all of them; the daemon stays small, and its BGP session of 3 s hold
//! time stands.
//!
//! Each test runs one attack of `proxima-testnet http-attacks` in a sandbox of its own, for a moment, with fewer slow clients than the
//! soak, and on a machine that may be busy: how long others wait is measured there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");

fn harm_nobody(attack: &str) {
    let output = Command::new(PROGRAM)
        .args(["http-attacks", "--rounds", "1", "--seconds", "1", "--slow", "1000", "--grace", "5000"])
        .args(["--attacks", attack])
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn slow_clients_harm_nobody_else() {
    harm_nobody("slow");
}

#[test]
fn requests_that_are_cancelled_at_once_harm_nobody_else() {
    harm_nobody("rapid-reset");
}

#[test]
fn heads_that_never_end_harm_nobody_else() {
    harm_nobody("continuation");
}

#[test]
fn heads_of_a_megabyte_harm_nobody_else() {
    harm_nobody("large-heads");
}

#[test]
fn first_packets_from_forged_addresses_harm_nobody_else() {
    harm_nobody("initials");
}
