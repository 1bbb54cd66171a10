//! The daemon's own account: its event journal, followed over the admin socket across restarts.
//!
//! Everything else here is seen from outside; this is what the daemon says that it noticed and decided, and when.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use proxima_api::{Event, EventKind, EventLine, GroupReason, VerdictReason, paths};
use proxima_types::{Health, ReachState};
use tokio::{net::UnixStream, task::JoinHandle};

use super::{Journal, clock::instant};

/// An event and when it happened on this program's clock.
#[derive(Debug, Clone)]
pub struct Told {
    /// When it happened.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// Follows one daemon's events. Dropping it stops.
#[derive(Debug)]
pub struct Follower {
    told: Arc<Journal<Told>>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Follows whichever daemon answers on this admin socket.
    pub fn start(socket: &Path) -> Self {
        let told = Arc::new(Journal::default());
        let task = tokio::spawn(follow(socket.to_owned(), Arc::clone(&told)));
        Self { told, task }
    }

    /// The first event since `since` that `wanted` takes; waits for it until `deadline`.
    pub async fn first<R>(
        &self,
        since: Instant,
        deadline: Instant,
        wanted: impl Fn(&EventKind) -> Option<R>,
    ) -> Option<(Instant, R)> {
        let look = |told: &[Told]| {
            let mut later = told.iter().filter(|told| told.at >= since);
            later.find_map(|told| wanted(&told.kind).map(|found| (told.at, found)))
        };
        self.told.wait(0, deadline, look).await
    }
}

impl Follower {
    /// The events from `since` until `until` that `wanted` takes.
    pub fn between<R>(
        &self,
        since: Instant,
        until: Instant,
        wanted: impl Fn(&EventKind) -> Option<R>,
    ) -> Vec<(Instant, R)> {
        let within = |told: &&Told| told.at >= since && told.at < until;
        self.told.read(0, |told| {
            let told = told.iter().filter(within);
            told.filter_map(|told| wanted(&told.kind).map(|found| (told.at, found))).collect()
        })
    }

    /// How many events from `since` until `until` are like `wanted`.
    pub fn count(&self, since: Instant, until: Instant, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.between(since, until, |kind| wanted(kind).then_some(())).len()
    }

    /// The first verdict since `since` that an app of `region` is down, and why.
    pub async fn down(
        &self,
        region: &str,
        since: Instant,
        deadline: Instant,
    ) -> Option<(Instant, VerdictReason)> {
        let down = |kind: &EventKind| match kind {
            EventKind::BackendVerdict { region: of, to: Health::Down, reason, .. }
                if of.as_str() == region =>
            {
                Some(reason.clone())
            }
            _ => None,
        };
        self.first(since, deadline, down).await
    }

    /// When an announcement group first came to a state since `since`, and why.
    pub async fn transition(
        &self,
        group: &str,
        state: ReachState,
        since: Instant,
        deadline: Instant,
    ) -> Option<(Instant, GroupReason)> {
        let there = |kind: &EventKind| match kind {
            EventKind::GroupTransition { group: of, to, reason, .. }
                if of.as_str() == group && *to == state =>
            {
                Some(reason.clone())
            }
            _ => None,
        };
        self.first(since, deadline, there).await
    }

    /// When the last of these apps had its first verdict of a new daemon.
    pub async fn first_verdicts(
        &self,
        apps: impl IntoIterator<Item = &str>,
        since: Instant,
        deadline: Instant,
    ) -> Option<Instant> {
        let verdicts = apps.into_iter().map(|app| async move {
            let backend = format!("app/{app}");
            let of_app = |kind: &EventKind| match kind {
                EventKind::BackendVerdict { backend: of, from: Health::Unknown, .. } => {
                    (of.to_string() == backend).then_some(())
                }
                _ => None,
            };
            self.first(since, deadline, of_app).await.map(|(at, ())| at)
        });
        let verdicts = futures_util::future::join_all(verdicts).await;
        verdicts.into_iter().collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(socket: PathBuf, journal: Arc<Journal<Told>>) {
    const RETRY: Duration = Duration::from_millis(20);
    // After a lost connection the same daemon tells everything again. Number and time know an event; neither does
    // alone: another daemon counts anew, and an event may be told later than a younger one.
    let mut known = HashSet::new();
    loop {
        // The daemon is not there while it is killed: the next attempt tells.
        if let Err(error) = follow_once(&socket, &journal, &mut known).await {
            tracing::debug!(%error, "following events");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow_once(
    socket: &Path,
    journal: &Journal<Told>,
    known: &mut HashSet<(u64, u64)>,
) -> anyhow::Result<()> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let target = format!("{}?since=0&follow=true", paths::EVENTS);
    let request = Request::get(target).header("host", "localhost").body(Empty::<Bytes>::new())?;
    let mut body = sender.send_request(request).await?.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            text.extend_from_slice(&data);
        }
        while let Some(end) = text.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if let Ok(EventLine::Event(event)) = serde_json::from_slice(&line) {
                record(event, journal, known);
            }
        }
    }
    connection.abort();
    Ok(())
}

fn record(event: Event, journal: &Journal<Told>, known: &mut HashSet<(u64, u64)>) {
    if known.insert((event.seq, event.mono_ns)) {
        journal.push(Told { at: instant(event.mono_ns), kind: event.kind });
    }
}
