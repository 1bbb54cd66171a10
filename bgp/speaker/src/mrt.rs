//! Dumps of the routing table (RFC 6396, TABLE_DUMP_V2), on demand and from time to time.
//!
//! A file appears under its name when it is whole: it is written beside it and renamed. The table goes on changing
//! meanwhile; each prefix is written as it is when its turn comes. What a dump can't hold is left out, and told: no peer can
//! keep the others' routes out of it. Old files are left to others.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use bytes::BytesMut;
use proxima_bgp_monitor::mrt::{IndexedPeer, RibEntry, TableDump, TableDumpError};
use proxima_bgp_rib::{Page, PeerId, Route};

use crate::{DumpError, MrtConfig, rib::RibQueue};

/// Routes in a page, about.
const PAGE: usize = 4096;

/// Writes a dump every interval.
pub(crate) async fn run(
    config: MrtConfig,
    router_id: Ipv4Addr,
    rib: RibQueue,
    peers: impl Fn() -> Vec<PeerId>,
) {
    let mut interval =
        tokio::time::interval_at(tokio::time::Instant::now() + config.interval, config.interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // At once, and not when the first dump is due.
    if let Err(error) = try_out(config.directory.clone()).await {
        tracing::warn!("MRT: {error}");
    }
    loop {
        interval.tick().await;
        let path = config.directory.join(file_name(SystemTime::now()));
        match dump(path, router_id, rib.clone(), peers()).await {
            Ok(()) => {}
            Err(DumpError::Stopped) => return,
            Err(error) => tracing::warn!("MRT: {error}"),
        }
    }
}

/// Such as `rib.20260129.143000.mrt`, in UTC: as the public archives have it, and with seconds.
fn file_name(now: SystemTime) -> String {
    match jiff::Timestamp::try_from(now) {
        Ok(now) => now.strftime("rib.%Y%m%d.%H%M%S.mrt").to_string(),
        Err(_) => "rib.mrt".to_owned(),
    }
}

/// Whether files can be made in `directory`.
async fn try_out(directory: PathBuf) -> Result<(), DumpError> {
    let tried = tokio::task::spawn_blocking(move || {
        let file = directory.join(".trial.part");
        let made = File::create(&file).and_then(|_| fs::remove_file(&file));
        made.map_err(|error| DumpError::Write { path: directory, error })
    });
    tried.await.unwrap_or(Err(DumpError::Stopped))
}

/// Writes the whole table to `path`, off the runtime's thread.
pub(crate) async fn dump(
    path: PathBuf,
    router_id: Ipv4Addr,
    rib: RibQueue,
    peers: Vec<PeerId>,
) -> Result<(), DumpError> {
    let written = tokio::task::spawn_blocking(move || write(&path, router_id, &rib, &peers));
    written.await.unwrap_or(Err(DumpError::Stopped))
}

fn write(path: &Path, router_id: Ipv4Addr, rib: &RibQueue, peers: &[PeerId]) -> Result<(), DumpError> {
    let failed = |error: io::Error| DumpError::Write { path: path.to_owned(), error };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let unfinished = path.with_file_name(name);
    let result = write_to(&unfinished, router_id, rib, peers)
        .and_then(|whole| whole.then(|| fs::rename(&unfinished, path)).transpose());
    match result {
        Ok(Some(())) => Ok(()),
        Ok(None) => {
            fs::remove_file(&unfinished).ok(); // what is told is that the speaker has stopped
            Err(DumpError::Stopped)
        }
        Err(error) => {
            fs::remove_file(&unfinished).ok(); // what is told is the first error
            Err(failed(error))
        }
    }
}

/// False when the table was gone before the end.
fn write_to(path: &Path, router_id: Ipv4Addr, rib: &RibQueue, peers: &[PeerId]) -> io::Result<bool> {
    let mut file = BufWriter::new(File::create(path)?);
    let asked = peers.to_vec();
    let known = rib.ask_blocking(move |rib| {
        asked.into_iter().filter_map(|peer| Some((peer, *rib.source(peer)?))).collect::<Vec<_>>()
    });
    let Some(known) = known else { return Ok(false) };
    let indexed: Vec<_> = known
        .iter()
        .map(|(_, source)| IndexedPeer {
            router_id: source.router_id,
            address: source.address,
            asn: source.asn,
        })
        .collect();
    let now = (Instant::now(), SystemTime::now());
    let mut bytes = BytesMut::new();
    let mut dump = TableDump::begin(now.1, router_id, "", &indexed, &mut bytes).map_err(io::Error::other)?;
    let (mut after, mut left_out) = (None, LeftOut::default());
    loop {
        let Some(Page { routes, next }) = rib.ask_blocking(move |rib| rib.table(after, PAGE)) else {
            return Ok(false);
        };
        for routes in routes.chunk_by(|one, other| one.prefix == other.prefix) {
            let entries: Vec<_> = routes.iter().filter_map(|route| entry(route, &known, now)).collect();
            if let (Some(first), false) = (routes.first(), entries.is_empty()) {
                match dump.prefix(now.1, first.prefix, &entries, &mut bytes) {
                    Ok(()) => {}
                    Err(error @ TableDumpError::Attributes { .. }) => left_out.note(error),
                    Err(error) => return Err(io::Error::other(error)),
                }
            }
        }
        file.write_all(&bytes.split())?;
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    left_out.tell();
    Ok(true)
}

/// Prefixes that are not in the dump. AS numbers of two octets take four there: a path as long as a message can be outgrows
/// it. Told once for all, as the peer chooses how many there are.
#[derive(Debug, Default)]
struct LeftOut {
    prefixes: u64,
    first: Option<TableDumpError>,
}

impl LeftOut {
    fn note(&mut self, error: TableDumpError) {
        self.prefixes += 1;
        self.first.get_or_insert(error);
    }

    fn tell(&self) {
        if let Some(first) = &self.first {
            tracing::warn!(
                prefixes = self.prefixes,
                "MRT: prefixes are left out of the dump, the first: {first}"
            );
        }
    }
}

/// None for a peer that came after the dump was begun.
fn entry<'a>(
    route: &'a Route,
    peers: &[(PeerId, proxima_bgp_rib::PathSource)],
    (instant, wall): (Instant, SystemTime),
) -> Option<RibEntry<'a>> {
    let position = peers.iter().position(|(peer, _)| *peer == route.peer)?;
    let age = instant.saturating_duration_since(route.received_at);
    Some(RibEntry {
        peer: u16::try_from(position).ok()?,
        received: wall.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
        path_id: route.path_id,
        attributes: &route.shared.attributes,
        next_hop: route.shared.next_hop,
    })
}
