//! One fault in one region: what was measured, and what must hold of it.

use std::time::{Duration, Instant};

use proxima_api::{GroupReason, VerdictReason};
use proxima_types::ReachState;
use serde::Serialize;

use super::{
    catalogue::Fault,
    scene::{Scene, Seat},
};
use crate::{
    error::Result,
    load::{Kind, Outcome, StreamEnd, outcome},
    observe::{
        bgp::{Message, Update},
        fib::Points,
    },
    wait::wait_until,
    world::{App, Region},
};

/// What has not happened by then does not happen, however busy the machine is.
pub(super) const GIVE_UP: Duration = Duration::from_mins(1);

/// A fault being injected.
pub(super) struct Case<'s> {
    pub(super) scene: &'s Scene,
    pub(super) region: &'s Region,
    pub(super) seat: &'s Seat,
    slack: u32,
    /// Where the outcomes of its time begin in the journal.
    from: usize,
    incident: Incident,
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Incident {
    pub(super) fault: Fault,
    pub(super) region: String,
    #[serde(skip)]
    pub(super) begun: Instant,
    #[serde(skip)]
    pub(super) ended: Instant,
    /// Apps that died, and with them the streams they served.
    pub(super) killed: Vec<String>,
    /// The daemon's reasons, in its words.
    pub(super) because: Vec<String>,
    /// In the order they were measured.
    pub(super) figures: Vec<Figure>,
    pub(super) claims: Vec<Claim>,
}

/// A time measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    pub(super) what: String,
    /// Absent when it did not happen.
    pub(super) ms: Option<f64>,
}

/// What must hold.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Claim {
    pub(super) what: String,
    pub(super) holds: bool,
}

/// How a region was left.
#[derive(Debug, Clone)]
pub(super) struct Leaving {
    /// The first verdict that an app is down.
    pub(super) detected: Option<(Instant, VerdictReason)>,
    /// What the group's announcement became by it.
    pub(super) decided: Option<(Instant, GroupReason)>,
    /// On the wire, IPv4 and IPv6.
    pub(super) told: [Option<Instant>; 2],
    /// The router's kernel no longer sends to the PoP, IPv4 and IPv6.
    pub(super) fib_left: [Option<Instant>; 2],
    /// The first answer from another region.
    pub(super) elsewhere: Option<Instant>,
}

/// How soon a region has to be left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Until the verdict, and the decision that follows from it.
    pub(super) detected: Duration,
    /// What is seen on the wire.
    pub(super) told_as: &'static str,
    /// Until it is.
    pub(super) told: Duration,
    pub(super) fib: Duration,
    pub(super) elsewhere: Duration,
}

impl Limits {
    /// For evidence that takes `detected` to come together; the rest follows at once.
    pub(super) fn after(detected: Duration, told_as: &'static str) -> Self {
        Self {
            detected,
            told_as,
            told: detected + Duration::from_millis(10),
            fib: detected + Duration::from_millis(80),
            elsewhere: detected + Duration::from_secs(1),
        }
    }
}

impl<'s> Case<'s> {
    pub(super) fn new(scene: &'s Scene, region: &str, fault: Fault, slack: u32) -> Result<Self> {
        let now = Instant::now();
        tracing::info!(region, "fault {fault}");
        Ok(Self {
            scene,
            region: scene.world.region(region)?,
            seat: scene.seat(region)?,
            slack,
            from: scene.outcomes.len(),
            incident: Incident {
                fault,
                region: region.to_owned(),
                begun: now,
                ended: now,
                killed: Vec::new(),
                because: Vec::new(),
                figures: Vec::new(),
                claims: Vec::new(),
            },
        })
    }

    /// The end of what belongs to this fault.
    pub(super) fn close(mut self) -> Incident {
        self.incident.ended = Instant::now();
        self.incident
    }

    pub(super) fn begun(&self) -> Instant {
        self.incident.begun
    }

    pub(super) fn claim(&mut self, holds: bool, what: impl Into<String>) {
        self.incident.claims.push(Claim { what: what.into(), holds });
    }

    /// Says that these apps die.
    pub(super) fn kills<'a>(&mut self, apps: impl IntoIterator<Item = &'a App>) {
        self.incident.killed = apps.into_iter().map(|app| app.name().to_owned()).collect();
    }

    /// Adds what explains the figures.
    pub(super) fn because(&mut self, reason: impl Into<String>) {
        self.incident.because.push(reason.into());
    }

    /// Adds a figure.
    pub(super) fn figure(&mut self, what: impl Into<String>, since: Instant, at: Option<Instant>) {
        let ms = at.map(|at| at.saturating_duration_since(since).as_secs_f64() * 1e3);
        self.incident.figures.push(Figure { what: what.into(), ms });
    }

    /// Adds a figure, and claims that it happened within `limit`.
    pub(super) fn within(
        &mut self,
        what: impl Into<String>,
        since: Instant,
        at: Option<Instant>,
        limit: Duration,
    ) {
        let (what, limit) = (what.into(), limit * self.slack);
        let holds = at.is_some_and(|at| at.saturating_duration_since(since) <= limit);
        self.claim(holds, format!("{what} within {} ms", limit.as_millis()));
        self.figure(what, since, at);
    }

    /// Both families of what is measured of each.
    pub(super) fn both_within(
        &mut self,
        what: &str,
        since: Instant,
        at: [Option<Instant>; 2],
        limit: Duration,
    ) {
        for (family, at) in ["IPv4", "IPv6"].into_iter().zip(at) {
            self.within(format!("{what}, {family}"), since, at, limit);
        }
    }

    /// Watches the region being withdrawn since `since`.
    pub(super) async fn withdrawn(&self, since: Instant) -> Leaving {
        let [v4, v6] = self.scene.prefixes;
        self.leaving(since, ReachState::Withdrawn, |update, family| {
            update.withdrawn.contains(if family == 0 { &v4 } else { &v6 })
        })
        .await
    }

    /// Watches the region being made less attractive since `since`.
    pub(super) async fn de_preferred(&self, since: Instant) -> Leaving {
        let [v4, v6] = self.scene.prefixes;
        self.leaving(since, ReachState::DePreferred, |update, family| {
            update.announced.contains(if family == 0 { &v4 } else { &v6 })
        })
        .await
    }

    async fn leaving(
        &self,
        since: Instant,
        state: ReachState,
        told: impl Fn(&Update, usize) -> bool,
    ) -> Leaving {
        let (Seat { wire, fib, events, .. }, deadline) = (self.seat, since + GIVE_UP);
        let [v4, v6] = self.scene.prefixes;
        let (detected, decided, told_v4, told_v6, left_v4, left_v6, elsewhere) = tokio::join!(
            events.down(&self.region.name, since, deadline),
            events.transition(self.scene.group(), state, since, deadline),
            wire.first_update(since, deadline, |update| told(update, 0)),
            wire.first_update(since, deadline, |update| told(update, 1)),
            fib.left_pop(v4, since, deadline),
            fib.left_pop(v6, since, deadline),
            self.served_elsewhere(since),
        );
        Leaving { detected, decided, told: [told_v4, told_v6], fib_left: [left_v4, left_v6], elsewhere }
    }

    /// When the PoP withdrew its prefixes, IPv4 and IPv6.
    pub(super) async fn withdrawn_on_wire(&self, since: Instant) -> [Option<Instant>; 2] {
        let [v4, v6] = self.scene.prefixes;
        let (wire, deadline) = (&self.seat.wire, since + GIVE_UP);
        let (v4, v6) = tokio::join!(wire.withdrawn(v4, since, deadline), wire.withdrawn(v6, since, deadline));
        [v4, v6]
    }

    /// When the router's kernel stopped to send to the PoP, IPv4 and IPv6, and the first answer from another region.
    pub(super) async fn left_fib(&self, since: Instant) -> ([Option<Instant>; 2], Option<Instant>) {
        let [v4, v6] = self.scene.prefixes;
        let (fib, deadline) = (&self.seat.fib, since + GIVE_UP);
        let (v4, v6, elsewhere) = tokio::join!(
            fib.left_pop(v4, since, deadline),
            fib.left_pop(v6, since, deadline),
            self.served_elsewhere(since)
        );
        ([v4, v6], elsewhere)
    }

    async fn served_elsewhere(&self, since: Instant) -> Option<Instant> {
        let (outcomes, region) = (&self.scene.outcomes, &self.region.name);
        outcome::first_elsewhere(outcomes, region, self.from, since, since + GIVE_UP).await
    }

    /// Waits until all is as before the fault: the routes, the verdicts, and a token stream, begun since, that came whole.
    pub(super) async fn back(&mut self, since: Instant) -> Result<()> {
        let fib = &self.seat.fib;
        wait_until(GIVE_UP, || {
            self.region.pop.check()?;
            let away = self.scene.prefixes.into_iter().find(|prefix| fib.points(*prefix) != Points::ToPop);
            Ok(away.map_or_else(String::new, |prefix| {
                let log = self.region.pop.log_tail();
                format!("{prefix} points to the PoP again\n{log}")
            }))
        })
        .await?;
        let (there, from) = (Instant::now(), self.scene.outcomes.len());
        self.figure("routes back", since, Some(there));
        self.scene.world.wait_region_converged(self.region, GIVE_UP).await?;
        let whole = |all: &[Outcome]| {
            let of_here = |outcome: &&Outcome| {
                outcome.kind == Kind::Stream
                    && *outcome.region == *self.region.name
                    && outcome.intended >= there
                    && matches!(outcome.stream, Some(StreamEnd::Complete { .. }))
            };
            all.iter().find(of_here).map(|outcome| outcome.done)
        };
        let served = self.scene.outcomes.wait(from, there + GIVE_UP, whole).await;
        self.claim(served.is_some(), "a token stream comes whole once the routes are back");
        Ok(())
    }

    /// When `app` first answered a small request of the region's clients that began at `since` or later.
    pub(super) async fn served_by(&self, app: &App, since: Instant) -> Option<Instant> {
        let by_it = |outcome: &&Outcome| {
            outcome.kind == Kind::Work
                && *outcome.region == *self.region.name
                && outcome.intended >= since
                && outcome.served.as_ref().is_some_and(|served| &*served.app == app.name())
        };
        let find = |all: &[Outcome]| all.iter().find(by_it).map(|outcome| outcome.done);
        self.scene.outcomes.wait(self.from, since + GIVE_UP, find).await
    }

    /// Claims that the first verdict came within `limit`, and says why.
    pub(super) fn detected(
        &mut self,
        since: Instant,
        down: Option<&(Instant, VerdictReason)>,
        limit: Duration,
    ) {
        self.within("detected", since, down.map(|(at, _)| *at), limit);
        if let Some((_, reason)) = down {
            self.because(reason.to_string());
        }
    }

    /// Claims that the region was left within the limits, and why.
    pub(super) fn judge_leaving(&mut self, since: Instant, leaving: &Leaving, limits: &Limits) {
        self.detected(since, leaving.detected.as_ref(), limits.detected);
        self.within("decided", since, leaving.decided.as_ref().map(|(at, _)| *at), limits.detected);
        if let Some((_, reason)) = &leaving.decided {
            self.because(reason.to_string());
        }
        self.both_within(limits.told_as, since, leaving.told, limits.told);
        self.both_within("gone from the FIB", since, leaving.fib_left, limits.fib);
        self.within("first success elsewhere", since, leaving.elsewhere, limits.elsewhere);
    }

    /// UPDATEs of the PoP since `since` that are like `wanted`.
    pub(super) fn updates(&self, since: Instant, wanted: impl Fn(&Update) -> bool) -> usize {
        let is_one = |message: &Message| matches!(message, Message::Update(update) if wanted(update));
        self.seat.wire.sent(since, Instant::now(), is_one)
    }
}
