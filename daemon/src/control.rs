//! The control task: it owns every decision and takes one event at a time.
//!
//! ```text
//! probes ───┐                           ┌─▶ groups ─▶ speaker (UPDATEs)
//! routes ───┤                           │
//! speaker ──┤   handle one, then        ├─▶ snapshot (workers)
//! admin ────┼─▶ settle: transitions, ───┤
//! acme ─────┤                           │
//! signals ──┤   desired routes          └─▶ journal (log, metrics, followers)
//! beats ────┘
//! ```
//!
//! On each change the routes go out before the journal is written: what an observer reads about has happened.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use proxima_acme_io::{Acme, AcmeEvent, IssuerConfig};
use proxima_announce::{Duty, Input, SelfCheck};
use proxima_api::{EventKind, Phase, ReloadRequest, Timestamp, UpgradeRequest, VerdictReason};
use proxima_bfd_io::BfdEvent;
use proxima_bgp_speaker::{SpeakerEvents, SpeakerHandle};
use proxima_config::Config;
use proxima_health::{Gap, WorkerChange, WorkerStuck};
use proxima_probe::{Checks, ProbeEvent, ProberHandle};
use proxima_proxy::{Beats, DataPlane, Distress, Snapshot};
use proxima_telemetry::{EventJournal, LogFilter};
use proxima_types::{Announcement, BackendId, GroupName, Health};
use tokio::sync::mpsc;

use crate::{
    access::Access,
    acme::Ordering,
    admin::Command,
    attempts::Attempts,
    bfd::BfdSessions,
    distance::{Distances, Followers, Reached},
    doors::Doors,
    groups::Groups,
    listeners,
    notify::{self, Supervisor},
    observe::{Observers, Seen},
    orders::Orders,
    probing::ThroughWorkers,
    pulse::Pulse,
    reload::{NEW, Outcome, Peers, Progress},
    routing::{self, Observed, Ways},
    self_check::{self, Unchecked},
    signals::{Signal, Signals},
    stop::{self, Stop},
    tls::Tls,
    traffic::Traffic,
    unchecked::Tellings,
    upgrade::{self, ControlState, HandedOn, Newcomers, Upgrading},
    vips::LocalVips,
    words,
};

/// How often the workers' beats are looked at.
const BEAT_CHECK: Duration = Duration::from_millis(100);

/// How many probe events make one new score and snapshot: when hundreds of backends fail together, the routes wait for
/// one look at them, not for hundreds.
const PROBES_AT_ONCE: usize = 256;
/// The same for routes to backends.
const ROUTES_AT_ONCE: usize = 256;
/// The same for lost connections of real traffic.
const DISTRESS_AT_ONCE: usize = 256;

/// Where the control task's events come from.
pub(crate) struct Inputs {
    pub(crate) probes: mpsc::Receiver<ProbeEvent>,
    pub(crate) distress: mpsc::Receiver<Distress>,
    pub(crate) speaker: SpeakerEvents,
    pub(crate) bfd: mpsc::Receiver<BfdEvent>,
    pub(crate) routes: mpsc::Receiver<Reached>,
    pub(crate) views: mpsc::Receiver<Seen>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) reloads: mpsc::Receiver<Outcome>,
    pub(crate) upgrades: mpsc::Receiver<upgrade::Outcome>,
    pub(crate) acme: mpsc::Receiver<AcmeEvent>,
    pub(crate) signals: Signals,
}

/// How the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// For good, as far as it knows: everything is taken back.
    Stop,
    /// To begin anew at once: peers are left without a word, so that they keep the routes.
    Restart,
    /// Another process has it all, but for connections of clients.
    Upgraded,
}

/// Why the daemon ends by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerLost {
    /// Its thread has ended.
    #[error("a worker has died, see the panic above; the daemon ends so that its supervisor starts it anew")]
    Died,
    /// It no longer turns.
    #[error(transparent)]
    Stuck(#[from] WorkerStuck),
}

/// What another process has left, and what of the configuration it knows nothing of.
pub(crate) type Before = (ControlState, Newcomers);

/// The state of the daemon.
pub(crate) struct Control {
    pub(crate) config: Config,
    pub(crate) journal: Arc<EventJournal>,
    pub(crate) started: (Instant, Timestamp),
    pub(crate) observed: BTreeMap<BackendId, Observed>,
    pub(crate) distances: Distances,
    pub(crate) followers: Followers,
    pub(crate) prober: ProberHandle,
    pub(crate) via: Arc<ThroughWorkers>,
    /// How many descriptors this process may have.
    pub(crate) open_files: usize,
    /// The ways of probes to the backends that a reload under way brings.
    pub(crate) arriving: Ways,
    pub(crate) verdicts: BTreeMap<BackendId, (Timestamp, VerdictReason)>,
    pub(crate) groups: Groups,
    pub(crate) group_since: BTreeMap<GroupName, Timestamp>,
    pub(crate) speaker: SpeakerHandle,
    pub(crate) data_plane: Arc<DataPlane>,
    pub(crate) traffic: Traffic,
    pub(crate) orders: Orders,
    /// When probes ended.
    checks: Checks,
    self_check: SelfCheck,
    tellings: Tellings,
    pub(crate) observers: Observers,
    pub(crate) vips: LocalVips,
    pub(crate) log: LogFilter,
    snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) tls: Tls,
    pub(crate) ordering: Ordering,
    pub(crate) access: Access,
    desired: Vec<Announcement>,
    ready: bool,
    beats: Beats,
    pub(crate) last_census: Instant,
    pub(crate) attempts: Attempts,
    stop: Option<Stop>,
    pub(crate) bfd: BfdSessions,
    pub(crate) supervisor: Supervisor,
    pub(crate) pulse: Pulse,
    /// The file the configuration came from.
    pub(crate) file: PathBuf,
    pub(crate) peers: Peers,
    pub(crate) reloads: mpsc::Sender<Outcome>,
    pub(crate) reloading: Progress,
    restarting: bool,
    pub(crate) doors: Doors,
    pub(crate) upgrades: mpsc::Sender<upgrade::Outcome>,
    /// A successor is being started.
    pub(crate) upgrading: Option<Upgrading>,
    pub(crate) handed_on: Option<HandedOn>,
    /// It goes on where another process has left off.
    resumed: bool,
    /// The text of the configuration.
    pub(crate) text: String,
}

/// The running parts the control task steers.
pub(crate) struct Parts {
    pub(crate) journal: Arc<EventJournal>,
    pub(crate) speaker: SpeakerHandle,
    pub(crate) data_plane: Arc<DataPlane>,
    pub(crate) traffic: Traffic,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) tls: Tls,
    /// With whom is asked for certificates.
    pub(crate) acme: (Acme, Vec<IssuerConfig>),
    pub(crate) access: Access,
    pub(crate) bfd: BfdSessions,
    pub(crate) prober: ProberHandle,
    pub(crate) via: Arc<ThroughWorkers>,
    pub(crate) open_files: usize,
    pub(crate) followers: Followers,
    pub(crate) observers: Observers,
    pub(crate) vips: LocalVips,
    pub(crate) log: LogFilter,
    pub(crate) supervisor: Supervisor,
    pub(crate) pulse: Pulse,
    pub(crate) file: PathBuf,
    pub(crate) peers: Peers,
    pub(crate) reloads: mpsc::Sender<Outcome>,
    pub(crate) doors: Doors,
    pub(crate) upgrades: mpsc::Sender<upgrade::Outcome>,
    pub(crate) text: String,
}

impl Control {
    /// Begins, or goes on where another process has left off.
    pub(crate) fn new(now: Instant, config: Config, parts: Parts, before: Option<Before>) -> Self {
        let Parts { journal, speaker, data_plane, mut traffic, snapshot, tls, access, bfd, prober, .. } =
            parts;
        let Parts {
            via,
            open_files,
            followers,
            mut observers,
            acme: (acme, issuers),
            vips,
            log,
            supervisor,
            pulse,
            file,
            peers,
            reloads,
            doors,
            upgrades,
            text,
            ..
        } = parts;
        observers.follow(&config, &speaker);
        let beats = data_plane.beats();
        let (checks, workers) = (prober.checks(), beats.read().count());
        let (version, pid) = (env!("CARGO_PKG_VERSION").to_owned(), std::process::id());
        let wall =
            journal.publish(EventKind::DaemonStarted { pop: config.pop.name.clone(), version, pid }).at;
        let ordering = Ordering::new(acme, issuers);
        let mut group_since: BTreeMap<_, _> = config.groups.keys().map(|name| (name.clone(), wall)).collect();
        let (mut observed, mut verdicts, mut orders) = (BTreeMap::new(), BTreeMap::new(), Orders::default());
        let (resumed, mut newcomers) = (before.is_some(), Vec::new());
        let groups = match before {
            None => Groups::new(now, &config),
            Some((state, new)) => {
                let backends = config.pools.values().flat_map(|pool| &pool.backends).map(|it| &it.id);
                for id in backends {
                    let known = state.observed.get(id).filter(|_| !new.backends.contains(id));
                    observed.insert(id.clone(), known.copied().unwrap_or(NEW));
                    let verdict = known.and_then(|_| state.verdicts.get(id));
                    verdicts.extend(verdict.map(|verdict| (id.clone(), verdict.clone())));
                }
                let is_there = |group: &GroupName| config.groups.contains_key(group);
                group_since.extend(state.group_since.into_iter().filter(|(group, _)| is_there(group)));
                orders = state.orders;
                orders.forget(is_there);
                traffic.carry(state.traffic);
                newcomers = new.groups;
                Groups::resume(now, &config, state.announcer)
            }
        };
        let mut control = Self {
            groups,
            self_check: SelfCheck::new(now, &self_check::gates(&config), &checks, workers),
            checks,
            tellings: Tellings::default(),
            distances: Distances::new(&config),
            config,
            journal,
            started: (now, wall),
            observed,
            followers,
            prober,
            via,
            open_files,
            arriving: Ways::new(),
            verdicts,
            group_since,
            speaker,
            data_plane,
            traffic,
            orders,
            observers,
            vips,
            log,
            snapshot,
            tls,
            ordering,
            access,
            desired: Vec::new(),
            ready: false,
            beats,
            last_census: now,
            attempts: Attempts::default(),
            stop: None,
            bfd,
            supervisor,
            pulse,
            file,
            peers,
            reloads,
            reloading: Progress::Idle,
            restarting: false,
            doors,
            upgrades,
            upgrading: None,
            resumed,
            text,
            handed_on: None,
        };
        control.order_newcomers(now, &newcomers);
        control
    }

    /// Runs until the daemon has stopped in order, was told twice, or is to begin anew.
    ///
    /// # Errors
    /// When a worker has died or stays stuck: what it served is gone until the process starts anew.
    pub(crate) async fn run(&mut self, inputs: &mut Inputs) -> Result<End, WorkerLost> {
        let mut beat_check = tokio::time::interval(BEAT_CHECK);
        beat_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.rescore(Instant::now());
        if self.resumed {
            self.go_on(Instant::now());
        }
        self.tell_missing(&[]);
        loop {
            self.pulse.beat();
            let now = Instant::now();
            if let Some(gap) = self.self_check.turn(now, self_check::boottime()) {
                while inputs.views.try_recv().is_ok() {} // seen before the gap
                self.thawed(now, gap);
            }
            self.settle(now);
            if self.restarting {
                self.supervisor.restarting();
                return Ok(End::Restart);
            }
            let timeout = self.poll_timeout();
            tokio::select! {
                biased;
                Some(event) = inputs.bfd.recv() => self.handle_bfd(event),
                Some(event) = inputs.probes.recv() => {
                    let queued = std::iter::from_fn(|| inputs.probes.try_recv().ok());
                    self.handle_probes(std::iter::once(event).chain(queued).take(PROBES_AT_ONCE));
                }
                Some(event) = inputs.speaker.recv() => self.handle_speaker(event),
                Some(reached) = inputs.routes.recv() => {
                    let queued = std::iter::from_fn(|| inputs.routes.try_recv().ok());
                    self.handle_routes(std::iter::once(reached).chain(queued).take(ROUTES_AT_ONCE));
                }
                Some((group, view)) = inputs.views.recv() => self.groups.view(Instant::now(), &group, view),
                signal = inputs.signals.next() => {
                    if self.handle_signal(signal) {
                        return Ok(End::Stop);
                    }
                }
                Some(command) = inputs.commands.recv() => self.handle_command(command),
                Some(outcome) = inputs.reloads.recv() => {
                    // What was told of backends is of those before.
                    self.handle_probes(std::iter::from_fn(|| inputs.probes.try_recv().ok()));
                    self.reloaded(outcome);
                }
                Some(outcome) = inputs.upgrades.recv() => {
                    self.handle_probes(std::iter::from_fn(|| inputs.probes.try_recv().ok()));
                    self.settle(Instant::now());
                    let pulse = self.pulse.clone();
                    if let Some(end) = pulse.while_doing(self.hand_over(outcome, inputs)).await {
                        return Ok(end);
                    }
                    self.self_check.waited(Instant::now(), self_check::boottime());
                }
                Some(event) = inputs.acme.recv() => self.handle_acme(event),
                _ = beat_check.tick() => self.check_workers(Instant::now())?,
                () = sleep_until(timeout) => self.groups.handle_timeout(Instant::now()),
                () = stop::over(self.stop.as_mut()) => return Ok(End::Stop),
                // After all else: of a pool that is gone every worker may tell without end.
                Some(distress) = inputs.distress.recv() => {
                    let queued = std::iter::from_fn(|| inputs.distress.try_recv().ok());
                    self.traffic.lost(std::iter::once(distress).chain(queued).take(DISTRESS_AT_ONCE));
                }
            }
        }
    }

    /// What the other process has announced is complete, and what kept it from serving was its own.
    fn go_on(&mut self, now: Instant) {
        let groups: Vec<_> = self.groups.names().cloned().collect();
        for group in groups {
            self.groups.tell(now, &group, Input::Fault(None));
        }
        self.announce();
        self.speaker.release_end_of_rib();
    }

    pub(crate) fn phase(&self) -> Phase {
        match (&self.stop, self.ready) {
            (Some(_), _) => Phase::Stopping,
            (None, true) => Phase::Running,
            (None, false) => Phase::Starting,
        }
    }

    pub(crate) fn accepts(&self) -> bool {
        self.stop.as_ref().is_none_or(Stop::accepts)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let stop = self.stop.as_ref().and_then(Stop::poll_timeout);
        [self.groups.poll_timeout(), self.orders.drained_until(), stop].into_iter().flatten().min()
    }

    /// Hands the speaker what the peers should hold, when that has changed.
    pub(crate) fn announce(&mut self) {
        let desired = self.groups.desired();
        if desired != self.desired {
            if let Err(error) = self.speaker.set_desired(desired.clone()) {
                tracing::error!(%error, "a group asked for a prefix that is not configured; nothing was announced");
            }
            self.desired = desired;
        }
    }

    /// Carries out and tells what the last event has changed.
    fn settle(&mut self, now: Instant) {
        self.announce();
        self.tell_groups(now);
        if !self.ready && self.groups.are_settled() {
            self.ready = true;
            self.speaker.release_end_of_rib();
            let after_ms = u64::try_from((now - self.started.0).as_millis()).unwrap_or(u64::MAX);
            self.journal.publish(EventKind::DaemonReady { after_ms });
            self.ordering.begin(&self.tls);
        }
        if let Some(stop) = &mut self.stop {
            let accepted = stop.accepts();
            stop.advance(now, &self.config.drain, self.groups.are_withdrawn(), &self.data_plane);
            if accepted && !stop.accepts() {
                listeners::tell(&self.journal, &self.data_plane.listeners(), &[]);
            }
        }
        let phase = self.phase();
        let states = || self.groups.iter().map(|(group, _)| (&group.config().name, group.state()));
        self.supervisor.turn(now, phase, || notify::status(phase, states()));
    }

    /// Nothing of this process ran for a while: what was known before is that much older.
    fn thawed(&mut self, now: Instant, gap: Gap) {
        self.do_duties(now);
        self.observers.follow(&self.config, &self.speaker);
        self.announce();
        let gap_ms = u64::try_from(gap.length.as_millis()).unwrap_or(u64::MAX);
        self.journal.publish(EventKind::Thawed { gap_ms, suspended: gap.is_suspension() });
    }

    /// What the check of this PoP itself asks for.
    fn do_duties(&mut self, now: Instant) {
        while let Some(duty) = self.self_check.poll_output() {
            match duty {
                Duty::Score => self.score(now),
                Duty::ScoreForgotten if self.groups.want_scores() => self.score(now),
                Duty::ScoreForgotten => {}
                Duty::Tell(group, news) => self.groups.tell(now, &group, news),
            }
        }
    }

    fn look_at_traffic(&mut self, now: Instant) {
        let is_up = |backend: &BackendId| verdict(&self.observed, backend) == Health::Up;
        if self.traffic.look(now, &self.config, is_up, &self.data_plane) {
            self.score(now);
            self.announce();
        }
    }

    fn rescore(&mut self, now: Instant) {
        self.score(now);
        self.serve();
    }

    fn score(&mut self, now: Instant) {
        let (observed, check, traffic) = (&self.observed, &self.self_check, &self.traffic);
        let believed = |backend: &BackendId| believed(observed, check, backend);
        self.groups.score(now, &self.config, &believed, &|group| traffic.degradations(group));
    }

    /// What is known of a backend as far as scores go.
    pub(crate) fn believed(&self, backend: &BackendId) -> Observed {
        believed(&self.observed, &self.self_check, backend)
    }

    /// Whether and why a backend can't be checked.
    pub(crate) fn unchecked(&self, now: Instant, backend: &BackendId) -> Option<Unchecked> {
        self_check::unchecked(now, &self.self_check, &self.checks, backend)
    }

    /// Whose checks can't be made, and whose can again.
    fn tell_unchecked(&mut self, now: Instant) {
        if self.tellings.is_due(now) {
            let backends = self.config.pools.values().flat_map(|pool| &pool.backends).map(|it| &it.id);
            let unchecked = |id: &BackendId| Some((id.clone(), self.unchecked(now, id)?));
            for event in self.tellings.look(now, backends.filter_map(unchecked).collect()) {
                self.journal.publish(event);
            }
        }
    }

    /// The groups are those of the configuration in force from now on.
    pub(crate) fn regroup(&mut self, now: Instant, newcomers: &[GroupName]) {
        let config = &self.config;
        self.traffic.reconfigure(config);
        self.groups.reconfigure(now, config);
        self.orders.forget(|group| config.groups.contains_key(group));
        self.self_check.reconfigure(now, &self_check::gates(&self.config), &self.checks);
        self.order_newcomers(now, newcomers);
        self.do_duties(now);
    }

    /// Hands the workers what there is to serve from now.
    pub(crate) fn serve(&mut self) {
        let mut snapshot = routing::snapshot(&self.config, &self.tls, &self.observed, &self.distances);
        snapshot.probed.extend(self.arriving.iter().map(|(backend, way)| (backend.clone(), way.clone())));
        snapshot.challenges = self.ordering.challenges();
        snapshot.access_log = self.access.log();
        self.snapshot.store(Arc::new(snapshot));
    }

    fn handle_routes(&mut self, reached: impl Iterator<Item = Reached>) {
        if self.distances.learn(reached) {
            self.serve();
        }
    }

    fn handle_probes(&mut self, events: impl Iterator<Item = ProbeEvent>) {
        let verdicts: Vec<_> = events.filter_map(|event| self.observe(event)).collect();
        self.rescore(Instant::now());
        self.announce();
        self.tell_verdicts(verdicts);
    }

    pub(crate) fn tell_verdicts(&mut self, verdicts: Vec<(Instant, EventKind)>) {
        for (at, kind) in verdicts {
            let event = self.journal.publish_at(kind, at);
            if let EventKind::BackendVerdict { backend, reason, .. } = &event.kind {
                self.verdicts.insert(backend.clone(), (event.at, reason.clone()));
            }
        }
    }

    /// Takes an observation over; returns the verdict it brings, to be told. A backend that is no more is passed over.
    pub(crate) fn observe(&mut self, event: ProbeEvent) -> Option<(Instant, EventKind)> {
        let backend = event.backend().clone();
        let region = region_of(&self.config, &backend)?;
        let observed = self.observed.entry(backend.clone()).or_default();
        observed.learn(&event);
        let rtt_us = observed.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX));
        match event {
            ProbeEvent::Verdict { from, to, reason, at, evidence_at, .. } => {
                self.self_check.decided(&backend, to, &self.checks);
                let reason = words::verdict_reason(&reason);
                let took = at.saturating_duration_since(evidence_at).as_micros();
                let detected_in_us = Some(u64::try_from(took).unwrap_or(u64::MAX));
                let verdict =
                    EventKind::BackendVerdict { backend, region, from, to, reason, rtt_us, detected_in_us };
                Some((at, verdict))
            }
            ProbeEvent::Rtt { .. } | ProbeEvent::Share { .. } => None,
        }
    }

    /// True when the daemon has to end at once.
    pub(crate) fn handle_signal(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Reload => {
                self.reload(ReloadRequest::default(), None);
                false
            }
            Signal::Upgrade => {
                self.upgrade(UpgradeRequest::default(), None);
                false
            }
            Signal::Stop(_) if self.stop.is_some() => true,
            Signal::Stop(name) => {
                self.journal.publish(EventKind::DaemonStopping { cause: name.to_owned() });
                self.order_stop(Instant::now());
                self.stop = Some(Stop::Graceful);
                false
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        // A reply that nobody waits for any more is nobody's loss.
        match command {
            Command::Status(reply) => drop(reply.send(self.status(Instant::now()))),
            Command::Peers(reply) => drop(reply.send(self.peers(Instant::now()))),
            Command::Bfd(reply) => drop(reply.send(self.bfd_sessions(Instant::now()))),
            Command::Peer(peer, verb, reply) => self.command_peer(peer, verb, reply),
            Command::Backends(reply) => drop(reply.send(self.backends(Instant::now()))),
            Command::Certificates(reply) => drop(reply.send(self.certificates())),
            Command::Renew(service, reply) => drop(reply.send(self.renew(&service))),
            Command::Traffic(reply) => {
                let counts = self.traffic.counts(Instant::now(), &self.config, &self.data_plane);
                drop(reply.send(counts));
            }
            Command::Advertised(filter, reply) => self.advertised(filter, reply),
            Command::Received(query, reply) => self.received(query, reply),
            Command::Lookup(address, reply) => self.lookup(address, reply),
            Command::RoutesSummary(reply) => self.routes_summary(reply),
            Command::Order(request, by, reply) => drop(reply.send(self.order(Instant::now(), request, by))),
            Command::Drain(request, by, reply) => drop(reply.send(self.drain(Instant::now(), request, by))),
            Command::Undrain(by, reply) => drop(reply.send(self.undrain(Instant::now(), by))),
            Command::Reload(request, reply) => self.reload(request, Some(reply)),
            Command::Upgrade(request, reply) => self.upgrade(request, Some(reply)),
            Command::Restart(request, reply) => {
                let answer = self.restart(request);
                self.restarting = answer.is_ok();
                drop(reply.send(answer));
            }
        }
    }

    fn check_workers(&mut self, now: Instant) -> Result<(), WorkerLost> {
        if self.data_plane.has_lost_a_worker() {
            return Err(WorkerLost::Died);
        }
        self.forget_members(now);
        self.bfd.end_unclaimed(now);
        self.look_at_traffic(now);
        let observed = &self.observed;
        let verdict = |backend: &BackendId| verdict(observed, backend);
        let changes = self.self_check.look(now, self.beats.read(), &self.checks, verdict)?;
        self.do_duties(now);
        self.tell_unchecked(now);
        self.announce();
        for change in changes {
            self.journal.publish(match change {
                WorkerChange::Stalled { worker, silent } => EventKind::WorkerStalled {
                    worker,
                    silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
                },
                WorkerChange::Recovered { worker } => EventKind::WorkerRecovered { worker },
            });
        }
        Ok(())
    }
}

impl Control {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_some()
    }

    /// What goes on when another process has all else.
    pub(crate) fn let_go(self) -> (Arc<DataPlane>, ProberHandle, Access) {
        let Self { data_plane, prober, access, .. } = self;
        (data_plane, prober, access)
    }

    /// Whether all first verdicts are known.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }
}

fn region_of(config: &Config, backend: &BackendId) -> Option<proxima_types::RegionName> {
    let backends = &config.pools.get(backend.pool())?.backends;
    backends.iter().find(|listed| listed.id == *backend).map(|listed| listed.region.clone())
}

fn verdict(observed: &BTreeMap<BackendId, Observed>, backend: &BackendId) -> Health {
    observed.get(backend).copied().unwrap_or_default().health
}

fn believed(observed: &BTreeMap<BackendId, Observed>, check: &SelfCheck, backend: &BackendId) -> Observed {
    let observed = observed.get(backend).copied().unwrap_or_default();
    let unchecked = check.unchecked_since(backend).is_some();
    Observed { health: check.believed(backend, observed.health), unchecked, ..observed }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
