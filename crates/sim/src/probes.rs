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

use proxima_announce::Input as GroupInput;
use proxima_health::{BackendTracker, Failure, Input, Loss, Output, Phase, Settings, Verdict};
use proxima_types::Health;

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
    outcome: Outcome,
    confirm: Outcome,
    confirms: u32,
    /// The prober keeps a connection open; which one.
    standing: bool,
    stands: u32,
}

impl Tracked {
    pub(crate) fn new(core: BackendTracker) -> Self {
        Self {
            core,
            armed: Nanos::MAX,
            run: 0,
            running: false,
            outcome: Outcome::Good,
            confirm: Outcome::Good,
            confirms: 0,
            standing: false,
            stands: 0,
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
            let (run, stands) = (self.trackers[tracker].run + 1, self.trackers[tracker].stands + 1);
            self.trackers[tracker] =
                Tracked { run, stands, ..Tracked::new(BackendTracker::new(settings, seed, now)) };
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
        if !self.probes_run(pop) || (self.trackers[tracker].armed != self.now && !late) {
            return;
        }
        self.trackers[tracker].armed = Nanos::MAX;
        let now = self.pops[pop].clock.at(self.now);
        self.trackers[tracker].core.handle_timeout(now);
        self.attend(tracker);
    }

    fn probes_run(&self, pop: usize) -> bool {
        self.pops[pop].running && self.pops[pop].checker_dead == 0
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
            let pop = self.pop_of_tracker(tracker);
            self.rescore(pop);
            self.settle(pop);
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
        tracked.outcome = outcome;
        let event = Event::ProbeEnds { tracker: tracker as u8, run: tracked.run };
        self.queue.push(self.now + takes, event);
    }

    pub(crate) fn probe_ends(&mut self, tracker: usize, run: u32) {
        let pop = self.pop_of_tracker(tracker);
        let tracked = &mut self.trackers[tracker];
        if tracked.run != run || !tracked.running || !self.pops[pop].running {
            return;
        }
        if self.pops[pop].checker_dead > 0 {
            return;
        }
        tracked.running = false;
        let outcome = tracked.outcome;
        if outcome == Outcome::Good && !tracked.standing {
            tracked.standing = true;
            tracked.stands += 1;
        }
        let now = self.pops[pop].clock.at(self.now);
        // The proof that the checker lives goes before what it found: both are of one moment.
        self.checked(pop, tracker);
        let timeout = self.shape.timeout;
        self.trackers[tracker].core.handle(now, Input::Probed(outcome.failure(timeout)));
        self.attend(tracker);
    }

    /// A probe has ended: the checker lives.
    fn checked(&mut self, pop: usize, tracker: usize) {
        self.pops[pop].checked = self.now;
        let backend = self.backend_of(tracker);
        if backend >= usize::from(self.shape.backends) {
            return; // shared: gates nothing
        }
        let now = self.pops[pop].clock.at(self.now);
        for group in 0..self.shape.groups.len() {
            if self.shape.groups[group].gates >> backend & 1 == 1 {
                self.pops[pop].gating_checked[group] = self.now;
                self.inform(pop, group, GroupInput::Checked(now));
            }
        }
        self.settle_after_evidence(pop);
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
        if self.trackers[tracker].confirms != run || !self.probes_run(pop) {
            return;
        }
        let now = self.pops[pop].clock.at(self.now);
        let outcome = self.trackers[tracker].confirm.failure(self.shape.timeout);
        self.trackers[tracker].core.handle(now, Input::Confirmed(outcome));
        self.attend(tracker);
    }

    pub(crate) fn standing_ends(&mut self, tracker: usize, run: u32) {
        let pop = self.pop_of_tracker(tracker);
        let tracked = &mut self.trackers[tracker];
        if !tracked.standing || tracked.stands != run {
            return;
        }
        tracked.standing = false;
        if self.probes_run(pop) {
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
