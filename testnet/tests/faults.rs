//! What must come out of a fault comes out of it: daemons, BIRD routers, app servers and clients under load.
//!
//! Each test runs faults of `proxima-testnet faults` in a sandbox of its own; what is claimed of each stands in
//! `testnet/src/faults`. How fast it is, is measured by `cargo xtask soak faults`, not by a test on a machine that may be busy:
//! the limits of time are wider here. One world at a time: its deadlines are not about another one's load.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_proxima-testnet");
const SLACK: &str = "5";

const ONE_REGION: &str = "1,2,3,4,5,6,7,12,13,14,36";
const ALL_POPS: &str = "8,9,10,11";
/// The tests that inject faults, and which.
const TESTS: [(&str, &str); 2] = [
    ("what_befalls_one_region_stays_there_and_its_clients_are_served", ONE_REGION),
    ("whatever_befalls_all_pops_one_announces_as_long_as_one_lives_and_says_so", ALL_POPS),
];

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
    hold(ONE_REGION);
}

#[test]
fn whatever_befalls_all_pops_one_announces_as_long_as_one_lives_and_says_so() {
    hold(ALL_POPS);
}

#[test]
fn the_table_of_faults_says_what_is_injected_here_and_simulated() {
    let table = include_str!("../../docs/faults.md");
    let mut here = BTreeMap::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [number, _, _, simulated, real] = cells[..] else { panic!("{row}") };
        let Ok(number) = number.parse::<u32>() else { continue };
        let names = |cell: &'static str| cell.split('`').skip(1).step_by(2);
        let scenario = format!("fault_{number}_");
        assert!(names(simulated).next().is_some(), "{number} is not simulated");
        assert!(names(simulated).all(|name| name.starts_with(&scenario)), "{row}");
        if let Some(name) = names(real).find(|name| TESTS.iter().any(|(test, _)| test == name)) {
            here.insert(number, name);
        }
    }
    let numbers = |list: &'static str| list.split(',').map(|number| number.parse::<u32>().unwrap());
    let injected: BTreeMap<_, _> =
        TESTS.iter().flat_map(|(test, faults)| numbers(faults).map(|number| (number, *test))).collect();
    assert_eq!(here, injected);
}
