//! The announcement core of one group: what health asks for, what holds it back, what the operator orders.
//!
//! | order    | health asks for      | the group is                                                                  |
//! |----------|----------------------|--------------------------------------------------------------------------------|
//! | announce | anything             | announced                                                                      |
//! | withdraw | anything             | withdrawn                                                                      |
//! | drain    | anything             | de-preferred with GRACEFUL_SHUTDOWN, then withdrawn                            |
//! | auto     | announced, de-preferred | that                                                                        |
//! | auto     | withdrawn, by a fault or silence | withdrawn at once                                                  |
//! | auto     | withdrawn, by the score | withdrawn once least time up, guard and cap allow it; until then de-preferred hard |
//!
//! A guarded group bears the mark of its origin, so that others can count on it; not while it is drained: who is about to
//! go whatever others do is not to be relied upon. Such a drain takes its time also when nothing serves, so that those who
//! rely on it are back before.

use std::{collections::VecDeque, time::Instant};

use proxima_health::RegionScore;
use proxima_types::{
    Announcement, Community, GroupName, LargeCommunity, ReachState, RouteAttributes, moment,
};
use serde::{Deserialize, Serialize};

use crate::{
    Alarm, AlarmKind, AlarmOver, Cap, GroupConfig, Guard, Hold, Order, Output, Override, Reason, Transition,
    View, WhenDown,
    guard::{Ask, Stand, Waits},
    wish::Wish,
};

/// What a group is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The region's score; to be told on every change, and again when [`Group::score`] has forgotten it.
    Score(RegionScore),
    /// When the newest probe of any backend that gates the group, in the own region, ended. To be told on every end.
    Checked(Instant),
    /// Whether something keeps this PoP from serving at all, such as a stuck data plane. It withdraws also where
    /// [`WhenDown::Stay`] is set; only the operator's order to announce outranks it.
    Fault(Option<String>),
    /// The operator's order.
    Order(Order),
    /// What the observing sessions show; without a guard it means nothing. After a time in which the process did not run, to
    /// be told as not observing until they are known to be alive: what was seen before may be gone.
    View(View),
}

/// Decides what is announced of one group. An [`Announcer`](crate::Announcer) holds all of a PoP's, with a cap over them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Group {
    config: GroupConfig,
    wish: Wish,
    guard: Option<Guard>,
    order: Order,
    drain: Option<Drain>,
    state: ReachState,
    /// Since when it is announced or de-preferred.
    #[serde(with = "moment::option")]
    up_since: Option<Instant>,
    /// What keeps it from being withdrawn.
    kept_by: Option<Hold>,
    /// Whether it is announced as leaving.
    leaving: bool,
    /// Whether an order or a fault has withdrawn it without the guard's consent.
    left_alone: bool,
    alarms: Vec<Alarm>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// A drain under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Drain {
    /// GRACEFUL_SHUTDOWN is announced until then.
    #[serde(with = "moment")]
    Graceful(Instant),
    /// Withdrawn.
    Done,
}

/// The cap is reached: no more withdrawals by health before `until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) until: Instant,
    pub(crate) cap: Cap,
}

/// Where the group is to stand.
#[derive(Debug)]
struct Place {
    state: ReachState,
    /// What keeps it from being withdrawn as health asks.
    kept_by: Option<Hold>,
    leaving: bool,
    /// Whether health's wish to withdraw it decided this.
    by_health: bool,
}

impl Place {
    fn plain(state: ReachState) -> Self {
        Self { state, kept_by: None, leaving: false, by_health: false }
    }
}

impl Group {
    /// A group that announces nothing yet.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            wish: Wish::new(&config),
            guard: config.guard.map(Guard::new),
            config,
            order: Order::default(),
            drain: None,
            state: ReachState::Withdrawn,
            up_since: None,
            kept_by: None,
            leaving: false,
            left_alone: false,
            alarms: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes news.
    pub fn handle(&mut self, now: Instant, input: Input) {
        self.handle_under(now, input, None);
    }

    /// To be called when the time of [`Group::poll_timeout`] has come; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout_under(now, None);
    }

    /// When something is due without news.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let drain = match self.drain {
            Some(Drain::Graceful(until)) => Some(until),
            Some(Drain::Done) | None => None,
        };
        let kept = self.kept_by.as_ref().and_then(Hold::until);
        let guard = self.guard.as_ref().and_then(Guard::poll_timeout);
        [drain, self.order.until, kept, guard, self.wish.poll_timeout(&self.config)]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next output, in order. What changed is in [`Group::desired`] already. That may change without a transition: when
    /// a drain begins while de-preferred, or health asks to withdraw a de-preferred group that something keeps.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Everything the peers should hold of this group, in the order of its prefixes.
    pub fn desired(&self) -> Vec<Announcement> {
        let Some(attributes) = self.attributes() else {
            return Vec::new();
        };
        let announcement = |&prefix| Announcement { prefix, attributes: attributes.clone() };
        self.config.prefixes.iter().map(announcement).collect()
    }

    /// Other settings of the same group: everything else stays, and what they mean is decided at once.
    pub fn reconfigure(&mut self, now: Instant, config: GroupConfig) {
        self.reconfigure_under(now, config, None);
    }

    /// Handles an input while the cap may be reached; returns whether that withdrew the group by health.
    pub(crate) fn handle_under(&mut self, now: Instant, input: Input, full: Option<Full>) -> bool {
        let left = match input {
            Input::Order(_) | Input::Checked(_) => self.catch_up(now, full),
            // Taken in before anything is decided: an older view must not be the reason to leave.
            Input::View(_) | Input::Score(_) | Input::Fault(_) => {
                self.wish.notice_silence(now, &self.config);
                false
            }
        };
        let mut cause = None;
        match input {
            Input::Score(score) => self.wish.see_score(score),
            Input::Checked(at) => self.wish.see_checked(now, at, self.config.dead_man),
            Input::Fault(fault) => self.wish.see_fault(fault),
            Input::Order(order) => {
                cause = Some(Reason::Operator { order: order.clone() });
                self.drain = self.drain_for(now, &order);
                self.order = order;
            }
            Input::View(view) => {
                if let Some(guard) = &mut self.guard {
                    guard.see(view);
                }
            }
        }
        self.decide(now, cause, full) || left
    }

    pub(crate) fn handle_timeout_under(&mut self, now: Instant, full: Option<Full>) -> bool {
        self.wish.notice_silence(now, &self.config);
        self.decide(now, None, full)
    }

    /// What is due is done before anything is taken in that would be told as the reason for it, or would hide it: after a
    /// freeze the news may come before the timeout.
    fn catch_up(&mut self, now: Instant, full: Option<Full>) -> bool {
        self.poll_timeout().is_some_and(|due| due <= now) && self.handle_timeout_under(now, full)
    }

    pub(crate) fn reconfigure_under(
        &mut self,
        now: Instant,
        config: GroupConfig,
        full: Option<Full>,
    ) -> bool {
        let left = self.catch_up(now, full);
        if self.config == config {
            return self.decide(now, None, full) || left;
        }
        self.guard = match (self.guard.take(), config.guard) {
            (Some(mut guard), Some(settings)) => {
                guard.reconfigure(settings);
                Some(guard)
            }
            (None, Some(settings)) => Some(Guard::new(settings)),
            (_, None) => None,
        };
        self.wish.reconfigure(now, &config);
        self.config = config;
        let cause = Reason::Reconfigured { score: self.score().cloned() };
        self.decide(now, Some(cause), full) || left
    }

    /// The last words of a group that is no longer configured.
    pub(crate) fn remove(mut self, now: Instant) -> VecDeque<Output> {
        let from = std::mem::replace(&mut self.state, ReachState::Withdrawn);
        self.tell(now, from, Reason::Removed);
        self.raise(now, Vec::new());
        self.outputs
    }

    fn drain_for(&self, now: Instant, order: &Order) -> Option<Drain> {
        match order.verb {
            Override::Drain { graceful_shutdown } if self.state != ReachState::Withdrawn => {
                Some(Drain::Graceful(now + graceful_shutdown))
            }
            Override::Drain { .. } => Some(Drain::Done),
            Override::Auto | Override::Announce | Override::Withdraw => None,
        }
    }

    fn decide(&mut self, now: Instant, cause: Option<Reason>, full: Option<Full>) -> bool {
        let expired = self.expired_order(now);
        let asked = self.wish.decide(now, &self.config);
        let drained = self.advance_drain(now);
        let place = self.place(now, full);

        let kept_before = std::mem::replace(&mut self.kept_by, place.kept_by.clone());
        let from = std::mem::replace(&mut self.state, place.state);
        self.leaving = place.leaving;
        let left = from != ReachState::Withdrawn && self.state == ReachState::Withdrawn;
        let drained_in_time = matches!(drained, Some(Reason::Drained { .. }));
        let ordered = cause.is_some() || expired.is_some() || drained_in_time;
        self.follow_hold_down(now, asked.is_some() || (left && !ordered));
        match self.state {
            ReachState::Withdrawn => self.up_since = None,
            ReachState::Announced | ReachState::DePreferred => self.up_since = self.up_since.or(Some(now)),
        }
        self.left_alone = match self.state {
            ReachState::Withdrawn => !place.by_health && (left || self.left_alone),
            ReachState::Announced | ReachState::DePreferred => false,
        };

        if from != self.state {
            let expired = expired.map(|order| {
                let why = self.wish.reason().map(Box::new);
                Reason::Expired { order, why }
            });
            let reason = match (expired.or(cause).or(drained), place.kept_by.clone()) {
                (Some(why), Some(by)) => Reason::Held { why: Box::new(why), by },
                (Some(why), None) => why,
                (None, _) => self.by_health(&place, from, kept_before, asked),
            };
            self.tell(now, from, reason);
        }
        let alarms = self.alarming();
        self.raise(now, alarms);
        left && place.by_health
    }

    /// The order, if its time is over; health decides again.
    fn expired_order(&mut self, now: Instant) -> Option<Order> {
        self.order.until.filter(|until| *until <= now)?;
        self.drain = None;
        Some(std::mem::take(&mut self.order))
    }

    /// A drain is done when its graceful time is over, or when health has withdrawn the group anyway. A guarded group takes
    /// its time also when nothing serves: others may rely on it, and need that to see that it goes.
    fn advance_drain(&mut self, now: Instant) -> Option<Reason> {
        let Some(Drain::Graceful(until)) = self.drain else {
            return None;
        };
        let stays = self.guard.is_some() && self.wish.asks_to_withdraw();
        if until > now && (stays || self.wish.state() != ReachState::Withdrawn) {
            return None;
        }
        self.drain = Some(Drain::Done);
        match (self.order.verb, until > now) {
            (Override::Drain { graceful_shutdown: after }, false) => {
                Some(Reason::Drained { after, order: self.order.clone() })
            }
            _ => self.wish.reason(),
        }
    }

    fn place(&mut self, now: Instant, full: Option<Full>) -> Place {
        let ordered = match (self.order.verb, self.drain) {
            (Override::Announce, _) => Some(ReachState::Announced),
            (Override::Withdraw, _) | (_, Some(Drain::Done)) => Some(ReachState::Withdrawn),
            (_, Some(Drain::Graceful(_))) => Some(ReachState::DePreferred),
            (Override::Auto | Override::Drain { .. }, None) => None,
        };
        let leave = ordered.is_none() && self.wish.asks_to_withdraw();
        let announced = self.state != ReachState::Withdrawn;
        let kept = if leave && announced { self.kept(now, full) } else { None };
        let ask = Ask { leave, announced, held: kept.is_some() };
        let stand = self.guard.as_mut().map_or(Stand::Free, |guard| guard.decide(now, ask));
        if !leave {
            return Place::plain(ordered.unwrap_or_else(|| self.wish.state()));
        }
        let (kept_by, leaving) = match (stand, kept) {
            (Stand::Free, kept) => (kept, false),
            (Stand::Marked { waits, .. }, kept) => (self.first_of(waits, kept, now), true),
            (Stand::Left, _) => (None, false),
        };
        let state = if kept_by.is_some() { ReachState::DePreferred } else { ReachState::Withdrawn };
        Place { state, kept_by, leaving, by_health: true }
    }

    /// What keeps the group from being withdrawn by health, but for the guard.
    fn kept(&self, now: Instant, full: Option<Full>) -> Option<Hold> {
        let min_up = match self.config.when_down {
            WhenDown::Withdraw(withdrawn) => withdrawn.min_up,
            WhenDown::Stay => return None,
        };
        let until = self.up_since.map(|since| since + min_up).filter(|until| *until > now);
        until
            .map(|until| Hold::MinUp { until, least: min_up })
            .or_else(|| full.map(|Full { until, cap }| Hold::Cap { until, cap }))
    }

    /// Of the guard's reasons to wait and the others, the one to be told: the least time up, the guard, the cap.
    fn first_of(&self, waits: Waits, kept: Option<Hold>, now: Instant) -> Option<Hold> {
        let guard = self.guard.as_ref()?;
        match (kept, waits) {
            (Some(min_up @ Hold::MinUp { .. }), _) => Some(min_up),
            (_, Waits::Quiet(until)) => Some(Hold::Quiet { until, quiet: guard.quiet(now) }),
            (_, Waits::Others) => Some(Hold::Others { evidence: guard.evidence() }),
            (kept, Waits::Nothing) => kept,
        }
    }

    /// The hold-down begins when health withdraws the group, not when an order does.
    fn follow_hold_down(&mut self, now: Instant, by_health: bool) {
        if by_health && self.wish.state() == ReachState::Withdrawn && self.kept_by.is_none() {
            self.wish.begin_hold_down(now, &self.config);
        }
    }

    /// Why the group goes where nobody ordered it to go.
    fn by_health(
        &self,
        place: &Place,
        from: ReachState,
        kept: Option<Hold>,
        asked: Option<Reason>,
    ) -> Reason {
        let why = asked.or_else(|| self.wish.reason());
        let boxed = || why.clone().map(Box::new);
        let evidence = self.guard.as_ref().map(Guard::evidence);
        let reason = match (&place.kept_by, evidence) {
            (Some(_), Some(evidence)) if from == ReachState::Withdrawn => {
                Some(Reason::Returned { evidence, why: boxed() })
            }
            (Some(by), _) => boxed().map(|why| Reason::Held { why, by: by.clone() }),
            (None, evidence) if place.by_health && (kept.is_some() || evidence.is_some()) => {
                boxed().map(|why| Reason::Left { why, held: kept, evidence })
            }
            (None, _) => why.clone(),
        };
        reason.unwrap_or(Reason::Operator { order: self.order.clone() })
    }

    fn tell(&mut self, now: Instant, from: ReachState, reason: Reason) {
        let to = self.state;
        if from != to {
            let group = self.config.name.clone();
            self.outputs.push_back(Output::Transition(Transition { group, from, to, reason, at: now }));
        }
    }

    fn alarming(&self) -> Vec<AlarmKind> {
        let left = self.left_alone || self.guard.as_ref().is_some_and(Guard::has_left);
        let guard = self.guard.as_ref().filter(|_| self.leaving || left);
        let short = guard.map(Guard::evidence).filter(|evidence| !evidence.suffices());
        let guarded = match short {
            Some(evidence) if self.leaving => Some(AlarmKind::LastAnnouncer { evidence }),
            Some(evidence) => Some(AlarmKind::LeftAlone { evidence }),
            None => None,
        };
        let capped = match &self.kept_by {
            Some(Hold::Cap { cap, .. }) => Some(AlarmKind::Capped { cap: *cap }),
            _ => None,
        };
        guarded.into_iter().chain(capped).collect()
    }

    /// Raises what is new, and ends what is no longer.
    fn raise(&mut self, now: Instant, kinds: Vec<AlarmKind>) {
        let same = |kind: &AlarmKind, alarm: &Alarm| {
            std::mem::discriminant(kind) == std::mem::discriminant(&alarm.kind)
        };
        let (on, over): (Vec<_>, Vec<_>) =
            self.alarms.drain(..).partition(|alarm| kinds.iter().any(|kind| same(kind, alarm)));
        self.alarms = on;
        self.outputs.extend(over.into_iter().map(|alarm| Output::AlarmOver(AlarmOver { alarm, at: now })));
        for kind in kinds {
            if !self.alarms.iter().any(|alarm| same(&kind, alarm)) {
                let alarm = Alarm { group: self.config.name.clone(), kind, at: now };
                self.alarms.push(alarm.clone());
                self.outputs.push_back(Output::Alarm(alarm));
            }
        }
    }

    fn attributes(&self) -> Option<RouteAttributes> {
        let own = &self.config.attributes;
        let mut attributes = match self.state {
            ReachState::Withdrawn => return None,
            ReachState::Announced => own.clone(),
            ReachState::DePreferred => {
                self.config.degraded.as_ref().map_or(own, |degraded| &degraded.attributes).clone()
            }
        };
        if self.drain.is_some() || self.kept_by.is_some() {
            insert(&mut attributes.communities, Community::GRACEFUL_SHUTDOWN);
        }
        for mark in self.marks() {
            insert(&mut attributes.large_communities, mark);
        }
        Some(attributes)
    }

    fn marks(&self) -> impl Iterator<Item = LargeCommunity> {
        let guard = self.config.guard.filter(|_| self.drain.is_none());
        let leaving = guard.filter(|_| self.leaving).map(|guard| guard.leaving_mark());
        guard.map(|guard| guard.origin_mark()).into_iter().chain(leaving)
    }
}

/// What can be read of a group.
impl Group {
    /// The settings.
    pub fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// The name.
    pub fn name(&self) -> &GroupName {
        &self.config.name
    }

    /// The state.
    pub fn state(&self) -> ReachState {
        self.state
    }

    /// The state that health alone asks for.
    pub fn by_health_alone(&self) -> ReachState {
        self.wish.state()
    }

    /// Why the state is what it is; `None` while first verdicts are awaited and nothing is ordered.
    pub fn reason(&self) -> Option<Reason> {
        if self.order.verb != Override::Auto {
            return Some(Reason::Operator { order: self.order.clone() });
        }
        let why = self.wish.reason()?;
        Some(match &self.kept_by {
            Some(by) => Reason::Held { why: Box::new(why), by: by.clone() },
            None => why,
        })
    }

    /// What keeps the group from where health asks it to be, or would: a hold-down that still runs is told also while the
    /// score is low. `None` under an order or a fault.
    pub fn held_by(&self) -> Option<Hold> {
        if self.order.verb != Override::Auto || self.wish.fault().is_some() || self.wish.is_silent() {
            return None;
        }
        self.kept_by.clone().or_else(|| self.wish.held_by().cloned())
    }

    /// The operator's order in force.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The latest score; `None` before the first, and after a silence.
    pub fn score(&self) -> Option<&RegionScore> {
        self.wish.score()
    }

    /// What keeps this PoP from serving at all.
    pub fn fault(&self) -> Option<&str> {
        self.wish.fault()
    }

    /// Whether all first verdicts are known: from then on the state is health's.
    pub fn is_settled(&self) -> bool {
        self.wish.is_settled()
    }

    /// Whether a drain is under way or done.
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether the group is announced as leaving.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// The penalty for flaps; `None` where they are not damped.
    pub fn penalty(&self, now: Instant) -> Option<f64> {
        self.wish.penalty(now)
    }

    /// The guard; `None` where there is none.
    pub fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// The alarms that are on.
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }
}

/// Puts `item` into a sorted list that holds each once.
fn insert<T: Ord>(sorted: &mut Vec<T>, item: T) {
    if let Err(place) = sorted.binary_search(&item) {
        sorted.insert(place, item);
    }
}

#[cfg(test)]
mod tests;
