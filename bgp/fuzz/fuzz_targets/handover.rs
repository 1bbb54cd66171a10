#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxima_fuzz::handover::handover(input));
