//! What BMP stations hear, in the order in which the table takes it in.
//!
//! Records leave the thread of the table, not the peers' tasks: a page of the table that a new station asks for and the
//! UPDATEs that change it come in one order, so that what the station holds in the end is what the table holds.
//!
//! A station that does not keep up loses its tap, and with it all it was told: it begins anew.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::{Bytes, BytesMut};
use proxima_bgp_rib::{Applied, Counts, Page, PeerId, Rib};
use proxima_bgp_session::{Cause, Mended, PeerUp, ReceivedUpdate};
use proxima_bgp_wire::{Loops, Message, Negotiated, Nlri, Notification, Update};
use proxima_types::{Asn, Family, PeerName, Prefix};
use tokio::sync::mpsc;

/// Records that may wait for a station.
pub(crate) const TAP_QUEUE: usize = 4096;
/// Routes in a page of a station's first dump, about.
const PAGE: usize = 512;

/// A station by number.
pub(crate) type StationId = usize;

/// A session that stations hear of.
#[derive(Debug)]
pub(crate) struct Monitored {
    pub(crate) peer: PeerId,
    pub(crate) name: PeerName,
    pub(crate) asn: Asn,
    pub(crate) router_id: std::net::Ipv4Addr,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) since: SystemTime,
    pub(crate) negotiated: Negotiated,
    pub(crate) sent_open: Bytes,
    pub(crate) received_open: Bytes,
}

impl Monitored {
    pub(crate) fn new(
        (peer, name): (PeerId, PeerName),
        (local, remote): (SocketAddr, SocketAddr),
        up: &PeerUp,
    ) -> Self {
        Self {
            peer,
            name,
            asn: up.asn,
            router_id: up.router_id,
            local,
            remote,
            since: SystemTime::now(),
            negotiated: up.negotiated,
            sent_open: up.sent_open.clone(),
            received_open: up.received_open.clone(),
        }
    }
}

/// How a session ended, as far as a station wants to know.
#[derive(Debug)]
pub(crate) enum SessionEnd {
    /// We sent this NOTIFICATION, the whole message.
    LocalNotification(Bytes),
    /// We ended it without one.
    Local,
    /// The peer sent this NOTIFICATION, the whole message.
    RemoteNotification(Bytes),
    /// The peer ended it without one.
    Remote,
}

impl From<&Cause> for SessionEnd {
    fn from(cause: &Cause) -> Self {
        match cause {
            Cause::NotificationSent { notification, .. } => Self::LocalNotification(encoded(notification)),
            Cause::NotificationReceived(notification) => Self::RemoteNotification(encoded(notification)),
            Cause::TcpLost(_) => Self::Remote,
            Cause::Started
            | Cause::RetryTimerExpired
            | Cause::TcpConnected
            | Cause::TcpAccepted
            | Cause::ConnectFailed(_)
            | Cause::OpenAccepted
            | Cause::OpenConfirmed
            | Cause::Stopped
            | Cause::Left(_)
            | Cause::Ended(_)
            | Cause::UnexpectedEvent(_) => Self::Local,
        }
    }
}

fn encoded(notification: &Notification) -> Bytes {
    let mut bytes = BytesMut::new();
    // What went over the wire once fits a message.
    Message::Notification(notification.clone()).encode(Negotiated::default(), &mut bytes).ok();
    bytes.freeze()
}

/// What a station is told.
#[derive(Debug, Clone)]
pub(crate) enum Record {
    Up(Arc<Monitored>),
    Down {
        peer: PeerId,
        at: Instant,
        end: Arc<SessionEnd>,
    },
    /// An UPDATE as it came.
    Update {
        peer: PeerId,
        at: Instant,
        message: Bytes,
    },
    /// One that was not taken for what it says: what was made of it.
    Mended {
        peer: PeerId,
        at: Instant,
        update: Arc<Update>,
    },
    /// Routes that went without a word of the peer.
    Withdrawn {
        peer: PeerId,
        at: Instant,
        nlri: Arc<[Nlri]>,
    },
    EndOfRib {
        peer: PeerId,
        at: Instant,
        family: Family,
    },
    /// A part of the table, for the one that asked for it.
    Page(Page),
    /// Figures, for the one that asked for them.
    Figures(Vec<(PeerId, Figures)>),
}

/// What is counted of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Figures {
    /// In the order of [`Family::ALL`].
    pub(crate) held: [Counts; 2],
    pub(crate) duplicate_announcements: u32,
    pub(crate) duplicate_withdrawals: u32,
    /// UPDATEs that have been here, by what shows it.
    pub(crate) cluster_list_loops: u32,
    pub(crate) as_path_loops: u32,
    pub(crate) originator_id_loops: u32,
    /// UPDATEs (RFC 7606).
    pub(crate) treated_as_withdrawn: u32,
}

/// The stations that listen, and the sessions there are to tell of.
#[derive(Default)]
pub(super) struct Taps {
    stations: HashMap<StationId, mpsc::Sender<Record>>,
    sessions: HashMap<PeerId, (Arc<Monitored>, Figures)>,
}

impl Taps {
    /// A station begins to listen: first to which sessions there are.
    pub(super) fn open(&mut self, station: StationId, records: mpsc::Sender<Record>) {
        let ups = self.sessions.values().map(|(session, _)| Record::Up(session.clone()));
        if ups.map(|up| records.try_send(up)).all(|sent| sent.is_ok()) {
            self.stations.insert(station, records);
        }
    }

    /// Hands a station the next page of the table.
    pub(super) fn page(&mut self, rib: &Rib, station: StationId, after: Option<Prefix>) {
        self.tell_one(station, Record::Page(rib.table(after, PAGE)));
    }

    /// Hands a station what is counted of each session.
    pub(super) fn figures(&mut self, rib: &Rib, station: StationId) {
        let held = |peer| Family::ALL.map(|family| rib.counts(peer, family));
        let figures = self
            .sessions
            .iter()
            .map(|(peer, (_, figures))| (*peer, Figures { held: held(*peer), ..*figures }))
            .collect();
        self.tell_one(station, Record::Figures(figures));
    }

    pub(super) fn up(&mut self, session: Arc<Monitored>) {
        // A connection that replaces another (RFC 4724 §5) begins a session too.
        self.down(session.peer, Instant::now(), SessionEnd::Local);
        self.sessions.insert(session.peer, (session.clone(), Figures::default()));
        self.tell(|| Record::Up(session.clone()));
    }

    pub(super) fn down(&mut self, peer: PeerId, at: Instant, end: SessionEnd) {
        if self.sessions.remove(&peer).is_some() {
            let end = Arc::new(end);
            self.tell(|| Record::Down { peer, at, end: end.clone() });
        }
    }

    /// An UPDATE, before the table takes it.
    pub(super) fn update(&mut self, peer: PeerId, at: Instant, received: &ReceivedUpdate) {
        let Some((_, figures)) = self.sessions.get_mut(&peer) else { return };
        let Loops { as_path, originator_id, cluster_list } = received.marks.loops;
        figures.as_path_loops += u32::from(as_path);
        figures.originator_id_loops += u32::from(originator_id);
        figures.cluster_list_loops += u32::from(cluster_list);
        figures.treated_as_withdrawn += u32::from(received.mended == Some(Mended::TreatedAsWithdrawn));
        if self.stations.is_empty() {
            return;
        }
        if received.mended.is_none() {
            // The message shares its memory with all that came along: not to be kept.
            let message = Bytes::copy_from_slice(&received.message);
            self.tell(|| Record::Update { peer, at, message: message.clone() });
        } else {
            let update = Arc::new(received.update.clone());
            self.tell(|| Record::Mended { peer, at, update: update.clone() });
        }
    }

    pub(super) fn applied(&mut self, peer: PeerId, applied: Applied) {
        if let Some((_, figures)) = self.sessions.get_mut(&peer) {
            let count = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
            figures.duplicate_announcements =
                figures.duplicate_announcements.wrapping_add(count(applied.unchanged));
            figures.duplicate_withdrawals =
                figures.duplicate_withdrawals.wrapping_add(count(applied.unknown));
        }
    }

    pub(super) fn end_of_rib(&mut self, peer: PeerId, at: Instant, family: Family) {
        self.tell(|| Record::EndOfRib { peer, at, family });
    }

    /// Routes of an established session are about to go though the peer did not withdraw them.
    pub(super) fn losing(
        &mut self,
        rib: &Rib,
        (peer, family): (PeerId, Family),
        at: Instant,
        stale_only: bool,
    ) {
        if self.stations.is_empty() || !self.sessions.contains_key(&peer) {
            return;
        }
        let mut after = None;
        loop {
            let Page { routes, next } = rib.received(peer, after, PAGE);
            let nlri: Arc<[Nlri]> = routes
                .iter()
                .filter(|route| route.prefix.family() == family && (route.stale.is_some() || !stale_only))
                .map(|route| Nlri { prefix: route.prefix, path_id: route.path_id })
                .collect();
            if !nlri.is_empty() {
                self.tell(|| Record::Withdrawn { peer, at, nlri: nlri.clone() });
            }
            match next {
                Some(next) => after = Some(next),
                None => return,
            }
        }
    }

    fn tell(&mut self, record: impl Fn() -> Record) {
        self.stations.retain(|_, station| station.try_send(record()).is_ok());
    }

    fn tell_one(&mut self, station: StationId, record: Record) {
        if self.stations.get(&station).is_some_and(|station| station.try_send(record).is_err()) {
            self.stations.remove(&station);
        }
    }
}
