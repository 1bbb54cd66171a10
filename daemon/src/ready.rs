//! Everything that can fail in a start: had first, for a daemon that begins and for one that takes over from another process.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc, thread};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use proxima_acme_io::IssuerConfig;
use proxima_bfd_io::{BfdEvent, HandedOver};
use proxima_bgp_speaker::{Detached, Speaker, SpeakerEvents, SpeakerHandle};
use proxima_config::Config;
use proxima_proxy::{DataPlane, DataPlaneConfig, Displaced, Distress, Inheritance, Prepared, Snapshot};
use proxima_types::PeerName;
use tokio::sync::mpsc;

use crate::{
    access::Access,
    acme,
    bfd::BfdSessions,
    catching::Catching,
    control::Before,
    descriptors,
    distance::Distances,
    doors::{self, Opened},
    lacking, listeners,
    pulse::{self, Pulse},
    quic_lb,
    reload::Peers,
    routing,
    signals::Signals,
    speaker::speaker_config,
    tls::Tls,
    upgrade::{self, Estate, Inherited, Predecessor},
    vips::{self, LocalVips},
};

/// How many lost connections may wait to be looked at; those beyond are only counted.
const DISTRESS: usize = 256;

/// All that can fail, had: nothing of it is in force yet.
pub(crate) struct Ready {
    pub(crate) signals: Signals,
    pub(crate) opened: Opened,
    pub(crate) tls: Tls,
    pub(crate) issuers: Vec<IssuerConfig>,
    pub(crate) peers: Peers,
    pub(crate) access: Access,
    pub(crate) plane: Plane,
    pub(crate) bfd: BfdSessions,
    pub(crate) bfd_events: mpsc::Receiver<BfdEvent>,
    pub(crate) open_files: usize,
}

/// Workers that don't listen yet, and what they are to listen on.
pub(crate) struct Plane {
    pub(crate) workers: Arc<DataPlane>,
    pub(crate) sockets: Prepared,
    pub(crate) max_descriptors: Option<usize>,
    pub(crate) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(crate) displaced: Displaced,
    pub(crate) distress: mpsc::Receiver<Distress>,
}

/// What speaks from now on.
pub(crate) struct Begun {
    pub(crate) ready: Ready,
    pub(crate) bgp: (SpeakerHandle, SpeakerEvents),
    pub(crate) catching: Catching,
    pub(crate) state: Option<Before>,
    /// The peers whose sessions go on.
    pub(crate) handed: Vec<PeerName>,
    pub(crate) pulse: Pulse,
    pub(crate) watch: pulse::Watch,
}

impl Ready {
    /// Gets everything `config` asks for; of what the process before has, what is at the same place.
    ///
    /// # Errors
    /// The first that can't be had, with the remedy.
    pub(crate) async fn new(config: &Config, inherited: Option<Inherited>, vips: &LocalVips) -> Result<Self> {
        let open_files = descriptors::raise_limit();
        let signals = Signals::listen().context("can't listen to signals")?;
        let (of_admin, of_metrics, sockets) = match inherited {
            Some(Inherited { admin, metrics, data_plane, .. }) => (Some(admin), metrics, Some(data_plane)),
            None => (None, None, None),
        };
        let opened = doors::open(config, of_admin, of_metrics)?;
        let tickets = sockets.as_ref().map(Inheritance::tickets).transpose()?.flatten();
        let tls = Tls::load(config, tickets)?;
        let issuers = acme::issuers(config)?;
        lacking::check(config)?;
        let peers = Peers::of(config)?;
        let access = Access::default().again(config.access_log.as_ref())?;
        vips.add(&vips::wanted(config)).await?;
        let (mut bfd, bfd_events) = BfdSessions::new();
        if sockets.is_some() && !peers.watches.is_empty() {
            bfd.prepare()?;
        }
        let plane = Plane::start(config, open_files, &tls, &access, sockets)?;
        Ok(Self { signals, opened, tls, issuers, peers, access, plane, bfd, bfd_events, open_files })
    }

    /// Takes in what the process before this one has, if there is one, and waits for its word. Waits for nothing else: no task of
    /// this thread runs before, and nothing is said to anybody.
    ///
    /// # Errors
    /// When the process before goes on by itself, or what is left can't be had.
    pub(crate) fn take_over(
        mut self,
        config: &Config,
        predecessor: Option<&Arc<Predecessor>>,
    ) -> Result<Begun> {
        let estate = predecessor.map(|predecessor| predecessor.estate(self.opened.adopted)).transpose()?;
        let (sessions, watched, state) = match estate {
            None => (Detached::default(), HandedOver::default(), None),
            Some(Estate { config: in_force, force, bgp, bfd, control }) => {
                let newcomers = upgrade::judge(&in_force, config, &control, force)?;
                (bgp, bfd, Some((control, newcomers)))
            }
        };
        let handed = sessions.peers.iter().map(|peer| peer.name.clone()).collect();
        let catching = Catching::start(config, self.plane.displaced.clone(), predecessor)?;
        let has_bfd = !self.peers.watches.is_empty();
        // Its sockets are there already, or are to be had now.
        let goes_on = !watched.sockets.is_empty();
        if has_bfd && !goes_on {
            self.bfd.ensure_started()?;
        }
        let bgp = Speaker::start_with(speaker_config(config, &self.peers), sessions)?;
        let pulse = Pulse::default();
        let watch = pulse::watch(pulse.clone(), pulse::LIMIT, pulse::end_the_process)
            .context("can't start the thread that watches the control thread")?;
        if let Some(predecessor) = predecessor {
            predecessor.wait_for_the_word()?;
        }
        // The process before sends on until this one does.
        if goes_on {
            self.bfd.start_with(watched)?;
        }
        self.peers.watches.values().for_each(|watch| self.bfd.set(watch.clone()));
        Ok(Begun { ready: self, bgp, catching, state, handed, pulse, watch })
    }
}

impl Plane {
    fn start(
        config: &Config,
        open_files: usize,
        tls: &Tls,
        access: &Access,
        inherited: Option<Inheritance>,
    ) -> Result<Self> {
        let connection_ids = config.quic_lb.as_ref().map(quic_lb::connection_ids).transpose()?;
        let first = routing::snapshot(config, tls, &BTreeMap::new(), &Distances::new(config));
        let first = Snapshot { access_log: access.log(), ..first };
        let snapshot = Arc::new(ArcSwap::from_pointee(first));
        let displaced = Displaced::default();
        let (tell, distress) = mpsc::channel(DISTRESS);
        let count = inherited.as_ref().map(Inheritance::workers);
        let plane_config = DataPlaneConfig {
            displaced: displaced.clone(),
            distress: Some(tell),
            connection_ids,
            inherited,
            ..data_plane_config(config, open_files, count)
        };
        let max_descriptors = plane_config.max_descriptors;
        let workers = Arc::new(DataPlane::start(plane_config, &snapshot)?);
        let sockets = workers.prepare(listeners::wanted(config))?;
        Ok(Self { workers, sockets, max_descriptors, snapshot, displaced, distress })
    }
}

/// As many workers as are asked for, as the process before has, or as there are cores.
fn data_plane_config(config: &Config, open_files: usize, inherited: Option<NonZeroUsize>) -> DataPlaneConfig {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let workers = config
        .data_plane
        .workers
        .and_then(|workers| NonZeroUsize::new(usize::try_from(workers.get()).ok()?))
        .or(inherited)
        .unwrap_or_else(cores);
    let max_descriptors = Some(descriptors::for_clients(open_files, config, workers.get()));
    let name = config.pop.name.clone();
    DataPlaneConfig { max_descriptors, ..DataPlaneConfig::new(workers, Vec::new(), name) }
}
