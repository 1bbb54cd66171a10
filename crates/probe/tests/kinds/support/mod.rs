//! What the tests of single kinds share: a prober with one backend, and real servers of other makers.

#![allow(dead_code, reason = "each test program uses its part")]

pub mod postgres;
pub mod server;

use std::{net::SocketAddr, time::Duration};

use proxima_health::{Failure, Findings, Reason};
use proxima_probe::{ProbeEvent, ProbeKind, ProbeTarget, Prober, ProberHandle};
use proxima_types::Health;
use tokio::{sync::mpsc, time::timeout};

/// How long an event may take that has to come. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A prober with one backend.
pub struct Probing {
    _prober: ProberHandle,
    events: mpsc::Receiver<ProbeEvent>,
}

impl Probing {
    /// Every 20 ms; one success makes up, one failure down.
    pub fn often(address: SocketAddr, kind: ProbeKind) -> Self {
        Self::start(address, kind, Duration::from_millis(20))
    }

    /// Once a minute: what is noticed sooner was noticed by the standing connection.
    pub fn rarely(address: SocketAddr, kind: ProbeKind) -> Self {
        Self::start(address, kind, Duration::from_mins(1))
    }

    fn start(address: SocketAddr, kind: ProbeKind, interval: Duration) -> Self {
        let target = ProbeTarget {
            timeout: Duration::from_secs(20),
            ..ProbeTarget::new("app/one".parse().unwrap(), address, kind, interval)
        };
        let (prober, events) = Prober::start(vec![target], 1);
        Self { _prober: prober, events }
    }

    /// The next verdict.
    pub async fn verdict(&mut self) -> (Health, Reason) {
        let next = async {
            loop {
                if let ProbeEvent::Verdict { to, reason, .. } = self.events.recv().await.expect("the prober runs") {
                    return (to, reason);
                }
            }
        };
        timeout(PATIENCE, next).await.expect("a verdict comes")
    }

    /// The backend is up next.
    pub async fn up(&mut self) {
        let (to, reason) = self.verdict().await;
        assert_eq!(to, Health::Up, "{reason}");
    }

    /// The backend is down next, by soft evidence: the failure.
    pub async fn failure(&mut self) -> Failure {
        match self.verdict().await {
            (Health::Down, Reason::Fell { last, .. }) => last,
            (to, reason) => panic!("{to}: {reason}"),
        }
    }

    /// What the app says when it refuses.
    pub async fn refusal(&mut self) -> String {
        match self.failure().await {
            Failure::Refusal { detail } => detail,
            other => panic!("{other}"),
        }
    }
}
