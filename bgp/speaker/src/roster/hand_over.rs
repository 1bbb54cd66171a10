//! Going on where another process stopped, and standing still for one that goes on here.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    os::fd::AsFd,
    sync::Arc,
    time::Instant,
};

use proxima_bgp_session::{Session, Settings};
use proxima_types::PeerName;
use tokio::net::TcpListener;

use super::{Entry, Kind, PeerPort, Roster};
use crate::{
    PeerConfig, Remote,
    connection::Connection,
    detach::{Before, Resumed, ResumedSession, StandStill},
};

impl Roster {
    /// Lets nobody in until the end of it; with the ways to the tasks that are to stand still: there are no others meanwhile,
    /// but for peers that are added by order.
    pub(crate) fn stand_still(self: &Arc<Self>) -> (StandStill, Vec<PeerPort>) {
        let inner = self.lock();
        self.accepting.send_replace(false);
        let ports = inner.entries.iter().filter_map(Entry::port).cloned().collect();
        (StandStill::new(Arc::clone(self)), ports)
    }

    /// The end of the stand-still, if the tasks have not ended.
    pub(crate) fn go_on(&self) {
        let inner = self.lock();
        if !inner.closed {
            self.accepting.send_replace(true);
        }
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

    /// The ranges that are shut down, each with the reason.
    pub(crate) fn ranges_down(&self) -> Vec<(PeerName, String)> {
        let inner = self.lock();
        let down = |entry: &Entry| match &entry.kind {
            Kind::Range { down } => Some((entry.config.name.clone(), down.clone()?)),
            Kind::Session(_) => None,
        };
        inner.entries.iter().filter_map(down).collect()
    }

    /// Goes on with a member of a range that another process has had; lets it go where there is no such range any more.
    pub(crate) fn resume_member(self: &Arc<Self>, name: &PeerName, resumed: Resumed) {
        let Some((range, address)) = name.as_member() else { return };
        let mut inner = self.lock();
        let config = inner.entries.iter().map(|entry| &entry.config).find(|config| config.name == range);
        let Some(config @ PeerConfig { remote: Remote::Range { prefix, .. }, .. }) = config else { return };
        if prefix.contains(address) {
            let config = config.member(address);
            let port = self.spawn(&mut inner, config.clone(), Some(range), resumed);
            inner.entries.push(Entry { config, kind: Kind::Session(port) });
        }
    }
}

/// A new session, or one that goes on where another process left it, with its connection.
pub(super) fn begin(
    now: Instant,
    started: Instant,
    config: &PeerConfig,
    settings: Settings,
    resumed: Option<ResumedSession>,
) -> (Session, Before) {
    let Some(ResumedSession { snapshot, stream, unwritten }) = resumed else {
        return (Session::new(settings, started, random_seed()), Before::default());
    };
    let has_routes = snapshot.received.is_some();
    match Session::resume(settings.clone(), random_seed(), now, snapshot) {
        Ok((session, id)) => {
            let connection = Some(Connection::resumed(id, stream, &unwritten));
            (session, Before { connection, has_routes, down: None })
        }
        Err(error) => {
            tracing::warn!(peer = %config.name, "BGP: {error}");
            (Session::new(settings, started, random_seed()), Before::default())
        }
    }
}

/// Jitter has to differ between speakers, no more: the standard library's random hash keys do.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}
