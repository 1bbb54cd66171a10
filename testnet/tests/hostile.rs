//! A hostile peer harms nobody else: the daemon lives and stays small, the good peer's session of 3 s hold time stands, its
//! route stays, and the CPU is free again afterwards.
//!
//! Each test runs one attack of `proxima-testnet hostile` in a sandbox of its own.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");

fn harms_nobody(attack: &str) {
    let output = Command::new(PROGRAM)
        .args(["hostile", "--seconds", "3", "--attacks", attack])
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn malformed_messages_harm_nobody_else() {
    harms_nobody("malformed");
}

#[test]
fn a_peer_that_sends_octet_by_octet_harms_nobody_else() {
    harms_nobody("slow");
}

#[test]
fn a_flood_of_updates_harms_nobody_else() {
    harms_nobody("update-flood");
}

#[test]
fn a_flood_of_refresh_requests_harms_nobody_else() {
    harms_nobody("refresh-flood");
}

#[test]
fn silent_connections_harm_nobody_else() {
    harms_nobody("silent");
}

#[test]
fn half_open_connections_harm_nobody_else() {
    harms_nobody("half-open");
}

#[test]
fn a_storm_of_resets_harms_nobody_else() {
    harms_nobody("reset-storm");
}

#[test]
fn a_peer_that_reads_nothing_harms_nobody_else() {
    harms_nobody("zero-window");
}

#[test]
fn thousands_of_connections_a_second_harm_nobody_else() {
    harms_nobody("connect-flood");
}
