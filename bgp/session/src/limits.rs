//! How many prefixes a peer may send: a warning on the way, and an end (RFC 4486 §4, Cease 6/1), another warning, or no
//! more of them.
//!
//! What is counted are paths: as many as prefixes, unless several to a prefix are agreed on (RFC 7911). Paths that are stale,
//! kept over a restart or while the peer sends all again, don't count: they go when those that take their place are here.
//!
//! With [`LimitAction::Discard`] the RIB takes in no more than the limit, and tells how many it left out. They come only with
//! a refresh when there is room again, as on other routers; one is asked for when the limit is raised.
//!
//! Otherwise the RIB counts and its driver tells; what is told is late by what waits on the way, so a peer may get beyond the limit
//! by as much as the queue to the RIB holds.

use proxima_bgp_wire::Notification;
use proxima_types::Family;

use crate::{LimitAction, MaxPrefixes, Problem, status::PerFamily};

/// How far a count has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Level {
    #[default]
    Below,
    Near,
    Beyond,
}

/// The counts of a peer and what has been said of them.
#[derive(Debug, Default)]
pub(crate) struct PrefixCounts {
    counts: PerFamily<u32>,
    /// Of them, those that are stale.
    stale: PerFamily<u32>,
    /// What the RIB left out in this session.
    discarded: PerFamily<u64>,
    /// What it left out as there were too many paths to one prefix.
    crowded: PerFamily<u64>,
    /// What the operator was told; told again after the count has been below.
    told: PerFamily<Level>,
}

/// What follows from a count.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Tell(Problem),
    /// The session has to end, with this NOTIFICATION and these words.
    Close(Notification, String),
}

impl PrefixCounts {
    pub(crate) fn counts(&self) -> PerFamily<u32> {
        self.counts
    }

    /// A new session begins: what was told before is told again.
    pub(crate) fn begin(&mut self) {
        self.told = PerFamily::default();
        self.discarded = PerFamily::default();
        self.crowded = PerFamily::default();
    }

    /// Takes over how much the RIB has left out of `family` in this session; returns how much of it is new, and what to
    /// tell.
    pub(crate) fn discard(&mut self, family: Family, total: u64, max: Option<MaxPrefixes>) -> (u64, Verdict) {
        let more = total.saturating_sub(std::mem::replace(self.discarded.of_mut(family), total));
        match max {
            Some(MaxPrefixes { limit, .. }) if more > 0 && *self.told.of(family) < Level::Beyond => {
                *self.told.of_mut(family) = Level::Beyond;
                (more, Verdict::Tell(Problem::PrefixesDiscarded { family, limit }))
            }
            _ => (more, Verdict::Fine),
        }
    }

    /// Takes over how many announcements of `family` the RIB has left out in this session for too many paths to one prefix;
    /// returns how many are new, and whether they are the first.
    pub(crate) fn crowd(&mut self, family: Family, total: u64) -> (u64, bool) {
        let before = std::mem::replace(self.crowded.of_mut(family), total);
        (total.saturating_sub(before), before == 0 && total > 0)
    }

    /// Whether the RIB has left out any of `family` in this session.
    pub(crate) fn has_discarded(&self, family: Family) -> bool {
        *self.discarded.of(family) > 0
    }

    /// Nothing of the peer is left.
    pub(crate) fn clear(&mut self) {
        self.counts = PerFamily::default();
        self.stale = PerFamily::default();
    }

    /// Takes over how many there are, and how many of them are stale.
    pub(crate) fn set(&mut self, family: Family, (count, stale): (u32, u32)) {
        *self.counts.of_mut(family) = count;
        *self.stale.of_mut(family) = stale;
    }

    /// Holds the count of `family` against its limit.
    pub(crate) fn check(&mut self, family: Family, max: Option<MaxPrefixes>) -> Verdict {
        let Some(max) = max else { return Verdict::Fine };
        let (all, told) = (*self.counts.of(family), *self.told.of(family));
        let count = all.saturating_sub(*self.stale.of(family));
        let reached = |count| match level(count, max) {
            // It gets no further.
            Level::Near if max.action == LimitAction::Discard => Level::Near.max(told),
            level => level,
        };
        let level = reached(count);
        // What was told of paths that are stale now holds as long as they are here: they may well come again.
        *self.told.of_mut(family) = level.max(told.min(reached(all)));
        let limit = max.limit;
        match level {
            Level::Beyond if max.action == LimitAction::Close => {
                let detail = format!(
                    "{count} {family} paths received, max-prefixes is {limit}; filter on the peer or raise the limit"
                );
                Verdict::Close(Notification::max_prefixes(family, limit), detail)
            }
            _ if level <= told => Verdict::Fine,
            Level::Below => Verdict::Fine,
            Level::Near => Verdict::Tell(Problem::NearPrefixLimit { family, count, limit }),
            Level::Beyond => Verdict::Tell(Problem::BeyondPrefixLimit { family, count, limit }),
        }
    }
}

fn level(count: u32, max: MaxPrefixes) -> Level {
    if count > max.limit {
        Level::Beyond
    } else if u64::from(count) * 100 >= u64::from(max.limit) * u64::from(max.warn_at) {
        Level::Near
    } else {
        Level::Below
    }
}

#[cfg(test)]
mod tests {
    use proxima_bgp_wire::ErrorCode;

    use super::*;

    fn counted(counts: &mut PrefixCounts, count: u32, max: MaxPrefixes) -> Verdict {
        counts.set(Family::Ipv6, (count, 0));
        counts.check(Family::Ipv6, Some(max))
    }

    #[test]
    fn a_warning_comes_once_on_the_way_up_and_again_after_a_fall() {
        let max = MaxPrefixes::new(10);
        let mut counts = PrefixCounts::default();
        let near = |count| Verdict::Tell(Problem::NearPrefixLimit { family: Family::Ipv6, count, limit: 10 });
        assert_eq!(counted(&mut counts, 7, max), Verdict::Fine);
        assert_eq!(counted(&mut counts, 8, max), near(8));
        assert_eq!(counted(&mut counts, 10, max), Verdict::Fine, "the limit itself is allowed");
        assert_eq!(counted(&mut counts, 7, max), Verdict::Fine);
        assert_eq!(counted(&mut counts, 9, max), near(9));
    }

    #[test]
    fn beyond_the_limit_the_session_ends_with_family_and_limit_in_the_data() {
        let Verdict::Close(notification, detail) =
            counted(&mut PrefixCounts::default(), 11, MaxPrefixes::new(10))
        else {
            panic!("not closed");
        };
        assert_eq!(notification, Notification::new(ErrorCode(6, 1), [0, 2, 1, 0, 0, 0, 10]));
        assert!(detail.contains("11 ipv6 paths received, max-prefixes is 10"), "{detail}");
    }

    #[test]
    fn a_limit_that_only_warns_does_so_once() {
        let max = MaxPrefixes { action: LimitAction::Warn, ..MaxPrefixes::new(10) };
        let mut counts = PrefixCounts::default();
        assert!(matches!(counted(&mut counts, 11, max), Verdict::Tell(Problem::BeyondPrefixLimit { .. })));
        assert_eq!(counted(&mut counts, 5000, max), Verdict::Fine);
    }

    #[test]
    fn what_is_left_out_is_told_once_until_there_was_room() {
        let max = MaxPrefixes { action: LimitAction::Discard, ..MaxPrefixes::new(10) };
        let mut counts = PrefixCounts::default();
        let family = Family::Ipv6;
        let told = Verdict::Tell(Problem::PrefixesDiscarded { family, limit: 10 });
        assert!(matches!(counted(&mut counts, 10, max), Verdict::Tell(Problem::NearPrefixLimit { .. })));
        assert_eq!(counts.discard(family, 0, Some(max)), (0, Verdict::Fine));
        assert_eq!(counts.discard(family, 3, Some(max)), (3, told));
        for total in [3, 4, 500] {
            assert_eq!(counted(&mut counts, 10, max), Verdict::Fine, "the limit itself is allowed");
            assert_eq!(counts.discard(family, total, Some(max)).1, Verdict::Fine);
        }
        assert_eq!(counted(&mut counts, 7, max), Verdict::Fine);
        assert_eq!(
            counts.discard(family, 501, Some(max)),
            (1, Verdict::Tell(Problem::PrefixesDiscarded { family, limit: 10 }))
        );
    }

    #[test]
    fn a_refresh_is_no_reason_to_tell_again() {
        let family = Family::Ipv6;
        for action in [LimitAction::Close, LimitAction::Warn, LimitAction::Discard] {
            let max = MaxPrefixes { action, ..MaxPrefixes::new(10) };
            let mut counts = PrefixCounts::default();
            let mut counted = |all, stale| {
                counts.set(family, (all, stale));
                counts.check(family, Some(max))
            };
            let near = |count| Verdict::Tell(Problem::NearPrefixLimit { family, count, limit: 10 });
            assert_eq!(counted(9, 0), near(9));
            for (all, stale) in [(9, 9), (12, 9), (17, 8), (9, 0)] {
                assert_eq!(counted(all, stale), Verdict::Fine, "{action:?}: {stale} of {all} are stale");
            }
            assert_eq!(counted(3, 0), Verdict::Fine);
            assert_eq!(counted(9, 0), near(9), "after a fall");
        }
        let max = MaxPrefixes { action: LimitAction::Discard, ..MaxPrefixes::new(10) };
        let mut counts = PrefixCounts::default();
        assert!(matches!(counts.discard(family, 1, Some(max)).1, Verdict::Tell(_)));
        for (all, stale) in [(10, 0), (10, 10), (13, 10), (10, 0)] {
            counts.set(family, (all, stale));
            assert_eq!(counts.check(family, Some(max)), Verdict::Fine);
            assert_eq!(counts.discard(family, 2, Some(max)).1, Verdict::Fine);
        }
    }

    #[test]
    fn families_are_counted_apart_and_without_a_limit_nothing_is_said() {
        let mut counts = PrefixCounts::default();
        counts.set(Family::Ipv4, (u32::MAX, 0));
        assert_eq!(counts.check(Family::Ipv6, Some(MaxPrefixes::new(1))), Verdict::Fine);
        assert_eq!(counts.check(Family::Ipv4, None), Verdict::Fine);
    }
}
