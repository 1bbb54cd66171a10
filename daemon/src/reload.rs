//! Reading the configuration again.
//!
//! ```text
//!  SIGHUP, `proxima reload` ─▶ plan: parse, compare, read keys ─▶ apply, beside the control task ─▶ in force
//!                                │ anything wrong                    │ a peer can't be changed: taken back
//!                                ▼                                   ▼
//!                              refused as a whole, nothing changed, told in the journal
//! ```
//!
//! Peers, monitoring stations and table dumps change while the daemon runs; unchanged peers' sessions are not touched. Any
//! other change needs a restart, and then nothing of the file is applied: what runs is always one file, whole.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use futures_util::future::join_all;
use proxima_api::{ErrorBody, EventKind, ReloadRequest, Reloaded, Reloads};
use proxima_bgp_speaker::{CommandError, PeerConfig, SpeakerHandle};
use proxima_config::{Changes, Config, ConfigErrors, Diff, Part};
use proxima_types::PeerName;

use crate::{
    admin::{CommandRefusal, Reply},
    bfd::Watch,
    control::Control,
    speaker::{bmp_config, mrt_config, peer_config},
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

/// A configuration and what follows from it for the peers, keys included.
pub(crate) struct Peers {
    pub(crate) sessions: BTreeMap<PeerName, PeerConfig>,
    pub(crate) watches: BTreeMap<PeerName, Watch>,
}

impl Peers {
    /// What `config` asks for; keys are read from their files.
    ///
    /// # Errors
    /// When a key can't be read.
    pub(crate) fn of(config: &Config) -> Result<Self, crate::secret::SecretError> {
        let (mut sessions, mut watches) = (BTreeMap::new(), BTreeMap::new());
        for peer in &config.bgp.peers {
            sessions.insert(peer.name.clone(), peer_config(peer)?);
            if let Some(watch) = Watch::of(peer)? {
                watches.insert(peer.name.clone(), watch);
            }
        }
        Ok(Self { sessions, watches })
    }
}

/// What a reload is going to do.
pub(crate) struct Plan {
    config: Config,
    peers: Peers,
    changes: Reloaded,
    steps: Vec<Step>,
    /// Whether stations or table dumps differ.
    watchers: bool,
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

/// One change of a peer, with what takes it back.
#[derive(Debug, Clone)]
enum Step {
    Remove(Box<PeerConfig>),
    Change { from: Box<PeerConfig>, to: Box<PeerConfig> },
    Add(Box<PeerConfig>),
}

/// A plan that was carried out, or could not be.
pub(crate) struct Outcome {
    plan: Plan,
    result: Result<(), CommandError>,
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
        match self.plan(request) {
            Ok(plan) => {
                self.reloading = Progress::Busy;
                let (speaker, done) = (self.speaker.clone(), self.reloads.clone());
                tokio::spawn(async move {
                    let result = carry_out(&speaker, &plan.steps).await;
                    if result.is_ok() && plan.watchers {
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
        self.take_over(plan, result, asked);
        if progress == Progress::BusyThenAgain {
            self.reload(ReloadRequest::default(), None);
        }
    }

    fn take_over(&mut self, plan: Plan, result: Result<(), CommandError>, asked: Asked) {
        if let Err(error) = result {
            let hint = "the file is sound, but this host can't do what it asks for; all is as it was before";
            let body =
                ErrorBody { error: error.to_string(), details: Vec::new(), hint: Some(hint.to_owned()) };
            return self.refuse(body, asked);
        }
        for gone in self.peers.watches.keys().filter(|name| !plan.peers.watches.contains_key(*name)) {
            self.bfd.remove(gone);
        }
        for (name, watch) in &plan.peers.watches {
            if self.peers.watches.get(name) != Some(watch) {
                self.bfd.set(watch.clone());
            }
        }
        self.config = plan.config;
        self.peers = plan.peers;
        self.supervisor.reloaded(None);
        self.journal.publish(EventKind::Reloaded { changes: Box::new(plan.changes.clone()) });
        answer(asked, Ok(plan.changes));
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
        needs_restart(&diff)?;
        if config.bgp.peers.is_empty() && !self.config.bgp.peers.is_empty() && !request.force {
            let error =
                "the new file has no peers, and there are some now: nothing would be announced any more";
            return Err(refusal(error, "reload with --force if that is meant"));
        }
        let peers = Peers::of(&config).map_err(|error| {
            refusal(error.to_string(), "nothing was changed; correct it, then reload again")
        })?;
        if !peers.watches.is_empty() {
            self.bfd
                .ensure_started()
                .map_err(|error| refusal(format!("{error:#}"), "nothing was changed"))?;
        }
        let (steps, told) = steps(&self.peers, &peers);
        let watchers = diff.other.contains(&Part::Mrt) || !diff.bmp.is_empty();
        let changes = Reloaded {
            peers: told,
            bmp: reloads(&diff.bmp),
            groups: reloads(&diff.groups),
            services: reloads(&diff.services),
            pools: reloads(&diff.pools),
            regions: reloads(&diff.regions),
            other: diff.other.iter().map(ToString::to_string).collect(),
        };
        Ok(Plan { config, peers, changes, steps, watchers })
    }
}

fn answer(asked: Asked, with: Result<Reloaded, CommandRefusal>) {
    if let Some(reply) = asked {
        reply.send(with).ok(); // who asked may have gone
    }
}

fn refusal(error: impl Into<String>, hint: impl Into<String>) -> ErrorBody {
    ErrorBody { error: error.into(), details: Vec::new(), hint: Some(hint.into()) }
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

/// What can't change while the daemon runs.
fn needs_restart(diff: &Diff) -> Result<(), ErrorBody> {
    // `[bgp.mrt]` can change, as stations can.
    let others = diff.other.iter().filter(|part| **part != Part::Mrt).map(|part| match part {
        Part::BgpListen => "bgp.listen (left out, it follows from whether anyone may connect)".to_owned(),
        part => part.to_string(),
    });
    let parts: Vec<String> = touched("announce", &diff.groups)
        .chain(touched("services", &diff.services))
        .chain(touched("pools", &diff.pools))
        .chain(touched("regions", &diff.regions))
        .chain(others)
        .collect();
    if parts.is_empty() {
        return Ok(());
    }
    Err(refusal(
        format!("a restart is needed for what changed in {}; nothing was applied", parts.join(", ")),
        "restart the daemon (`systemctl restart proximad` drains first), or take these changes out and reload",
    ))
}

fn touched<N: fmt::Display>(kind: &str, changes: &Changes<N>) -> impl Iterator<Item = String> {
    let Changes { added, removed, changed } = changes;
    added.iter().chain(removed).chain(changed).map(move |name| format!("{kind}.{name}"))
}

/// From the peers there are to those there should be. First go those that leave or move, so that their addresses are free.
fn steps(old: &Peers, new: &Peers) -> (Vec<Step>, Reloads) {
    let (mut removals, mut changes, mut additions) = (Vec::new(), Vec::new(), Vec::new());
    let mut told = Reloads::default();
    for (name, from) in &old.sessions {
        if !new.sessions.contains_key(name) {
            removals.push(Step::Remove(Box::new(from.clone())));
            told.removed.push(name.to_string());
        }
    }
    for (name, to) in &new.sessions {
        let Some(from) = old.sessions.get(name) else {
            additions.push(Step::Add(Box::new(to.clone())));
            told.added.push(name.to_string());
            continue;
        };
        if from.remote != to.remote {
            removals.push(Step::Remove(Box::new(from.clone())));
            additions.push(Step::Add(Box::new(to.clone())));
        } else if from != to {
            changes.push(Step::Change { from: Box::new(from.clone()), to: Box::new(to.clone()) });
        }
        if from != to || old.watches.get(name) != new.watches.get(name) {
            told.changed.push(name.to_string());
        }
    }
    (removals.into_iter().chain(changes).chain(additions).collect(), told)
}

/// Carries the steps out; when one can't be, takes back what was done.
async fn carry_out(speaker: &SpeakerHandle, steps: &[Step]) -> Result<(), CommandError> {
    // Peers take leave of each other's neighbours at the same time: each may take two seconds.
    let begin = steps.iter().take_while(|step| matches!(step, Step::Remove(_))).count();
    let (removals, rest) = steps.split_at(begin);
    for removed in join_all(removals.iter().map(|step| step.take(speaker))).await {
        removed?;
    }
    for (index, step) in rest.iter().enumerate() {
        if let Err(error) = step.take(speaker).await {
            for done in steps[..begin + index].iter().rev() {
                if let Err(error) = done.take_back(speaker).await {
                    tracing::error!(%error, "a peer could not be put back as it was");
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

impl Step {
    async fn take(&self, speaker: &SpeakerHandle) -> Result<(), CommandError> {
        match self {
            Self::Remove(peer) => speaker.remove_peer(peer.name.as_str()).await,
            Self::Change { to, .. } => speaker.reconfigure(to.as_ref().clone()).await.map(drop),
            Self::Add(peer) => speaker.add_peer(peer.as_ref().clone()).await,
        }
    }

    async fn take_back(&self, speaker: &SpeakerHandle) -> Result<(), CommandError> {
        match self {
            Self::Remove(peer) => speaker.add_peer(peer.as_ref().clone()).await,
            Self::Change { from, .. } => speaker.reconfigure(from.as_ref().clone()).await.map(drop),
            Self::Add(peer) => speaker.remove_peer(peer.name.as_str()).await,
        }
    }
}
