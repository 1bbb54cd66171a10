//! The apps of a region, the path to them, and the prober: a modelled network under the product's own
//! [`BackendTracker`]s.
//!
//! | app or path      | probe                    | confirming connect | standing connection |
//! |------------------|--------------------------|--------------------|---------------------|
//! | well             | success                  | success            | stays               |
//! | killed           | refused; reset if it runs| refused            | closed at once      |
//! | hangs, slow      | no answer in time        | success            | stays               |
//! | answers with 500 | bad status               | success            | stays               |
//! | path cut         | no connection in time    | no connection      | stays               |
//! | path loses       | late, or not in time     | late, or not       | stays               |

use std::time::Instant;

use proxima_health::{
    BackendTracker, Failure, Gates, Input, LatestProbes, Loss, Output, Percent, Phase, Settings, Verdict,
    Watched,
};
use proxima_types::{BackendId, Health};

use crate::{
    clock::{MS, Nanos, SECOND, span},
    queue::Event,
    world::World,
};

/// How an app is, each a count of the faults that make it so.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AppState {
    pub(crate) killed: u8,
    pub(crate) hangs: u8,
    pub(crate) errors: u8,
    pub(crate) slow: u8,
    /// How much of itself it lacks, in percent, as its agent says.
    pub(crate) lacks: u8,
}

/// How a probe or a connect ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Outcome {
    #[default]
    Good,
    Refused,
    Reset,
    NoConnection,
    NoAnswer,
    Status,
}

impl Outcome {
    fn failure(self, timeout: Nanos) -> Result<(), Failure> {
        let after = span(timeout);
        match self {
            Self::Good => Ok(()),
            Self::Refused => Err(Failure::Refused),
            Self::Reset => Err(Failure::Reset),
            Self::NoConnection => Err(Failure::Timeout { phase: Phase::Connect, after }),
            Self::NoAnswer => Err(Failure::Timeout { phase: Phase::Answer, after }),
            Self::Status => Err(Failure::Status { expected: 200, received: 500 }),
        }
    }
}

/// A backend as one PoP's prober sees it.
#[derive(Debug)]
pub(crate) struct Tracked {
    pub(crate) core: BackendTracker,
    armed: Nanos,
    /// Counts probes, so that the end of one given up is not taken for that of its successor.
    run: u32,
    running: bool,
    /// When the latest probe began, by the world's clock and by the host's.
    began: (Nanos, Option<Instant>),
    outcome: Outcome,
    confirm: Outcome,
    confirms: u32,
    /// The prober keeps a connection open; which one.
    standing: bool,
    stands: u32,
    /// How much of itself the backend offers, as its agent said last.
    pub(crate) share: Percent,
    /// How many faults keep its task.
    pub(crate) stuck: u8,
    /// What has come while its task stood still.
    missed: Vec<Event>,
    /// When probes of it ended and began last, as the daemon writes it down.
    latest: Latest,
    /// The same by the world's time: when one ended, and when the last that passed began.
    pub(crate) ended: Nanos,
    pub(crate) passed: Option<Nanos>,
}

/// When the latest probe ended; when the latest began that passed, and that failed.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    ended: Option<Instant>,
    passed: Option<Instant>,
    failed: Option<Instant>,
}

/// The trackers of a PoP, as its daemon reads when probes ended.
pub(crate) struct Latests<'a>(pub(crate) &'a [Tracked]);

impl Latests<'_> {
    fn of(&self, backend: &BackendId) -> Option<&Latest> {
        self.0.get(number(backend)).map(|tracked| &tracked.latest)
    }
}

impl LatestProbes for Latests<'_> {
    fn ended(&self, backend: &BackendId) -> Option<Instant> {
        self.of(backend)?.ended
    }

    fn passed(&self, backend: &BackendId) -> Option<Instant> {
        self.of(backend)?.passed
    }

    fn failed(&self, backend: &BackendId) -> Option<Instant> {
        self.of(backend)?.failed
    }
}

/// Which of a PoP's backends it is: the last digit of its name.
pub(crate) fn number(backend: &BackendId) -> usize {
    usize::from(backend.as_str().as_bytes().last().map_or(u8::MAX, |digit| digit.wrapping_sub(b'0')))
}

impl Tracked {
    pub(crate) fn new(core: BackendTracker) -> Self {
        Self {
            core,
            armed: Nanos::MAX,
            run: 0,
            running: false,
            began: (0, None),
            outcome: Outcome::Good,
            confirm: Outcome::Good,
            confirms: 0,
            standing: false,
            stands: 0,
            share: Percent::FULL,
            stuck: 0,
            missed: Vec::new(),
            latest: Latest::default(),
            ended: 0,
            passed: None,
        }
    }
}

impl World {
    pub(crate) fn tracker_settings(&self) -> Settings {
        let rise = self.shape.rise.try_into().unwrap_or(std::num::NonZeroU16::MIN);
        let fall = self.shape.fall.try_into().unwrap_or(std::num::NonZeroU16::MIN);
        Settings::new(span(self.shape.interval), rise, fall)
    }

    /// The prober of a PoP starts: nothing is known.
    pub(crate) fn start_prober(&mut self, pop: usize) {
        let now = self.pops[pop].clock.at(self.now);
        let settings = self.tracker_settings();
        for tracker in self.trackers_of(pop) {
            let seed = self.probe_random.next();
            let Tracked { run, stands, stuck, .. } = self.trackers[tracker];
            let new = Tracked::new(BackendTracker::new(settings, seed, now));
            self.trackers[tracker] =
                Tracked { run: run + 1, stands: stands + 1, stuck, ended: self.now, ..new };
            self.arm_tracker(tracker);
        }
    }

    fn arm_tracker(&mut self, tracker: usize) {
        let Some(at) = self.trackers[tracker].core.poll_timeout() else { return };
        let at = self.pops[self.pop_of_tracker(tracker)].clock.when(at).max(self.now);
        let tracked = &mut self.trackers[tracker];
        if at < tracked.armed {
            tracked.armed = at;
            self.queue.push(at, Event::TrackerTimer(tracker as u8));
        }
    }

    pub(crate) fn tracker_timer(&mut self, tracker: usize, late: bool) {
        let pop = self.pop_of_tracker(tracker);
        if self.trackers[tracker].armed != self.now && !late || !self.task_runs(tracker, Event::TrackerTimer)
        {
            return;
        }
        self.trackers[tracker].armed = Nanos::MAX;
        let now = self.pops[pop].clock.at(self.now);
        self.trackers[tracker].core.handle_timeout(now);
        self.attend(tracker);
    }

    /// Whether the task of a backend takes what comes now; if not, it does when it goes on.
    fn task_runs(&mut self, tracker: usize, event: impl FnOnce(u8) -> Event) -> bool {
        let host = &self.pops[self.pop_of_tracker(tracker)];
        let stands = host.checker_dead > 0 || self.trackers[tracker].stuck > 0;
        if host.running && stands {
            self.trackers[tracker].missed.push(event(tracker as u8));
        }
        host.running && !stands
    }

    /// A task that stood still goes on, with what has come meanwhile.
    pub(crate) fn task_goes_on(&mut self, tracker: usize) {
        let pop = self.pop_of_tracker(tracker);
        if self.pops[pop].checker_dead > 0 || self.trackers[tracker].stuck > 0 {
            return;
        }
        for event in std::mem::take(&mut self.trackers[tracker].missed) {
            if self.pops[pop].running {
                self.handle_late(event);
            }
        }
    }

    /// Does what the tracker asks for. Returns whether its verdict changed.
    fn attend(&mut self, tracker: usize) {
        let mut changed = false;
        while let Some(output) = self.trackers[tracker].core.poll_output() {
            match output {
                Output::Probe => self.probe(tracker),
                Output::Confirm => self.confirm(tracker),
                Output::Abandon => {
                    self.trackers[tracker].run += 1;
                    self.trackers[tracker].running = false;
                }
                Output::Verdict(verdict) => {
                    self.judged(tracker, &verdict);
                    changed = true;
                }
            }
        }
        self.arm_tracker(tracker);
        if changed {
            let (pop, backend) = (self.pop_of_tracker(tracker), self.backend_of(tracker));
            let (trackers, verdict) = (self.trackers_of(pop), self.health_of(tracker));
            if let Some(check) = &mut self.pops[pop].check {
                check.decided(&self.names.backends[backend], verdict, &Latests(&self.trackers[trackers]));
            }
            self.rescore(pop);
            self.settle(pop);
            self.turn_soon(pop);
        }
    }

    fn judged(&mut self, tracker: usize, verdict: &Verdict) {
        if self.trace.on() {
            let who = self.tracker_name(tracker);
            self.trace.say(
                self.now,
                &who,
                format_args!("{} to {}: {}", verdict.from, verdict.to, verdict.reason),
            );
        }
    }

    /// What a packet exchange costs on the way to an app: nothing but time where the path loses packets.
    fn way(&mut self, pop: usize, again: Nanos) -> Nanos {
        let loss = u64::from(self.pops[pop].probe_loss);
        let mut time = 0;
        let mut wait = again;
        while loss > 0 && self.probe_random.chance(loss) && time < 10 * SECOND {
            time += wait;
            wait *= 2;
        }
        time
    }

    fn probe(&mut self, tracker: usize) {
        let pop = self.pop_of_tracker(tracker);
        let app = self.apps[self.app_of(tracker)];
        let timeout = self.shape.timeout;
        let round_trip = MS / 5 + self.probe_random.below(4 * MS);
        let connected = round_trip + self.way(pop, SECOND) + self.way(pop, SECOND);
        let answered = connected + round_trip + self.way(pop, 200 * MS) + self.way(pop, 200 * MS);
        let (outcome, takes) = if self.pops[pop].probe_cut > 0 || connected >= timeout {
            (Outcome::NoConnection, timeout)
        } else if app.killed > 0 {
            (Outcome::Refused, connected)
        } else if app.hangs > 0 || app.slow > 0 || answered >= timeout {
            (Outcome::NoAnswer, timeout)
        } else if app.errors > 0 {
            (Outcome::Status, answered)
        } else {
            (Outcome::Good, answered)
        };
        let tracked = &mut self.trackers[tracker];
        tracked.run += 1;
        tracked.running = true;
        tracked.began = (self.now, Some(self.pops[pop].clock.at(self.now)));
        tracked.outcome = outcome;
        let event = Event::ProbeEnds { tracker: tracker as u8, run: tracked.run };
        self.queue.push(self.now + takes, event);
    }

    pub(crate) fn probe_ends(&mut self, tracker: usize, run: u32) {
        let pop = self.pop_of_tracker(tracker);
        let is_current = |tracked: &Tracked| tracked.run == run && tracked.running;
        if !is_current(&self.trackers[tracker])
            || !self.task_runs(tracker, |tracker| Event::ProbeEnds { tracker, run })
        {
            return;
        }
        let (now, clock) = (self.now, self.pops[pop].clock);
        let tracked = &mut self.trackers[tracker];
        tracked.running = false;
        let outcome = tracked.outcome;
        if outcome == Outcome::Good && !tracked.standing {
            tracked.standing = true;
            tracked.stands += 1;
        }
        // Written down before what it found: both are of one moment.
        let began = if outcome == Outcome::Good {
            tracked.passed = Some(tracked.began.0);
            &mut tracked.latest.passed
        } else {
            &mut tracked.latest.failed
        };
        *began = tracked.began.1;
        tracked.latest.ended = Some(clock.at(now));
        let before = std::mem::replace(&mut tracked.ended, now);
        self.turn_for(pop, self.backend_of(tracker));
        self.probe_noted(pop, self.backend_of(tracker), before);
        let timeout = self.shape.timeout;
        self.trackers[tracker].core.handle(clock.at(now), Input::Probed(outcome.failure(timeout)));
        self.attend(tracker);
        if outcome == Outcome::Good {
            self.agent_says(tracker);
        }
    }

    /// How much of itself the app offers comes with its answer.
    fn agent_says(&mut self, tracker: usize) {
        let lacks = self.apps[self.app_of(tracker)].lacks;
        let share = Percent::new(100 - lacks.min(100)).unwrap_or_default();
        if std::mem::replace(&mut self.trackers[tracker].share, share) != share {
            let pop = self.pop_of_tracker(tracker);
            self.rescore(pop);
            self.settle(pop);
        }
    }

    /// What gates each group of a PoP's file.
    pub(crate) fn gates(&self, pop: usize) -> Vec<Gates> {
        let config = self.announcer_config(pop);
        let own = usize::from(self.shape.backends);
        let gates = |(group, config): (usize, &proxima_announce::GroupConfig)| {
            let limit = Watched::limit_of(
                config.dead_man.unwrap_or_default(),
                span(self.shape.interval + self.shape.interval / 10 + self.shape.timeout),
            );
            let counts = (0..usize::from(self.shape.probed()))
                .filter(|backend| *backend == own || self.shape.groups[group].gates >> backend & 1 == 1);
            let watched = counts.map(|backend| Watched {
                backend: self.names.backends[backend].clone(),
                is_own: backend != own,
                limit,
            });
            Gates { group: config.name.clone(), dead_man: config.dead_man, watched: watched.collect() }
        };
        config.groups.iter().enumerate().map(gates).collect()
    }

    fn confirm(&mut self, tracker: usize) {
        let pop = self.pop_of_tracker(tracker);
        let app = self.apps[self.app_of(tracker)];
        let timeout = self.shape.timeout;
        let takes = MS / 5 + self.probe_random.below(4 * MS) + self.way(pop, SECOND) + self.way(pop, SECOND);
        let (outcome, takes) = if self.pops[pop].probe_cut > 0 || takes >= timeout {
            (Outcome::NoConnection, timeout)
        } else if app.killed > 0 {
            (Outcome::Refused, takes)
        } else {
            (Outcome::Good, takes)
        };
        let tracked = &mut self.trackers[tracker];
        tracked.confirms += 1;
        tracked.confirm = outcome;
        let event = Event::ConfirmEnds { tracker: tracker as u8, run: tracked.confirms };
        self.queue.push(self.now + takes, event);
    }

    pub(crate) fn confirm_ends(&mut self, tracker: usize, run: u32) {
        let pop = self.pop_of_tracker(tracker);
        if self.trackers[tracker].confirms != run
            || !self.task_runs(tracker, |tracker| Event::ConfirmEnds { tracker, run })
        {
            return;
        }
        let now = self.pops[pop].clock.at(self.now);
        let outcome = self.trackers[tracker].confirm.failure(self.shape.timeout);
        self.trackers[tracker].core.handle(now, Input::Confirmed(outcome));
        self.attend(tracker);
    }

    pub(crate) fn standing_ends(&mut self, tracker: usize, run: u32) {
        let pop = self.pop_of_tracker(tracker);
        let tracked = &self.trackers[tracker];
        if !tracked.standing || tracked.stands != run {
            return;
        }
        if self.task_runs(tracker, |tracker| Event::StandingEnds { tracker, run }) {
            self.trackers[tracker].standing = false;
            let now = self.pops[pop].clock.at(self.now);
            self.trackers[tracker].core.handle(now, Input::StandingLost(Loss::Closed));
            self.attend(tracker);
        }
    }

    /// The app's process has ended: so have its connections, and their other ends hear of it.
    pub(crate) fn app_died(&mut self, app: usize) {
        for tracker in 0..self.trackers.len() {
            let pop = self.pop_of_tracker(tracker);
            if self.app_of(tracker) != app || self.pops[pop].probe_cut > 0 {
                continue;
            }
            let takes = MS / 2 + self.probe_random.below(2 * MS) + self.way(pop, 200 * MS);
            let tracked = &mut self.trackers[tracker];
            if tracked.standing {
                let run = tracked.stands;
                self.queue.push(self.now + takes, Event::StandingEnds { tracker: tracker as u8, run });
            }
            let tracked = &mut self.trackers[tracker];
            if tracked.running
                && tracked.outcome != Outcome::NoConnection
                && tracked.outcome != Outcome::Refused
            {
                tracked.run += 1;
                tracked.outcome = Outcome::Reset;
                let run = tracked.run;
                self.queue.push(self.now + takes, Event::ProbeEnds { tracker: tracker as u8, run });
            }
        }
    }

    pub(crate) fn health_of(&self, tracker: usize) -> Health {
        self.trackers[tracker].core.health()
    }

    fn tracker_name(&self, tracker: usize) -> String {
        let (pop, backend) = (self.pop_of_tracker(tracker), self.backend_of(tracker));
        if backend == usize::from(self.shape.backends) {
            format!("pop{pop}/shared")
        } else {
            format!("pop{pop}/app{backend}")
        }
    }

    pub(crate) fn pop_of_tracker(&self, tracker: usize) -> usize {
        tracker / usize::from(self.shape.probed())
    }

    pub(crate) fn backend_of(&self, tracker: usize) -> usize {
        tracker % usize::from(self.shape.probed())
    }

    pub(crate) fn trackers_of(&self, pop: usize) -> std::ops::Range<usize> {
        let many = usize::from(self.shape.probed());
        pop * many..(pop + 1) * many
    }

    /// The app behind a tracker; all PoPs' trackers of the shared backend have one.
    pub(crate) fn app_of(&self, tracker: usize) -> usize {
        if self.backend_of(tracker) == usize::from(self.shape.backends) {
            self.trackers.len()
        } else {
            tracker
        }
    }
}
