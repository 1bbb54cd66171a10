//! The fuzzer's seeds, without the fuzzer: what its target asserts holds for each.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use std::{fs, path::PathBuf};

#[path = "../../fuzz/src/handover.rs"]
#[allow(unreachable_pub, reason = "the fuzz target has it in a library")]
mod target;

#[test]
fn every_seed_of_handover_holds() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/handover");
    let seeds: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        // Shown when the target panics.
        println!("{}", seed.file_name().display());
        target::handover(&fs::read(seed.path()).unwrap());
    }
}
