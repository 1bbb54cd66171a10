//! What a speaker tells those who watch it: BMP messages (RFC 7854) and MRT records (RFC 6396, RFC 8050), types to bytes.
//!
//! Pure: who connects to a collector or writes a file appends to a buffer here, and hands in the time.
//!
//! ```text
//!  sessions ──▶ bmp: initiation, peer_up, route_monitoring, statistics, peer_down, termination ──▶ TCP to a collector
//!  messages ──▶ mrt: message, state_change (BGP4MP_ET) ──────────────────────────────────────┬──▶ file
//!  table    ──▶ mrt: TableDump: peers, then prefix by prefix (TABLE_DUMP_V2) ────────────────┘
//! ```

#![forbid(unsafe_code)]

pub mod bmp;
pub mod mrt;
mod time;
