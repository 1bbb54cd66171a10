//! The state of a world, and the loop over what happens in it.
//!
//! An event belongs to a PoP's host, or to nobody's. A host that stands still takes none until it goes on; one that is busy
//! takes them late, in their order.

use std::{net::Ipv4Addr, ops::Range, time::Instant};

use proxima_health::BackendTracker;
use proxima_types::{BackendId, GroupName, Prefix, ServiceName};

use crate::{
    clock::{Clock, MS, Nanos, SECOND},
    fault::Fault,
    history::{Fact, History},
    host::Pop,
    net::{Connection, Endpoint, Link, POP, ROUTER, learned, settings},
    oracle::{Oracle, Rule, Violation},
    probes::{AppState, Tracked},
    queue::{Event, Queue},
    random::Random,
    router::{Known, Way},
    shape::{MOST_BACKENDS, MOST_POPS, Shape},
    trace::Trace,
};

/// The most announcement groups of a world.
pub(crate) const MOST_GROUPS: usize = 2;
/// From one look at what has to have happened by now to the next.
const CHECK: Nanos = 250 * MS;
/// PoPs start within this time of the world's beginning.
const STARTS: u64 = SECOND;

/// A world. One may be run again and again, and is cheaper so.
#[derive(Debug)]
pub struct World {
    pub(crate) now: Nanos,
    pub(crate) shape: Shape,
    pub(crate) faults: Vec<Fault>,
    pub(crate) queue: Queue,
    pub(crate) trace: Trace,
    pub(crate) history: History,
    pub(crate) oracle: Oracle,
    pub(crate) names: Names,
    pub(crate) pops: Vec<Pop>,
    pub(crate) links: Vec<Link>,
    /// Two for each link.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) connections_used: usize,
    /// When the octets that a session takes in now were sent.
    pub(crate) received_sent: Nanos,
    pub(crate) trackers: Vec<Tracked>,
    /// One for each tracker, and the shared one behind them.
    pub(crate) apps: Vec<AppState>,
    /// `ways[of][at]`.
    pub(crate) ways: [[Way; MOST_POPS as usize]; MOST_POPS as usize],
    pub(crate) wan_extra: [Nanos; MOST_POPS as usize],
    /// What the routers of each PoP hold.
    pub(crate) published: [Known; MOST_POPS as usize],
    /// By fault: what has fallen of those that fall one after the other.
    pub(crate) fallen: Vec<u8>,
    pub(crate) net_random: Random,
    pub(crate) probe_random: Random,
    pub(crate) router_clock: Clock,
    pub(crate) rank_shift: usize,
    /// Whether the announcement core has told of anything since the last look.
    pub(crate) moved: bool,
    epoch: Instant,
    events: u64,
}

/// Names that the cores know things by.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) groups: [GroupName; MOST_GROUPS],
    pub(crate) services: [ServiceName; MOST_GROUPS],
    pub(crate) prefixes: [Prefix; MOST_GROUPS],
    /// The shared one last.
    pub(crate) backends: Vec<BackendId>,
}

impl Names {
    fn new() -> Self {
        let valid = "a valid name";
        Self {
            groups: ["web", "chat"].map(|name| name.parse().expect(valid)),
            services: ["site", "talk"].map(|name| name.parse().expect(valid)),
            prefixes: ["203.0.113.0/24", "198.51.100.0/24"].map(|prefix| prefix.parse().expect(valid)),
            backends: (0..=MOST_BACKENDS).map(|n| format!("apps/app{n}").parse().expect(valid)).collect(),
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world in which nothing is yet.
    #[allow(clippy::disallowed_methods, reason = "any instant will do as the start of a virtual clock")]
    pub fn new() -> Self {
        let epoch = Instant::now();
        Self {
            now: 0,
            shape: Shape::plain(2, 1),
            faults: Vec::new(),
            queue: Queue::default(),
            trace: Trace::default(),
            history: History::default(),
            oracle: Oracle::default(),
            names: Names::new(),
            pops: Vec::new(),
            links: Vec::new(),
            endpoints: Vec::new(),
            connections: Vec::new(),
            connections_used: 0,
            received_sent: 0,
            trackers: Vec::new(),
            apps: Vec::new(),
            ways: Default::default(),
            wan_extra: Default::default(),
            published: Default::default(),
            fallen: Vec::new(),
            net_random: Random::new(0, 0),
            probe_random: Random::new(0, 0),
            router_clock: Clock::new(epoch, 0, 0),
            rank_shift: 0,
            moved: false,
            epoch,
            events: 0,
        }
    }

    /// Runs the world of a seed with these faults to its end, or to the first rule broken.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn run(&mut self, seed: u64, shape: &Shape, faults: &[Fault]) -> Result<(), Violation> {
        self.begin(seed, shape, faults);
        while let Some((at, event)) = self.queue.pop() {
            if at > self.shape.length {
                break;
            }
            self.now = at;
            self.events += 1;
            self.take(event);
            if self.oracle.violation.is_some() {
                break;
            }
        }
        self.oracle.violation.take().map_or(Ok(()), Err)
    }

    /// The same, with a timeline for people and one for scenarios.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn replay(&mut self, seed: u64, shape: &Shape, faults: &[Fault]) -> Result<(), Violation> {
        self.trace = Trace::kept();
        self.history = History::kept();
        self.run(seed, shape, faults)
    }

    /// What happened in the last run, where it was kept.
    pub fn timeline(&self) -> &[String] {
        self.trace.lines()
    }

    /// What happened in the last run, where it was kept.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// How many events there were, in all runs.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn begin(&mut self, seed: u64, shape: &Shape, faults: &[Fault]) {
        self.now = 0;
        self.shape = shape.clone();
        self.faults = faults.to_vec();
        self.fallen.clear();
        self.fallen.resize(faults.len(), u8::MAX);
        self.queue.clear();
        self.oracle.reset(&self.shape);
        self.moved = false;
        self.net_random = Random::new(seed, 3);
        self.probe_random = Random::new(seed, 4);
        let random = &mut Random::new(seed, 5);
        self.rank_shift = random.below(MOST_POPS.into()) as usize;
        self.router_clock = clock(self.epoch, random, self.shape.drift);
        self.build_hosts(random);
        self.build_network(random);
        for pop in 0..self.shape.pops {
            self.queue.push(random.below(STARTS), Event::Starts { pop, life: 0 });
        }
        for (number, fault) in faults.iter().enumerate() {
            self.queue.push(fault.at, Event::FaultBegins(number as u16));
        }
        self.queue.push(CHECK, Event::Check);
    }

    fn build_hosts(&mut self, random: &mut Random) {
        let pops = usize::from(self.shape.pops);
        self.pops.clear();
        self.pops.extend((0..pops).map(|_| Pop::new(clock(self.epoch, random, self.shape.drift))));
        let trackers = pops * usize::from(self.shape.probed());
        let settings = self.tracker_settings();
        self.trackers.clear();
        self.trackers
            .extend((0..trackers).map(|_| Tracked::new(BackendTracker::new(settings, 0, self.epoch))));
        self.apps.clear();
        self.apps.resize(trackers + 1, AppState::default());
    }

    fn build_network(&mut self, random: &mut Random) {
        // To the router and back to the others' daemons, with what is between: never more than the propagation time.
        let most = self.shape.propagation / 10;
        self.connections_used = 0;
        self.wan_extra = Default::default();
        self.published = Default::default();
        self.links.clear();
        self.endpoints.clear();
        for link in 0..usize::from(self.shape.links()) {
            self.links.push(Link { delay: random.between(most / 10, most), ..Link::default() });
            for side in [POP, ROUTER] {
                let settings = settings(self, link, side);
                let started = self.session_clock(2 * link + side).at(self.now);
                self.endpoints.push(Endpoint::new(settings, started, random.next()));
            }
        }
        for at in self.ways.iter_mut().flatten() {
            at.reset(random.between(most, self.shape.propagation - 3 * most));
        }
        let learned = learned();
        for link in 0..self.links.len() {
            let router = 2 * link + ROUTER;
            self.tell(router, proxima_bgp_session::Input::Up);
            self.tell(router, proxima_bgp_session::Input::SetDesired(learned.clone()));
            self.tell(router, proxima_bgp_session::Input::ReleaseEndOfRib);
        }
    }

    /// Takes an event now, or later where the host it is for can't take it now.
    pub(crate) fn take(&mut self, event: Event) {
        let Some(pop) = self.host_of(event) else { return self.handle(event, false) };
        let host = &mut self.pops[pop];
        if host.stands_still() {
            host.waiting.push(event);
        } else if host.lag > 0 || !host.waiting.is_empty() {
            host.waiting.push(event);
            let lag = self.net_random.below(self.pops[pop].lag + 1);
            let at = self.pops[pop].late(self.now, lag);
            self.queue.push(at, Event::Late(pop as u8));
        } else {
            self.handle(event, false);
        }
    }

    /// Takes an event that had to wait.
    pub(crate) fn handle_late(&mut self, event: Event) {
        self.handle(event, true);
    }

    fn late(&mut self, pop: usize) {
        let host = &mut self.pops[pop];
        if !host.stands_still() && !host.waiting.is_empty() {
            let event = host.waiting.remove(0);
            self.handle(event, true);
        }
    }

    /// Whose daemon or kernel takes an event; `None`: it is nobody's, or is due however the host is.
    fn host_of(&self, event: Event) -> Option<usize> {
        let pop = |of: u8| Some(usize::from(of));
        match event {
            Event::SessionTimer(session) => {
                self.pop_of_side(usize::from(session) / 2, usize::from(session) % 2)
            }
            Event::Syn(number) => {
                let (link, from) = self.connections[number as usize].made_by();
                self.pop_of_side(link, 1 - from)
            }
            Event::SynAck(number) | Event::Refused(number) => {
                let (link, from) = self.connections[number as usize].made_by();
                self.pop_of_side(link, from)
            }
            Event::Segment { connection, towards } => {
                let (link, _) = self.connections[connection as usize].made_by();
                self.pop_of_side(link, towards.into())
            }
            Event::Bfd { link, side, .. } => self.pop_of_side(link.into(), side.into()),
            Event::TrackerTimer(tracker)
            | Event::ProbeEnds { tracker, .. }
            | Event::ConfirmEnds { tracker, .. }
            | Event::StandingEnds { tracker, .. } => Some(self.pop_of_tracker(tracker.into())),
            Event::AnnouncerTimer(of)
            | Event::View(of)
            | Event::StopStep { pop: of, .. }
            | Event::Turn { pop: of, .. }
            | Event::Told { pop: of, .. } => pop(of),
            Event::Late(_)
            | Event::Sighting { .. }
            | Event::Parted { .. }
            | Event::Starts { .. }
            | Event::Watchdog { .. }
            | Event::FaultBegins(_)
            | Event::FaultEnds(_)
            | Event::FlapTurns(_)
            | Event::Check => None,
        }
    }

    fn pop_of_side(&self, link: usize, side: usize) -> Option<usize> {
        (side == POP).then(|| self.pop_of(link))
    }

    fn handle(&mut self, event: Event, late: bool) {
        match event {
            Event::SessionTimer(session) if late => self.late_session_timer(session.into()),
            Event::SessionTimer(session) => self.session_timer(session.into()),
            Event::Syn(connection) => self.syn(connection),
            Event::SynAck(connection) => self.syn_ack(connection, false),
            Event::Refused(connection) => self.syn_ack(connection, true),
            Event::Segment { connection, towards } => self.segment(connection, towards),
            Event::Bfd { link, side, up } => self.bfd(link.into(), side.into(), up),
            Event::TrackerTimer(tracker) => self.tracker_timer(tracker.into(), late),
            Event::ProbeEnds { tracker, run } => self.probe_ends(tracker.into(), run),
            Event::ConfirmEnds { tracker, run } => self.confirm_ends(tracker.into(), run),
            Event::StandingEnds { tracker, run } => self.standing_ends(tracker.into(), run),
            Event::AnnouncerTimer(pop) => self.announcer_timer(pop.into(), late),
            Event::Sighting { of, at } => self.sighting(of.into(), at.into()),
            Event::View(pop) => self.view(pop.into()),
            Event::Parted { of, at, cut } => self.parted(of.into(), at.into(), cut),
            Event::StopStep { pop, life } => self.stop_step(pop.into(), life),
            Event::Starts { pop, life } => self.start(pop.into(), life),
            Event::Turn { pop, life } => self.loop_turns(pop.into(), life, late),
            Event::Watchdog { pop, life } => self.watchdog(pop.into(), life),
            Event::Told { fault, begins, .. } => self.told(fault, begins),
            Event::Late(pop) => self.late(pop.into()),
            Event::FaultBegins(fault) => self.fault_begins(fault),
            Event::FaultEnds(fault) => self.fault_ends(fault),
            Event::FlapTurns(fault) => self.flap_turns(fault),
            Event::Check => {
                self.check();
                self.queue.push(self.now + CHECK, Event::Check);
            }
        }
    }

    /// A rule is broken. The first one counts.
    pub(crate) fn violated(&mut self, rule: Rule, what: String) {
        self.trace.say(self.now, "RULE BROKEN", format_args!("{rule:?}: {what}"));
        self.oracle.violation.get_or_insert(Violation { rule, at: self.now, what });
    }

    pub(crate) fn record(&mut self, fact: impl FnOnce() -> Fact) {
        self.history.record(self.now, fact);
    }

    pub(crate) fn pop_of(&self, link: usize) -> usize {
        link / usize::from(self.shape.routers)
    }

    pub(crate) fn links_of(&self, pop: usize) -> Range<usize> {
        let routers = usize::from(self.shape.routers);
        pop * routers..(pop + 1) * routers
    }

    /// The group that a prefix belongs to, if any is configured that has it.
    pub(crate) fn group_of(&self, prefix: Prefix) -> Option<usize> {
        self.names.prefixes[..self.shape.groups.len()].iter().position(|known| *known == prefix)
    }

    pub(crate) fn router_id(&self, pop: usize) -> Ipv4Addr {
        // Not in the order of the PoPs, so that ranks and places have nothing to do with each other.
        let place = (pop * 2 + self.rank_shift) % usize::from(MOST_POPS);
        Ipv4Addr::new(192, 0, 2, place as u8 + 1)
    }
}

/// A clock that counts from anywhere, at about the right rate.
fn clock(epoch: Instant, random: &mut Random, drift: u32) -> Clock {
    let ppm = random.below(u64::from(2 * drift + 1)) as i32 - drift.cast_signed();
    Clock::new(epoch, random.below(100_000 * SECOND), ppm)
}
