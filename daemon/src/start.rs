//! Brings the daemon up: everything that can fail fails here, before anything is announced.
//!
//! Order: admin socket (another daemon?) → metrics → certificates → what probes take of this host → VIPs → listeners → catchment → BGP → probes. Nothing is announced before
//! the control task has the first verdicts; then the service manager hears that the daemon is ready.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use proxima_acme_io::Acme;
use proxima_bgp_speaker::{Leave, Speaker, SpeakerEvents, SpeakerHandle};
use proxima_catchment::Key;
use proxima_catchment_io::{CatchmentConfig, CatchmentHandle, Counters};
use proxima_config::Config;
use proxima_probe::Prober;
use proxima_proxy::{DataPlane, DataPlaneConfig, Displaced};
use proxima_telemetry::{EventJournal, LogFilter, Prometheus};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    acme,
    admin::{self, AdminSocket},
    bfd::BfdSessions,
    control::{Control, End, Inputs, Parts},
    descriptors,
    distance::{Distances, Followers},
    lacking, listeners, metrics_server,
    notify::Supervisor,
    observe::Observers,
    priority,
    probing::{self, ThroughWorkers},
    pulse::{self, Pulse},
    quic_lb,
    reload::Peers,
    routing, secret,
    signals::Signals,
    speaker::speaker_config,
    tls::Tls,
    traffic::Traffic,
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
    _catchment: Option<CatchmentHandle>,
    servers: Vec<JoinHandle<()>>,
    servers_end: watch::Sender<bool>,
    _watch: pulse::Watch,
}

impl Daemon {
    /// Starts everything `config` asks for.
    ///
    /// # Errors
    /// The first thing that can't be had, with the remedy; what was begun is undone.
    pub(crate) async fn start(
        config: Config,
        file: PathBuf,
        prometheus: Prometheus,
        log: LogFilter,
    ) -> Result<Self> {
        let open_files = descriptors::raise_limit();
        let signals = Signals::listen().context("can't listen to signals")?;
        let socket =
            admin::bind_admin_socket(&config.admin.socket, config.admin.mode, config.admin.group.as_deref())?;
        let metrics = config.metrics.map(|metrics| metrics_server::bind(metrics.listen)).transpose()?;
        let tls = Tls::load(&config)?;
        let issuers = acme::issuers(&config)?;
        lacking::check(&config)?;
        let connection_ids = config.quic_lb.as_ref().map(quic_lb::connection_ids).transpose()?;
        let journal = EventJournal::new(JOURNAL);

        let vips = LocalVips::new(Arc::clone(&journal));
        vips.add(&vips::wanted(&config)).await?;
        let snapshot = Arc::new(ArcSwap::from_pointee(routing::snapshot(
            &config,
            &tls,
            &BTreeMap::new(),
            &Distances::new(&config),
        )));
        let displaced = Displaced::default();
        let (tell, distress) = mpsc::channel(DISTRESS);
        let plane_config = DataPlaneConfig {
            displaced: displaced.clone(),
            distress: Some(tell),
            connection_ids,
            ..data_plane_config(&config, open_files)
        };
        let data_plane = match DataPlane::start(plane_config, &snapshot) {
            Ok(data_plane) => Arc::new(data_plane),
            Err(error) => {
                vips.remove_all().await;
                return Err(error.into());
            }
        };
        listeners::tell(&journal, &[], &data_plane.listeners());
        let (mut bfd, bfd_events) = BfdSessions::new();
        let rest = start_catchment(&config, displaced)
            .and_then(|catchment| Ok((catchment, start_bgp(&config, &mut bfd)?)));
        let (catchment, (peers, speaker, speaker_events)) = match rest {
            Ok(rest) => rest,
            Err(error) => {
                vips.remove_all().await;
                return Err(error);
            }
        };
        let via = Arc::new(ThroughWorkers(data_plane.entrance()));
        let (prober, probes) = Prober::start_with(probing::targets(&config), Some(via.clone()), seed());
        let traffic = Traffic::new(&config, &data_plane, prober.passive(), prober.checks());

        let (mut followers, routes) = Followers::new(speaker.clone());
        followers.follow(&config);
        let (observers, views) = Observers::new();
        let (client, commands) = admin::commands();
        let (servers_end, ending) = watch::channel(false);
        let sources = Sources { prometheus, catchment: catchment.as_ref().map(CatchmentHandle::counters) };
        let servers = serve(socket, metrics, &client, &journal, sources, &ending);
        let (acme, acme_events) = Acme::new(priority::lower);
        let (reloads, reload_outcomes) = mpsc::channel(1);
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
        };
        let control = Control::new(Instant::now(), config, parts);
        let inputs = Inputs {
            probes,
            distress,
            speaker: speaker_events,
            bfd: bfd_events,
            routes,
            views,
            commands,
            reloads: reload_outcomes,
            acme: acme_events,
            signals,
        };
        Ok(Self {
            control,
            inputs,
            journal,
            vips,
            _catchment: catchment,
            servers,
            servers_end,
            _watch: watch,
        })
    }

    /// Runs until told to stop, then takes everything back; or until told to begin anew, and then leaves what outlives a
    /// process as it is.
    ///
    /// # Errors
    /// When it ends without having been told to.
    pub(crate) async fn run(mut self) -> Result<End> {
        let ended = self.control.run(&mut self.inputs).await;
        let pulse = self.control.pulse.clone();
        pulse.while_doing(self.take_back(matches!(ended, Ok(End::Restart)))).await;
        Ok(ended?)
    }

    /// Peers first: they have heard what they need to and may close. The VIPs go last, as packets may come until then.
    async fn take_back(self, restart: bool) {
        let Self {
            mut control,
            mut inputs,
            journal,
            vips,
            _catchment: catchment,
            servers,
            servers_end,
            _watch,
        } = self;
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
        drop(control);
        drop(catchment);
        if !restart {
            vips.remove_all().await;
        }
        journal.close();
        servers_end.send_replace(true);
        for server in servers {
            if let Err(error) = server.await {
                tracing::warn!(%error, "a server did not end in order");
            }
        }
    }
}

/// The speaker with its sessions, and BFD with those peers that have it.
fn start_bgp(config: &Config, bfd: &mut BfdSessions) -> Result<(Peers, SpeakerHandle, SpeakerEvents)> {
    let peers = Peers::of(config)?;
    if !peers.watches.is_empty() {
        bfd.ensure_started()?;
    }
    let (speaker, events) = Speaker::start(speaker_config(config, &peers))?;
    for watch in peers.watches.values() {
        bfd.set(watch.clone());
    }
    Ok((peers, speaker, events))
}

fn start_catchment(config: &Config, displaced: Displaced) -> Result<Option<CatchmentHandle>> {
    let Some(catchment) = &config.catchment else { return Ok(None) };
    let file = catchment.key_file.display();
    let text = fs::read_to_string(&catchment.key_file).with_context(|| {
        format!("catchment: can't read the key in {file}; make one with `openssl rand -hex 32`")
    })?;
    secret::warn_if_others_may_read("catchment key", &catchment.key_file);
    let key = Key::from_hex(&text).map_err(|error| anyhow!("catchment: {file}: {error}"))?;
    let groups = config.groups.values().filter(|group| group.hand_over);
    let vips = groups.flat_map(|group| group.prefixes.iter().copied()).collect();
    let config = CatchmentConfig {
        listen: catchment.listen,
        peers: catchment.peers.clone(),
        key,
        vips,
        answer_within: catchment.answer_within,
    };
    let on_displaced = move |now, clients: &[SocketAddr]| displaced.note(now, clients);
    Ok(Some(proxima_catchment_io::start(config, Box::new(on_displaced))?))
}

fn data_plane_config(config: &Config, open_files: usize) -> DataPlaneConfig {
    let cores = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let workers = config
        .data_plane
        .workers
        .and_then(|workers| NonZeroUsize::new(usize::try_from(workers.get()).ok()?))
        .unwrap_or_else(cores);
    let listeners = listeners::wanted(config);
    let max_descriptors = Some(descriptors::for_clients(open_files, config, workers.get()));
    let name = config.pop.name.clone();
    DataPlaneConfig { max_descriptors, ..DataPlaneConfig::new(workers, listeners, name) }
}

/// Where metrics come from, beside the control task.
#[derive(Clone)]
struct Sources {
    prometheus: Prometheus,
    catchment: Option<Counters>,
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
    let ended = || {
        let mut ending = ending.clone();
        async move {
            // The sender is gone only when the daemon is.
            ending.wait_for(|ending| *ending).await.ok();
        }
    };
    let mut servers = Vec::new();
    let admin = admin::serve(socket, client.clone(), Arc::clone(journal), ended());
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
            async move { metrics_server::scrape(&client, catchment.as_ref(), &prometheus, &last).await }
        };
        let endpoint = metrics_server::serve(listener, render, ended());
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
