//! Brings the daemon up: everything that can fail fails here, before anything is announced.
//!
//! Order: admin socket (another daemon?) → metrics → certificates, access log → what probes take of this host → VIPs → listeners → catchment → BGP → probes. Nothing is announced before
//! the control task has the first verdicts; then the service manager hears that the daemon is ready.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use arc_swap::ArcSwap;
use proxima_acme_io::Acme;
use proxima_api::EventKind;
use proxima_bfd_io::HandedOver;
use proxima_bgp_speaker::{Detached, Leave, Speaker, SpeakerEvents, SpeakerHandle};
use proxima_config::Config;
use proxima_probe::Prober;
use proxima_proxy::{DataPlane, DataPlaneConfig, Displaced, Inheritance, Snapshot};
use proxima_telemetry::{EventJournal, LogFilter, Prometheus};
use proxima_types::{BackendId, Health, PeerName};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    access::Access,
    acme,
    admin::{self, AdminSocket, Keep},
    bfd::BfdSessions,
    catching::Catching,
    control::{Control, End, Inputs, Parts},
    descriptors,
    distance::{Distances, Followers},
    doors::{self, Opened},
    lacking, listeners, metrics_server,
    notify::Supervisor,
    observe::Observers,
    priority,
    probing::{self, ThroughWorkers},
    pulse::{self, Pulse},
    quic_lb,
    reload::Peers,
    routing,
    signals::Signals,
    speaker::speaker_config,
    tls::Tls,
    traffic::Traffic,
    upgrade::{self, Estate, HandedOn, Inherited, Predecessor},
    vips::{self, LocalVips},
};

/// How many events are kept for those who ask later.
const JOURNAL: usize = 16_384;
/// How many lost connections may wait to be looked at; those beyond are only counted.
const DISTRESS: usize = 256;

/// A daemon that is up.
pub(crate) struct Daemon {
    pub(crate) control: Control,
    pub(crate) inputs: Inputs,
    journal: Arc<EventJournal>,
    vips: LocalVips,
    catching: Catching,
    /// Leaves the admin socket's file to another process.
    admin_file: Keep,
    servers: Vec<JoinHandle<()>>,
    servers_end: watch::Sender<bool>,
    _watch: pulse::Watch,
}

impl Daemon {
    /// Starts everything `config` asks for, or goes on with what another process has; that one is told when all is ready, and
    /// nothing is said to anybody before it has given its word.
    ///
    /// # Errors
    /// The first thing that can't be had, with the remedy; what was begun is undone.
    pub(crate) async fn start(
        config: Config,
        file: PathBuf,
        prometheus: Prometheus,
        log: LogFilter,
        predecessor: Option<Arc<Predecessor>>,
    ) -> Result<Self> {
        let open_files = descriptors::raise_limit();
        let signals = Signals::listen().context("can't listen to signals")?;
        let inherited = predecessor.as_ref().map(|predecessor| predecessor.offer()).transpose()?;
        let from_pid = inherited.as_ref().map(|inherited| inherited.pid);
        let (of_admin, of_metrics, sockets, of_vips) = match inherited {
            Some(Inherited { admin, metrics, data_plane, vips, .. }) => {
                (Some(admin), metrics, Some(data_plane), vips)
            }
            None => Default::default(),
        };
        let Opened { admin: socket, adopted, metrics, doors } = doors::open(&config, of_admin, of_metrics)?;
        let admin_file = socket.keep();
        let tickets = sockets.as_ref().map(Inheritance::tickets).transpose()?.flatten();
        let tls = Tls::load(&config, tickets)?;
        let issuers = acme::issuers(&config)?;
        lacking::check(&config)?;
        let peers = Peers::of(&config)?;
        let connection_ids = config.quic_lb.as_ref().map(quic_lb::connection_ids).transpose()?;
        let access = Access::default().again(config.access_log.as_ref())?;
        let journal = EventJournal::new(JOURNAL);

        let vips = LocalVips::new(Arc::clone(&journal));
        // Those of another process are its own until it gives its word.
        vips.add(&[of_vips.as_slice(), &vips::wanted(&config)].concat()).await?;
        let first = routing::snapshot(&config, &tls, &BTreeMap::new(), &Distances::new(&config));
        let first = Snapshot { access_log: access.log(), ..first };
        let snapshot = Arc::new(ArcSwap::from_pointee(first));
        let displaced = Displaced::default();
        let (tell, distress) = mpsc::channel(DISTRESS);
        let plane_config = DataPlaneConfig {
            displaced: displaced.clone(),
            distress: Some(tell),
            connection_ids,
            inherited: sockets,
            ..data_plane_config(&config, open_files)
        };
        let max_descriptors = plane_config.max_descriptors;
        let prepared = DataPlane::start(plane_config, &snapshot)
            .and_then(|plane| Ok((plane.prepare(listeners::wanted(&config))?, plane)));
        let (sockets, data_plane) = match prepared {
            Ok((sockets, data_plane)) => (sockets, Arc::new(data_plane)),
            Err(error) => {
                vips.keep_only(&of_vips).await;
                return Err(error.into());
            }
        };
        let (mut bfd, bfd_events) = BfdSessions::new();
        if predecessor.is_some() && !peers.watches.is_empty() {
            bfd.prepare()?;
        }
        // What follows waits for nothing until the word is given: no task of this thread runs before.
        let (bgp, watched, state) = match predecessor.as_ref().map(|it| it.estate(adopted)).transpose() {
            Ok(Some(Estate { bgp, bfd, control })) => (bgp, bfd, Some(control)),
            Ok(None) => Default::default(),
            Err(error) => {
                vips.keep_only(&of_vips).await;
                return Err(error.into());
            }
        };
        let handed: Vec<PeerName> = bgp.peers.iter().map(|peer| peer.name.clone()).collect();
        let rest = Catching::start(&config, displaced, predecessor.as_ref())
            .and_then(|catching| Ok((catching, start_bgp(&config, &peers, &mut bfd, (bgp, watched))?)));
        let (catching, (speaker, speaker_events)) = match rest {
            Ok(rest) => rest,
            Err(error) => {
                vips.keep_only(&of_vips).await;
                return Err(error);
            }
        };
        if let Some(predecessor) = &predecessor {
            predecessor.wait_for_the_word()?;
            admin_file.take();
            vips.keep(vips::wanted(&config), config.drain.withdrawn);
        }
        let via = Arc::new(ThroughWorkers(data_plane.entrance()));
        let known =
            |backend: &BackendId| state.as_ref().map_or(Health::Unknown, |state| state.known(backend));
        let (prober, probes) =
            Prober::start_with(probing::targets(&config), Some(via.clone()), known, seed());
        let traffic = Traffic::new(&config, &data_plane, prober.passive(), prober.checks());

        let (mut followers, routes) = Followers::new(speaker.clone());
        followers.follow(&config);
        let (observers, views) = Observers::new();
        let (client, commands) = admin::commands();
        let (servers_end, ending) = watch::channel(false);
        let sources = Sources { prometheus, catchment: catching.clone() };
        let servers = serve(socket, metrics, &client, &journal, sources, &ending);
        let (acme, acme_events) = Acme::new(priority::lower);
        let (reloads, reload_outcomes) = mpsc::channel(1);
        let (upgrades, upgrade_outcomes) = mpsc::channel(1);
        let (supervisor, pulse) = (Supervisor::from_env(), Pulse::default());
        let watch = pulse::watch(pulse.clone(), pulse::LIMIT, pulse::end_the_process)
            .context("can't start the thread that watches the control thread")?;
        let journal_of_control = Arc::clone(&journal);
        let parts = Parts {
            journal: journal_of_control,
            speaker,
            data_plane,
            traffic,
            snapshot,
            tls,
            acme: (acme, issuers),
            access,
            bfd,
            prober,
            via,
            open_files,
            followers,
            observers,
            vips: vips.clone(),
            log,
            supervisor,
            pulse,
            file,
            peers,
            reloads,
            doors,
            upgrades,
        };
        let mut control = Control::new(Instant::now(), config, parts, state);
        // Nobody is to be served by less than what is known.
        control.serve();
        control.data_plane.reconfigure(sockets, max_descriptors, Duration::ZERO);
        listeners::tell(&journal, &[], &control.data_plane.listeners());
        if let Some(pid) = from_pid {
            journal.publish(EventKind::TookOver { pid, peers: handed });
        }
        let inputs = Inputs {
            probes,
            distress,
            speaker: speaker_events,
            bfd: bfd_events,
            routes,
            views,
            commands,
            reloads: reload_outcomes,
            upgrades: upgrade_outcomes,
            acme: acme_events,
            signals,
        };
        Ok(Self { control, inputs, journal, vips, catching, admin_file, servers, servers_end, _watch: watch })
    }

    /// Runs until told to stop, then takes everything back; or until told to begin anew, and then leaves what outlives a
    /// process as it is; or until another process has it all, and then lets connections of clients end.
    ///
    /// # Errors
    /// When it ends without having been told to.
    pub(crate) async fn run(mut self) -> Result<End> {
        let ended = self.control.run(&mut self.inputs).await;
        let pulse = self.control.pulse.clone();
        match ended {
            Ok(End::Upgraded) => pulse.while_doing(Box::pin(self.let_go())).await,
            _ => pulse.while_doing(Box::pin(self.take_back(matches!(ended, Ok(End::Restart))))).await,
        }
        Ok(ended?)
    }

    /// Peers first: they have heard what they need to and may close. The VIPs go last, as packets may come until then.
    async fn take_back(self, restart: bool) {
        let Self { mut control, mut inputs, journal, vips, catching, servers, .. } = self;
        if restart {
            control.bfd.farewell();
            control.speaker.stop(Leave::Restart).await;
        } else {
            control.speaker.stop(Leave::Stop { reason: "proximad stops".to_owned() }).await;
            control.bfd.farewell();
        }
        while let Some(event) = inputs.speaker.try_recv() {
            control.handle_speaker(event);
        }
        control.prober.stop().await;
        let access = control.access.clone();
        drop(control);
        access.flush();
        catching.end();
        if !restart {
            vips.keep_only(&[]).await;
        }
        end_servers(&journal, &self.servers_end, servers).await;
    }

    /// What is another process's now goes without a word: nobody is told anything, nothing is taken back. Clients' connections
    /// may end in peace, unless a signal ends them.
    async fn let_go(self) {
        let Self { mut control, mut inputs, journal, catching, admin_file, servers, .. } = self;
        let Some(handed_on) = control.handed_on.take() else { return };
        let HandedOn { successor, bgp, keeps_admin_file, asked, upgraded } = handed_on;
        self.servers_end.send_replace(true);
        control.bfd.end_silently();
        if !keeps_admin_file {
            admin_file.keep();
        }
        let (drain, data_plane) = (control.config.drain.streams, Arc::clone(&control.data_plane));
        let ended = async {
            bgp.taken().await;
            catching.end();
            successor.release();
            control.prober.stop().await;
            end_servers(&journal, &self.servers_end, servers).await;
        };
        let drained = async {
            // Who hears of it reaches the other process with what comes next.
            data_plane.stop_listening().await;
            upgrade::answer(asked, Ok(upgraded));
            data_plane.drain(drain).await
        };
        let ((), open) = tokio::select! {
            both = async { tokio::join!(ended, drained) } => both,
            () = inputs.signals.stop() => return,
        };
        if open > 0 {
            tracing::warn!(open, "connections were still open when their time was over");
        }
        control.access.flush();
    }
}

async fn end_servers(journal: &EventJournal, ending: &watch::Sender<bool>, servers: Vec<JoinHandle<()>>) {
    journal.close();
    ending.send_replace(true);
    for server in servers {
        if let Err(error) = server.await {
            tracing::warn!(%error, "a server did not end in order");
        }
    }
}

/// The speaker with its sessions, and BFD with those peers that have it: new ones, or those of the process before.
fn start_bgp(
    config: &Config,
    peers: &Peers,
    bfd: &mut BfdSessions,
    (sessions, watched): (Detached, HandedOver),
) -> Result<(SpeakerHandle, SpeakerEvents)> {
    if !peers.watches.is_empty() || !watched.sessions.is_empty() {
        bfd.start_with(watched)?;
    }
    let (speaker, events) = Speaker::start_with(speaker_config(config, peers), sessions)?;
    for watch in peers.watches.values() {
        bfd.set(watch.clone());
    }
    Ok((speaker, events))
}

fn data_plane_config(config: &Config, open_files: usize) -> DataPlaneConfig {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let workers = config
        .data_plane
        .workers
        .and_then(|workers| NonZeroUsize::new(usize::try_from(workers.get()).ok()?))
        .unwrap_or_else(cores);
    let max_descriptors = Some(descriptors::for_clients(open_files, config, workers.get()));
    let name = config.pop.name.clone();
    DataPlaneConfig { max_descriptors, ..DataPlaneConfig::new(workers, Vec::new(), name) }
}

/// Where metrics come from, beside the control task.
#[derive(Clone)]
struct Sources {
    prometheus: Prometheus,
    catchment: Catching,
}

/// The admin interface and the metrics endpoint, each a task that ends when `ending` turns true.
fn serve(
    socket: AdminSocket,
    metrics: Option<std::net::TcpListener>,
    client: &admin::ControlClient,
    journal: &Arc<EventJournal>,
    sources: Sources,
    ending: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let mut servers = Vec::new();
    let admin = admin::serve(socket, client.clone(), Arc::clone(journal), ending.clone());
    servers.push(tokio::spawn(async move {
        if let Err(error) = admin.await {
            tracing::error!(%error, "the admin interface ended; the rest goes on");
        }
    }));
    if let Some(listener) = metrics {
        let client = client.clone();
        let last = Arc::<Mutex<String>>::default();
        let render = move || {
            let (client, last) = (client.clone(), Arc::clone(&last));
            let Sources { prometheus, catchment } = sources.clone();
            async move { metrics_server::scrape(&client, catchment.counters(), &prometheus, &last).await }
        };
        let endpoint = metrics_server::serve(listener, render, ending.clone());
        servers.push(tokio::spawn(async move {
            if let Err(error) = endpoint.await {
                tracing::error!(%error, "the metrics endpoint ended; the rest goes on");
            }
        }));
    }
    servers
}

/// Jitter need not be secret, only different from PoP to PoP and from start to start.
pub(crate) fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    u64::try_from(nanos & u128::from(u64::MAX)).unwrap_or_default()
        ^ u64::from(std::process::id()).rotate_left(32)
}
