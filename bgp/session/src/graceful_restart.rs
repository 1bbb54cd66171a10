//! Graceful restart, both ways (RFC 4724, RFC 8538).
//!
//! As the one that restarts: every process that starts may be the successor of one that died, and can't know. So for the
//! restart time after the speaker's start its OPENs say that we have restarted (R), and that forwarding went on only if it
//! is configured to (F). After that a lost connection is no restart, nor is a peer that is new: R is clear and F is set, as
//! the data plane that the routes lead to is still the same. Nor is a process that another one has handed its sessions over to: it
//! takes that one's start for its own, with those peers too whose sessions were down.
//!
//! As the helper, with a peer that offers it too:
//!
//! ```text
//!  session lost ──▶ may its routes stay? ── no ──▶ all go
//!                        │ yes
//!                        ▼
//!          its families are stale, the others go ──▶ restart time over ──▶ all go
//!                        │ established again
//!                        ▼
//!          families no longer offered, or without F, go ──▶ End-of-RIB, or stale time over ──▶ what is still stale goes
//! ```
//!
//! | the session ended by                                  | routes stay                          |
//! |-------------------------------------------------------|--------------------------------------|
//! | the loss of its TCP connection                        | yes (RFC 4724 §4.2)                  |
//! | a new, valid OPEN of the peer beside it               | yes (RFC 4724 §5)                    |
//! | the hold timer, a NOTIFICATION either way             | if both sides set N (RFC 8538 §4)    |
//! | a Hard Reset either way, an operator's order here     | no (RFC 8538 §3)                     |

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use proxima_bgp_wire::{
    Capability, ErrorCode, Families, GracefulRestart as Offer, GracefulRestartFamily, Notification, Open,
};
use proxima_types::Family;

use crate::{Cause, GracefulRestart, Problem, RibChange, Settings, Terms, settings::MAX_RESTART_TIME};

/// What a peer that restarts gracefully has said of it, where both sides offer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerRestart {
    /// R: it has just restarted.
    pub restarted: bool,
    /// N, of both sides: hold-timer expiry and NOTIFICATIONs are graceful too.
    pub notification: bool,
    /// How long it needs at most to be back.
    pub restart_time: Duration,
    /// The families it holds for.
    pub families: Families,
    /// F: those of them in which it kept forwarding.
    pub forwarding: Families,
}

impl PeerRestart {
    /// What both OPENs say.
    pub(crate) fn agree(ours: &Open, theirs: &Open) -> Option<Self> {
        let ours = ours.graceful_restart()?;
        let theirs = theirs.graceful_restart()?;
        let known = |wanted: fn(&GracefulRestartFamily) -> bool| {
            theirs
                .families
                .iter()
                .filter(|entry| wanted(entry))
                .filter_map(|entry| entry.family.family())
                .collect()
        };
        Some(Self {
            restarted: theirs.restarted,
            notification: ours.notification && theirs.notification,
            restart_time: Duration::from_secs(theirs.restart_time.into()),
            families: known(|_| true),
            forwarding: known(|entry| entry.forwarding),
        })
    }
}

/// Our capability, `restarted` or not.
pub(crate) fn capability(configured: GracefulRestart, offered: Families, restarted: bool) -> Capability {
    let forwarding = configured.forwarding || !restarted;
    let entry = |family: Family| GracefulRestartFamily { family: family.into(), forwarding };
    Capability::GracefulRestart(Offer {
        restarted,
        notification: true,
        restart_time: configured.restart_time.min(MAX_RESTART_TIME).as_secs() as u16,
        families: offered.iter().map(entry).collect(),
    })
}

/// `notification` as a Hard Reset, for a peer that would keep our routes otherwise (RFC 8538 §3.1).
pub(crate) fn hard(notification: Notification, terms: &Terms) -> Notification {
    if terms.notifications_are_graceful() { Notification::hard_reset(notification) } else { notification }
}

/// Whether the peer's routes may stay after a session that ended like this.
fn may_stay(cause: &Cause, restart: PeerRestart) -> bool {
    match cause {
        Cause::TcpLost(_) => true,
        Cause::NotificationSent { notification, .. } | Cause::NotificationReceived(notification) => {
            restart.notification && notification.error() != ErrorCode::HARD_RESET
        }
        Cause::Started
        | Cause::RetryTimerExpired
        | Cause::TcpConnected
        | Cause::TcpAccepted
        | Cause::ConnectFailed(_)
        | Cause::OpenAccepted
        | Cause::OpenConfirmed
        | Cause::Stopped
        | Cause::Left(_)
        | Cause::Ended(_)
        | Cause::UnexpectedEvent(_) => false,
    }
}

/// The peer's stale routes.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    stale: BTreeSet<Family>,
    wait: Option<Wait>,
}

/// What stale routes wait for.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// The next session.
    Session(Instant),
    /// Its End-of-RIBs.
    EndOfRib(Instant),
}

/// What becomes of routes, and what is to be said of it.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) changes: Vec<RibChange>,
    pub(crate) problems: Vec<Problem>,
}

impl Helper {
    /// Families with stale routes.
    pub(crate) fn stale(&self) -> impl Iterator<Item = Family> + '_ {
        self.stale.iter().copied()
    }

    /// Until when the next session has to be there.
    pub(crate) fn restart_deadline(&self) -> Option<Instant> {
        match self.wait {
            Some(Wait::Session(at)) => Some(at),
            Some(Wait::EndOfRib(_)) | None => None,
        }
    }

    /// Until when the End-of-RIBs have to be there.
    pub(crate) fn stale_deadline(&self) -> Option<Instant> {
        match self.wait {
            Some(Wait::EndOfRib(at)) => Some(at),
            Some(Wait::Session(_)) | None => None,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.restart_deadline().or(self.stale_deadline())
    }

    /// An established session is lost.
    pub(crate) fn lost(&mut self, now: Instant, cause: &Cause, terms: &Terms) -> Vec<RibChange> {
        let restart = terms.graceful_restart.filter(|restart| may_stay(cause, *restart));
        let kept = restart
            .map_or(Families::NONE, |restart| restart.families.intersection(terms.negotiated.families));
        let Some(restart) = restart.filter(|_| !kept.is_empty()) else {
            self.forget();
            return vec![RibChange::DropAll];
        };
        let mut changes = Vec::new();
        for family in Family::ALL {
            if !kept.contains(family) {
                changes.push(RibChange::DropFamily(family));
                continue;
            }
            // Stale for the second time in a row: too old (RFC 4724 §4.2).
            if self.stale.contains(&family) {
                changes.push(RibChange::SweepStale(family));
            }
            changes.push(RibChange::MarkStale(family));
        }
        self.stale = kept.iter().collect();
        self.wait = Some(Wait::Session(now + restart.restart_time));
        changes
    }

    /// A session is established again.
    pub(crate) fn established(&mut self, now: Instant, terms: &Terms, settings: &Settings) -> Vec<RibChange> {
        let kept = terms
            .graceful_restart
            .map_or(Families::NONE, |restart| restart.forwarding.intersection(terms.negotiated.families));
        let gone: Vec<_> = self.stale.extract_if(.., |family| !kept.contains(*family)).collect();
        self.wait = match settings.graceful_restart {
            Some(configured) if !self.stale.is_empty() => Some(Wait::EndOfRib(now + configured.stale_time)),
            _ => None,
        };
        gone.into_iter().map(RibChange::DropFamily).collect()
    }

    /// The peer has sent all its routes of a family.
    pub(crate) fn end_of_rib(&mut self, family: Family) -> Option<RibChange> {
        let swept = self.stale.remove(&family).then_some(RibChange::SweepStale(family));
        if self.stale.is_empty() {
            self.wait = None;
        }
        swept
    }

    /// Routes are no longer waited for when a deadline has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Effects {
        let mut effects = Effects::default();
        let Some(wait) = self.wait.filter(|_| self.deadline().is_some_and(|at| at <= now)) else {
            return effects;
        };
        let why = match wait {
            Wait::Session(_) => "it did not come back within its restart time",
            Wait::EndOfRib(_) => "it did not say within `stale-time` that it has sent all its routes",
        };
        for family in self.stale() {
            effects.problems.push(Problem::StaleRoutesDropped { family, why });
            effects.changes.push(match wait {
                Wait::Session(_) => RibChange::DropFamily(family),
                Wait::EndOfRib(_) => RibChange::SweepStale(family),
            });
        }
        self.forget();
        effects
    }

    /// The session is meant to be down: nothing of the peer stays. None when there was nothing.
    pub(crate) fn give_up(&mut self) -> Option<RibChange> {
        let any = !self.stale.is_empty();
        self.forget();
        any.then_some(RibChange::DropAll)
    }

    fn forget(&mut self) {
        self.stale.clear();
        self.wait = None;
    }
}
