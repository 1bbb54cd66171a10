//! The fuzzer's seeds, without the fuzzer: what its target asserts holds for each file.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use std::{fs, path::PathBuf};

#[path = "../src/mrt.rs"]
#[allow(dead_code, unreachable_pub, reason = "the reader is the program's own")]
mod mrt;
#[path = "../../../bgp/fuzz/src/dump.rs"]
#[allow(unreachable_pub, reason = "the fuzz target has it in a library")]
mod target;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bgp/fuzz/corpus/mrt");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let seeds: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn every_seed_of_mrt_holds() {
    for (name, seed) in corpus() {
        // Shown when the target panics.
        println!("{name}");
        target::mrt(&seed);
    }
}

#[test]
fn files_in_order_are_read_to_their_end() {
    for (name, seed) in corpus().into_iter().filter(|(name, _)| name.starts_with("golden-")) {
        let mut records = mrt::Records::new(seed.as_slice());
        while let Some(timed) = records.next().unwrap_or_else(|error| panic!("{name}: {error}")) {
            let understood =
                !matches!(timed.record, mrt::Record::Malformed { .. } | mrt::Record::Other { .. });
            assert!(understood, "{name}: {:?}", timed.record);
        }
    }
}
