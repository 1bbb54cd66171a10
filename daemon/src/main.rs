//! The per-PoP daemon proximad: composition, signals, reload, admin server.

fn main() {}
