//! QUIC endpoints of several workers, and clients that move, are forged, or come in crowds.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "drives real sockets")]

mod floods;
mod migration;
mod support;
