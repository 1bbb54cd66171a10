//! The verdict on one backend.
//!
//! ```text
//!             rise × success                        fall × soft failure, or
//!  Unknown ──────────────────► Up ◄──────────┐      hard evidence + a failed confirming connect
//!     │                        │             │ rise × success
//!     │  fall × soft failure,  └──────────► Down
//!     └─ or hard evidence and a failed confirming connect ──► Down
//! ```
//!
//! Soft evidence (timeout, bad status) is counted: `fall` in a row decide. Hard evidence (connection refused or reset,
//! the standing connection lost) asks for one confirming connect at once, whose failure decides by itself; where it
//! succeeds the backend still listens, and only a failed probe counts, as a soft failure. A lost standing connection
//! whose confirming connect succeeds counts for nothing: many apps close idle connections.
//!
//! Real traffic is evidence too, and the probe stays the judge: clients that provoke errors can't take a backend away. A
//! connection that was refused, reset or cut asks for a confirming connect as above, whose refusal decides; where it succeeds,
//! or fails in another way, only the next probe comes sooner. So many bad answers without a good one as the limit says count
//! as one soft failure beside those of probes, once between two of them, and bring the next probe on.
//!
//! Where the report's rule says so, a run marks the backend down for a time whatever its probes say; after it they bring it up
//! again.
//!
//! A notice that the backend goes away at a time takes it down [`Settings::lead`] before, whatever probes say, and keeps it
//! down until the notice is taken back or put off: no new requests, no share in the score. What is under way goes on. Where notices
//! are [waited for](BackendTracker::wait_for_notice), nothing comes up before the first word of them.
//!
//! A [local failure](Failure::Local) is no evidence: this host is short of something, whatever the backend does. It
//! changes no count, and as the outcome of a confirming connect it confirms nothing.
//!
//! Pace: the configured interval while all is settled, [`Settings::fast_interval`] while undecided (no verdict yet, or the last
//! outcome speaks against it, either way), and [`Settings::down_interval`] while down, so that a restart is seen soon, and while
//! this host can't probe. Every pause is jittered by ± [`Settings::jitter`].

mod traffic;

use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use proxima_types::{Health, moment};
use serde::{Deserialize, Serialize};

use self::traffic::Traffic;
use crate::{Failure, Loss, Passive, PassiveRule, Percent};

/// How a backend is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while undecided: the verdict is unknown, up with a failure already, or down with a success.
    pub fast_interval: Duration,
    /// The same while down, and after a probe this host could not make.
    pub down_interval: Duration,
    /// Successes in a row that make a backend up.
    pub rise: NonZeroU16,
    /// Soft failures in a row that make it down.
    pub fall: NonZeroU16,
    /// How long before the time of a notice the backend is drained.
    pub lead: Duration,
    /// By how much of itself a pause is longer or shorter at most, so that probers don't fall into step.
    pub jitter: Percent,
}

impl Settings {
    /// The usual [`Settings::lead`].
    pub const LEAD: Duration = Duration::from_secs(30);
    /// The longest pause between probes while undecided.
    pub const FAST_INTERVAL: Duration = Duration::from_millis(50);
    /// The longest pause between probes while down.
    pub const DOWN_INTERVAL: Duration = Duration::from_millis(250);
    /// The usual [`Settings::jitter`].
    pub const JITTER: Percent = Percent::new(10).expect("no more than 100");

    /// Settings with the usual faster pace while undecided or down, the usual lead and jitter.
    pub fn new(interval: Duration, rise: NonZeroU16, fall: NonZeroU16) -> Self {
        Self {
            interval,
            fast_interval: interval.min(Self::FAST_INTERVAL),
            down_interval: interval.min(Self::DOWN_INTERVAL),
            rise,
            fall,
            lead: Self::LEAD,
            jitter: Self::JITTER,
        }
    }
}

/// What the driver reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The outcome of the probe that [`Output::Probe`] asked for.
    Probed(Result<(), Failure>),
    /// The outcome of the connect that [`Output::Confirm`] asked for.
    Confirmed(Result<(), Failure>),
    /// The standing connection ended, and not because the driver closed it.
    StandingLost(Loss),
    /// What real traffic has met since the last report.
    Passive {
        /// It.
        seen: Passive,
        /// What comes of bad outcomes.
        rule: PassiveRule,
    },
    /// The backend is announced to go away at that time; `None`: not, or no longer. In force until the next one.
    Notice(Option<Instant>),
}

/// What the driver is asked to do or told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Probe now, and report [`Input::Probed`]. No other probe is asked for before.
    Probe,
    /// Connect now, apart from a probe that may be running, and report [`Input::Confirmed`].
    Confirm,
    /// Drop the running probe: newer evidence has decided. Its outcome is not to be reported.
    Abandon,
    /// The verdict changed.
    Verdict(Verdict),
}

/// A change of the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The verdict before.
    pub from: Health,
    /// The verdict from now on.
    pub to: Health,
    /// Why.
    pub reason: Reason,
    /// When it was decided.
    pub at: Instant,
    /// When the first of the evidence that decided came in.
    pub evidence_at: Instant,
}

/// Why a verdict changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Enough probes in a row succeeded.
    Rose {
        /// How many.
        successes: u16,
    },
    /// Enough probes in a row failed softly, runs of bad answers in real traffic between them.
    Fell {
        /// How many.
        failures: u16,
        /// How the last one failed.
        last: Failure,
    },
    /// Hard evidence from a probe, and connecting again failed too.
    Refused {
        /// How the probe failed.
        probe: Failure,
        /// How connecting again failed.
        confirm: Failure,
    },
    /// The standing connection ended, and connecting again failed.
    Lost {
        /// How it ended.
        loss: Loss,
        /// How connecting again failed.
        confirm: Failure,
    },
    /// Real traffic was refused or cut, and connecting again was refused too.
    Traffic {
        /// What real traffic met.
        seen: Passive,
        /// How connecting again failed.
        confirm: Failure,
    },
    /// A notice says that the backend goes away.
    Leaving {
        /// How long it has yet; zero when the time has passed.
        within: Duration,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rose { successes: 1 } => f.write_str("a probe succeeded"),
            Self::Rose { successes } => write!(f, "{successes} probes in a row succeeded"),
            Self::Fell { failures: 1, last: last @ Failure::Traffic { .. } } => last.fmt(f),
            Self::Fell { failures, last: last @ Failure::Traffic { .. } } => {
                write!(f, "{failures} failures in a row, the last: {last}")
            }
            Self::Fell { failures: 1, last } => write!(f, "a probe failed: {last}"),
            Self::Fell { failures, last } => write!(f, "{failures} probes in a row failed, the last: {last}"),
            Self::Refused { probe, confirm } => write!(f, "{probe}; connecting again: {confirm}"),
            Self::Lost { loss, confirm } => write!(f, "{loss}; connecting again: {confirm}"),
            Self::Traffic { seen, confirm } => {
                write!(f, "{seen} in real traffic; connecting again: {confirm}")
            }
            Self::Leaving { within: Duration::ZERO } => f.write_str("announced to have gone away by now"),
            Self::Leaving { within } => {
                write!(
                    f,
                    "announced to go away within {:?}",
                    Duration::from_secs(within.as_secs_f64().ceil() as u64)
                )
            }
        }
    }
}

/// What is known of a backend whoever tracks it: with other settings, or in another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    /// The verdict.
    pub health: Health,
    /// Real traffic has marked it down: probes don't bring it up before.
    #[serde(with = "moment::option")]
    pub held_until: Option<Instant>,
    /// It is announced to go away then.
    #[serde(with = "moment::option")]
    pub leaves_at: Option<Instant>,
}

impl From<Health> for Known {
    fn from(health: Health) -> Self {
        Self { health, ..Self::default() }
    }
}

/// Hard evidence that waits for its confirming connect.
#[derive(Debug, Clone)]
enum Suspicion {
    Probe(Failure),
    Standing(Loss),
    Traffic(Passive),
}

/// Outcomes in a row that speak against the verdict.
#[derive(Debug, Clone, Copy)]
struct Streak {
    count: u16,
    since: Instant,
}

/// Decides about one backend.
#[derive(Debug)]
pub struct BackendTracker {
    settings: Settings,
    health: Health,
    jitter: Jitter,
    successes: Option<Streak>,
    failures: Option<Streak>,
    suspicion: Option<(Suspicion, Instant)>,
    harmless: HarmlessLosses,
    traffic: Traffic,
    /// Real traffic has marked it down: probes don't bring it up before.
    held_until: Option<Instant>,
    notice: Option<Notice>,
    /// No word of notices yet, and there will be.
    waits_for_notice: bool,
    probe: Probe,
    outputs: VecDeque<Output>,
}

#[derive(Debug, Clone, Copy)]
enum Probe {
    /// None runs; the next is due at `due`.
    Idle { due: Instant },
    /// One runs.
    Running { started: Instant },
}

impl BackendTracker {
    /// A tracker that knows nothing yet; its first probe is due `now`. Trackers should differ in `seed`.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        Self::resume(settings, seed, now, Known::default())
    }

    /// The same with what is known from another tracker. The verdict holds until there is another one, a mark and a notice as they
    /// would have there.
    pub fn resume(settings: Settings, seed: u64, now: Instant, known: Known) -> Self {
        let notice = known.leaves_at.map(|at| Notice {
            at,
            leave_at: at.checked_sub(settings.lead),
            noticed_at: now,
            heeded: false,
        });
        Self {
            settings,
            health: known.health,
            jitter: Jitter { state: seed, most: settings.jitter },
            successes: None,
            failures: None,
            suspicion: None,
            harmless: HarmlessLosses::default(),
            traffic: Traffic::default(),
            held_until: known.held_until,
            notice,
            waits_for_notice: false,
            probe: Probe::Idle { due: now },
            outputs: VecDeque::new(),
        }
    }

    /// Nothing comes up before the first [`Input::Notice`], which is sure to come, be it a `None`: a backend that is going away
    /// gets no requests until somebody has looked.
    #[must_use]
    pub fn wait_for_notice(self) -> Self {
        Self { waits_for_notice: true, ..self }
    }

    /// The verdict.
    pub fn health(&self) -> Health {
        self.health
    }

    /// What another tracker is to know.
    pub fn known(&self) -> Known {
        let leaves_at = self.notice.map(|notice| notice.at);
        Known { health: self.health, held_until: self.held_until, leaves_at }
    }

    /// Takes what the driver reports.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Probed(outcome) => self.probed(now, outcome),
            Input::Confirmed(outcome) => self.confirmed(now, outcome),
            Input::StandingLost(loss) => self.suspect(now, Suspicion::Standing(loss)),
            Input::Passive { seen, rule } => self.passive(now, seen, rule),
            Input::Notice(at) => self.notice(now, at),
        }
    }

    /// To be called when the time of [`BackendTracker::poll_timeout`] has come; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Probe::Idle { due } = self.probe
            && due <= now
        {
            self.probe = Probe::Running { started: now };
            self.outputs.push_back(Output::Probe);
        }
        self.heed_notice(now);
    }

    /// When the next probe is due, unless one runs, or a notice is to be heeded.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let probe = match self.probe {
            Probe::Idle { due } => Some(due),
            Probe::Running { .. } => None,
        };
        let notice = self.notice.filter(|notice| !notice.heeded).and_then(|notice| notice.leave_at);
        probe.into_iter().chain(notice).min()
    }

    /// The next thing to do or tell, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn probed(&mut self, now: Instant, outcome: Result<(), Failure>) {
        let Probe::Running { started } = self.probe else {
            return;
        };
        let is_blind = outcome.as_ref().is_err_and(Failure::is_local);
        self.traffic.counted &= is_blind;
        match outcome {
            Ok(()) => self.succeeded(now),
            Err(failure) if failure.is_hard() && self.health != Health::Down => {
                self.suspect(now, Suspicion::Probe(failure));
            }
            Err(_) if is_blind => {}
            Err(failure) => self.failed(now, failure),
        }
        let pause = if is_blind { self.retry_pause(now) } else { self.pause(now) };
        self.probe = Probe::Idle { due: now.max(started + pause) };
    }

    fn confirmed(&mut self, now: Instant, outcome: Result<(), Failure>) {
        let Some((suspicion, evidence_at)) = self.suspicion.take() else {
            return;
        };
        let is_blind = outcome.as_ref().is_err_and(Failure::is_local);
        match (outcome, suspicion) {
            // What was seen counts as it does without hard evidence; the next probe tells more.
            (Err(_), suspicion) if is_blind => {
                match suspicion {
                    Suspicion::Probe(failure) => self.failed(now, failure),
                    Suspicion::Traffic(_) => {
                        self.traffic.trusted_until = Some(now + self.settings.down_interval);
                    }
                    Suspicion::Standing(_) => {}
                }
                self.retry_soon(now);
            }
            (Err(confirm), Suspicion::Probe(probe)) => {
                self.down_at_once(now, evidence_at, Reason::Refused { probe, confirm });
            }
            (Err(confirm), Suspicion::Standing(loss)) => {
                self.down_at_once(now, evidence_at, Reason::Lost { loss, confirm });
            }
            (Err(confirm), Suspicion::Traffic(seen)) if confirm.is_hard() => {
                self.down_at_once(now, evidence_at, Reason::Traffic { seen, confirm });
            }
            (Ok(()), Suspicion::Probe(failure)) => self.failed(now, failure),
            (Ok(()), Suspicion::Standing(_)) => {
                self.probe_soon(now);
            }
            // A lost packet is met by both, and is no reason to decide before the probe has.
            (Ok(()) | Err(_), Suspicion::Traffic(_)) => {
                self.traffic.trusted_until = Some(self.probe_soon(now));
            }
        }
    }

    fn suspect(&mut self, now: Instant, suspicion: Suspicion) {
        if self.health != Health::Down && self.suspicion.is_none() {
            self.suspicion = Some((suspicion, now));
            self.outputs.push_back(Output::Confirm);
        }
    }

    fn passive(&mut self, now: Instant, seen: Passive, rule: PassiveRule) {
        if self.health == Health::Down {
            return;
        }
        if seen.is_hard() && self.traffic.trusted_until.is_none_or(|until| until <= now) {
            self.suspect(now, Suspicion::Traffic(seen));
        }
        if let Some(run) = self.traffic.note(seen, rule.limit) {
            let last = Failure::Traffic { seen: run };
            match rule.mark_down {
                Some(hold_down) => self.mark_down(now, last, hold_down),
                // Where one failure decides, it is to be a probe's.
                None if self.settings.fall > NonZeroU16::MIN => self.failed(now, last),
                None => {}
            }
            self.probe_soon(now);
        }
    }

    fn mark_down(&mut self, now: Instant, last: Failure, hold_down: Duration) {
        self.successes = None;
        self.held_until = Some(now + hold_down);
        let Streak { count: failures, since } = extend(&mut self.failures, now);
        self.decide(now, since, Health::Down, Reason::Fell { failures, last });
    }

    /// How long it stays down yet, marked by real traffic.
    fn held_for(&self, now: Instant) -> Option<Duration> {
        let left = self.held_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    fn notice(&mut self, now: Instant, at: Option<Instant>) {
        self.waits_for_notice = false;
        if self.notice.map(|notice| notice.at) != at {
            self.take_notice(now, at);
        }
        self.rise(now);
    }

    fn take_notice(&mut self, now: Instant, at: Option<Instant>) {
        let leave_at = at.map(|at| at.checked_sub(self.settings.lead));
        let goes_on = self.is_leaving() && leave_at.is_some_and(|leave_at| is_past(leave_at, now));
        self.notice =
            at.zip(leave_at).map(|(at, leave_at)| Notice { at, leave_at, noticed_at: now, heeded: goes_on });
        self.heed_notice(now);
    }

    fn heed_notice(&mut self, now: Instant) {
        let Some(notice) =
            self.notice.as_mut().filter(|notice| !notice.heeded && is_past(notice.leave_at, now))
        else {
            return;
        };
        notice.heeded = true;
        let Notice { at, noticed_at, .. } = *notice;
        if self.health != Health::Down {
            let within = at.saturating_duration_since(now);
            self.decide(now, noticed_at, Health::Down, Reason::Leaving { within });
        }
    }

    fn is_leaving(&self) -> bool {
        self.notice.is_some_and(|notice| notice.heeded)
    }

    fn succeeded(&mut self, now: Instant) {
        self.failures = None;
        extend(&mut self.successes, now);
        self.rise(now);
    }

    /// Up, if enough probes have succeeded and neither a notice nor a mark by real traffic stands against it.
    fn rise(&mut self, now: Instant) {
        if let Some(Streak { count: successes, since }) = self.successes
            && successes >= self.settings.rise.get()
            && self.health != Health::Up
            && !self.waits_for_notice
            && !self.is_leaving()
            && self.held_for(now).is_none()
        {
            self.decide(now, since, Health::Up, Reason::Rose { successes });
        }
    }

    fn failed(&mut self, now: Instant, last: Failure) {
        self.successes = None;
        let streak = extend(&mut self.failures, now);
        if self.health != Health::Down && streak.count >= self.settings.fall.get() {
            self.decide(now, streak.since, Health::Down, Reason::Fell { failures: streak.count, last });
        }
    }

    fn down_at_once(&mut self, now: Instant, evidence_at: Instant, reason: Reason) {
        self.successes = None;
        if self.health != Health::Down {
            self.decide(now, evidence_at, Health::Down, reason);
        }
        if let Probe::Running { .. } = self.probe {
            self.outputs.push_back(Output::Abandon);
        }
        self.probe = Probe::Idle { due: now + self.jitter.around(self.settings.down_interval) };
    }

    fn decide(&mut self, now: Instant, evidence_at: Instant, to: Health, reason: Reason) {
        let from = std::mem::replace(&mut self.health, to);
        self.traffic = Traffic::default();
        self.outputs.push_back(Output::Verdict(Verdict { from, to, reason, at: now, evidence_at }));
    }

    /// The app may have restarted behind its listener: look sooner than planned, but later each time where an app goes
    /// on closing connections. Tells when, had nothing else been planned.
    fn probe_soon(&mut self, now: Instant) -> Instant {
        let doublings = self.harmless.count(now, self.settings.interval);
        let pause = self.settings.fast_interval.saturating_mul(1 << doublings).min(self.settings.interval);
        let soon = now + self.jitter.around(pause);
        if let Probe::Idle { due } = &mut self.probe {
            *due = (*due).min(soon);
        }
        soon
    }

    /// This host could not look: it does so again soon, whatever the verdict.
    fn retry_soon(&mut self, now: Instant) {
        let soon = now + self.retry_pause(now);
        if let Probe::Idle { due } = &mut self.probe {
            *due = (*due).min(soon);
        }
    }

    fn retry_pause(&mut self, now: Instant) -> Duration {
        let usual = self.pause(now);
        usual.min(self.jitter.around(self.settings.down_interval))
    }

    fn pause(&mut self, now: Instant) -> Duration {
        let Settings { interval, fast_interval, down_interval, .. } = self.settings;
        let held = self.held_for(now).map(|left| left.min(interval).max(fast_interval));
        self.jitter.around(match (self.health, held) {
            (Health::Unknown, _) => fast_interval,
            (Health::Down, _) if self.is_leaving() => interval,
            (Health::Down, Some(held)) => held,
            (Health::Down, None) if self.successes.is_some() => fast_interval,
            (Health::Down, None) => down_interval,
            (Health::Up, _) if self.failures.is_some() || self.suspicion.is_some() => fast_interval,
            (Health::Up, _) => interval,
        })
    }
}

/// That the backend goes away.
#[derive(Debug, Clone, Copy)]
struct Notice {
    at: Instant,
    /// When it is to be drained; `None`: that lies before all time.
    leave_at: Option<Instant>,
    noticed_at: Instant,
    /// It is drained.
    heeded: bool,
}

/// Whether `leave_at` has come.
fn is_past(leave_at: Option<Instant>, now: Instant) -> bool {
    leave_at.is_none_or(|leave_at| leave_at <= now)
}

/// Lost standing connections in a row whose confirming connect succeeded.
#[derive(Debug, Default)]
struct HarmlessLosses {
    count: u32,
    last: Option<Instant>,
}

impl HarmlessLosses {
    const MOST: u32 = 16;

    /// How many there were in a row before this one. A row ends when a connection lasted longer than a probe interval
    /// and a half.
    fn count(&mut self, now: Instant, interval: Duration) -> u32 {
        let in_a_row =
            self.last.is_some_and(|last| now.saturating_duration_since(last) < interval.mul_f64(1.5));
        let before = if in_a_row { self.count } else { 0 };
        self.count = (before + 1).min(Self::MOST);
        self.last = Some(now);
        before
    }
}

fn extend(streak: &mut Option<Streak>, now: Instant) -> Streak {
    let streak = streak.get_or_insert(Streak { count: 0, since: now });
    streak.count = streak.count.saturating_add(1);
    *streak
}

/// Pauses that differ, so that probers don't fall into step.
#[derive(Debug)]
struct Jitter {
    state: u64,
    /// The most that a pause is longer or shorter, of itself.
    most: Percent,
}

impl Jitter {
    /// From `1 - most` to `1 + most` of `pause`. SplitMix64.
    fn around(&mut self, pause: Duration) -> Duration {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = (z >> 40) as f64 / f64::from(1u32 << 24);
        let most = f64::from(self.most.as_u8()) / 100.0;
        pause.mul_f64(1.0 - most + 2.0 * most * unit)
    }
}

#[cfg(test)]
mod tests;
