//! BMP stations (RFC 7854): a task for each, which connects, tells how things are, and then what happens.
//!
//! ```text
//!  connect ─▶ Initiation ─▶ tap opened: Peer Up of each session ─▶ the table page by page, between live UPDATEs
//!    ▲                                                                  ─▶ End-of-RIB ─▶ live UPDATEs, statistics, …
//!    └── wait (grows to 16 times) ◀── station gone, too slow, or tap lost: all is told anew ◀──┘
//! ```
//!
//! The wait begins anew after a connection that lasted for a minute: telling a whole table again and again, to a station that takes
//! connections and ends them or does not keep up, is no way to have it told.
//!
//! Nothing waits for a station: its tap is a bounded queue ([`TAP_QUEUE`] records) that the thread of the table closes
//! when it is full. The station then begins anew, with what the table holds by then.
//!
//! Routes are told as received, before any policy. A message with faults is told as what was made of it (RFC 7606), and
//! routes that go by themselves (a refresh that did not confirm them, a family disabled) as withdrawn.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::BytesMut;
use proxima_bgp_monitor::bmp::{self, PeerDown, PeerHeader, PeerUp, Statistic, TerminationReason};
use proxima_bgp_rib::{Page, PeerId, Route};
use proxima_bgp_wire::{Nlri, Update};
use proxima_types::Family;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    BmpConfig,
    rib::{Figures, Monitored, Record, Request, RibQueue, SessionEnd, StationId, TAP_QUEUE},
};

/// How long connecting may take, and a write that the station does not take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection has to last for the waits between attempts to begin anew.
const STABLE: Duration = Duration::from_mins(1);
/// The longest wait between attempts, in first waits.
const LONGEST_WAIT: u32 = 16;
/// Octets that are written at once, about.
const CHUNK: usize = 64 * 1024;
/// What a station is told of who tells.
const DESCRIPTION: &str = concat!("proxima ", env!("CARGO_PKG_VERSION"));

/// Tells a station until `ending` turns true.
pub(crate) async fn run(
    config: BmpConfig,
    station: StationId,
    rib: RibQueue,
    mut ending: watch::Receiver<bool>,
) {
    let mut wait = config.retry;
    let mut warned = false;
    loop {
        let connected = tokio::select! {
            connected = timeout(PATIENCE, TcpStream::connect(config.address)) => connected,
            () = ended(&mut ending) => return,
        };
        let error = match connected {
            Ok(Ok(stream)) => {
                tracing::info!(station = %config.name, address = %config.address, "BMP: connected");
                let since = Instant::now();
                let mut session = Session::new(&config, station, &rib, stream);
                let why = match session.run(&mut ending).await {
                    End::Stopped => return session.terminate().await,
                    End::Lost(why) => why,
                };
                warned = false;
                if since.elapsed() >= STABLE {
                    wait = config.retry;
                }
                why
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if !warned {
            tracing::warn!(station = %config.name, address = %config.address, "BMP: {error}; connecting again");
            warned = true;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = ended(&mut ending) => return,
        }
        wait = (wait * 2).min(config.retry * LONGEST_WAIT);
    }
}

/// Returns when the speaker ends. Cancel-safe.
async fn ended(ending: &mut watch::Receiver<bool>) {
    ending.wait_for(|ending| *ending).await.ok(); // the speaker has ended without a word
}

/// Why a session with a station ended.
enum End {
    Stopped,
    Lost(String),
}

/// A connection to a station, and what it has been told.
struct Session<'a> {
    config: &'a BmpConfig,
    station: StationId,
    rib: &'a RibQueue,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    /// The sessions it knows to be up.
    peers: HashMap<PeerId, Arc<Monitored>>,
    unwritten: BytesMut,
    /// Whether the table has been told in full.
    complete: bool,
}

impl<'a> Session<'a> {
    fn new(config: &'a BmpConfig, station: StationId, rib: &'a RibQueue, stream: TcpStream) -> Self {
        SockRef::from(&stream).set_keepalive(true).ok(); // no harm without
        let (reader, writer) = stream.into_split();
        let mut unwritten = BytesMut::new();
        bmp::initiation(&system_name(), DESCRIPTION, "", &mut unwritten);
        Self { config, station, rib, reader, writer, peers: HashMap::new(), unwritten, complete: false }
    }

    async fn run(&mut self, ending: &mut watch::Receiver<bool>) -> End {
        let (sender, mut records) = mpsc::channel(TAP_QUEUE);
        if self.request(Request::Tap(self.station, sender)).await.is_err()
            || self.request(Request::TapPage(self.station, None)).await.is_err()
        {
            return End::Stopped;
        }
        let mut statistics = self.config.statistics.map(|every| {
            let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            interval
        });
        let mut ignored = [0; 64];
        loop {
            if let Err(error) = self.write().await {
                return End::Lost(format!("connection lost: {error}"));
            }
            let due = async {
                match &mut statistics {
                    Some(interval) => drop(interval.tick().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = ended(ending) => return End::Stopped,
                read = self.reader.read(&mut ignored) => match read {
                    Ok(0) => return End::Lost("closed by the station".to_owned()),
                    Ok(_) => {} // it has nothing to say
                    Err(error) => return End::Lost(format!("connection lost: {error}")),
                },
                () = due => {
                    if self.request(Request::TapFigures(self.station)).await.is_err() {
                        return End::Stopped;
                    }
                }
                record = records.recv() => {
                    let Some(record) = record else {
                        let why = format!("more than {TAP_QUEUE} records waited for the station, it is told all anew");
                        return End::Lost(why);
                    };
                    if self.told(record, &mut records).await.is_err() {
                        return End::Stopped;
                    }
                }
            }
        }
    }

    /// Takes a record, and those behind it that make a chunk.
    async fn told(&mut self, first: Record, records: &mut mpsc::Receiver<Record>) -> Result<(), Gone> {
        let mut next = Some(first);
        while let Some(record) = next {
            if let Record::Page(page) = record {
                self.page(&page);
                match page.next {
                    Some(after) => self.request(Request::TapPage(self.station, Some(after))).await?,
                    None => self.complete(),
                }
            } else {
                self.record(record);
            }
            next = if self.unwritten.len() < CHUNK { records.try_recv().ok() } else { None };
        }
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<(), Gone> {
        self.rib.request(request).await.ok_or(Gone)
    }

    async fn write(&mut self) -> io::Result<()> {
        timeout(PATIENCE, self.writer.write_all_buf(&mut self.unwritten)).await?
    }

    async fn terminate(mut self) {
        let reason = TerminationReason::AdministrativelyClosed;
        bmp::termination(reason, "the speaker stops", &mut self.unwritten);
        if self.write().await.is_ok() {
            self.writer.shutdown().await.ok(); // either way it is closed
        }
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::Up(session) => self.up(session),
            Record::Down { peer, at, end } => {
                if let Some(session) = self.peers.remove(&peer) {
                    let why = match &*end {
                        SessionEnd::LocalNotification(message) => PeerDown::LocalNotification(message),
                        SessionEnd::Local => PeerDown::Local { event: 0 },
                        SessionEnd::RemoteNotification(message) => PeerDown::RemoteNotification(message),
                        SessionEnd::Remote => PeerDown::Remote,
                    };
                    bmp::peer_down(&header(&session, wall(at)), why, &mut self.unwritten);
                }
            }
            Record::Update { peer, at, message } => {
                if let Some(session) = self.peers.get(&peer) {
                    bmp::route_monitoring(&header(session, wall(at)), &message, &mut self.unwritten);
                }
            }
            Record::Mended { peer, at, update } => self.mended(peer, at, &update),
            Record::Withdrawn { peer, at, nlri } => self.withdrawn(peer, at, &nlri),
            Record::EndOfRib { peer, at, family } => {
                // Before the table was told in full, that says nothing to the station.
                if let (Some(session), true) = (self.peers.get(&peer), self.complete) {
                    bmp::end_of_rib(&header(session, wall(at)), family, &mut self.unwritten);
                }
            }
            Record::Figures(figures) => self.figures(&figures),
            Record::Page(page) => self.page(&page),
        }
    }

    fn up(&mut self, session: Arc<Monitored>) {
        let up = PeerUp {
            local_address: session.local.ip().to_canonical(),
            local_port: session.local.port(),
            remote_port: session.remote.port(),
            sent_open: &session.sent_open,
            received_open: &session.received_open,
            information: session.name.as_str(),
        };
        bmp::peer_up(&header(&session, session.since), &up, &mut self.unwritten);
        self.peers.insert(session.peer, session);
    }

    fn mended(&mut self, peer: PeerId, at: Instant, update: &Update) {
        self.withdrawn(peer, at, &update.withdrawn);
        let Some(session) = self.peers.get(&peer) else { return };
        for reach in &update.reach {
            let nlri = reach.nlri.iter().copied();
            let header = header(session, wall(at));
            let written = bmp::announced(
                &header,
                session.negotiated,
                &update.attributes,
                reach.next_hop,
                nlri,
                &mut self.unwritten,
            );
            if let Err(error) = written {
                tracing::debug!(station = %self.config.name, peer = %session.name, %error, "BMP: routes are not told");
            }
        }
    }

    fn withdrawn(&mut self, peer: PeerId, at: Instant, nlri: &[Nlri]) {
        let Some(session) = self.peers.get(&peer) else { return };
        let nlri = nlri.iter().copied();
        bmp::withdrawn(&header(session, wall(at)), session.negotiated, nlri, &mut self.unwritten);
    }

    /// Routes of a page, those of a peer with the same attributes in one message.
    fn page(&mut self, page: &Page) {
        let mut groups: BTreeMap<(PeerId, usize, Family), Vec<&Route>> = BTreeMap::new();
        for route in &page.routes {
            let key = (route.peer, Arc::as_ptr(&route.shared).addr(), route.prefix.family());
            groups.entry(key).or_default().push(route);
        }
        for ((peer, ..), routes) in groups {
            let (Some(session), Some(first)) = (self.peers.get(&peer), routes.first()) else { continue };
            let nlri = routes.iter().map(|route| Nlri { prefix: route.prefix, path_id: route.path_id });
            let header = header(session, wall(first.received_at));
            let (attributes, next_hop) = (&first.shared.attributes, first.shared.next_hop);
            let negotiated = session.negotiated;
            let written =
                bmp::announced(&header, negotiated, attributes, next_hop, nlri, &mut self.unwritten);
            if let Err(error) = written {
                tracing::debug!(station = %self.config.name, peer = %session.name, %error, "BMP: routes are not told");
            }
        }
    }

    /// The table has been told.
    fn complete(&mut self) {
        self.complete = true;
        for session in self.peers.values() {
            for family in session.negotiated.families.iter() {
                bmp::end_of_rib(&header(session, SystemTime::now()), family, &mut self.unwritten);
            }
        }
    }

    fn figures(&mut self, figures: &[(PeerId, Figures)]) {
        for (peer, figures) in figures {
            let Some(session) = self.peers.get(peer) else { continue };
            let held = figures.held.map(|counts| counts.paths as u64);
            let mut statistics = vec![
                Statistic::DuplicateAnnouncements(figures.duplicate_announcements),
                Statistic::DuplicateWithdrawals(figures.duplicate_withdrawals),
                Statistic::ClusterListLoops(figures.cluster_list_loops),
                Statistic::AsPathLoops(figures.as_path_loops),
                Statistic::OriginatorIdLoops(figures.originator_id_loops),
                Statistic::TreatAsWithdrawUpdates(figures.treated_as_withdrawn),
                Statistic::AdjRibIn(held.iter().sum()),
            ];
            let families = Family::ALL.into_iter().zip(held);
            statistics.extend(families.map(|(family, held)| Statistic::AdjRibInOf(family, held)));
            bmp::statistics(&header(session, SystemTime::now()), &statistics, &mut self.unwritten);
        }
    }
}

/// The table's thread is gone, and so is the speaker.
struct Gone;

fn header(session: &Monitored, time: SystemTime) -> PeerHeader {
    PeerHeader {
        address: session.remote.ip().to_canonical(),
        asn: session.asn,
        router_id: session.router_id,
        post_policy: false,
        two_octet_as: !session.negotiated.four_octet_as,
        time,
    }
}

fn wall(at: Instant) -> SystemTime {
    SystemTime::now().checked_sub(at.elapsed()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The host's name, as it is now.
fn system_name() -> String {
    // Not from /proc/sys, which the unit does not let the daemon see.
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "proxima".to_owned())
}
