//! What real traffic can tell.
//!
//! | outcome | meaning |
//! |---|---|
//! | connection refused, reset, cut | as hard as a probe's: one connect looks at once |
//! | status 5xx, late | soft: so many of them without a good one, usually [`Passive::RUN`], count like a failed probe |

use std::{fmt, num::NonZeroU32, time::Duration};

/// What real traffic has met on a backend since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Passive {
    /// Connections that could not be made, for another reason than time: refused, unreachable.
    pub connect_errors: u32,
    /// Connections the backend reset or closed before its answer was whole.
    pub resets: u32,
    /// Answers of status 5xx.
    pub server_errors: u32,
    /// Connections and first bytes that were not there in time.
    pub slow: u32,
    /// Connections relayed, and answers in time of any other status.
    pub good: u32,
}

impl Passive {
    /// How many bad outcomes in a row usually count as one soft failure.
    pub const RUN: NonZeroU32 = NonZeroU32::new(10).expect("10 is not 0");

    /// A connection that could not be made.
    pub const CONNECT_ERROR: Self = Self { connect_errors: 1, resets: 0, server_errors: 0, slow: 0, good: 0 };
    /// A connection that was reset or closed before the answer was whole.
    pub const RESET: Self = Self { connect_errors: 0, resets: 1, server_errors: 0, slow: 0, good: 0 };

    /// Whether it speaks for a process that is gone, so that one connect should look at once.
    pub fn is_hard(&self) -> bool {
        self.connect_errors > 0 || self.resets > 0
    }

    /// How many outcomes were not good.
    pub fn bad(&self) -> u32 {
        let Self { connect_errors, resets, server_errors, slow, good: _ } = *self;
        [connect_errors, resets, server_errors, slow].into_iter().fold(0, u32::saturating_add)
    }

    /// Both together.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            connect_errors: self.connect_errors.saturating_add(more.connect_errors),
            resets: self.resets.saturating_add(more.resets),
            server_errors: self.server_errors.saturating_add(more.server_errors),
            slow: self.slow.saturating_add(more.slow),
            good: self.good.saturating_add(more.good),
        }
    }
}

/// What comes of bad outcomes of real traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PassiveRule {
    /// So many without a good one are a run; usually [`Passive::RUN`].
    pub limit: NonZeroU32,
    /// A run marks the backend down for so long at least. `None`: it counts as one soft failure.
    pub mark_down: Option<Duration>,
}

impl Default for PassiveRule {
    fn default() -> Self {
        Self { limit: Passive::RUN, mark_down: None }
    }
}

/// What was bad: `2 connect errors, 1 reset`.
impl fmt::Display for Passive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connect_errors, resets, server_errors, slow, good: _ } = *self;
        let mut separator = "";
        for (count, one, many) in [
            (connect_errors, "connect error", "connect errors"),
            (resets, "reset", "resets"),
            (server_errors, "status 5xx", "times status 5xx"),
            (slow, "late answer", "late answers"),
        ] {
            if count > 0 {
                write!(f, "{separator}{count} {}", if count == 1 { one } else { many })?;
                separator = ", ";
            }
        }
        f.write_str(if separator.is_empty() { "nothing bad" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_bad_is_said_in_words_for_a_person() {
        let seen = Passive { connect_errors: 2, resets: 1, server_errors: 1, slow: 3, good: 9 };
        assert_eq!(seen.to_string(), "2 connect errors, 1 reset, 1 status 5xx, 3 late answers");
        assert_eq!(Passive { good: 1, ..Passive::default() }.to_string(), "nothing bad");
        assert_eq!(Passive::CONNECT_ERROR.and(Passive::RESET).to_string(), "1 connect error, 1 reset");
    }

    #[test]
    fn only_lost_connections_are_hard() {
        for (seen, is_hard) in [
            (Passive::CONNECT_ERROR, true),
            (Passive::RESET, true),
            (Passive { server_errors: 9, slow: 9, good: 9, ..Passive::default() }, false),
        ] {
            assert_eq!(seen.is_hard(), is_hard, "{seen}");
        }
    }
}
