//! Brings the daemon up: everything that can fail fails here, before anything is announced.
//!
//! Order: admin socket (another daemon?) → metrics → certificates, access log → what probes take of this host → VIPs → listeners → catchment → BGP → probes. Nothing is announced before
//! the control task has the first verdicts; then the service manager hears that the daemon is ready.

use std::{
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use nix::{sys::signal::Signal, unistd::Pid};
use proxima_acme_io::Acme;
use proxima_api::EventKind;
use proxima_bgp_speaker::Leave;
use proxima_config::Config;
use proxima_health::Known;
use proxima_probe::Prober;
use proxima_telemetry::{EventJournal, LogFilter, Prometheus};
use proxima_types::BackendId;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

use crate::{
    admin::{self, AdminSocket, Keep},
    catching::Catching,
    control::{Control, End, Inputs, Parts},
    distance::Followers,
    doors::Opened,
    listeners, metrics_server,
    notify::Supervisor,
    observe::Observers,
    priority,
    probing::{self, ThroughWorkers},
    pulse,
    ready::{Begun, Plane, Ready},
    signals::{self, Signals},
    traffic::Traffic,
    upgrade::{self, HandedOn, Predecessor},
    vips::{self, LocalVips},
};

/// How many events are kept for those who ask later.
const JOURNAL: usize = 16_384;

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
        (config, text): (Config, String),
        file: PathBuf,
        prometheus: Prometheus,
        log: LogFilter,
        predecessor: Option<Arc<Predecessor>>,
    ) -> Result<Self> {
        let inherited = predecessor.as_ref().map(|predecessor| predecessor.offer()).transpose()?;
        let before = inherited.as_ref().map(|inherited| (inherited.pid, inherited.vips.clone()));
        let journal = EventJournal::new(JOURNAL);
        let (from_pid, of_vips) = before.map_or((None, Vec::new()), |(pid, vips)| (Some(pid), vips));
        let vips = LocalVips::new(of_vips.clone(), Arc::clone(&journal));
        let begun = async {
            let ready = Ready::new(&config, inherited, &vips).await?;
            ready.take_over(&config, predecessor.as_ref())
        };
        let Begun { ready, bgp, catching, state, handed, pulse, watch } = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                // Those of another process are its own.
                vips.keep_only(&of_vips).await;
                return Err(error);
            }
        };
        if from_pid.is_some() {
            ready.opened.admin_file.take(&config.admin);
            vips.keep(vips::wanted(&config), config.drain.withdrawn);
        }
        let Ready { signals, opened, tls, issuers, peers, access, plane, bfd, bfd_events, open_files } =
            ready;
        let Opened { admin: socket, admin_file, metrics, doors, .. } = opened;
        let Plane { workers: data_plane, snapshot, distress, sockets, max_descriptors, .. } = plane;
        let (speaker, speaker_events) = bgp;

        let via = Arc::new(ThroughWorkers(data_plane.entrance()));
        let known = |backend: &BackendId| {
            let before = state.as_ref().filter(|(_, new)| !new.backends.contains(backend));
            before.map_or_else(Known::default, |(state, _)| state.known(backend))
        };
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
        let parts = Parts {
            journal: Arc::clone(&journal),
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
            supervisor: Supervisor::from_env(),
            pulse,
            file,
            text,
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
        let Self {
            mut control, mut inputs, journal, vips, catching, admin_file, servers, servers_end, ..
        } = self;
        let Some(handed_on) = control.handed_on.take() else { return };
        let HandedOn { successor, bgp, pid, keeps_admin_file, asked, upgraded } = handed_on;
        servers_end.send_replace(true);
        for late in inputs.signals.pending() {
            match late {
                signals::Signal::Stop(_) => upgrade::signal(pid, Signal::SIGTERM),
                signals::Signal::Reload => upgrade::signal(pid, Signal::SIGHUP),
                signals::Signal::Upgrade => {} // that is what has just been done
            }
        }
        let Inputs { mut signals, commands, .. } = inputs;
        drop(commands);
        vips.leave();
        if !keeps_admin_file {
            admin_file.keep();
        }
        control.bfd.end_silently();
        let streams = control.config.drain.streams;
        // All else of the control task ends here: orders of certificates, observers, sockets that others may want.
        let (data_plane, mut prober, access) = control.let_go();
        let ended = async {
            bgp.taken().await;
            catching.end();
            successor.release();
            prober.stop().await;
            end_servers(&journal, &servers_end, servers).await;
        };
        let drained = async {
            // Who hears of it reaches the other process with what comes next.
            data_plane.stop_listening().await;
            upgrade::answer(asked, Ok(upgraded));
            data_plane.drain(streams).await
        };
        tokio::select! {
            ((), open) = async { tokio::join!(ended, drained) } => {
                if open > 0 {
                    tracing::warn!(open, "connections were still open when their time was over");
                }
            }
            () = stop_or_pass_on(&mut signals, pid) => {}
        }
        access.flush();
    }
}

/// Waits for a signal that ends this process, which is not its supervisor's any more. A reload is for the one that has taken over.
async fn stop_or_pass_on(signals: &mut Signals, pid: Pid) {
    loop {
        match signals.next().await {
            signals::Signal::Stop(_) => return,
            signals::Signal::Reload => upgrade::signal(pid, Signal::SIGHUP),
            signals::Signal::Upgrade => {}
        }
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

/// Where metrics come from, beside the control task.
#[derive(Clone)]
struct Sources {
    prometheus: Prometheus,
    catchment: Catching,
}

/// The admin interface and the metrics endpoint, each a task that ends when `ending` turns true.
fn serve(
    socket: AdminSocket,
    metrics: Option<TcpListener>,
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
