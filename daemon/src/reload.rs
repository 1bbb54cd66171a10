//! Reading the configuration again.
//!
//! ```text
//!  SIGHUP, `proxima reload` ─▶ plan: parse, compare, read keys ─▶ prepare: VIPs, sockets, first verdicts of new backends
//!                                │ anything wrong                   │ what can't be had, or nothing would be announced
//!                                ▼                                  ▼
//!                              refused as a whole, nothing changed, told in the journal
//!                                                                   ▲
//!                                                                   │ a peer can't be changed: taken back
//!  answered ◀─ every worker has it ◀─ in force, at one stroke ◀─ carry out: peers ◀─┘
//! ```
//!
//! What takes time is done beside the control task. What needs a restart refuses the file, and then nothing of it is applied: what
//! runs is always one file, whole. `refuse` says what that is; everything else changes while the daemon runs. Certificates, keys,
//! ticket keys and the authorities of probes are read again whatever the file says. What is the same is not touched: no session, no
//! UPDATE, no listener, no probe, no connection.
//!
//! New VIPs are there before they are announced; what may be announced at all is widened first and narrowed last. New addresses
//! are bound, and new backends probed, before anything else changes.

mod newcomers;
mod peers;
mod refuse;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
    sync::Arc,
    time::Instant,
};

use proxima_acme_io::IssuerConfig;
use proxima_api::{ErrorBody, EventKind, ReloadRequest, Reloaded, Reloads};
use proxima_bgp_speaker::AllowList;
use proxima_config::{Changes, Config, ConfigErrors, Part};
use proxima_health::{Known, Percent};
use proxima_probe::ProbeEvent;
use proxima_proxy::{Listener, Prepared};
use proxima_types::{BackendId, GroupName, Health};

pub(crate) use self::peers::Peers;
use self::{
    newcomers::Findings,
    peers::{Step, carry_out, steps},
    refuse::{needs_no_restart, refusal},
};
pub(crate) use self::{
    newcomers::of as newcomers,
    refuse::{empties_nothing, falls_silent},
};
use crate::{
    access::Access,
    acme,
    admin::{CommandRefusal, Reply},
    control::Control,
    descriptors, lacking, listeners, probing,
    routing::{self, Observed},
    speaker::{bmp_config, mrt_config},
    tls::Tls,
    upgrade::UNDER_WAY,
    vips,
};

/// Who asked, if someone waits for the answer.
pub(crate) type Asked = Option<Reply<Result<Reloaded, CommandRefusal>>>;

/// Whether a reload is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Progress {
    /// None.
    #[default]
    Idle,
    /// One.
    Busy,
    /// One, and a signal came since, so another one after it.
    BusyThenAgain,
}

/// What a reload is going to do.
pub(crate) struct Plan {
    /// The text of `config`.
    text: String,
    config: Config,
    peers: Peers,
    tls: Tls,
    issuers: Vec<IssuerConfig>,
    access: Access,
    changes: Reloaded,
    steps: Vec<Step>,
    /// Whether stations or table dumps differ.
    watchers: bool,
    /// Groups that are new.
    newcomers: Vec<GroupName>,
    /// Backends that are new, or at another address.
    arriving: BTreeSet<BackendId>,
    groups: Regroup,
    force: bool,
}

/// What a configuration names, read.
struct Named {
    peers: Peers,
    tls: Tls,
    issuers: Vec<IssuerConfig>,
    access: Access,
}

/// What of the groups differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Regroup {
    Nothing,
    /// What makes their scores.
    Scores,
    /// What is announced, or what holds for all of them; the scores may differ as well.
    Groups,
}

/// What a plan needs, and has.
pub(crate) struct Means {
    sockets: Prepared,
    findings: Findings,
}

/// How far a reload has come.
pub(crate) struct Outcome {
    stage: Stage,
    asked: Asked,
}

enum Stage {
    /// Whether there is what the plan needs.
    Prepared(Box<Plan>, Result<Means, String>),
    /// Whether peers are as planned.
    CarriedOut(Box<Plan>, Means, Result<(), String>),
    /// The workers serve by it; with what was listened on before.
    Served(Box<Reloaded>, Vec<Listener>),
}

/// A name's changes in the interface's words.
fn reloads<N: fmt::Display>(changes: &Changes<N>) -> Reloads {
    let words = |names: &[N]| names.iter().map(ToString::to_string).collect();
    Reloads {
        added: words(&changes.added),
        removed: words(&changes.removed),
        changed: words(&changes.changed),
    }
}

impl Control {
    /// Reads the file again and does what follows from it; the answer goes to who asked and into the journal.
    pub(crate) fn reload(&mut self, request: ReloadRequest, asked: Asked) {
        if self.is_stopping() {
            return answer(asked, Err(CommandRefusal::Stopping));
        }
        if let Some(upgrade) = &mut self.upgrading {
            if asked.is_none() {
                upgrade.then_reload = true;
                return;
            }
            let busy = CommandRefusal::conflict(UNDER_WAY, "wait for it, then try again");
            return answer(asked, Err(busy));
        }
        if self.reloading != Progress::Idle {
            if asked.is_none() {
                self.reloading = Progress::BusyThenAgain;
                return;
            }
            let busy = CommandRefusal::conflict("a reload is under way", "wait for it, then try again");
            return answer(asked, Err(busy));
        }
        self.supervisor.reloading();
        // Whatever the file says: this is how a rotation tells of itself.
        self.access.reopen();
        match self.plan(request) {
            Ok(plan) => {
                self.reloading = Progress::Busy;
                self.prepare(plan, asked);
            }
            Err(body) => self.refuse(body, asked),
        }
    }

    /// Takes a reload a step further.
    pub(crate) fn reloaded(&mut self, outcome: Outcome) {
        let Outcome { stage, asked } = outcome;
        match stage {
            Stage::Prepared(..) if self.is_stopping() => {
                self.give_up(refusal("the daemon is stopping", "reload after the next start"), asked);
            }
            Stage::Prepared(plan, Ok(means)) => match self.judge(&plan, &means) {
                Ok(()) => return self.carry_out(plan, means, asked),
                Err(body) => self.give_up(body, asked),
            },
            Stage::CarriedOut(plan, means, Ok(())) => return self.take_over(*plan, means, asked),
            Stage::Prepared(_, Err(error)) | Stage::CarriedOut(_, _, Err(error)) => {
                let hint =
                    "the file is sound, but this host can't do what it asks for; all is as it was before";
                self.give_up(refusal(error, hint), asked);
            }
            Stage::Served(changes, listened) => {
                self.supervisor.reloaded(None);
                listeners::tell(&self.journal, &listened, &self.data_plane.listeners());
                self.journal.publish(EventKind::Reloaded { changes: changes.clone() });
                answer(asked, Ok(*changes));
            }
        }
        if std::mem::take(&mut self.reloading) == Progress::BusyThenAgain {
            self.reload(ReloadRequest::default(), None);
        }
    }

    /// Gets what the plan needs, beside the control task.
    fn prepare(&mut self, plan: Plan, asked: Asked) {
        let (data_plane, vips, done) =
            (Arc::clone(&self.data_plane), self.vips.clone(), self.reloads.clone());
        let mut targets = probing::targets(&plan.config);
        targets.retain(|target| plan.arriving.contains(&target.backend));
        // The workers are to know the way before it is probed.
        self.arriving = routing::probed(&plan.config, &plan.tls);
        self.arriving.retain(|(backend, _), _| plan.arriving.contains(backend));
        if !self.arriving.is_empty() {
            self.serve();
        }
        let (via, seed) = (Arc::clone(&self.via), crate::start::seed());
        tokio::spawn(async move {
            let sockets = match vips.add(&vips::wanted(&plan.config)).await {
                Ok(()) => {
                    data_plane.prepare(listeners::wanted(&plan.config)).map_err(|error| error.to_string())
                }
                Err(error) => Err(error.to_string()),
            };
            let means = match sockets {
                Ok(sockets) => {
                    let findings = newcomers::first_verdicts(targets, via, seed).await;
                    Ok(Means { sockets, findings })
                }
                Err(error) => Err(error),
            };
            // The control task is gone only when the daemon ends.
            done.send(Outcome { stage: Stage::Prepared(Box::new(plan), means), asked }).await.ok();
        });
    }

    /// Whether anything would be announced, by what is known of backends, those included that are new.
    fn judge(&self, plan: &Plan, means: &Means) -> Result<(), ErrorBody> {
        let mut found: BTreeMap<&BackendId, Observed> =
            plan.arriving.iter().map(|backend| (backend, NEW)).collect();
        for event in &means.findings {
            found.entry(event.backend()).or_insert(NEW).learn(event);
        }
        let believed =
            |backend: &BackendId| found.get(backend).copied().unwrap_or_else(|| self.believed(backend));
        if !plan.force && self.groups.would_fall_silent(Instant::now(), &plan.config, &believed) {
            return Err(falls_silent());
        }
        Ok(())
    }

    /// Changes the peers, beside the control task.
    fn carry_out(&self, plan: Box<Plan>, means: Means, asked: Asked) {
        let (speaker, done) = (self.speaker.clone(), self.reloads.clone());
        tokio::spawn(async move {
            let result = carry_out(&speaker, &plan.steps).await.map_err(|error| error.to_string());
            if result.is_ok() && plan.watchers {
                let bgp = &plan.config.bgp;
                let stations = bgp.bmp.iter().map(bmp_config).collect();
                speaker.set_watchers(stations, bgp.mrt.as_ref().map(mrt_config)).await;
            }
            done.send(Outcome { stage: Stage::CarriedOut(plan, means, result), asked }).await.ok();
        });
    }

    /// All is as it was before.
    fn give_up(&mut self, body: ErrorBody, asked: Asked) {
        self.vips.keep(vips::wanted(&self.config), std::time::Duration::ZERO);
        if !std::mem::take(&mut self.arriving).is_empty() {
            self.serve();
        }
        self.refuse(body, asked);
    }

    /// The plan is in force when this returns; the workers have it a moment later.
    fn take_over(&mut self, plan: Plan, means: Means, asked: Asked) {
        let Plan {
            text, config, peers, mut tls, issuers, access, changes, newcomers, arriving, groups, ..
        } = plan;
        let Means { sockets, findings } = means;
        for gone in self.peers.watches.keys().filter(|name| !peers.watches.contains_key(*name)) {
            self.bfd.remove(gone);
        }
        for (name, watch) in &peers.watches {
            if self.peers.watches.get(name) != Some(watch) {
                self.bfd.set(watch.clone());
            }
        }
        self.peers = peers;
        let before = std::mem::replace(&mut self.config, config);
        self.text = text;
        tls.keep_newer(&self.tls);
        let told = self.tls.missing();
        self.tls = tls;
        self.ordering.set(issuers, &self.tls);
        self.tell_missing(&told);
        self.access = access;
        self.arriving.clear();
        self.prober.trust().read_again();
        let verdicts = self.take_over_backends(&before, arriving, findings);
        self.distances.reconfigure(&self.config);
        self.followers.follow(&self.config);
        let listened = self.data_plane.listeners();
        self.serve();
        let max_descriptors =
            descriptors::for_clients(self.open_files, &self.config, self.data_plane.workers());
        let taking = self.data_plane.reconfigure(sockets, Some(max_descriptors), self.config.drain.streams);
        if groups != Regroup::Nothing {
            self.take_over_groups(&before, &newcomers, groups);
        }
        if before.log.level != self.config.log.level {
            self.set_log_level();
        }
        // An observing peer may be another one now.
        self.observers.follow(&self.config, &self.speaker);
        self.vips.keep(vips::wanted(&self.config), self.config.drain.withdrawn);
        self.tell_verdicts(verdicts);
        let done = self.reloads.clone();
        tokio::spawn(async move {
            if !taking.over().await {
                tracing::error!("a worker does not take over what a reload has changed");
            }
            done.send(Outcome { stage: Stage::Served(Box::new(changes), listened), asked }).await.ok();
        });
    }

    /// The backends of the configuration in force, which are others than `before`. Returns what is to be told of them.
    fn take_over_backends(
        &mut self,
        before: &Config,
        arriving: BTreeSet<BackendId>,
        findings: Findings,
    ) -> Vec<(Instant, EventKind)> {
        for backend in newcomers::gone(before, &self.config) {
            self.observed.remove(&backend);
            self.verdicts.remove(&backend);
        }
        for backend in arriving {
            self.verdicts.remove(&backend);
            self.observed.insert(backend, NEW);
        }
        let verdicts = findings.into_iter().filter_map(|event| self.observe(event)).collect();
        let observed = &self.observed;
        let known =
            |backend: &BackendId| observed.get(backend).map_or_else(Known::default, |it| it.health.into());
        self.prober.reconfigure(probing::targets(&self.config), known);
        verdicts
    }

    fn set_log_level(&self) {
        match self.log.set(&self.config.log.level.to_string()) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("PROXIMA_LOG outranks `level` of [log]: the log stays as it is"),
            Err(error) => tracing::error!(%error, "the log stays as it is"),
        }
    }

    /// The groups of the configuration in force, or what makes their scores, which are others than `before`.
    fn take_over_groups(&mut self, before: &Config, newcomers: &[GroupName], differs: Regroup) {
        let now = Instant::now();
        let reannounce = differs == Regroup::Groups;
        if reannounce {
            self.allow(before.prefixes().into_iter().chain(self.config.prefixes()).collect());
        }
        self.regroup(now, newcomers);
        let since = self.wall(now);
        self.group_since.retain(|name, _| self.config.groups.contains_key(name));
        self.group_since.extend(newcomers.iter().map(|name| (name.clone(), since)));
        self.announce();
        if reannounce {
            self.allow(self.config.prefixes());
        }
    }

    /// From now on only these may be announced; what is desired is among them.
    fn allow(&self, prefixes: Vec<proxima_types::Prefix>) {
        if let Err(error) = self.speaker.set_allow_list(AllowList::new(prefixes)) {
            tracing::error!(%error, "the list of what may be announced stays as it was");
        }
    }

    fn refuse(&mut self, body: ErrorBody, asked: Asked) {
        for detail in &body.details {
            tracing::error!("configuration refused: {detail}");
        }
        self.supervisor.reloaded(Some(&body.error));
        self.journal.publish(EventKind::ReloadRefused { error: body.error.clone() });
        answer(asked, Err(CommandRefusal::Unprocessable(body)));
    }

    /// That a process which begins by the file as it is now finds everything in it and named by it.
    ///
    /// # Errors
    /// When it would not, and so end at once.
    pub(crate) fn check_file(&self) -> Result<(), ErrorBody> {
        let (_, config) = read(&self.file)?;
        self.named(&config).map(drop)
    }

    /// Reads what `config` names, and looks for what its probes need.
    fn named(&self, config: &Config) -> Result<Named, ErrorBody> {
        fn or(hint: &str) -> impl Fn(&dyn fmt::Display) -> ErrorBody {
            move |error| refusal(error.to_string(), format!("nothing was changed{hint}"))
        }
        let again = or("; correct it, then try again");
        let peers = Peers::of(config).map_err(|error| again(&error))?;
        let tls = self
            .tls
            .again(config)
            .map_err(|error| or(", and the certificates before stay in use")(&error))?;
        let issuers = acme::issuers(config)
            .map_err(|error| or(", and who was asked for certificates is asked on")(&error))?;
        lacking::check(config).map_err(|error| or(", and the probes before go on")(&error))?;
        let access = self.access.again(config.access_log.as_ref()).map_err(|error| again(&error))?;
        Ok(Named { peers, tls, issuers, access })
    }

    fn plan(&mut self, request: ReloadRequest) -> Result<Plan, ErrorBody> {
        let (text, config) = read(&self.file)?;
        let diff = Config::diff(&self.config, &config);
        needs_no_restart(&self.config, &config, &diff)?;
        if !request.force {
            empties_nothing(&diff)?;
        }
        let Named { peers, tls, issuers, access } = self.named(&config)?;
        if !peers.watches.is_empty() {
            self.bfd
                .ensure_started()
                .map_err(|error| refusal(format!("{error:#}"), "nothing was changed"))?;
        }
        let (steps, told) = steps(&self.peers, &peers);
        let groups = match () {
            () if !diff.groups.is_empty() || diff.other.contains(&Part::Limits) => Regroup::Groups,
            () if !diff.services.is_empty() || !diff.pools.is_empty() => Regroup::Scores,
            () => Regroup::Nothing,
        };
        let (newcomers, force) = (diff.groups.added.clone(), request.force);
        let arriving = newcomers::of(&self.config, &config);
        let watchers = diff.other.contains(&Part::Mrt) || !diff.bmp.is_empty();
        let changes = Reloaded {
            peers: told,
            bmp: reloads(&diff.bmp),
            groups: reloads(&diff.groups),
            services: reloads(&diff.services),
            pools: reloads(&diff.pools),
            backends: reloads(&diff.backends),
            regions: reloads(&diff.regions),
            tls: tls.differing(&self.tls),
            other: diff.other.iter().map(ToString::to_string).collect(),
        };
        Ok(Plan {
            text,
            config,
            peers,
            tls,
            issuers,
            access,
            changes,
            steps,
            watchers,
            newcomers,
            arriving,
            groups,
            force,
        })
    }
}

/// Of a backend that has just been added.
pub(crate) const NEW: Observed =
    Observed { health: Health::Unknown, rtt: None, share: Percent::FULL, is_new: true, unchecked: false };

impl Observed {
    /// Takes over what a probe has found out.
    pub(crate) fn learn(&mut self, event: &ProbeEvent) {
        match event {
            ProbeEvent::Verdict { to, .. } => *self = Self { health: *to, is_new: false, ..*self },
            ProbeEvent::Rtt { rtt, .. } => self.rtt = Some(*rtt),
            ProbeEvent::Share { share, .. } => self.share = *share,
        }
    }
}

fn answer(asked: Asked, with: Result<Reloaded, CommandRefusal>) {
    if let Some(reply) = asked {
        reply.send(with).ok(); // who asked may have gone
    }
}

fn read(file: &Path) -> Result<(String, Config), ErrorBody> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| {
        refusal(format!("can't read {name}: {error}"), "the last good configuration stays in force")
    })?;
    let config = Config::parse(&text, &name).map_err(|errors: ConfigErrors| {
        let count = errors.errors().len();
        let first = &errors.errors()[0];
        let more = if count == 1 { String::new() } else { format!(", and {} more", count - 1) };
        ErrorBody {
            error: format!("{name}:{}:{}: {}{more}", first.line, first.column, first.message),
            details: errors.errors().iter().map(ToString::to_string).collect(),
            hint: Some("the last good configuration stays in force".to_owned()),
        }
    })?;
    Ok((text, config))
}
