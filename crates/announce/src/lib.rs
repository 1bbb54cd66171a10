//! From a region's score to what is announced: hysteresis, hold-down, damping, guard, cap, orders.
//!
//! An [`Announcer`] decides for all groups of a PoP; a [`Group`] about prefixes that share a fate. A [`SelfCheck`] tells them when
//! this PoP can't serve or no longer knows. What health alone asks
//! for is kept apart from what holds it back and from what the operator orders, so that returning to `auto` finds health's
//! state as it is now:
//!
//! ```text
//! score ──► hysteresis ──► hold-down, damping ──► by health ──► least time up, guard, cap ──┐
//! faults, dead man ─────────────────────────────────────────────────────────────────────────┼──► state ──► desired
//! operator: auto | announce | drain | withdraw, with a reason and an end ───────────────────┘
//! ```
//!
//! Hold-down and damping hold back what is better; the least time up, the [guard] and the [`Cap`] hold back a withdrawal:
//! the group is announced all the same, de-preferred as hard as routers allow (GRACEFUL_SHUTDOWN, RFC 8326).
//!
//! Nothing is ever sent from here. [`Announcer::desired`] is the whole of what the peers should hold; the speaker compares
//! it with what they do hold, so an unchanged state never makes an UPDATE.

mod announcer;
mod config;
mod damping;
mod group;
pub mod guard;
mod hold;
mod order;
mod self_check;
#[cfg(test)]
mod testing;
mod transition;
mod wish;

pub use announcer::Announcer;
pub use config::{AnnouncerConfig, Cap, Degraded, GroupConfig, WhenDown, Withdrawn};
pub use damping::{Damper, Damping};
pub use group::{Group, Input};
pub use guard::{Evidence, Guard, GuardConfig, Origin, Sighting, View};
pub use hold::Hold;
pub use order::{Order, Override};
pub use self_check::{Duty, SelfCheck};
pub use transition::{Alarm, AlarmKind, AlarmOver, Bound, Output, Reason, Transition};
