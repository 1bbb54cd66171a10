//! From a region's score to what is announced: hysteresis, hold-down, overrides.
//!
//! A [`Group`] decides about prefixes that share a fate. What health alone asks for is kept apart from what the
//! operator orders, so that returning to `auto` finds health's state as it is now:
//!
//! ```text
//! score ──► hysteresis, hold-down ──► by health ─┐
//! fault ─────────────────────────────────────────┼──► state ──► desired announcements
//! operator: auto | announce | drain | withdraw ──┘
//! ```
//!
//! The group never sends anything. [`Group::desired`] is the whole of what its peers should hold; the speaker compares
//! it with what they do hold, so an unchanged state never makes an UPDATE.

mod config;
mod group;
mod transition;

pub use config::{Degraded, GroupConfig, WhenDown, Withdrawn};
pub use group::{Group, Input};
pub use transition::{Bound, Override, Reason, Transition};
