//! Clients of HTTP that do harm, harm nobody else: others are answered, all of them; the daemon stays small, and its BGP session of 3 s hold
//! time stands.
//!
//! Each test runs one attack of `proxima-testnet http-attacks` in a sandbox of its own, for a moment, with fewer slow clients than the
//! soak, and on a machine that may be busy: how long others wait is measured there.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::process::{Command, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");

fn harm_nobody(attack: &str) -> String {
    harm_nobody_beside(attack, &[])
}

/// What is printed.
fn harm_nobody_beside(attack: &str, others: &[&str]) -> String {
    let output = Command::new(PROGRAM)
        .args(["http-attacks", "--rounds", "1", "--seconds", "1", "--slow", "1000", "--grace", "5000"])
        .args(["--attacks", attack])
        .args(others)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{printed}");
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    printed
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
fn other_proxies_are_attacked_in_turn_to_compare_with() {
    let printed = harm_nobody_beside("continuation", &["--beside", "nginx,haproxy"]);
    let lines: Vec<_> = printed.lines().collect();
    assert_eq!(lines.len(), 3, "{printed}");
    for (line, victim) in lines.iter().zip(["proximad", "nginx", "haproxy"]) {
        assert!(line.contains(victim) && line.contains("ms under attack") && !line.contains("NaN"), "{line}");
    }
}

#[test]
fn first_packets_from_forged_addresses_harm_nobody_else() {
    harm_nobody("initials");
}
