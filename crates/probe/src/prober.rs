//! The prober: one task per backend.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use crate::{
    Checks, PassiveSender, ProbeEvent, ProbeTarget, Via,
    shared::Shared,
    shortage::Shortage,
    slots::{Room, Slots},
    task::{Task, now},
    tls::TrustFiles,
};

/// How many probes are under way at once at most, over all backends: some ten thousand a second at the usual pace of apps, and
/// no more connections than a host takes.
const ROOM: Room = Room { quick: 1024, late: 1024, slow: 2048 };
/// How many confirming connects are under way at once at most, beside the probes.
const CONFIRMING: usize = 512;

/// Starts probing.
#[derive(Debug)]
pub struct Prober;

/// Keeps the probes running; dropping it ends them.
#[derive(Debug)]
pub struct ProberHandle {
    tasks: JoinSet<()>,
    trust: TrustFiles,
    checks: Checks,
    passive: PassiveSender,
}

/// What the tasks of all backends have in common.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) shared: Arc<Shared>,
    pub(crate) slots: Slots,
    pub(crate) confirming: Arc<Semaphore>,
    pub(crate) shortage: Shortage,
    pub(crate) checks: Checks,
    pub(crate) passive: PassiveSender,
    pub(crate) via: Option<Arc<dyn Via>>,
    pub(crate) events: mpsc::Sender<ProbeEvent>,
}

impl Prober {
    /// Probes every target from now on. To be called within a tokio runtime.
    ///
    /// The channel is bounded. Verdicts wait for room, so none is lost; a round-trip time or a share is left out when there is
    /// none and told with the next probe. Same `seed`, same jitter.
    pub fn start(targets: Vec<ProbeTarget>, seed: u64) -> (ProberHandle, mpsc::Receiver<ProbeEvent>) {
        Self::start_with(targets, None, seed)
    }

    /// The same with a way for those targets that are not reached straight. Without one, they are reached straight too.
    pub fn start_with(
        targets: Vec<ProbeTarget>,
        via: Option<Arc<dyn Via>>,
        seed: u64,
    ) -> (ProberHandle, mpsc::Receiver<ProbeEvent>) {
        let (events, receiver) = mpsc::channel(64 + 4 * targets.len());
        let backends = || targets.iter().map(|target| &target.backend);
        let (checks, passive) = (Checks::new(now(), backends()), PassiveSender::new(backends()));
        let shared = Arc::<Shared>::default();
        let trust = TrustFiles(Arc::clone(&shared));
        let common = Common {
            shared,
            slots: Slots::new(ROOM),
            confirming: Arc::new(Semaphore::new(CONFIRMING)),
            shortage: Shortage::default(),
            checks: checks.clone(),
            passive: passive.clone(),
            via,
            events,
        };
        let mut tasks = JoinSet::new();
        for (target, n) in targets.into_iter().zip(1u64..) {
            let seed = seed.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95));
            tasks.spawn(Task::new(target, seed, common.clone()).run());
        }
        (ProberHandle { tasks, trust, checks, passive }, receiver)
    }
}

impl ProberHandle {
    /// When the latest probes ended.
    pub fn checks(&self) -> Checks {
        self.checks.clone()
    }

    /// The files that certificates of backends are judged by.
    pub fn trust(&self) -> TrustFiles {
        self.trust.clone()
    }

    /// Where what real traffic has met is handed in.
    pub fn passive(&self) -> PassiveSender {
        self.passive.clone()
    }

    /// Ends all probes and waits until their connections are closed.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
