//! A PoP's host and its daemon: what the product's control task does, with the product's own cores.
//!
//! ```text
//!  verdicts ─▶ region_score ────────────────┐
//!  probes' ends, beats, turns ─▶ SelfCheck ─┼─▶ Announcer ─▶ desired ─▶ AllowList ─▶ Sessions
//!  views, orders, files ────────────────────┘       └─▶ transitions ─▶ invariants
//! ```
//!
//! The loop turns when there is something to look at, ten times a second at most as the daemon's, and else often enough not to be
//! taken for late: turns in which nothing is to be seen change nothing, which a property of `Doubt` holds. Ends of probes that change
//! nothing but their age are looked at twice a second.
//!
//! A stop goes as the daemon's does: drain, wait until nothing is announced, wait for the routers, end the sessions.

use std::time::{Duration, Instant};

use proxima_announce::{
    Announcer, AnnouncerConfig, Duty, Group, Input, Order, Output, Override, SelfCheck, View,
};
use proxima_bgp_session::{AllowList, Desired, Input as SessionInput, Leave};
use proxima_health::{Gap, Member, RegionScore, Silence, WorkerChange, region_score};
use proxima_types::{Announcement, BackendId, Health, Prefix, RouteAttributes, Weight};

use crate::{
    clock::{Clock, MS, Nanos, boottime, span},
    fault::{Revision, Stray, Verb},
    history::Fact,
    net::{Endpoint, LEARNED, POP, settings},
    oracle::Rule,
    probes::{Latests, number},
    queue::Event,
    world::{MOST_GROUPS, World},
};

/// How long after its start a daemon needs to be where its cores begin.
const START: Nanos = 100 * MS;
/// From turn to turn of the control loop, at the least while there is something to look at.
const TURN: Nanos = 100 * MS;
/// The same where all there is to see is that probes end.
const ENDS: Nanos = 5 * TURN;
/// The same where there is nothing: less than what is taken for late, also on a host that is busy.
const IDLE: Nanos = 7 * TURN;
/// From beat to beat of a worker.
const BEAT: Nanos = 50 * MS;
/// How many workers a daemon has.
const WORKERS: usize = 2;
/// A control thread that stands still for so long is ended by the thread that watches it.
pub(crate) const CONTROL_LIMIT: Duration = Duration::from_secs(10);
/// From look to look of that thread.
pub(crate) const CONTROL_LOOK: Duration = Duration::from_millis(250);

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
    /// How many faults have suspended the host: they have frozen it, too.
    pub(crate) suspended: u8,
    pub(crate) suspended_since: Nanos,
    /// For how long it was suspended so briefly that nobody notices.
    pub(crate) dozed: Nanos,
    /// How many faults hold the control thread.
    pub(crate) stuck: u8,
    pub(crate) stands_since: Nanos,
    pub(crate) frozen_since: Nanos,
    /// How long the host stood still before.
    pub(crate) stood: Nanos,
    /// What the thread knows that watches a stuck control thread.
    pub(crate) silence: Option<Silence>,
    /// The most that each event is late.
    pub(crate) lag: Nanos,
    lagged: Nanos,
    pub(crate) worker_stuck: u8,
    /// Since when a worker that is stuck could be seen to be: not before the daemon's start, or the end of a standstill.
    pub(crate) seen_stuck: Nanos,
    pub(crate) checker_dead: u8,
    pub(crate) probe_loss: u32,
    pub(crate) probe_cut: u8,
    pub(crate) orders: Vec<Verb>,
    pub(crate) revisions: Vec<Revision>,
    /// What has come while nobody could take it.
    pub(crate) waiting: Vec<Event>,
    pub(crate) announcer: Option<Announcer>,
    pub(crate) check: Option<SelfCheck>,
    armed: Nanos,
    started: Nanos,
    /// When the loop turns next; `Nanos::MAX`: no turn is queued.
    turns: Nanos,
    /// The count of a worker that is stuck.
    beats: u64,
    /// How many workers are stalled, as far as the daemon knows.
    stalled: usize,
    /// What may be announced.
    allowed: AllowList,
    pub(crate) desired: Vec<Announcement>,
    pub(crate) desired_since: Nanos,
    pub(crate) released: bool,
    pub(crate) views: [Option<View>; MOST_GROUPS],
    pub(crate) view_missed: bool,
    pub(crate) stop: Option<Stop>,
    /// When a probe that gates each group ended last.
    pub(crate) gating_checked: [Nanos; MOST_GROUPS],
    /// The same, of what the daemon has looked at.
    pub(crate) seen_checked: [Nanos; MOST_GROUPS],
    /// What probes said that began before is too old for each group.
    pub(crate) believed_from: [Nanos; MOST_GROUPS],
    /// When probes last had a reason to be late: a start, a standstill, a silence, another file.
    pub(crate) disturbed: Nanos,
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
            suspended: 0,
            suspended_since: 0,
            dozed: 0,
            stuck: 0,
            stands_since: 0,
            frozen_since: 0,
            stood: 0,
            silence: None,
            lag: 0,
            lagged: 0,
            worker_stuck: 0,
            seen_stuck: 0,
            checker_dead: 0,
            probe_loss: 0,
            probe_cut: 0,
            orders: Vec::new(),
            revisions: Vec::new(),
            waiting: Vec::new(),
            announcer: None,
            check: None,
            armed: Nanos::MAX,
            started: 0,
            turns: Nanos::MAX,
            beats: 0,
            stalled: 0,
            allowed: AllowList::new([]),
            desired: Vec::new(),
            desired_since: 0,
            released: false,
            views: [const { None }; MOST_GROUPS],
            view_missed: false,
            stop: None,
            gating_checked: [0; MOST_GROUPS],
            seen_checked: [0; MOST_GROUPS],
            believed_from: [0; MOST_GROUPS],
            disturbed: 0,
        }
    }

    /// The host has no power: nothing answers there.
    pub(crate) fn is_dark(&self) -> bool {
        self.dark > 0
    }

    /// Nothing has kept its probes since its start.
    pub(crate) fn is_undisturbed(&self) -> bool {
        self.disturbed == self.started
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
        host.seen_checked = [self.now; MOST_GROUPS];
        host.believed_from = [self.now; MOST_GROUPS];
        (host.disturbed, host.seen_stuck) = (self.now, self.now);
        host.waiting.clear();
        (host.started, host.turns, host.stalled) = (self.now, Nanos::MAX, 0);
        self.trace.say(self.now, &format!("pop{pop}"), format_args!("the daemon starts"));
        self.record(|| Fact::Started(pop as u8));
        let now = self.pops[pop].clock.at(self.now);
        let config = self.announcer_config(pop);
        self.oracle.started(pop, self.now, &config);
        self.pops[pop].allowed = allow_list(&config);
        self.pops[pop].announcer = Some(Announcer::new(now, config));
        for link in self.links_of(pop) {
            self.oracle.stops(link, None);
            let seed = self.net_random.next();
            self.endpoints[2 * link + POP] = Endpoint::new(settings(self, link, POP), now, seed);
            self.tell(2 * link + POP, SessionInput::Up);
            self.path_changed(link);
        }
        self.start_prober(pop);
        let latest = Latests(&self.trackers[self.trackers_of(pop)]);
        self.pops[pop].check = Some(SelfCheck::new(now, &self.gates(pop), &latest, WORKERS));
        self.turn(pop);
        self.rescore(pop);
        if let Some(verb) = self.pops[pop].orders.last().copied() {
            self.order(pop, Some(verb), None);
        }
        self.settle(pop);
        // From here on each turn sees to the next one.
        self.turn_soon(pop);
    }

    /// The daemon is gone, with all it knew.
    pub(crate) fn die(&mut self, pop: usize, silently: bool) {
        let host = &mut self.pops[pop];
        if !std::mem::take(&mut host.running) {
            return;
        }
        host.life += 1;
        host.announcer = None;
        host.check = None;
        host.stop = None;
        host.waiting.clear();
        host.stuck = 0; // it was this process that was held
        host.desired.clear();
        host.desired_since = self.now;
        self.record(|| Fact::Ended(pop as u8));
        self.oracle.died(pop, self.now);
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
    /// does the same by itself, but for news that are not to come too late: then nothing is due by what they replace.
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
        if matches!(input, Input::Order(_) | Input::Checked(_)) {
            self.catch_up(pop, now);
        }
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
            let Pop { announcer: Some(announcer), check: Some(check), .. } = &self.pops[pop] else { return };
            if announcer.group(&self.names.groups[group]).is_none() {
                continue;
            }
            let score = self.score(pop, check, group);
            self.scored(pop, group, &score);
            if self.score_known(pop, group) != Some(&score) {
                self.inform(pop, group, Input::Score(score));
            }
        }
    }

    /// Whether the config guard refuses a file.
    fn would_fall_silent(&self, pop: usize, now: Instant, config: &AnnouncerConfig) -> bool {
        let Pop { announcer: Some(announcer), check: Some(check), .. } = &self.pops[pop] else {
            return false;
        };
        let mut tried = announcer.clone();
        tried.reconfigure(now, config.clone());
        for (group, config) in config.groups.iter().enumerate() {
            tried.handle(now, &config.name, Input::Score(self.score(pop, check, group)));
        }
        announcer.would_fall_silent(&tried)
    }

    /// The score as the announcement core knows it.
    fn score_known(&self, pop: usize, group: usize) -> Option<&RegionScore> {
        self.pops[pop].announcer.as_ref()?.group(&self.names.groups[group])?.score()
    }

    fn score(&self, pop: usize, check: &SelfCheck, group: usize) -> RegionScore {
        let gates = self.shape.groups[group].gates;
        let own = usize::from(self.shape.backends);
        let members = self.trackers_of(pop).enumerate().filter_map(move |(backend, tracker)| {
            let shared = backend == own;
            (shared || gates >> backend & 1 == 1).then(|| Member {
                backend: &self.names.backends[backend],
                weight: Weight(self.shape.weights[backend]),
                health: check.believed(&self.names.backends[backend], self.health_of(tracker)),
                share: self.trackers[tracker].share,
                shared,
                unchecked: check.unchecked_since(&self.names.backends[backend]).is_some(),
            })
        });
        region_score([(&self.names.services[group], members)])
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
        match Desired::new(&self.pops[pop].allowed, desired.iter().cloned()) {
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

    /// Something asks for a prefix that is not to be announced, beside what is.
    pub(crate) fn stray(&mut self, pop: usize, stray: Stray) {
        if !self.pops[pop].running {
            return;
        }
        let prefix = match stray {
            Stray::MoreSpecific => prefix("203.0.113.128/25"),
            Stray::LessSpecific => prefix("203.0.112.0/23"),
            Stray::Default => prefix("0.0.0.0/0"),
            Stray::Learned => prefix(LEARNED),
            Stray::Removed if self.pops[pop].revisions.is_empty() => return,
            Stray::Removed => self.names.prefixes[MOST_GROUPS - 1],
        };
        let host = &self.pops[pop];
        if host.allowed.iter().any(|allowed| allowed == prefix) {
            return; // it is configured, after all
        }
        let asked = Announcement { prefix, attributes: RouteAttributes::default() };
        let Ok(routes) = Desired::new(&host.allowed, host.desired.iter().cloned().chain([asked])) else {
            return; // refused whole, and nothing of it is sent
        };
        for link in self.links_of(pop) {
            self.tell(2 * link + POP, SessionInput::SetDesired(routes.clone()));
        }
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
        self.pops[pop].disturbed = self.now;
        self.oracle.lists(pop, self.now, config.groups.len());
        // As the daemon does: what may be announced is widened first, and narrowed last.
        let (before, after) = (self.pops[pop].allowed.clone(), allow_list(&config));
        self.pops[pop].allowed = AllowList::new(before.iter().chain(after.iter()));
        let (gates, latest) = (self.gates(pop), Latests(&self.trackers[self.trackers_of(pop)]));
        let host = &mut self.pops[pop];
        if let (Some(announcer), Some(check)) = (&mut host.announcer, &mut host.check) {
            announcer.reconfigure(now, config);
            check.reconfigure(now, &gates, &latest);
        }
        let order = self.pops[pop].orders.last().copied();
        if order.is_some() {
            self.order(pop, order, None);
        }
        self.do_duties(pop);
        self.settle(pop);
        self.pops[pop].allowed = after;
        self.pops[pop].views = [const { None }; MOST_GROUPS];
        self.view(pop);
        self.turn_soon(pop);
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

    /// What the check of the PoP itself asks for. Returns whether that was more than to tell that probes end, which alone rarely
    /// changes anything.
    fn do_duties(&mut self, pop: usize) -> bool {
        let mut more = false;
        while let Some(duty) = self.pops[pop].check.as_mut().and_then(SelfCheck::poll_output) {
            match duty {
                Duty::Score => {
                    self.rescore(pop);
                    more = true;
                }
                Duty::ScoreForgotten => {
                    let forgets = |announcer: &Announcer| announcer.groups().any(|it| it.score().is_none());
                    if self.pops[pop].announcer.as_ref().is_some_and(forgets) {
                        self.rescore(pop);
                        more = true;
                    }
                }
                Duty::Tell(group, input) => {
                    more |= !matches!(input, Input::Checked(_));
                    if let Some(group) = self.names.groups.iter().position(|name| *name == group) {
                        self.inform(pop, group, input);
                    }
                }
            }
        }
        more
    }

    /// The loop turns with the next hundred milliseconds: there is something to look at.
    pub(crate) fn turn_soon(&mut self, pop: usize) {
        self.turn_at(pop, self.now);
    }

    /// A probe of a backend has ended: that is looked at soon, where it may say that a verdict is to be believed again.
    pub(crate) fn turn_for(&mut self, pop: usize, backend: usize) {
        let name = &self.names.backends[backend];
        let doubted = |check: &SelfCheck| check.believed(name, Health::Up) != Health::Up;
        let soon = self.pops[pop].check.as_ref().is_some_and(doubted);
        self.turn_at(pop, if soon { self.now } else { self.now + ENDS - TURN });
    }

    /// The loop turns after `at` at the latest.
    fn turn_at(&mut self, pop: usize, at: Nanos) {
        let host = &mut self.pops[pop];
        let at = host.started + (at.saturating_sub(host.started) / TURN + 1) * TURN;
        if host.running && at < host.turns {
            host.turns = at;
            self.queue.push(at, Event::Turn { pop: pop as u8, life: host.life });
        }
    }

    pub(crate) fn loop_turns(&mut self, pop: usize, life: u16, late: bool) {
        let host = &self.pops[pop];
        if host.life == life && host.running && (host.turns == self.now || late) {
            self.pops[pop].turns = Nanos::MAX;
            self.turn(pop);
            self.look(pop);
        }
    }

    /// The loop turns: did anything keep it from that?
    pub(crate) fn turn(&mut self, pop: usize) -> Option<Gap> {
        let (now, boottime) = (self.pops[pop].clock.at(self.now), boottime(self.now));
        let gap = self.pops[pop].check.as_mut()?.turn(now, boottime)?;
        self.trace.say(
            self.now,
            &format!("pop{pop}"),
            format_args!("nothing ran for {:?}, asleep for {:?}", gap.length, gap.asleep),
        );
        self.do_duties(pop);
        // Who observes begins anew, and tells what is seen now.
        self.pops[pop].views = [const { None }; MOST_GROUPS];
        self.pops[pop].waiting.retain(|event| !matches!(event, Event::View(_)));
        self.view_soon(pop, 20 * MS);
        self.settle(pop);
        Some(gap)
    }

    /// Looks at workers and at what checks the apps.
    fn look(&mut self, pop: usize) {
        let trackers = self.trackers_of(pop);
        let host = &mut self.pops[pop];
        host.seen_checked = host.gating_checked;
        let beats = (self.now - host.stood) / BEAT;
        if host.worker_stuck == 0 {
            host.beats = beats;
        }
        let now = host.clock.at(self.now);
        let Some(check) = &mut host.check else { return };
        let tracked = &self.trackers[trackers];
        let verdict = |backend: &BackendId| tracked[number(backend)].core.health();
        match check.look(now, [host.beats, beats], &Latests(tracked), verdict) {
            Ok(changes) => {
                for change in changes {
                    match change {
                        WorkerChange::Stalled { .. } => host.stalled += 1,
                        WorkerChange::Recovered { .. } => host.stalled -= 1,
                    }
                }
            }
            Err(stuck) => {
                self.trace.say(self.now, &format!("pop{pop}"), format_args!("{stuck}"));
                self.pops[pop].worker_stuck = 0; // the new process has other threads
                return self.die(pop, false);
            }
        }
        let watches = host.stalled > 0 || host.worker_stuck > 0;
        let due = check.poll_timeout().map(|at| host.clock.when(at).max(self.now));
        let more = self.do_duties(pop);
        self.poll_announcer(pop);
        if more || std::mem::take(&mut self.moved) {
            self.settle(pop);
        } else {
            self.arm_announcer(pop);
        }
        let idle = self.now + IDLE - TURN;
        self.turn_at(pop, if watches { self.now } else { due.map_or(idle, |due| due.min(idle)) });
    }

    /// The host or its control thread goes on: everything that waited is handled, in its order.
    pub(crate) fn goes_on(&mut self, pop: usize) {
        if !self.pops[pop].running {
            self.pops[pop].waiting.clear();
            return self.start_later(pop, 0);
        }
        self.oracle.answers(pop);
        self.pops[pop].seen_stuck = self.now;
        self.stood_still(pop);
        self.turn(pop);
        for event in std::mem::take(&mut self.pops[pop].waiting) {
            if self.pops[pop].running {
                self.handle_late(event);
            }
        }
        for link in self.links_of(pop) {
            self.late_session_timer(2 * link + POP);
        }
        self.announcer_timer(pop, true);
        self.turn_soon(pop);
    }
}

/// The list of what a configuration announces.
fn allow_list(config: &AnnouncerConfig) -> AllowList {
    AllowList::new(config.groups.iter().flat_map(|group| &group.prefixes).copied())
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a valid prefix")
}
