//! Peers that come, change and go with the file.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use proxima_api::Reloads;
use proxima_bgp_speaker::{CommandError, PeerConfig, SpeakerHandle};
use proxima_config::Config;
use proxima_types::PeerName;

use crate::{bfd::Watch, speaker::peer_config};

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

/// One change of a peer, with what takes it back.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Remove(Box<PeerConfig>),
    Change { from: Box<PeerConfig>, to: Box<PeerConfig> },
    Add(Box<PeerConfig>),
}

/// From the peers there are to those there should be. First go those that leave or move, so that their addresses are free.
pub(crate) fn steps(old: &Peers, new: &Peers) -> (Vec<Step>, Reloads) {
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
pub(crate) async fn carry_out(speaker: &SpeakerHandle, steps: &[Step]) -> Result<(), CommandError> {
    let mut done: Vec<&Step> = Vec::new();
    // Those that go take leave at the same time: each may take two seconds. Those that begin anew do so one after another, so that
    // the others announce meanwhile what this PoP has to announce.
    let together = |one: &Step, next: &Step| matches!((one, next), (Step::Remove(_), Step::Remove(_)));
    for phase in steps.chunk_by(together) {
        let taken = join_all(phase.iter().map(|step| step.take(speaker))).await;
        done.extend(phase.iter().zip(&taken).filter(|(_, taken)| taken.is_ok()).map(|(step, _)| step));
        if let Some(failed) = taken.into_iter().find_map(Result::err) {
            take_back(speaker, &done).await;
            return Err(failed);
        }
    }
    Ok(())
}

async fn take_back(speaker: &SpeakerHandle, done: &[&Step]) {
    for step in done.iter().rev() {
        if let Err(error) = step.take_back(speaker).await {
            tracing::error!(%error, "a peer could not be put back as it was");
        }
    }
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proxima_bgp_speaker::Speaker;

    use super::*;
    use crate::speaker::speaker_config;

    #[tokio::test]
    async fn peers_that_have_left_are_put_back_where_another_could_not_leave() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/two-jurisdictions.toml");
        // Nobody is there.
        let peer = "[[bgp.peers]]\nname = \"router\"\naddress = \"127.0.0.1\"\nport = 1\nremote-as = 65000\n";
        let text = std::fs::read_to_string(file).unwrap() + peer;
        let mut config = Config::parse(&text, "two-jurisdictions.toml").unwrap();
        config.bgp.listen.clear();
        let peers = Peers::of(&config).unwrap();
        let known = peers.sessions.values().next().unwrap().clone();
        let unknown = PeerConfig { name: "nobody".parse().unwrap(), ..known.clone() };
        let (speaker, _events) = Speaker::start(speaker_config(&config, &peers)).unwrap();
        let there = || speaker.peers().into_iter().map(|peer| peer.name).collect::<Vec<_>>();
        let steps = [Step::Remove(Box::new(known.clone())), Step::Remove(Box::new(unknown))];
        let refused = carry_out(&speaker, &steps).await;
        assert!(matches!(&refused, Err(CommandError::UnknownPeer { name, .. }) if name == "nobody"));
        assert_eq!(there(), [known.name]);
    }
}
