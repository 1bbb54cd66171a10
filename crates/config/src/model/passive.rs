//! What of real traffic is evidence about a backend.

use std::{num::NonZeroU32, time::Duration};

/// `passive` of a pool. A connection that a backend refuses, resets or cuts asks for a confirming connect at once, whose refusal
/// decides. A run of bad answers counts like a failed probe. Unless it is to mark the backend down, the probe stays the judge: no
/// traffic takes a backend away that takes connections and passes its probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passive {
    /// So many bad answers without a good one count as one soft failure, and bring the next probe on; 1 to 1 000 000. Default
    /// 10.
    pub error_limit: NonZeroU32,
    /// An answer whose first byte takes longer is bad, 1 ms to 10 min; HTTP only. Absent: only those count that the route's
    /// timeout ended.
    pub first_byte: Option<Duration>,
    /// `on-error = "mark-down"`: a run takes the backend down for so long at least (`hold-down`), whatever its probes say; 1 s to
    /// 1 h, default 30 s. Never more than half of a pool's backends in one region, and of a single one never. Absent
    /// (`"fail-check"`, the default): a run counts as above.
    pub mark_down: Option<Duration>,
}
