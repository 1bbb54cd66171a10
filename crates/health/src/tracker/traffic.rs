//! What real traffic has told about a backend.

use std::{num::NonZeroU32, time::Instant};

use crate::Passive;

/// What real traffic has told since the last verdict.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Bad outcomes since the last good one, or the last run that counted.
    run: Passive,
    /// A run has counted since the last probe.
    pub(super) counted: bool,
    /// Connecting again succeeded: no further confirming connect for traffic's sake before then.
    pub(super) trusted_until: Option<Instant>,
}

impl Traffic {
    /// Adds a report; returns the run that counts now. In which order a report's outcomes came is not known: one with a good
    /// one ends a run.
    pub(super) fn note(&mut self, seen: Passive, limit: NonZeroU32) -> Option<Passive> {
        self.run = if seen.good > 0 { Passive::default() } else { self.run.and(seen) };
        if self.counted || self.run.bad() < limit.get() {
            return None;
        }
        self.counted = true;
        Some(std::mem::take(&mut self.run))
    }
}
