//! The daemon's own account: its event journal, followed over the admin socket across restarts.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use proxima_api::{Event, EventKind, EventLine, paths};
use tokio::{net::UnixStream, task::JoinHandle};

use crate::observe::{Journal, clock::instant};

/// An event and when it happened on this program's clock.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) at: Instant,
    pub(super) kind: EventKind,
}

/// Follows one daemon's events. Dropping it stops.
#[derive(Debug)]
pub(super) struct Follower {
    told: Arc<Journal<Told>>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(super) fn start(socket: &Path) -> Self {
        let told = Arc::new(Journal::default());
        let task = tokio::spawn(follow(socket.to_owned(), Arc::clone(&told)));
        Self { told, task }
    }

    /// The first event since `since` that `wanted` takes; waits for it until `deadline`.
    pub(super) async fn first<R>(
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
