#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| proxima_fuzz::quic_lb::datagram(input));
