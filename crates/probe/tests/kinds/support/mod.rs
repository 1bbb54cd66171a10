//! What the tests of single kinds share: a prober with one backend, and real servers of other makers.

pub(crate) mod certificates;
pub(crate) mod nginx;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod server;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use proxima_health::{Failure, Loss, Reason};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober, ProberHandle};
use proxima_probe_kind::{Tls, Trust};
use proxima_types::Health;
use tokio::{sync::mpsc, time::timeout};

/// How long an event may take that has to come. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A prober with one backend.
pub(crate) struct Probing {
    pub(crate) prober: ProberHandle,
    pub(crate) events: mpsc::Receiver<ProbeEvent>,
}

impl Probing {
    /// Every 20 ms; one success makes up, one failure down.
    pub(crate) fn often(address: SocketAddr, kind: ProbeKind) -> Self {
        Self::start(address, kind, Duration::from_millis(20))
    }

    /// Once a minute: what is noticed sooner was noticed by the standing connection.
    pub(crate) fn rarely(address: SocketAddr, kind: ProbeKind) -> Self {
        Self::start(address, kind, Duration::from_mins(1))
    }

    fn start(address: SocketAddr, kind: ProbeKind, interval: Duration) -> Self {
        Self::of(ProbeTarget { timeout: Duration::from_secs(20), ..target(address, kind, interval) })
    }

    /// As the target says.
    pub(crate) fn of(target: ProbeTarget) -> Self {
        let (prober, events) = Prober::start(vec![target], 1);
        Self { prober, events }
    }

    /// The next verdict.
    pub(crate) async fn verdict(&mut self) -> (Health, Reason) {
        let next = async {
            loop {
                if let ProbeEvent::Verdict { to, reason, .. } =
                    self.events.recv().await.expect("the prober runs")
                {
                    return (to, reason);
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a verdict comes")
    }

    /// Whether no verdict comes for so long.
    pub(crate) async fn is_silent_for(&mut self, time: Duration) -> bool {
        timeout(time, self.verdict()).await.is_err()
    }

    /// The backend is up next.
    pub(crate) async fn up(&mut self) {
        let (to, reason) = self.verdict().await;
        assert_eq!(to, Health::Up, "{reason}");
    }

    /// The backend is down next, by soft evidence: the failure.
    pub(crate) async fn failure(&mut self) -> Failure {
        match self.verdict().await {
            (Health::Down, Reason::Fell { last, .. }) => last,
            (to, reason) => panic!("{to}: {reason}"),
        }
    }

    /// The backend is down next, because the standing connection was lost and nobody listens.
    pub(crate) async fn lost(&mut self) -> Loss {
        match self.verdict().await {
            (Health::Down, Reason::Lost { loss, confirm: Failure::Refused }) => loss,
            (to, reason) => panic!("{to}: {reason}"),
        }
    }

    /// The next event that is no verdict and no round-trip time.
    pub(crate) async fn share(&mut self) -> u8 {
        let next = async {
            loop {
                if let ProbeEvent::Share { share, .. } = self.events.recv().await.expect("the prober runs") {
                    return share.as_u8();
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a share comes")
    }
}

/// What fails, in words, when a backend that was not seen before is probed.
pub(crate) async fn fails(address: SocketAddr, kind: ProbeKind) -> String {
    Probing::often(address, kind).failure().await.to_string()
}

/// A target with the usual settings.
pub(crate) fn target(address: SocketAddr, kind: ProbeKind, interval: Duration) -> ProbeTarget {
    ProbeTarget::new("app/one".parse().unwrap(), address, kind, interval)
}

/// TLS to who is trusted by `authority` and is [`certificates::NAME`].
pub(crate) fn tls(authority: &Path) -> Tls {
    let trust = Trust::File(authority.to_owned());
    Tls { server_name: Some(certificates::NAME.to_owned()), trust, min_validity: None }
}

/// A file with this password.
pub(crate) fn password(directory: &Path, password: &str) -> PathBuf {
    let file = directory.join(password);
    std::fs::write(&file, format!("{password}\n")).unwrap();
    file
}
