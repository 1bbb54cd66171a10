//! The fuzzer's seeds, without the fuzzer: what its target asserts holds for each, and what routers sent is read.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "tests")]

use std::{fs, path::PathBuf};

use proxima_bfd::Received;

#[path = "../../../bgp/fuzz/src/bfd.rs"]
#[allow(unreachable_pub, reason = "the fuzz target has it in a library")]
mod target;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../bgp/fuzz/corpus/bfd");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn every_seed_of_bfd_holds() {
    for (name, seed) in corpus() {
        // Shown when the target panics.
        println!("{name}");
        target::packets(&seed);
    }
}

#[test]
fn packets_of_real_routers_are_read() {
    let mut read = 0;
    for (name, seed) in corpus() {
        if !(name.starts_with("bird-") || name.starts_with("frr-")) {
            continue;
        }
        let mut rest = seed.as_slice();
        while let Some(([_, length], after)) = rest.split_first_chunk() {
            let (payload, after) = after.split_at(usize::from(*length));
            let received = Received::decode(payload).unwrap_or_else(|reason| panic!("{name}: {reason}"));
            assert_eq!(received.auth.is_some(), payload.len() == 52, "{name}");
            rest = after;
            read += 1;
        }
    }
    assert!(read > 15, "only {read} packets");
}
