//! Never the last announcer to leave by health.
//!
//! ```text
//!            health asks to withdraw               marked for `quiet`, and enough others are seen
//!   Free ───────────────────────────────► Leaving ──────────────────────────────────────────────► Left
//!    ▲ ▲                                  │    ▲                                                   │  │
//!    │ └──────── it no longer asks ───────┘    └───────────── too few others are seen ─────────────┘  │
//!    └───────────────────────────── health no longer asks ────────────────────────────────────────────┘
//! ```
//!
//! Leaving is announced: hard de-preferred, with a mark that says so. Others count who is not leaving, or is leaving with a
//! higher rank than theirs: of those who leave at once the highest stays. "Leave because another is seen" is wrong: two who
//! leave at once see each other. `docs/guard.md` tells why `quiet` > N · D is enough, and needed, for N PoPs and propagation
//! within D, and what happens where that fails; `tests/guard_model` looks at every schedule of this type.
//!
//! A PoP that has left stays away while nothing observes: to lose an observer changes nothing. One that starts, and has never
//! seen who else announces, waits for `quiet` and is then announced as leaving.

use std::{
    fmt,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use proxima_types::{Asn, LargeCommunity, moment};
use serde::{Deserialize, Serialize};

/// Second part of the large community that names the PoP a route comes from.
const ORIGIN: u32 = 1;
/// Second part of the large community by which a PoP says that it is about to leave.
const LEAVING: u32 = 2;

/// A PoP that announces: its router-id. The lower of two has the higher rank: it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin(pub u32);

impl From<Ipv4Addr> for Origin {
    fn from(router_id: Ipv4Addr) -> Self {
        Self(router_id.to_bits())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from_bits(self.0).fmt(f)
    }
}

/// The settings of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardConfig {
    /// The AS in whose name routes are marked; the same for all PoPs.
    pub local_as: Asn,
    /// This PoP; no other has the same.
    pub origin: Origin,
    /// How many others have to announce before this PoP leaves; at least 1.
    pub min_announcers: u32,
    /// How long it has to be marked as leaving: more than the propagation times the number of PoPs.
    pub quiet: Duration,
    /// Each return doubles `quiet` up to this.
    pub longest: Duration,
    /// Without a return for so long, `quiet` is what it was.
    pub calm: Duration,
}

impl GuardConfig {
    /// Settings whose quiet period doubles up to 64 times, until an hour has passed without a return.
    pub fn new(local_as: Asn, origin: Origin, min_announcers: u32, quiet: Duration) -> Self {
        let (longest, calm) = (quiet.saturating_mul(64), Duration::from_hours(1));
        Self { local_as, origin, min_announcers, quiet, longest, calm }
    }

    /// The mark of every route of this PoP: `local-as:1:router-id`.
    pub fn origin_mark(&self) -> LargeCommunity {
        LargeCommunity { global: self.local_as.0, local1: ORIGIN, local2: self.origin.0 }
    }

    /// The mark of a PoP that is leaving: `local-as:2:router-id`.
    pub fn leaving_mark(&self) -> LargeCommunity {
        LargeCommunity { global: self.local_as.0, local1: LEAVING, local2: self.origin.0 }
    }
}

/// Another announcer, as a route tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sighting {
    /// Which PoP.
    pub origin: Origin,
    /// Whether it says that it is about to leave.
    pub leaving: bool,
}

impl Sighting {
    /// What the marks of a route tell. A route without the mark of one origin, or with several, is no evidence: a PoP that
    /// is drained takes its mark off, so that nobody relies on it.
    pub fn of(local_as: Asn, communities: impl IntoIterator<Item = LargeCommunity>) -> Option<Self> {
        let (mut origin, mut leaving) = (None, Vec::new());
        for community in communities.into_iter().filter(|community| community.global == local_as.0) {
            match (community.local1, origin) {
                (ORIGIN, Some(other)) if other != Origin(community.local2) => return None,
                (ORIGIN, _) => origin = Some(Origin(community.local2)),
                (LEAVING, _) => leaving.push(Origin(community.local2)),
                _ => {}
            }
        }
        origin.map(|origin| Self { origin, leaving: leaving.contains(&origin) })
    }
}

/// What the observing sessions show now; always the whole of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub struct View {
    /// Whether at least one of them is Established and past End-of-RIB. Without, nothing can be concluded.
    pub observing: bool,
    /// The others that announce all of the group's prefixes. One that is seen twice counts once, as leaving if one of the
    /// two says so.
    pub others: Vec<Sighting>,
}

/// What was seen of others when something was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Whether anything observes.
    pub observing: bool,
    /// The others, each once, in the order of their ranks.
    pub others: Vec<Sighting>,
    /// How many of them count: those that will stay when this PoP leaves. All of them where it has left already.
    pub counted: u32,
    /// How many have to.
    pub least: u32,
}

impl Evidence {
    /// Whether enough others announce.
    pub fn suffices(&self) -> bool {
        self.observing && self.counted >= self.least
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.observing {
            return f.write_str("nothing observes who else announces");
        }
        write!(f, "{} of {} other announcers", self.counted, self.least)?;
        for (n, Sighting { origin, leaving }) in self.others.iter().enumerate() {
            write!(f, "{}{origin}", if n == 0 { ": " } else { ", " })?;
            f.write_str(if *leaving { " (leaving)" } else { "" })?;
        }
        Ok(())
    }
}

/// What is asked of a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Whether health asks to withdraw, and nothing outranks it.
    pub leave: bool,
    /// Whether the group is announced in any way now.
    pub announced: bool,
    /// Whether something else keeps it from leaving.
    pub held: bool,
}

/// What a guarded group has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// The guard has no part in it: health does not ask to withdraw.
    Free,
    /// To be announced as leaving.
    Marked {
        /// Since when.
        since: Instant,
        /// What it waits for.
        waits: Waits,
    },
    /// To be withdrawn.
    Left,
}

/// What a PoP that is leaving waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waits {
    /// The end of the quiet period.
    Quiet(Instant),
    /// Others that announce.
    Others,
    /// Nothing of the guard's.
    Nothing,
}

/// The guard of one group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Guard {
    config: GuardConfig,
    /// Others in the order of their ranks, each once.
    view: View,
    phase: Phase,
    /// How often `quiet` is doubled.
    doublings: u32,
    #[serde(with = "moment::option")]
    returned: Option<Instant>,
    #[serde(with = "moment::option")]
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Free,
    Leaving {
        #[serde(with = "moment")]
        since: Instant,
    },
    Left {
        /// Set while nothing has observed since it was found withdrawn, as after a start: until then that is waited for.
        #[serde(with = "moment::option")]
        blind_until: Option<Instant>,
    },
}

impl Guard {
    /// A guard that has seen nothing.
    pub fn new(config: GuardConfig) -> Self {
        Self { config, view: View::default(), phase: Phase::Free, doublings: 0, returned: None, due: None }
    }

    /// The settings.
    pub fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// Other settings, from the next decision on. What was seen stays, and how long it has been marked.
    pub fn reconfigure(&mut self, config: GuardConfig) {
        self.config = config;
    }

    /// Takes what is seen now; it says nothing before [`Guard::decide`].
    pub fn see(&mut self, view: View) {
        let View { observing, mut others } = view;
        others.retain(|sighting| sighting.origin != self.config.origin);
        // Of two of one origin the one that is leaving goes first, and stays.
        others.sort_unstable_by_key(|sighting| (sighting.origin, !sighting.leaving));
        others.dedup_by_key(|sighting| sighting.origin);
        self.view = View { observing, others };
    }

    /// Decides. Also to be asked when the time of [`Guard::poll_timeout`] has come.
    pub fn decide(&mut self, now: Instant, ask: Ask) -> Stand {
        self.due = None;
        self.phase = match self.phase {
            _ if !ask.leave => Phase::Free,
            Phase::Leaving { .. } if ask.announced => self.phase,
            Phase::Left { .. } if !ask.announced => self.phase,
            _ if ask.announced => Phase::Leaving { since: now },
            _ => Phase::Left { blind_until: Some(now + self.quiet(now)) },
        };
        match self.phase {
            Phase::Free => Stand::Free,
            Phase::Leaving { since } => self.leaving(now, since, ask.held),
            Phase::Left { blind_until } => self.left(now, blind_until),
        }
    }

    /// When a decision is due without news.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is seen of others.
    pub fn evidence(&self) -> Evidence {
        let stays = |other: &&Sighting| !other.leaving || other.origin < self.config.origin;
        let View { observing, others } = &self.view;
        let counted = match self.phase {
            Phase::Left { .. } => others.len(),
            Phase::Free | Phase::Leaving { .. } => others.iter().filter(stays).count(),
        };
        let (counted, least) = (counted as u32, self.config.min_announcers);
        Evidence { observing: *observing, others: others.clone(), counted, least }
    }

    /// Whether it has left, or was found withdrawn, and relies on others.
    pub fn has_left(&self) -> bool {
        matches!(self.phase, Phase::Left { .. })
    }

    /// How long it has to be marked as leaving, returns considered.
    pub fn quiet(&self, now: Instant) -> Duration {
        let doublings = if self.is_calm(now) { 0 } else { self.doublings };
        let doubled = self.config.quiet.saturating_mul(2u32.saturating_pow(doublings));
        doubled.min(self.config.longest).max(self.config.quiet)
    }

    /// How long it has been marked as leaving.
    pub fn marked_for(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Leaving { since } => Some(now.saturating_duration_since(since)),
            Phase::Free | Phase::Left { .. } => None,
        }
    }

    /// How much longer it waits for something that observes, having found itself withdrawn.
    pub fn blind_for(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            Phase::Left { blind_until } => blind_until.map(|until| until.saturating_duration_since(now)),
            Phase::Free | Phase::Leaving { .. } => None,
        }
    }

    /// How long ago the last return was, while it still has an effect.
    pub fn returned_for(&self, now: Instant) -> Option<Duration> {
        let ago = now.saturating_duration_since(self.returned?);
        (ago < self.config.calm).then_some(ago)
    }

    fn is_calm(&self, now: Instant) -> bool {
        self.returned_for(now).is_none()
    }

    fn leaving(&mut self, now: Instant, since: Instant, held: bool) -> Stand {
        let quiet = self.quiet(now);
        let waits = if now < since + quiet {
            let calm = self.returned.map(|at| at + self.config.calm).filter(|at| *at > now);
            self.due = Some(calm.map_or(since + quiet, |calm| calm.min(since + quiet)));
            Waits::Quiet(since + quiet)
        } else if !self.evidence().suffices() {
            Waits::Others
        } else if held {
            Waits::Nothing
        } else {
            self.phase = Phase::Left { blind_until: None };
            return Stand::Left;
        };
        Stand::Marked { since, waits }
    }

    fn left(&mut self, now: Instant, blind_until: Option<Instant>) -> Stand {
        let blind_until = blind_until.filter(|_| !self.view.observing);
        self.phase = Phase::Left { blind_until };
        let back = match blind_until {
            _ if self.view.observing => !self.evidence().suffices(),
            Some(until) => now >= until,
            // What was seen last holds until something observes again: a lost observer changes nothing.
            None => false,
        };
        if !back {
            self.due = blind_until;
            return Stand::Left;
        }
        self.doublings = if self.is_calm(now) { 1 } else { self.doublings.saturating_add(1) };
        self.returned = Some(now);
        self.phase = Phase::Leaving { since: now };
        self.leaving(now, now, true)
    }
}

#[cfg(test)]
mod tests;
