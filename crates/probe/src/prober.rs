//! The prober: one task per backend.

use std::{collections::BTreeMap, sync::Arc};

use proxima_health::Known;
use proxima_types::BackendId;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{AbortHandle, JoinSet},
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
    backends: BTreeMap<BackendId, Running>,
    common: Common,
    seed: u64,
    /// How many tasks there were so far: no two have the same jitter.
    begun: u64,
}

/// The task of one backend.
#[derive(Debug)]
struct Running {
    orders: watch::Sender<ProbeTarget>,
    known: watch::Receiver<Known>,
    task: AbortHandle,
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
        Self::start_with(targets, None, |_| Known::default(), seed)
    }

    /// The same with a way for those targets that are not reached straight, and with what is known of the backends already:
    /// verdicts hold until they are decided otherwise, marks and notices as they did before. Without a way, all are reached straight.
    pub fn start_with(
        targets: Vec<ProbeTarget>,
        via: Option<Arc<dyn Via>>,
        known: impl Fn(&BackendId) -> Known,
        seed: u64,
    ) -> (ProberHandle, mpsc::Receiver<ProbeEvent>) {
        let (events, receiver) = mpsc::channel(64 + 4 * targets.len());
        let common = Common {
            shared: Arc::default(),
            slots: Slots::new(ROOM),
            confirming: Arc::new(Semaphore::new(CONFIRMING)),
            shortage: Shortage::default(),
            checks: Checks::new(now(), []),
            passive: PassiveSender::new(std::iter::empty()),
            via,
            events,
        };
        let backends = BTreeMap::new();
        let mut handle = ProberHandle { tasks: JoinSet::new(), backends, common, seed, begun: 0 };
        handle.reconfigure(targets, known);
        (handle, receiver)
    }
}

impl ProberHandle {
    /// Probes these targets and no others from now on, one for each backend. To be called within the tokio runtime.
    ///
    /// One that is the same as before is not touched. One that is probed otherwise begins anew with what is known of it: its verdict
    /// stays until it is decided otherwise. One that is new, or at another address, begins with what `known` tells of it. Events of those
    /// that are gone, or were at another address, may still wait in the channel.
    pub fn reconfigure(&mut self, targets: Vec<ProbeTarget>, known: impl Fn(&BackendId) -> Known) {
        let mut before = std::mem::take(&mut self.backends);
        let mut newcomers = Vec::new();
        for target in targets {
            match before.remove(&target.backend) {
                Some(running) if running.orders.borrow().address == target.address => {
                    running.orders.send_if_modified(|current| {
                        let differs = *current != target;
                        if differs {
                            current.clone_from(&target);
                        }
                        differs
                    });
                    self.backends.insert(target.backend, running);
                }
                other => {
                    before.extend(other.map(|running| (target.backend.clone(), running)));
                    newcomers.push(target);
                }
            }
        }
        for (backend, Running { task, .. }) in before {
            task.abort();
            self.common.checks.remove(&backend);
            self.common.passive.remove(&backend);
        }
        while self.tasks.try_join_next().is_some() {}
        for target in newcomers {
            let known = known(&target.backend);
            self.begin(target, known);
        }
    }

    fn begin(&mut self, target: ProbeTarget, known: Known) {
        let backend = target.backend.clone();
        self.common.checks.add(&backend);
        self.common.passive.add(&backend);
        self.begun += 1;
        let seed = self.seed.wrapping_add(self.begun.wrapping_mul(0xd134_2543_de82_ef95));
        let (orders, ordered) = watch::channel(target);
        let (knows, known) = watch::channel(known);
        let task = self.tasks.spawn(Task::new(ordered, knows, seed, self.common.clone()).run());
        self.backends.insert(backend, Running { orders, known, task });
    }

    /// What is known of a backend, for another prober to begin with.
    pub fn known(&self, backend: &BackendId) -> Known {
        self.backends.get(backend).map_or_else(Known::default, |running| *running.known.borrow())
    }

    /// When the latest probes ended.
    pub fn checks(&self) -> Checks {
        self.common.checks.clone()
    }

    /// The files that certificates of backends are judged by.
    pub fn trust(&self) -> TrustFiles {
        TrustFiles(Arc::clone(&self.common.shared))
    }

    /// Where what real traffic has met is handed in.
    pub fn passive(&self) -> PassiveSender {
        self.common.passive.clone()
    }

    /// Ends all probes and waits until their connections are closed.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}
