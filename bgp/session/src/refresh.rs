//! Asking the peer for its routes again (RFC 2918), and what its marks around the answer mean (RFC 7313). How we answer
//! is the adj-RIB-out's.
//!
//! ```text
//!  ROUTE-REFRESH ──▶        BoRR: all routes are stale ──▶ routes ──▶ EoRR: what is still stale goes
//!                             │                                         ▲
//!                             └── again: all are stale again            └── or REFRESH_TIME after the last BoRR
//! ```
//!
//! A request that the peer has not begun to answer will be answered with what it holds then: asking a second time
//! before that would bring the same again, and is left out. Without marks it can't be known, and each request is sent.

use std::time::Instant;

use proxima_bgp_wire::{RefreshKind, RouteRefresh};
use proxima_types::Family;

use crate::{
    Problem, RibChange, Terms, graceful_restart::Effects, settings::REFRESH_TIME, status::PerFamily,
};

/// The refreshes of the peer's routes on one session.
#[derive(Debug, Default)]
pub(crate) struct Refreshes {
    families: PerFamily<Refresh>,
}

/// The refresh of one family.
#[derive(Debug, Clone, Copy, Default)]
struct Refresh {
    /// Asked for, the answer not begun.
    asked: bool,
    /// The answer has begun, and must have ended by then.
    until: Option<Instant>,
}

impl Refreshes {
    /// A new session begins, or the last one is over.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The request to send; none when one is on its way already.
    pub(crate) fn ask(
        &mut self,
        family: Family,
        terms: Option<&Terms>,
    ) -> Result<Option<RouteRefresh>, Problem> {
        let cannot = |why| Problem::CannotRefresh { family, why };
        let negotiated = terms.ok_or(cannot("the session is not established"))?.negotiated;
        if !negotiated.families.contains(family) {
            return Err(cannot("the family is not exchanged on this session"));
        }
        if !negotiated.route_refresh {
            return Err(cannot(
                "the peer does not offer route refresh (RFC 2918); reset the session instead",
            ));
        }
        let refresh = self.families.of_mut(family);
        if refresh.asked {
            return Ok(None);
        }
        refresh.asked = negotiated.enhanced_refresh;
        Ok(Some(RouteRefresh::request(family)))
    }

    /// A mark of the peer's; there are none unless both sides know of them.
    pub(crate) fn mark(
        &mut self,
        now: Instant,
        mark: RouteRefresh,
        terms: &Terms,
    ) -> Result<RibChange, Problem> {
        let family = mark.family.family().filter(|family| terms.negotiated.families.contains(*family));
        let Some(family) = family else {
            return Err(Problem::StrayRefreshMark("its family is not exchanged on this session"));
        };
        let refresh = self.families.of_mut(family);
        match (mark.kind, refresh.until) {
            (RefreshKind::Begin, _) => {
                *refresh = Refresh { asked: false, until: Some(now + REFRESH_TIME) };
                Ok(RibChange::BeginRefresh(family))
            }
            (RefreshKind::End, Some(_)) => {
                refresh.until = None;
                Ok(RibChange::SweepStale(family))
            }
            (RefreshKind::End | RefreshKind::Request | RefreshKind::Unknown(_), _) => {
                Err(Problem::StrayRefreshMark("an end without a beginning"))
            }
        }
    }

    /// When an answer has taken too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Family::ALL.into_iter().filter_map(|family| self.families.of(family).until).min()
    }

    /// Ends answers that take too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        for family in Family::ALL {
            if self.families.of_mut(family).until.take_if(|at| *at <= now).is_some() {
                effects.problems.push(Problem::RefreshUnfinished(family));
                effects.changes.push(RibChange::SweepStale(family));
            }
        }
        effects
    }
}
