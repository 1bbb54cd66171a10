//! Which backend next: levels by tier and distance, and the policies that choose inside a level.
//!
//! ```text
//! Fenced<Candidate> ──► Levels (immutable, in the snapshot)      own region: tier 0, tier 1, …
//!                          │                                      then the other regions, nearest first, by tier
//!                          ▼
//! Policy (state of one worker) ──► index of a candidate ──► attempt ──► failed: Tried::add, pick again
//! ```
//!
//! Only backends that are up and have a weight above 0 take part. A pick looks at the first level with an untried
//! candidate; it allocates nothing. The set comes from the residency fence, and nothing here can add to it.

mod candidate;
mod levels;
mod policy;
mod rng;
mod tried;

pub use candidate::Candidate;
pub use levels::{Level, Levels};
pub use policy::{Policy, PolicyKind};
pub use tried::Tried;
