//! The task of one backend. It owns the tracker and does what the tracker asks for.
//!
//! Waits for, first of them first: the confirming connect, the probe, the end of the standing connection, word from real
//! traffic, a notice, other orders, the next probe's time. Each is cancel-safe: the first two and the notice are futures kept across turns,
//! the others lose nothing.

use std::{sync::Arc, time::Duration};

use proxima_health::{BackendTracker, Failure, Findings, Input, Known, Loss, Output, Percent, Verdict};
use proxima_types::Health;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::debug;

use crate::{
    ProbeEvent, ProbeTarget,
    kind::{self, Ask, Asked, Call, Checked, Running},
    notice::Watcher,
    passive::Inbox,
    path::{Deadline, Path},
    prober::Common,
    rtt::Rtt,
    shortage::Sight,
    slots::GRACE,
    standing::Standing,
    tally::Sheet,
};

pub(crate) struct Task {
    /// What it is to probe, and how, when that changes.
    orders: watch::Receiver<ProbeTarget>,
    /// What another task is to begin with.
    known: watch::Sender<Known>,
    seed: u64,
    path: Arc<Path>,
    timeout: Duration,
    question: Arc<dyn Ask>,
    /// What it asks is what clients ask: see [`ProbeKind::is_request`](proxima_probe_kind::ProbeKind::is_request).
    is_request: bool,
    tracker: BackendTracker,
    standing: Option<Standing>,
    probe: Option<Running<Asked>>,
    confirm: Option<Running<Result<(), Failure>>>,
    notice: Option<Running<(Watcher, Option<Instant>)>>,
    /// The last probe took longer than [`GRACE`].
    is_slow: bool,
    rtt: Rtt,
    /// The share of its weight that the backend is known to offer.
    told_share: Percent,
    passive: Arc<Inbox>,
    sheet: Sheet,
    /// When the running probe was due.
    due_at: std::time::Instant,
    sight: Sight,
    common: Common,
}

/// Nobody receives events any more.
struct Deserted;

impl Task {
    /// A task for the first of `orders`. What is known already is in `known`, and from now on what this task knows.
    pub(crate) fn new(
        mut orders: watch::Receiver<ProbeTarget>,
        known: watch::Sender<Known>,
        seed: u64,
        common: Common,
    ) -> Self {
        let target = orders.borrow_and_update().clone();
        let settings = target.settings();
        let ProbeTarget { backend, address, source, via_service, kind, timeout, notice, .. } = target;
        let passive = common.passive.inbox(&backend);
        let sheet = common.checks.sheet(&backend);
        let via = common.via.clone().filter(|_| via_service);
        let (uses, shared) = (Standing::uses(seed), Arc::clone(&common.shared));
        let path = Path { backend, address, source, via, uses, shared };
        // A number drawn for this backend alone spreads the looks of all of them over an interval.
        let phase = (seed >> 11) as f64 / (1u64 << 53) as f64;
        let mut before = *known.borrow();
        before.leaves_at = before.leaves_at.filter(|_| notice.is_some());
        let mut tracker = BackendTracker::resume(settings, seed, now(), before);
        let watcher = notice.map(|notice| {
            let told = before.leaves_at.map(Instant::from_std);
            Watcher::new(notice, &path.straight(), common.slots.clone(), phase, told)
        });
        if watcher.is_some() {
            tracker = tracker.wait_for_notice();
        }
        Self {
            orders,
            known,
            seed,
            notice: watcher.map(|watcher| -> Running<_> { Box::pin(watcher.changed()) }),
            is_request: kind.is_request(),
            question: kind::question(kind, &path),
            path: Arc::new(path),
            timeout,
            tracker,
            standing: None,
            probe: None,
            confirm: None,
            is_slow: false,
            rtt: Rtt::default(),
            told_share: Percent::FULL,
            passive,
            sheet,
            due_at: now(),
            sight: Sight::default(),
            common,
        }
    }

    /// Probes until nobody receives the events.
    pub(crate) async fn run(mut self) {
        while self.act().await.is_ok() {
            let due_at = self.tracker.poll_timeout();
            tokio::select! {
                biased;
                outcome = finish(&mut self.confirm) => {
                    self.confirm = None;
                    self.note_sight(outcome.as_ref().err());
                    self.tracker.handle(now(), Input::Confirmed(outcome));
                }
                asked = finish(&mut self.probe) => {
                    self.probe = None;
                    self.asked(asked);
                }
                loss = lost(&mut self.standing) => {
                    self.standing = None;
                    self.standing_lost(loss);
                }
                input = self.passive.next() => self.tracker.handle(now(), input),
                (watcher, leaves_at) = finish(&mut self.notice) => {
                    self.notice = Some(Box::pin(watcher.changed()));
                    self.tracker.handle(now(), Input::Notice(leaves_at.map(Instant::into_std)));
                }
                Ok(()) = self.orders.changed() => self = self.again(),
                () = due(due_at) => {
                    self.due_at = due_at.unwrap_or_else(now);
                    self.tracker.handle_timeout(now());
                }
                () = self.common.events.closed() => break,
            }
        }
    }

    /// Begins anew with other orders. The verdict stays until it is decided otherwise.
    fn again(self) -> Self {
        let Self { orders, known, seed, rtt, told_share, sight, common, .. } = self;
        Self { rtt, told_share, sight, ..Self::new(orders, known, seed, common) }
    }

    /// Does what the tracker asks for.
    async fn act(&mut self) -> Result<(), Deserted> {
        let known = self.tracker.known();
        self.known.send_if_modified(|before| std::mem::replace(before, known) != known);
        while let Some(output) = self.tracker.poll_output() {
            match output {
                Output::Probe => {
                    let standing = self.standing.take_if(|standing| standing.is_usable());
                    self.start_probe(standing, None);
                }
                Output::Confirm => {
                    self.confirm = Some(Arc::clone(&self.question).ask_again(self.call(None)));
                }
                Output::Abandon => self.probe = None,
                Output::Verdict(verdict) => self.tell(verdict).await?,
            }
        }
        Ok(())
    }

    fn start_probe(&mut self, standing: Option<Standing>, deadline: Option<Deadline>) {
        self.probe = Some(Arc::clone(&self.question).ask(self.call(deadline), standing));
    }

    fn call(&self, deadline: Option<Deadline>) -> Call {
        Call {
            path: Arc::clone(&self.path),
            slots: self.common.slots.clone(),
            confirming: Arc::clone(&self.common.confirming),
            timeout: self.timeout,
            deadline,
            is_slow: self.is_slow,
        }
    }

    fn asked(&mut self, asked: Asked) {
        let Asked { checked, deadline, begun } = asked;
        match checked {
            Checked::Done { outcome, standing, connected_in } => {
                if let Err(failure) = &outcome {
                    debug!(backend = %self.path.backend, %failure, "probe failed");
                }
                self.is_slow = begun.elapsed() > GRACE;
                self.note_sight(outcome.as_ref().err());
                self.note_end(begun.into_std(), &outcome);
                self.standing = standing.or(self.standing.take());
                if let Ok(findings) = outcome {
                    self.found(findings);
                }
                self.tracker.handle(now(), Input::Probed(outcome.map(drop)));
                if let Some(sample) = connected_in {
                    self.measured(sample);
                }
            }
            Checked::Stale(loss) => {
                self.standing_lost(loss);
                self.start_probe(None, Some(deadline));
            }
        }
    }

    fn note_sight(&mut self, failure: Option<&Failure>) {
        self.common.shortage.note(now(), &mut self.sight, &self.path.backend, failure);
    }

    /// What this host could not do is no end of a probe.
    fn note_end(&self, begun: std::time::Instant, outcome: &Result<Findings, Failure>) {
        let took = now().saturating_duration_since(begun);
        let late = begun.saturating_duration_since(self.due_at);
        self.sheet.note(outcome.as_ref().err(), took, late);
        let (checks, backend) = (&self.common.checks, &self.path.backend);
        if let Err(Failure::Local { error }) = outcome {
            return checks.blinded(backend, now(), error);
        }
        checks.note(backend, begun, now(), outcome.is_ok());
        checks.found(backend, outcome);
        // Clients are not sent to those that are not up.
        if self.is_request && self.tracker.health() == Health::Up {
            checks.answered(backend, outcome);
        }
    }

    fn standing_lost(&mut self, loss: Loss) {
        debug!(backend = %self.path.backend, "{loss}");
        self.tracker.handle(now(), Input::StandingLost(loss));
    }

    fn found(&mut self, findings: Findings) {
        let share = findings.share.unwrap_or_default();
        if share != self.told_share {
            let event = ProbeEvent::Share { backend: self.path.backend.clone(), share };
            if self.common.events.try_send(event).is_ok() {
                self.told_share = share;
            }
        }
    }

    fn measured(&mut self, sample: Duration) {
        if let Some(rtt) = self.rtt.sample(sample) {
            let event = ProbeEvent::Rtt { backend: self.path.backend.clone(), rtt };
            if self.common.events.try_send(event).is_ok() {
                self.rtt.told(rtt);
            }
        }
    }

    async fn tell(&mut self, verdict: Verdict) -> Result<(), Deserted> {
        let Verdict { from, to, reason, at, evidence_at } = verdict;
        let backend = self.path.backend.clone();
        let event = ProbeEvent::Verdict { backend, from, to, reason, at, evidence_at };
        self.common.events.send(event).await.map_err(|_| Deserted)
    }
}

async fn finish<T>(running: &mut Option<Running<T>>) -> T {
    match running {
        Some(work) => work.await,
        None => std::future::pending().await,
    }
}

async fn lost(standing: &mut Option<Standing>) -> Loss {
    match standing {
        Some(standing) => standing.lost().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<std::time::Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
