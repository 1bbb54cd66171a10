//! Going on where another process stopped, and standing still for one that goes on here.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    os::fd::AsFd,
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_bgp_session::{Leave, Session};
use proxima_types::PeerName;
use tokio::{net::TcpListener, task::JoinSet};

use super::{Entry, Inner, Kind, PeerPort, Roster};
use crate::{
    Configured, Effect, PeerConfig, Remote,
    connection::{Connection, linger},
    detach::{Before, Down, Resumed, ResumedSession, StandStill},
};

impl Inner {
    fn guard_again(&self) {
        if let Err(error) = self.listeners.guard_again() {
            tracing::warn!("BGP: what guards connections is not as it was before the hand-over: {error}");
        }
    }
}

impl Roster {
    /// Lets nobody in until the end of it; with the ways to the tasks that are to stand still: there are no others meanwhile,
    /// but for peers that are added by order.
    ///
    /// `None` while they do already.
    pub(crate) fn stand_still(self: &Arc<Self>) -> Option<(StandStill, Vec<PeerPort>)> {
        let inner = self.lock();
        if !self.accepting.send_replace(false) {
            return None;
        }
        let ports = inner.entries.iter().filter_map(Entry::port).cloned().collect();
        Some((StandStill::new(Arc::clone(self)), ports))
    }

    /// The end of the stand-still, if the tasks have not ended.
    pub(crate) fn go_on(&self) {
        let inner = self.lock();
        if !inner.closed {
            inner.guard_again();
            self.accepting.send_replace(true);
        }
    }

    /// Sets what guards connections once this process alone has the say: keys of the process before go where peers have none.
    pub(crate) fn guard_inherited(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let roster = Arc::downgrade(self);
        tasks.spawn(async move {
            if let Some(roster) = roster.upgrade() {
                roster.lock().guard_again();
            }
        });
    }

    /// Lets nobody in any more, and ends every task at once, whatever it does.
    pub(crate) async fn end(&self) {
        let mut tasks = {
            let mut inner = self.lock();
            inner.closed = true;
            std::mem::take(&mut inner.tasks)
        };
        tasks.shutdown().await;
    }

    /// When the speaker was started, or the first of those before it.
    pub(crate) fn started(&self) -> Instant {
        self.common.started
    }

    /// The listening sockets once more, for a successor.
    pub(crate) fn duplicate_listeners(&self) -> Vec<std::net::TcpListener> {
        let inner = self.lock();
        let duplicate =
            |socket: &Arc<TcpListener>| socket.as_fd().try_clone_to_owned().map(std::net::TcpListener::from);
        let duplicates = inner.listeners.sockets().iter().map(duplicate);
        duplicates
            .inspect(|duplicate| {
                if let Err(error) = duplicate {
                    tracing::warn!("BGP: a listening socket is not handed over: {error}");
                }
            })
            .filter_map(Result::ok)
            .collect()
    }

    /// The ranges that are shut down by an order.
    pub(crate) fn ranges_down(&self) -> Vec<Down> {
        let inner = self.lock();
        let down = |Entry { config, kind }: &Entry| match kind {
            Kind::Range { down: Some(reason) } if config.shutdown.as_ref() != Some(reason) => {
                Some(Down { name: config.name.clone(), reason: reason.clone(), drain: Duration::ZERO })
            }
            Kind::Range { .. } | Kind::Session(_) => None,
        };
        inner.entries.iter().filter_map(down).collect()
    }

    /// Goes on with a member of a range that another process has had, where there is still such a range.
    pub(crate) fn resume_member(self: &Arc<Self>, name: &PeerName, resumed: Resumed) {
        let mut inner = self.lock();
        let range = name.as_member().and_then(|(range, address)| {
            let config =
                inner.entries.iter().map(|entry| &entry.config).find(|config| config.name == range)?;
            let Remote::Range { prefix, .. } = config.remote else { return None };
            prefix.contains(address).then(|| (range, config.member(address)))
        });
        if let Some((range, config)) = range {
            let port = self.spawn(&mut inner, config.clone(), Some(range), resumed);
            inner.entries.push(Entry { config, kind: Kind::Session(port) });
        } else if let Some(session) = resumed.session {
            part(name, session, &mut inner.tasks);
        }
    }

    /// A new session, or one that goes on where another process left it, with its connection; as far as that goes on under
    /// the configuration of this one ([`Effect`]).
    pub(super) fn begin(
        &self,
        now: Instant,
        config: &PeerConfig,
        resumed: Option<ResumedSession>,
        tasks: &mut JoinSet<()>,
    ) -> (Session, Before) {
        let settings = self.common.settings(config);
        let anew = || Session::new(settings.clone(), self.common.started, random_seed());
        let Some(resumed) = resumed else { return (anew(), Before::default()) };
        let effect = resumed.configured.change_to(&Configured::of(config));
        if effect == Effect::Replaced {
            part(&config.name, resumed, tasks);
            return (anew(), Before::default());
        }
        let ResumedSession { snapshot, stream, unwritten, configured } = resumed;
        let has_routes = snapshot.received.is_some();
        match Session::resume(settings.clone(), random_seed(), now, snapshot) {
            Ok((session, id)) => {
                let before = Before {
                    connection: Some(Connection::resumed(id, stream, &unwritten)),
                    has_routes,
                    reopen: effect == Effect::Reopened,
                    down: None,
                    overruled: configured.shutdown,
                };
                (session, before)
            }
            Err(error) => {
                tracing::warn!(peer = %config.name, "BGP: {error}");
                (anew(), Before::default())
            }
        }
    }
}

/// Withdraws, says Cease 6/3 and closes.
fn part(name: &PeerName, session: ResumedSession, tasks: &mut JoinSet<()>) {
    let ResumedSession { snapshot, stream, unwritten, .. } = session;
    match Session::last_words(Instant::now(), snapshot, Leave::Deconfigured) {
        Ok(words) => {
            tracing::info!(peer = %name, "BGP session ended: the peer is not configured any more");
            tasks.spawn(async move { linger(stream, &[&unwritten[..], &words].concat()).await });
        }
        Err(error) => tracing::warn!(peer = %name, "BGP: {error}"),
    }
}

/// Jitter has to differ between speakers, no more: the standard library's random hash keys do.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
