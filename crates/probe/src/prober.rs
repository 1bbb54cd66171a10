//! The prober: one task per backend.

use proxima_health::Settings;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Checks, ProbeEvent, ProbeTarget,
    shortage::Shortage,
    task::{Task, now},
};

/// Starts probing.
#[derive(Debug)]
pub struct Prober;

/// Keeps the probes running; dropping it ends them.
#[derive(Debug)]
pub struct ProberHandle {
    tasks: JoinSet<()>,
    checks: Checks,
}

impl Prober {
    /// Probes every target from now on. To be called within a tokio runtime.
    ///
    /// The channel is bounded. Verdicts wait for room, so none is lost; a round-trip time is left out when there is none
    /// and told with the next sample. Same `seed`, same jitter.
    pub fn start(targets: Vec<ProbeTarget>, seed: u64) -> (ProberHandle, mpsc::Receiver<ProbeEvent>) {
        let (sender, receiver) = mpsc::channel(64 + 4 * targets.len());
        let (mut tasks, shortage) = (JoinSet::new(), Shortage::default());
        let checks = Checks::new(now(), targets.iter().map(|target| &target.backend));
        for (target, n) in targets.into_iter().zip(1u64..) {
            let settings = Settings::new(target.interval, target.rise, target.fall);
            let seed = seed.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95));
            let (shortage, checks) = (shortage.clone(), checks.clone());
            tasks.spawn(Task::new(target, settings, seed, shortage, checks, sender.clone()).run());
        }
        (ProberHandle { tasks, checks }, receiver)
    }
}

impl ProberHandle {
    /// When the latest probes ended.
    pub fn checks(&self) -> Checks {
        self.checks.clone()
    }

    /// Ends all probes and waits until their connections are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
