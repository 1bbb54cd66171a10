//! Reading the configuration again.
//!
//! ```text
//!  SIGHUP, `proxima reload` ─▶ plan: parse, compare, read keys ─▶ apply, beside the control task ─▶ in force
//!                                │ anything wrong                    │ a peer can't be changed: taken back
//!                                ▼                                   ▼
//!                              refused as a whole, nothing changed, told in the journal
//! ```
//!
//! Peers, monitoring stations, table dumps, announcement groups, TLS of services, `[limits]`, `[access-log]`, `[drain]` and the log's level change
//! while the daemon runs; certificates, keys and ticket keys are read again whatever the file says. Unchanged peers' sessions are not touched, and an unchanged route sends no UPDATE. Any other change needs a restart, and then nothing
//! of the file is applied: what runs is always one file, whole.
//!
//! New VIPs are there before they are announced; what may be announced at all is widened first and narrowed last.

mod peers;
mod refuse;

use std::{fmt, fs, path::Path, time::Instant};

use proxima_api::{ErrorBody, EventKind, ReloadRequest, Reloaded, Reloads};
use proxima_bgp_speaker::AllowList;
use proxima_config::{Changes, Config, ConfigErrors, Part};
use proxima_types::GroupName;

pub(crate) use self::peers::Peers;
use self::{
    peers::{Step, carry_out, steps},
    refuse::{empties_nothing, falls_silent, needs_no_restart, refusal},
};
use crate::{
    access::Access,
    admin::{CommandRefusal, Reply},
    control::Control,
    speaker::{bmp_config, mrt_config},
    tls::Tls,
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
    config: Config,
    peers: Peers,
    tls: Tls,
    access: Access,
    changes: Reloaded,
    steps: Vec<Step>,
    /// Whether stations or table dumps differ.
    watchers: bool,
    /// Groups that are new.
    newcomers: Vec<GroupName>,
    /// Whether groups, or what holds for all of them, differ.
    regroup: bool,
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

/// A plan that was carried out, or could not be.
pub(crate) struct Outcome {
    plan: Plan,
    result: Result<(), String>,
    asked: Asked,
}

impl Control {
    /// Reads the file again and does what follows from it; the answer goes to who asked and into the journal.
    pub(crate) fn reload(&mut self, request: ReloadRequest, asked: Asked) {
        if self.is_stopping() {
            return answer(asked, Err(CommandRefusal::Stopping));
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
                let (speaker, vips, done) = (self.speaker.clone(), self.vips.clone(), self.reloads.clone());
                let stay = vips::wanted(&self.config);
                tokio::spawn(async move {
                    let result = match vips.add(&vips::wanted(&plan.config)).await {
                        Ok(()) => carry_out(&speaker, &plan.steps).await.map_err(|error| error.to_string()),
                        Err(error) => Err(error.to_string()),
                    };
                    if result.is_err() {
                        vips.keep(stay, std::time::Duration::ZERO);
                    } else if plan.watchers {
                        let bgp = &plan.config.bgp;
                        let stations = bgp.bmp.iter().map(bmp_config).collect();
                        speaker.set_watchers(stations, bgp.mrt.as_ref().map(mrt_config)).await;
                    }
                    // The control task is gone only when the daemon ends.
                    done.send(Outcome { plan, result, asked }).await.ok();
                });
            }
            Err(body) => self.refuse(body, asked),
        }
    }

    /// Takes the new configuration over, or tells why the old one stays.
    pub(crate) fn reloaded(&mut self, outcome: Outcome) {
        let Outcome { plan, result, asked } = outcome;
        let progress = std::mem::take(&mut self.reloading);
        match result {
            Ok(()) => self.take_over(plan, asked),
            Err(error) => {
                let hint =
                    "the file is sound, but this host can't do what it asks for; all is as it was before";
                self.refuse(refusal(error, hint), asked);
            }
        }
        if progress == Progress::BusyThenAgain {
            self.reload(ReloadRequest::default(), None);
        }
    }

    fn take_over(&mut self, plan: Plan, asked: Asked) {
        let Plan { config, peers, tls, access, changes, newcomers, regroup, .. } = plan;
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
        self.tls = tls;
        self.access = access;
        let differs = before.limits != self.config.limits || before.access_log != self.config.access_log;
        if !changes.tls.is_empty() || differs {
            self.serve();
        }
        if regroup {
            self.take_over_groups(&before, &newcomers);
        }
        if before.log.level != self.config.log.level {
            self.set_log_level();
        }
        // An observing peer may be another one now.
        self.observers.follow(&self.config, &self.speaker);
        self.vips.keep(vips::wanted(&self.config), self.config.drain.withdrawn);
        self.supervisor.reloaded(None);
        self.journal.publish(EventKind::Reloaded { changes: Box::new(changes.clone()) });
        answer(asked, Ok(changes));
    }

    fn set_log_level(&self) {
        match self.log.set(&self.config.log.level.to_string()) {
            Ok(true) => {}
            Ok(false) => tracing::warn!("PROXIMA_LOG outranks `level` of [log]: the log stays as it is"),
            Err(error) => tracing::error!(%error, "the log stays as it is"),
        }
    }

    /// The groups of the configuration in force, which are others than `before`.
    fn take_over_groups(&mut self, before: &Config, newcomers: &[GroupName]) {
        let now = Instant::now();
        self.allow(before.prefixes().into_iter().chain(self.config.prefixes()).collect());
        self.regroup(now, newcomers);
        let since = self.wall(now);
        self.group_since.retain(|name, _| self.config.groups.contains_key(name));
        self.group_since.extend(newcomers.iter().map(|name| (name.clone(), since)));
        self.announce();
        self.allow(self.config.prefixes());
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

    fn plan(&mut self, request: ReloadRequest) -> Result<Plan, ErrorBody> {
        let config = read(&self.file)?;
        let diff = Config::diff(&self.config, &config);
        needs_no_restart(&self.config, &config, &diff)?;
        if !request.force {
            empties_nothing(&diff)?;
            let believed = |backend: &_| self.believed(backend);
            if self.groups.would_fall_silent(Instant::now(), &config, &believed) {
                return Err(falls_silent());
            }
        }
        let peers = Peers::of(&config).map_err(|error| {
            refusal(error.to_string(), "nothing was changed; correct it, then reload again")
        })?;
        let tls = self.tls.again(&config).map_err(|error| {
            refusal(error.to_string(), "nothing was changed, and the certificates before stay in use")
        })?;
        let access = self.access.again(config.access_log.as_ref()).map_err(|error| {
            refusal(error.to_string(), "nothing was changed; correct it, then reload again")
        })?;
        if !peers.watches.is_empty() {
            self.bfd
                .ensure_started()
                .map_err(|error| refusal(format!("{error:#}"), "nothing was changed"))?;
        }
        let (steps, told) = steps(&self.peers, &peers);
        let regroup = !diff.groups.is_empty() || diff.other.contains(&Part::Limits);
        let newcomers = diff.groups.added.clone();
        let watchers = diff.other.contains(&Part::Mrt) || !diff.bmp.is_empty();
        let changes = Reloaded {
            peers: told,
            bmp: reloads(&diff.bmp),
            groups: reloads(&diff.groups),
            services: reloads(&diff.services),
            pools: reloads(&diff.pools),
            regions: reloads(&diff.regions),
            tls: tls.differing(&self.tls),
            other: diff.other.iter().map(ToString::to_string).collect(),
        };
        Ok(Plan { config, peers, tls, access, changes, steps, watchers, newcomers, regroup })
    }
}

fn answer(asked: Asked, with: Result<Reloaded, CommandRefusal>) {
    if let Some(reply) = asked {
        reply.send(with).ok(); // who asked may have gone
    }
}

fn read(file: &Path) -> Result<Config, ErrorBody> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| {
        refusal(format!("can't read {name}: {error}"), "the last good configuration stays in force")
    })?;
    Config::parse(&text, &name).map_err(|errors: ConfigErrors| {
        let count = errors.errors().len();
        let first = &errors.errors()[0];
        let more = if count == 1 { String::new() } else { format!(", and {} more", count - 1) };
        ErrorBody {
            error: format!("{name}:{}:{}: {}{more}", first.line, first.column, first.message),
            details: errors.errors().iter().map(ToString::to_string).collect(),
            hint: Some("the last good configuration stays in force".to_owned()),
        }
    })
}
