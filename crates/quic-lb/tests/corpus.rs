//! The fuzzer's seeds, without the fuzzer: what its target asserts holds for each.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use std::{fs, path::PathBuf};

#[path = "../../../bgp/fuzz/src/quic_lb.rs"]
#[allow(unreachable_pub, reason = "the fuzz target has it in a library")]
mod target;

#[test]
fn every_seed_of_quic_lb_holds() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bgp/fuzz/corpus/quic_lb");
    let mut seeds = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        // Shown when the target panics.
        println!("{}", path.display());
        target::datagram(&fs::read(path).unwrap());
        seeds += 1;
    }
    assert!(seeds > 0);
}
