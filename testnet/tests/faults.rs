//! What must come out of a fault comes out of it: daemons, BIRD routers, app servers and clients under load.
//!
//! Each test runs faults of `proxima-testnet faults` in a sandbox of its own; what is claimed of each stands in
//! `testnet/src/faults`. How fast it is, is measured by `cargo xtask soak faults`, not by a test on a machine that may be busy:
//! the limits of time are wider here. One world at a time: its deadlines are not about another one's load.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");
const SLACK: &str = "5";

static ONE_WORLD: Mutex<()> = Mutex::new(());

fn hold(faults: &str) {
    let _one = ONE_WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(PROGRAM)
        .args(["faults", "--slack", SLACK, "--only", faults])
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_befalls_one_region_stays_there_and_its_clients_are_served() {
    hold("1,2,3,4,5,6,7,12,13,14,36");
}

#[test]
fn whatever_befalls_all_pops_one_announces_as_long_as_one_lives_and_says_so() {
    hold("8,9,10,11");
}
