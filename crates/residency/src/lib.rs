//! Data residency: the fence that narrows candidates before anything else sees them.
//!
//! ```text
//! all backends of a pool ──► Fence::admit ──► Fenced<Candidate> ──► health, levels, policies, retries
//!                               │
//!                               └─► Decision: who was allowed, how many were left out
//! ```
//!
//! Balancing takes a [`Fenced`] set and nothing else. Only [`Fence::admit`] makes one, and a set can be read,
//! narrowed and sorted but never added to, so no later mechanism can widen what the fence allowed.

mod fence;
mod fenced;
mod unavailable;

pub use fence::{Fence, Located};
pub use fenced::{Decision, Fenced};
pub use unavailable::Unavailable;
