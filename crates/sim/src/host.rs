//! A PoP's host and its daemon: what the product's control task does, with the product's own cores.
//!
//! ```text
//!  verdicts ─▶ region_score ─┐
//!  probes' ends, workers, ───┼─▶ Announcer ─▶ desired ─▶ AllowList ─▶ Sessions
//!  views, orders, files      ┘        └─▶ transitions ─▶ invariants
//! ```
//!
//! A stop goes as the daemon's does: drain, wait until nothing is announced, wait for the routers, end the sessions.

use std::time::Instant;

use proxima_announce::{Announcer, AnnouncerConfig, Group, Input, Order, Output, Override, View};
use proxima_bgp_session::{AllowList, Desired, Input as SessionInput, Leave};
use proxima_health::{Member, Percent, RegionScore, region_score};
use proxima_types::{Announcement, Weight};

use crate::{
    clock::{Clock, MS, Nanos, SECOND, span},
    fault::{Revision, Verb},
    history::Fact,
    net::{Endpoint, POP, settings},
    oracle::Rule,
    queue::Event,
    world::{MOST_GROUPS, World},
};

/// How long after its start a daemon needs to be where its cores begin.
const START: Nanos = 100 * MS;
/// Workers are silent for so long before they are taken for stuck.
const WORKER_SILENCE: Nanos = SECOND;
/// A control thread that stands still for so long is ended by its watchdog.
pub(crate) const CONTROL_LIMIT: Nanos = 10 * SECOND;

/// A PoP's host.
#[derive(Debug)]
pub(crate) struct Pop {
    pub(crate) clock: Clock,
    /// Counts the daemon's lives, so that what was meant for one does not reach the next.
    pub(crate) life: u16,
    pub(crate) running: bool,
    /// How many faults keep it from running.
    pub(crate) wanted_down: u8,
    /// How many faults have taken the host's power.
    pub(crate) dark: u8,
    /// How many faults have frozen the host.
    pub(crate) frozen: u8,
    /// How many faults hold the control thread.
    pub(crate) stuck: u8,
    pub(crate) stands_since: Nanos,
    /// The most that each event is late.
    pub(crate) lag: Nanos,
    lagged: Nanos,
    pub(crate) worker_stuck: u8,
    pub(crate) checker_dead: u8,
    pub(crate) probe_loss: u32,
    pub(crate) probe_cut: u8,
    pub(crate) orders: Vec<Verb>,
    pub(crate) revisions: Vec<Revision>,
    /// What has come while nobody could take it.
    pub(crate) waiting: Vec<Event>,
    pub(crate) announcer: Option<Announcer>,
    armed: Nanos,
    pub(crate) desired: Vec<Announcement>,
    pub(crate) desired_since: Nanos,
    pub(crate) released: bool,
    pub(crate) views: [Option<View>; MOST_GROUPS],
    pub(crate) view_missed: bool,
    pub(crate) stop: Option<Stop>,
    /// When a probe ended last, and one that gates each group.
    pub(crate) checked: Nanos,
    pub(crate) gating_checked: [Nanos; MOST_GROUPS],
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// GRACEFUL_SHUTDOWN is announced.
    Graceful,
    /// Nothing is announced any more.
    Withdrawn,
}

impl Pop {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            life: 0,
            running: false,
            wanted_down: 0,
            dark: 0,
            frozen: 0,
            stuck: 0,
            stands_since: 0,
            lag: 0,
            lagged: 0,
            worker_stuck: 0,
            checker_dead: 0,
            probe_loss: 0,
            probe_cut: 0,
            orders: Vec::new(),
            revisions: Vec::new(),
            waiting: Vec::new(),
            announcer: None,
            armed: Nanos::MAX,
            desired: Vec::new(),
            desired_since: 0,
            released: false,
            views: [const { None }; MOST_GROUPS],
            view_missed: false,
            stop: None,
            checked: 0,
            gating_checked: [0; MOST_GROUPS],
        }
    }

    /// The host has no power: nothing answers there.
    pub(crate) fn is_dark(&self) -> bool {
        self.dark > 0
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen > 0
    }

    /// Nothing is handled now, but will be later.
    pub(crate) fn stands_still(&self) -> bool {
        self.frozen > 0 || self.stuck > 0
    }

    /// When an event that comes now is handled, if it is late.
    pub(crate) fn late(&mut self, now: Nanos, lag: Nanos) -> Nanos {
        self.lagged = self.lagged.max(now + lag);
        self.lagged
    }
}

impl World {
    pub(crate) fn start(&mut self, pop: usize, life: u16) {
        let host = &mut self.pops[pop];
        if host.life != life || host.running || host.wanted_down > 0 || host.is_frozen() {
            return;
        }
        host.running = true;
        host.armed = Nanos::MAX;
        host.desired.clear();
        host.desired_since = self.now;
        host.released = false;
        host.views = [const { None }; MOST_GROUPS];
        host.stop = None;
        host.gating_checked = [self.now; MOST_GROUPS];
        host.checked = self.now;
        host.waiting.clear();
        self.trace.say(self.now, &format!("pop{pop}"), format_args!("the daemon starts"));
        self.record(|| Fact::Started(pop as u8));
        let now = self.pops[pop].clock.at(self.now);
        let config = self.announcer_config(pop);
        self.oracle.started(pop, self.now, &config);
        self.pops[pop].announcer = Some(Announcer::new(now, config));
        for link in self.links_of(pop) {
            self.oracle.stops(link, None);
            let seed = self.net_random.next();
            self.endpoints[2 * link + POP] = Endpoint::new(settings(self, link, POP), now, seed);
            self.tell(2 * link + POP, SessionInput::Up);
            self.path_changed(link);
        }
        self.start_prober(pop);
        if self.pops[pop].worker_stuck > 0 {
            self.worker_silent(pop);
        }
        self.rescore(pop);
        if let Some(verb) = self.pops[pop].orders.last().copied() {
            self.order(pop, Some(verb), None);
        }
        self.settle(pop);
    }

    /// The daemon is gone, with all it knew.
    pub(crate) fn die(&mut self, pop: usize, silently: bool) {
        let host = &mut self.pops[pop];
        if !std::mem::take(&mut host.running) {
            return;
        }
        host.life += 1;
        host.announcer = None;
        host.stop = None;
        host.waiting.clear();
        host.stuck = 0; // it was this process that was held
        host.desired.clear();
        host.desired_since = self.now;
        self.record(|| Fact::Ended(pop as u8));
        self.oracle.died(pop);
        for link in self.links_of(pop) {
            self.abandon(2 * link + POP, silently);
            self.path_changed(link);
        }
        self.start_later(pop, 0);
    }

    /// Starts the daemon, unless a fault keeps it down.
    pub(crate) fn start_later(&mut self, pop: usize, wait: Nanos) {
        let host = &self.pops[pop];
        if !host.running && host.wanted_down == 0 {
            self.queue.push(self.now + START + wait, Event::Starts { pop: pop as u8, life: host.life });
        }
    }

    /// What is due in the announcement core is done, and judged, by what was known before the news that come now. The core
    /// does the same by itself.
    fn catch_up(&mut self, pop: usize, now: Instant) {
        let Some(announcer) = &mut self.pops[pop].announcer else { return };
        if announcer.poll_timeout().is_some_and(|due| due <= now) {
            announcer.handle_timeout(now);
            self.poll_announcer(pop);
        }
    }

    /// Hands the announcement core news of one group.
    pub(crate) fn inform(&mut self, pop: usize, group: usize, input: Input) {
        let now = self.pops[pop].clock.at(self.now);
        self.catch_up(pop, now);
        self.oracle.informed(now, pop, group, &input);
        if let Some(announcer) = &mut self.pops[pop].announcer {
            announcer.handle(now, &self.names.groups[group], input);
        }
    }

    pub(crate) fn announcer_timer(&mut self, pop: usize, late: bool) {
        if !self.pops[pop].running || (self.pops[pop].armed != self.now && !late) {
            return;
        }
        self.pops[pop].armed = Nanos::MAX;
        let now = self.pops[pop].clock.at(self.now);
        if let Some(announcer) = &mut self.pops[pop].announcer {
            announcer.handle_timeout(now);
        }
        self.settle(pop);
    }

    fn arm_announcer(&mut self, pop: usize) {
        let host = &mut self.pops[pop];
        let Some(at) = host.announcer.as_ref().and_then(Announcer::poll_timeout) else { return };
        let at = host.clock.when(at).max(self.now);
        if at < host.armed {
            host.armed = at;
            self.queue.push(at, Event::AnnouncerTimer(pop as u8));
        }
    }

    /// Scores every group anew from the verdicts.
    pub(crate) fn rescore(&mut self, pop: usize) {
        if !self.pops[pop].running {
            return;
        }
        for group in 0..self.shape.groups.len() {
            let score = self.score(pop, group);
            if self.score_known(pop, group) != Some(&score) {
                self.inform(pop, group, Input::Score(score));
            }
        }
    }

    /// Whether the config guard refuses a file.
    fn would_fall_silent(&self, pop: usize, now: Instant, config: &AnnouncerConfig) -> bool {
        let Some(announcer) = &self.pops[pop].announcer else { return false };
        let mut tried = announcer.clone();
        tried.reconfigure(now, config.clone());
        for (group, config) in config.groups.iter().enumerate() {
            tried.handle(now, &config.name, Input::Score(self.score(pop, group)));
        }
        announcer.would_fall_silent(&tried)
    }

    /// The score as the announcement core knows it.
    fn score_known(&self, pop: usize, group: usize) -> Option<&RegionScore> {
        self.pops[pop].announcer.as_ref()?.group(&self.names.groups[group])?.score()
    }

    fn score(&self, pop: usize, group: usize) -> RegionScore {
        let gates = self.shape.groups[group].gates;
        let own = usize::from(self.shape.backends);
        let members = self.trackers_of(pop).enumerate().filter_map(move |(backend, tracker)| {
            let shared = backend == own;
            (shared || gates >> backend & 1 == 1).then(|| Member {
                backend: &self.names.backends[backend],
                weight: Weight(100),
                health: self.health_of(tracker),
                share: Percent::FULL,
                shared,
                unchecked: false,
            })
        });
        region_score([(&self.names.services[group], members)])
    }

    /// Evidence alone rarely changes anything: the rest is done only where it has.
    pub(crate) fn settle_after_evidence(&mut self, pop: usize) {
        self.poll_announcer(pop);
        if std::mem::take(&mut self.moved) {
            self.settle(pop);
        } else {
            self.arm_announcer(pop);
        }
    }

    fn poll_announcer(&mut self, pop: usize) {
        while let Some(output) = self.pops[pop].announcer.as_mut().and_then(Announcer::poll_output) {
            self.moved = true;
            match output {
                Output::Transition(transition) => self.transition(pop, &transition),
                Output::Alarm(alarm) => {
                    if self.trace.on() {
                        let who = format!("pop{pop}/{}", alarm.group);
                        self.trace.say(self.now, &who, format_args!("ALARM: {}", alarm.kind));
                    }
                    self.record(|| Fact::Alarm { pop: pop as u8, what: alarm.kind.to_string() });
                    self.oracle.alarms += 1;
                }
                Output::AlarmOver(_) => {}
            }
        }
    }

    /// Carries out what the last news have changed.
    pub(crate) fn settle(&mut self, pop: usize) {
        if !self.pops[pop].running {
            return;
        }
        self.poll_announcer(pop);
        self.moved = false;
        let Some(announcer) = &self.pops[pop].announcer else { return };
        let desired = announcer.desired();
        if desired != self.pops[pop].desired {
            self.announce(pop, desired);
        }
        let Some(announcer) = &self.pops[pop].announcer else { return };
        if !self.pops[pop].released && announcer.groups().all(Group::is_settled) {
            self.pops[pop].released = true;
            for link in self.links_of(pop) {
                self.tell(2 * link + POP, SessionInput::ReleaseEndOfRib);
            }
        }
        if self.pops[pop].stop == Some(Stop::Graceful) && self.pops[pop].desired.is_empty() {
            self.pops[pop].stop = Some(Stop::Withdrawn);
            let (at, life) = (self.now + self.shape.withdrawn, self.pops[pop].life);
            self.queue.push(at, Event::StopStep { pop: pop as u8, life });
        }
        self.arm_announcer(pop);
    }

    fn announce(&mut self, pop: usize, desired: Vec<Announcement>) {
        self.desires(pop, &desired);
        match Desired::new(&self.allow_list(), desired.iter().cloned()) {
            Ok(routes) => {
                for link in self.links_of(pop) {
                    self.tell(2 * link + POP, SessionInput::SetDesired(routes.clone()));
                }
            }
            Err(error) => self.violated(Rule::AllowList, format!("pop{pop}: {error}")),
        }
        self.pops[pop].desired = desired;
        self.pops[pop].desired_since = self.now;
    }

    fn allow_list(&self) -> AllowList {
        AllowList::new(self.names.prefixes[..self.shape.groups.len()].iter().copied())
    }

    /// The operator's order for all groups; `None` for `auto`.
    pub(crate) fn order(&mut self, pop: usize, verb: Option<Verb>, until: Option<Nanos>) {
        let verb = match verb {
            None => Override::Auto,
            Some(Verb::Announce) => Override::Announce,
            Some(Verb::Withdraw) => Override::Withdraw,
            Some(Verb::Drain) => Override::Drain { graceful_shutdown: span(self.shape.graceful) },
        };
        let until = until.map(|until| self.pops[pop].clock.at(until));
        for group in 0..self.shape.groups.len() {
            self.inform(pop, group, Input::Order(Order { verb, reason: None, until }));
        }
        self.settle(pop);
    }

    /// The daemon is to take what its file says now; a file that would silence it is refused whole.
    pub(crate) fn reconfigure(&mut self, pop: usize) {
        // A daemon that is about to end takes none any more.
        if !self.pops[pop].running || self.pops[pop].stop.is_some() {
            return;
        }
        let now = self.pops[pop].clock.at(self.now);
        self.catch_up(pop, now);
        let config = self.announcer_config(pop);
        if self.would_fall_silent(pop, now, &config) {
            self.trace.say(self.now, &format!("pop{pop}"), format_args!("the file is refused"));
            self.record(|| Fact::Refused(pop as u8));
            return;
        }
        if self.oracle.reconfigured(pop, now, &config) {
            let silenced = format!("pop{pop} took a configuration under which nothing is announced any more");
            self.violated(Rule::ConfigGuard, silenced);
        }
        if let Some(announcer) = &mut self.pops[pop].announcer {
            announcer.reconfigure(now, config);
        }
        // As the daemon does: what is older than a group believes it is not believed by one that is new, either.
        let is_old = |world: &Self, group: usize| {
            let checked = world.pops[pop].clock.at(world.pops[pop].gating_checked[group]);
            let is_silent = world.shape.dead_man.is_some_and(|limit| checked + span(limit) <= now);
            is_silent && world.score_known(pop, group).is_none()
        };
        if (0..self.shape.groups.len()).any(|group| is_old(self, group)) {
            self.start_prober(pop);
        }
        // A group that is new knows nothing yet.
        for group in 0..self.shape.groups.len() {
            let checked = self.pops[pop].clock.at(self.pops[pop].gating_checked[group]);
            self.inform(pop, group, Input::Checked(checked));
        }
        self.pops[pop].views = [const { None }; MOST_GROUPS];
        self.rescore(pop);
        self.view(pop);
        if self.pops[pop].worker_stuck > 0 {
            self.worker_silent(pop);
        }
        let order = self.pops[pop].orders.last().copied();
        if order.is_some() {
            self.order(pop, order, None);
        }
        self.settle(pop);
    }

    pub(crate) fn begin_stop(&mut self, pop: usize) {
        if !self.pops[pop].running || self.pops[pop].stop.is_some() {
            return;
        }
        self.pops[pop].stop = Some(Stop::Graceful);
        self.order(pop, Some(Verb::Drain), None);
    }

    pub(crate) fn stop_step(&mut self, pop: usize, life: u16) {
        if self.pops[pop].life != life || self.pops[pop].stop != Some(Stop::Withdrawn) {
            return;
        }
        for link in self.links_of(pop) {
            // What is left of a life before, at a router that has not noticed its end, is not this one's.
            let ends = self.links[link].up_since.is_some();
            self.oracle.stops(link, ends.then_some(self.now));
            self.tell(2 * link + POP, SessionInput::Stop(Leave::Stop { reason: String::new() }));
        }
        self.trace.say(self.now, &format!("pop{pop}"), format_args!("the daemon has stopped"));
        self.die(pop, false);
    }

    pub(crate) fn worker_missed(&mut self, pop: usize, life: u16) {
        if self.pops[pop].life == life && self.pops[pop].running && self.pops[pop].worker_stuck > 0 {
            for group in 0..self.shape.groups.len() {
                self.inform(pop, group, Input::Fault(Some("1 of 2 workers stalled".to_owned())));
            }
            self.settle(pop);
        }
    }

    pub(crate) fn worker_silent(&mut self, pop: usize) {
        let life = self.pops[pop].life;
        self.queue.push(self.now + WORKER_SILENCE, Event::WorkerMissed { pop: pop as u8, life });
    }

    pub(crate) fn worker_beats(&mut self, pop: usize) {
        if self.pops[pop].running {
            for group in 0..self.shape.groups.len() {
                self.inform(pop, group, Input::Fault(None));
            }
            self.settle(pop);
        }
    }

    /// The host or its control thread goes on: everything that waited is handled, in its order.
    pub(crate) fn goes_on(&mut self, pop: usize) {
        let waiting = std::mem::take(&mut self.pops[pop].waiting);
        if !self.pops[pop].running {
            return self.start_later(pop, 0);
        }
        self.oracle.answers(pop);
        // As the daemon does: where what was known is older than it may be all is to be found out anew.
        let known =
            |world: &Self| (0..MOST_GROUPS).filter(|group| world.score_known(pop, *group).is_some()).count();
        let before = known(self);
        self.announcer_timer(pop, true);
        if known(self) < before {
            self.trace.say(
                self.now,
                &format!("pop{pop}"),
                format_args!("a long standstill: all is probed anew"),
            );
            self.start_prober(pop);
            self.rescore(pop);
            self.settle(pop);
        }
        for event in waiting {
            if self.pops[pop].running {
                self.handle_late(event);
            }
        }
        for link in self.links_of(pop) {
            self.late_session_timer(2 * link + POP);
        }
        self.announcer_timer(pop, true);
    }
}
