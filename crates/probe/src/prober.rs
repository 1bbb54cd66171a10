//! The prober: one task per backend.

use proxima_health::Settings;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{PassiveSender, ProbeEvent, ProbeTarget, shortage::Shortage, task::Task};

/// Starts probing.
#[derive(Debug)]
pub struct Prober;

/// Keeps the probes running; dropping it ends them.
#[derive(Debug)]
pub struct ProberHandle {
    tasks: JoinSet<()>,
    passive: PassiveSender,
}

impl Prober {
    /// Probes every target from now on. To be called within a tokio runtime.
    ///
    /// The channel is bounded. Verdicts wait for room, so none is lost; a round-trip time is left out when there is none
    /// and told with the next sample. Same `seed`, same jitter.
    pub fn start(targets: Vec<ProbeTarget>, seed: u64) -> (ProberHandle, mpsc::Receiver<ProbeEvent>) {
        let (sender, receiver) = mpsc::channel(64 + 4 * targets.len());
        let (mut tasks, shortage) = (JoinSet::new(), Shortage::default());
        let passive = PassiveSender::new(targets.iter().map(|target| &target.backend));
        for (target, n) in targets.into_iter().zip(1u64..) {
            let settings = Settings::new(target.interval, target.rise, target.fall);
            let seed = seed.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95));
            let inbox = passive.inbox(&target.backend);
            tasks.spawn(Task::new(target, settings, seed, inbox, shortage.clone(), sender.clone()).run());
        }
        (ProberHandle { tasks, passive }, receiver)
    }
}

impl ProberHandle {
    /// Where what real traffic has met is handed in.
    pub fn passive(&self) -> PassiveSender {
        self.passive.clone()
    }

    /// Ends all probes and waits until their connections are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
