//! One group of one PoP: what it was told, and whether that allows what it does.
//!
//! `low` is the hysteresis by itself: set by a score below the lower bound, cleared by one that reaches the upper. Whatever
//! health does is held against it, and against the times that hold it back.

use std::time::{Duration, Instant};

use proxima_announce::{Damping, GroupConfig, Input, Override, Reason, Sighting, View, WhenDown, Withdrawn};
use proxima_health::RegionScore;
use proxima_types::{Community, ReachState, RouteAttributes, Score};

use crate::{
    clock::Nanos,
    oracle::{Rule, announcers::Word, due::SLACK, flaps::Flaps, is_up},
};

/// What is known of a group at a PoP.
#[derive(Debug)]
pub(crate) struct Judged {
    /// `None`: it is not configured there.
    config: Option<GroupConfig>,
    pub(super) state: ReachState,
    up_since: Option<Instant>,
    score: Option<Seen>,
    known: Known,
    pub(super) low: bool,
    /// When it was low last, or as good as that: hold-down and damping begin then, also under an order.
    last_low: Option<Instant>,
    /// Health may want it withdrawn still: since it was low the score has not been at the upper bound while nothing held it.
    may_want: bool,
    pub(super) verb: Override,
    until: Option<Instant>,
    drained_at: Option<Instant>,
    fault: bool,
    checked: Option<Instant>,
    /// When it fell silent last: at that time it goes, though what it is told then ends the silence.
    silenced: Option<Instant>,
    /// When what an order or the configuration asks for last changed: at that time the state may be any.
    changed: Option<Instant>,
    held_until: Option<Instant>,
    flaps: Flaps,
    view: View,
    marked_since: Option<Instant>,
    /// How often the guard brought the group back.
    pub(super) returns: u32,
    /// Since when the group has to be announced; since when it has to be withdrawn. World time.
    pub(super) good_since: Option<Nanos>,
    pub(super) bad_since: Option<Nanos>,
    /// Since when the guard has to bring it back. World time.
    pub(super) alone_since: Option<Nanos>,
}

/// How much is known of what gates a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Not all first verdicts, since the start or the last silence.
    Nothing,
    /// No probe has ended for too long.
    Silent,
    /// All first verdicts; the group has not been up by them yet.
    FirstVerdicts,
    /// All, for longer.
    All,
}

/// What a score says.
#[derive(Debug, Clone, Copy)]
struct Seen {
    score: Score,
    at_best: Score,
    unknown: bool,
    degraded: bool,
    /// No probe of any backend has ended, and none is waited for any more.
    blind: bool,
}

impl From<&RegionScore> for Seen {
    fn from(score: &RegionScore) -> Self {
        let degraded = !score.degraded.is_empty();
        let blind = score.services.iter().all(|it| it.count.unchecked == it.count.backends);
        Self { score: score.score, at_best: score.at_best, unknown: score.unknown, degraded, blind }
    }
}

/// What came of a transition that breaks no rule of the group's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// It counts for the cap.
    WithdrawnByHealth,
}

/// A rule, and how it was broken.
type Broken = (Rule, &'static str);

impl Default for Judged {
    fn default() -> Self {
        Self {
            config: None,
            state: ReachState::Withdrawn,
            up_since: None,
            score: None,
            known: Known::Nothing,
            low: false,
            last_low: None,
            may_want: false,
            verb: Override::Auto,
            until: None,
            drained_at: None,
            fault: false,
            checked: None,
            silenced: None,
            changed: None,
            held_until: None,
            flaps: Flaps::default(),
            view: View::default(),
            marked_since: None,
            returns: 0,
            good_since: None,
            bad_since: None,
            alone_since: None,
        }
    }
}

impl Judged {
    pub(crate) fn configure(&mut self, config: &GroupConfig) {
        self.config = Some(config.clone());
    }

    pub(crate) fn reconfigure(&mut self, local: Instant, config: &GroupConfig) {
        self.pass(local);
        self.config = Some(config.clone());
        self.changed = Some(local);
        self.stop_time();
        self.evaluate(local);
    }

    pub(crate) fn remove(&mut self) {
        // What is left of it is the state, from which it goes.
        *self = Self { state: self.state, ..Self::default() };
    }

    /// Whether health, and the operator, leave it withdrawn.
    pub(super) fn is_silenced(&self) -> bool {
        self.config.is_none() || self.low && self.verb != Override::Announce
    }

    /// The core is told something.
    pub(crate) fn input(&mut self, local: Instant, input: &Input) {
        if self.config.is_none() {
            return;
        }
        self.pass(local);
        match input {
            Input::Score(score) => {
                self.score = Some(score.into());
                self.evaluate(local);
            }
            Input::Checked(at) => {
                self.checked = self.checked.max(Some(*at));
                if self.is_silent() && self.silent_at().is_some_and(|silent| silent > local) {
                    self.known = Known::Nothing;
                }
                if self.known == Known::Nothing {
                    self.evaluate(local); // a score that came before counts from now on
                }
            }
            Input::Fault(fault) => {
                self.fault = fault.is_some();
                // What first verdicts ask for and have not had yet, for a hold-down, they ask for again after the fault.
                let is_held_back = self.known == Known::FirstVerdicts && self.may_be_held(local);
                if self.fault && self.is_settled() && !is_held_back {
                    (self.low, self.last_low, self.may_want) = (true, Some(local), true);
                }
                self.evaluate(local);
            }
            Input::Order(order) => {
                self.verb = order.verb;
                self.until = order.until;
                self.changed = Some(local);
                self.drained_at = match order.verb {
                    Override::Drain { graceful_shutdown } => Some(local + graceful_shutdown),
                    Override::Auto | Override::Announce | Override::Withdraw => None,
                };
            }
            Input::View(view) => self.view = view.clone(),
        }
        self.keep_time();
    }

    /// What is no longer good, or bad, has to be so for its whole time again.
    fn keep_time(&mut self) {
        self.good_since = self.good_since.filter(|_| self.is_good());
        self.bad_since = self.bad_since.filter(|_| self.is_bad() && self.sees_others(true));
        self.alone_since = self.alone_since.filter(|_| self.is_left_alone());
    }

    /// Nobody is there to do what is due.
    pub(super) fn stop_time(&mut self) {
        (self.good_since, self.bad_since, self.alone_since) = (None, None, None);
    }

    /// What time alone brings about: the end of an order, silence.
    fn pass(&mut self, local: Instant) {
        if self.is_expired(local) {
            (self.verb, self.until, self.drained_at) = (Override::Auto, None, None);
            self.changed = Some(local);
        }
        if self.falls_silent(local) {
            (self.known, self.silenced) = (Known::Silent, Some(local));
            self.last_low = Some(local);
            self.score = None;
            self.keep_time();
        }
    }

    fn is_settled(&self) -> bool {
        matches!(self.known, Known::FirstVerdicts | Known::All)
    }

    fn is_silent(&self) -> bool {
        self.known == Known::Silent
    }

    /// Whether this is the first that comes of first verdicts: then the lower bounds alone decide.
    fn is_first(&mut self) -> bool {
        let first = self.known == Known::FirstVerdicts;
        if first {
            self.known = Known::All;
        }
        first
    }

    fn is_expired(&self, local: Instant) -> bool {
        self.until.is_some_and(|until| until <= local)
    }

    fn falls_silent(&self, local: Instant) -> bool {
        self.is_settled() && self.silent_at().is_some_and(|at| at <= local)
    }

    /// Whether something is due that the core has yet to do.
    pub(super) fn is_behind(&self, local: Instant) -> bool {
        self.is_expired(local) || self.falls_silent(local)
    }

    fn silent_at(&self) -> Option<Instant> {
        Some(self.checked? + self.config.as_ref()?.dead_man?)
    }

    fn evaluate(&mut self, local: Instant) {
        let Some(seen) = self.score.filter(|_| !self.fault && !self.is_silent()) else { return };
        if !self.is_settled() {
            let dead_man = self.config.as_ref().and_then(|config| config.dead_man);
            let is_stale = self.silent_at().is_some_and(|at| at <= local);
            if seen.unknown || seen.blind && dead_man.is_some() || is_stale {
                return;
            }
            self.known = Known::FirstVerdicts;
            self.checked.get_or_insert(local);
            self.low = self.is_fallen(seen);
        } else if self.low {
            self.low = !self.is_risen(seen);
        } else {
            self.low = self.is_fallen(seen);
        }
        if self.low {
            (self.last_low, self.may_want) = (Some(local), true);
        } else if self.is_risen(seen) && !self.may_be_held(local) {
            self.may_want = false;
        }
    }

    fn withdrawn(&self) -> Option<Withdrawn> {
        match self.config.as_ref()?.when_down {
            WhenDown::Withdraw(withdrawn) => Some(withdrawn),
            WhenDown::Stay => None,
        }
    }

    fn is_fallen(&self, seen: Seen) -> bool {
        let below = |withdrawn: Withdrawn| seen.at_best == Score::ZERO || seen.at_best < withdrawn.below;
        self.withdrawn().is_some_and(below)
    }

    fn is_risen(&self, seen: Seen) -> bool {
        let above = |withdrawn: Withdrawn| seen.score > Score::ZERO && seen.score >= withdrawn.above;
        self.withdrawn().is_none_or(above)
    }

    /// A transition of the core.
    pub(crate) fn transition(
        &mut self,
        local: Instant,
        from: ReachState,
        to: ReachState,
        why: &Reason,
    ) -> Result<Verdict, Broken> {
        self.pass(local);
        let of_order = matches!(why, Reason::Operator { .. } | Reason::Expired { .. });
        if of_order && !self.has_changed(local) {
            return Err((Rule::Reason, "there was no such order now"));
        }
        if from != self.state || from == to {
            return Err((Rule::Continuity, "it was in another state"));
        }
        self.state = to;
        if !is_up(to) {
            self.good_since = None; // what holds it back begins now
        }
        if self.config.is_none() {
            let gone = (Rule::Continuity, "it is not configured");
            return if is_up(to) { Err(gone) } else { Ok(Verdict::Fine) };
        }
        let verdict = match (self.verb, to) {
            (Override::Withdraw, ReachState::Withdrawn) | (Override::Announce, ReachState::Announced) => {
                Ok(Verdict::Fine)
            }
            (Override::Withdraw | Override::Announce, _) => Err((Rule::Order, "the order is another")),
            (Override::Drain { .. }, ReachState::Withdrawn) => self.drained(local),
            (Override::Drain { .. }, ReachState::DePreferred) if is_up(from) => Ok(Verdict::Fine),
            (Override::Drain { .. }, _) => Err((Rule::Order, "it is ordered to go")),
            (Override::Auto, ReachState::Withdrawn) => self.withdraws(local, from),
            (Override::Auto, _) if from == ReachState::Withdrawn => self.comes(local, to),
            (Override::Auto, ReachState::Announced) => self.rises(local),
            (Override::Auto, ReachState::DePreferred) => self.falls(local),
        };
        self.up_since = if is_up(to) { self.up_since.or(Some(local)) } else { None };
        verdict
    }

    fn drained(&self, local: Instant) -> Result<Verdict, Broken> {
        let over = self.drained_at.is_some_and(|at| at <= local);
        if over || self.fault || self.is_silent() || self.was_low(local) {
            return Ok(Verdict::Fine);
        }
        Err((Rule::StopOrder, "GRACEFUL_SHUTDOWN was not announced for its time"))
    }

    /// Whether health may want it withdrawn: what is better is held back for a while after.
    fn was_low(&self, local: Instant) -> bool {
        self.low || self.may_want || self.may_be_held(local)
    }

    /// Whether hold-down or damping may hold back what is better.
    fn may_be_held(&self, local: Instant) -> bool {
        let held = self.held_until.max(self.flaps.held_until).is_some_and(|until| until > local);
        let hold_down = self.withdrawn().map_or(Duration::ZERO, |withdrawn| withdrawn.hold_down);
        let longest = hold_down.max(self.damping().map_or(Duration::ZERO, |damping| damping.most));
        held || self.last_low.is_some_and(|at| at + longest > local)
    }

    fn damping(&self) -> Option<Damping> {
        self.config.as_ref()?.damping
    }

    fn has_changed(&self, local: Instant) -> bool {
        self.changed == Some(local)
    }

    /// To Withdrawn, where no order says so.
    fn withdraws(&mut self, local: Instant, from: ReachState) -> Result<Verdict, Broken> {
        let was_low = self.was_low(local);
        if !self.has_changed(local) {
            // What was de-preferred may have been worse for a while already.
            if from == ReachState::Announced {
                self.flaps.worse(local, self.damping());
            }
            let hold_down = self.withdrawn().map_or(Duration::ZERO, |withdrawn| withdrawn.hold_down);
            self.held_until = Some(local + hold_down);
        }
        if self.fault || self.is_silent() || self.silenced == Some(local) {
            return Ok(Verdict::Fine);
        }
        if !self.is_settled() {
            let ordered = self.has_changed(local); // what an order announced goes with it
            return if ordered {
                Ok(Verdict::Fine)
            } else {
                Err((Rule::FirstVerdicts, "not all first verdicts are known"))
            };
        }
        if !was_low {
            return Err((Rule::Hysteresis, "the score was not below the bound"));
        }
        let min_up = self.withdrawn().map_or(Duration::ZERO, |withdrawn| withdrawn.min_up);
        if self.up_since.is_some_and(|since| since + min_up > local) {
            return Err((Rule::MinUp, "it was not up for its least time"));
        }
        if let Some(guard) = self.config.as_ref().and_then(|config| config.guard) {
            if self.marked_since.is_none_or(|since| since + guard.quiet > local) {
                return Err((Rule::Guard, "it was not marked as leaving for the quiet period"));
            }
            if !self.sees_others(true) {
                return Err((Rule::Guard, "it sees too few others"));
            }
        }
        Ok(Verdict::WithdrawnByHealth)
    }

    /// Whether enough others are seen; of those that leave too only the ones of higher rank, where it has not left yet.
    pub(super) fn sees_others(&self, leaving: bool) -> bool {
        let Some(guard) = self.config.as_ref().and_then(|config| config.guard) else { return true };
        let stays = |other: &&Sighting| !leaving || !other.leaving || other.origin < guard.origin;
        let others = self.view.others.iter().filter(stays).count();
        self.view.observing && others >= guard.min_announcers as usize
    }

    /// The others it relies on when it leaves.
    pub(super) fn counted(&self) -> Vec<Sighting> {
        let Some(guard) = self.config.as_ref().and_then(|config| config.guard) else { return Vec::new() };
        let stays = |other: &&Sighting| !other.leaving || other.origin < guard.origin;
        self.view.others.iter().filter(stays).copied().collect()
    }

    /// What was seen of others is not to be relied on any more.
    pub(super) fn forgets_view(&mut self) {
        self.view = View::default();
        self.keep_time();
    }

    /// What others can know of it by these attributes of its route.
    pub(super) fn word(&self, attributes: Option<&RouteAttributes>) -> Word {
        let guard = self.config.as_ref().and_then(|config| config.guard);
        let Some((guard, attributes)) = guard.zip(attributes) else { return Word::default() };
        let has = |mark| attributes.large_communities.contains(&mark);
        Word { announced: has(guard.origin_mark()), leaving: has(guard.leaving_mark()) }
    }

    /// From Withdrawn, where no order says so.
    fn comes(&mut self, local: Instant, to: ReachState) -> Result<Verdict, Broken> {
        self.may_be_up()?;
        let guarded = self.config.as_ref().is_some_and(|config| config.guard.is_some());
        if guarded && self.was_low(local) && to == ReachState::DePreferred && !self.sees_others(false) {
            self.returns += 1;
            return Ok(Verdict::Fine);
        }
        if self.low {
            return Err(if guarded {
                (Rule::Guard, "its score has not reached the bound, and it sees enough others")
            } else {
                (Rule::Hysteresis, "the score has not reached the bound")
            });
        }
        let free = self.has_changed(local) || self.is_first();
        let Some(seen) = self.score else { return Err((Rule::FirstVerdicts, "nothing is known")) };
        if !free && !self.is_risen(seen) {
            return Err((Rule::Hysteresis, "the score has not reached the bound"));
        }
        let best = self.degraded_at(|degraded| seen.score < degraded).unwrap_or(false);
        if !free && to == ReachState::Announced && best {
            return Err((Rule::Hysteresis, "the score has not reached the bound of what is not degraded"));
        }
        self.improves(local)
    }

    fn may_be_up(&self) -> Result<(), Broken> {
        if self.fault {
            Err((Rule::Fault, "this PoP can't serve"))
        } else if self.is_silent() {
            Err((Rule::DeadMan, "no probe has ended for too long"))
        } else if !self.is_settled() {
            Err((Rule::FirstVerdicts, "not all first verdicts are known"))
        } else {
            Ok(())
        }
    }

    /// What the bound above which nothing is degraded says; `None` without one.
    fn degraded_at(&self, is: impl FnOnce(Score) -> bool) -> Option<bool> {
        self.config.as_ref()?.degraded.as_ref().map(|degraded| is(degraded.above))
    }

    /// From DePreferred to Announced, where no order says so.
    fn rises(&mut self, local: Instant) -> Result<Verdict, Broken> {
        self.may_be_up()?;
        let Some(seen) = self.score else { return Err((Rule::FirstVerdicts, "nothing is known")) };
        if self.low {
            return Err((Rule::Hysteresis, "the score has not reached the bound of withdrawal"));
        }
        let short = self.degraded_at(|above| seen.score < above || seen.degraded).unwrap_or(false);
        if short && !self.has_changed(local) && !self.is_first() {
            return Err((Rule::Hysteresis, "the score has not reached the bound"));
        }
        self.improves(local)
    }

    fn improves(&mut self, local: Instant) -> Result<Verdict, Broken> {
        if self.held_until.is_some_and(|until| until > local) {
            return Err((Rule::HoldDown, "the hold-down is not over"));
        }
        if self.has_changed(local) {
            return Ok(Verdict::Fine);
        }
        self.may_want = false;
        self.flaps.worse = false;
        if self.flaps.held_until.is_some_and(|until| until > local) {
            return Err((Rule::Damping, "the penalty for its flaps has not fallen far enough"));
        }
        Ok(Verdict::Fine)
    }

    /// From Announced to DePreferred, where no order says so.
    fn falls(&mut self, local: Instant) -> Result<Verdict, Broken> {
        self.may_be_up()?;
        if self.has_changed(local) {
            return Ok(Verdict::Fine);
        }
        self.flaps.worse(local, self.damping());
        let degraded = self.config.as_ref().and_then(|config| config.degraded.as_ref());
        let below = self
            .score
            .zip(degraded)
            .is_some_and(|(seen, degraded)| seen.at_best < degraded.below || seen.degraded);
        if below || self.was_low(local) {
            return Ok(Verdict::Fine);
        }
        Err((Rule::Hysteresis, "the score was not below the bound"))
    }

    /// The core wants this to be announced of the group.
    pub(crate) fn desired(
        &mut self,
        local: Instant,
        attributes: Option<&RouteAttributes>,
    ) -> Result<(), &'static str> {
        let Some(attributes) = attributes else {
            self.marked_since = None;
            return if is_up(self.state) { Err("it is up and not announced") } else { Ok(()) };
        };
        if !is_up(self.state) {
            return Err("it is withdrawn and announced");
        }
        let graceful = attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN);
        let draining = matches!(self.verb, Override::Drain { .. });
        // An order that has just expired may have been noticed already, or not yet.
        let certain = !self.is_expired(local);
        if draining && !graceful && certain {
            return Err("it is drained and does not say so");
        }
        let Some(config) = &self.config else { return Err("it is not configured") };
        if let Some(guard) = config.guard {
            let has = |mark| attributes.large_communities.contains(&mark);
            let (origin, leaving) = (has(guard.origin_mark()), has(guard.leaving_mark()));
            if origin == draining && certain {
                return Err("others are to count on it unless it is drained, and on nothing else");
            }
            if leaving && !graceful {
                return Err("it leaves and is not de-preferred hard");
            }
            self.marked_since = if leaving { self.marked_since.or(Some(local)) } else { None };
        }
        Ok(())
    }

    /// Whether health alone decides about it, and can.
    pub(crate) fn is_healths(&self) -> bool {
        self.config.is_some() && self.verb == Override::Auto && !self.fault && self.is_settled()
    }

    /// Whether health has withdrawn a guarded group of which too few others are seen by now.
    pub(super) fn is_left_alone(&self) -> bool {
        let withdrawn = self.is_healths() && !is_up(self.state);
        withdrawn && self.low && self.view.observing && !self.sees_others(false)
    }

    /// Whether the score is as good as any bound asks for.
    pub(super) fn is_good(&self) -> bool {
        let reached = |seen: Seen| {
            let degraded = self.degraded_at(|above| seen.score < above || seen.degraded).unwrap_or(false);
            self.is_risen(seen) && !degraded && !seen.unknown
        };
        self.is_healths() && self.score.is_some_and(reached)
    }

    /// Whether a hold-down runs, or has hardly ended; it has the length that was configured when it began.
    pub(super) fn is_held_down(&self, local: Instant) -> bool {
        self.held_until.is_some_and(|until| until + SLACK > local)
    }

    /// Whether the score is as bad as withdrawal asks for.
    pub(super) fn is_bad(&self) -> bool {
        self.is_healths() && self.score.is_some_and(|seen| self.is_fallen(seen))
    }

    pub(super) fn config(&self) -> Option<&GroupConfig> {
        self.config.as_ref()
    }
}
