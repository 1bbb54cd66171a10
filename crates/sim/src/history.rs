//! What happened, as data: what scenarios assert on.

use proxima_types::ReachState;

use crate::clock::Nanos;

/// Something that happened. PoPs, links and groups go by number, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A daemon began.
    Started(u8),
    /// A daemon is no more.
    Ended(u8),
    /// A daemon refused a changed file.
    Refused(u8),
    /// A group's state changed at a PoP.
    Transition {
        /// The PoP.
        pop: u8,
        /// The group.
        group: u8,
        /// From here on.
        to: ReachState,
        /// Why, in the product's words.
        why: String,
    },
    /// A PoP raised an alarm, in the product's words.
    Alarm {
        /// The PoP.
        pop: u8,
        /// What it says.
        what: String,
    },
    /// A router got a route, or other attributes for one.
    Came {
        /// The router's link.
        link: u8,
        /// The group.
        group: u8,
    },
    /// A router lost a route.
    Lost {
        /// The router's link.
        link: u8,
        /// The group.
        group: u8,
        /// How.
        how: Gone,
    },
}

/// How a route went from a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// By an UPDATE.
    Withdrawn,
    /// With the session.
    Session,
}

/// Everything that happened. Nothing is written where nobody reads it.
#[derive(Debug, Default)]
pub struct History {
    facts: Option<Vec<(Nanos, Fact)>>,
}

impl History {
    pub(crate) fn kept() -> Self {
        Self { facts: Some(Vec::new()) }
    }

    pub(crate) fn record(&mut self, now: Nanos, fact: impl FnOnce() -> Fact) {
        if let Some(facts) = &mut self.facts {
            facts.push((now, fact()));
        }
    }

    /// The facts with their times, in order.
    pub fn facts(&self) -> &[(Nanos, Fact)] {
        self.facts.as_deref().unwrap_or_default()
    }
}
