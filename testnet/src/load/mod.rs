//! Open-loop clients: what users of one region see, request by request.
//!
//! ```text
//! arrivals ─▶ one task per request ─▶ client (pool, retry rule) ─▶ Outcome ─▶ journal ─▶ summary
//! (seeded, fixed        │
//!  in advance)          └ http: one exchange on one connection
//! ```
//!
//! Arrival times are fixed before anything is measured and latency counts from the *intended* start: a server that
//! stalls is charged for everyone who would have come meanwhile (no coordinated omission).

pub mod arrivals;
pub mod client;
pub mod generator;
pub mod http;
pub mod outcome;
pub mod sse;
pub mod summary;

pub use generator::{Generator, Kind, Plan, Workload};
pub use outcome::{Cut, Failure, Outcome, Served, StreamEnd};
pub use summary::Latencies;
