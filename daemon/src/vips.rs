//! The prefixes that this host takes packets for, over the daemon's life.
//!
//! They are added before they are announced, and stay for a while after they are withdrawn: routers need a moment to forget
//! the way, and what still arrives is served.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proxima_api::EventKind;
use proxima_config::{Config, Vip};
use proxima_netlink::{Changes, KernelVips, VipError, Vips};
use proxima_telemetry::EventJournal;
use proxima_types::Prefix;
use tokio::sync::Mutex;

/// The VIPs of this process; cheap to clone.
#[derive(Clone)]
pub(crate) struct LocalVips(Arc<Inner>);

struct Inner {
    kernel: Mutex<Held>,
    /// Counts what was wanted: only the latest removal takes place.
    wanted: AtomicU64,
    journal: Arc<EventJournal>,
}

#[derive(Default)]
struct Held {
    /// Opened when it is needed.
    kernel: Option<KernelVips>,
    prefixes: Vec<Prefix>,
}

/// The prefixes that `config` wants to be local.
pub(crate) fn wanted(config: &Config) -> Vec<Prefix> {
    let groups = config.groups.values().filter(|group| group.vip == Vip::AnyIp);
    groups.flat_map(|group| group.prefixes.iter().copied()).collect()
}

impl LocalVips {
    /// None yet.
    pub(crate) fn new(journal: Arc<EventJournal>) -> Self {
        let (kernel, wanted) = (Mutex::default(), AtomicU64::new(0));
        Self(Arc::new(Inner { kernel, wanted, journal }))
    }

    /// Makes these local too, and takes none back that is to go later: [`Self::keep`] follows.
    ///
    /// # Errors
    /// The first thing that could not be done; then all is as it was before.
    pub(crate) async fn add(&self, prefixes: &[Prefix]) -> Result<(), VipError> {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        let mut held = self.0.kernel.lock().await;
        let more: Vec<Prefix> = prefixes.iter().filter(|it| !held.prefixes.contains(it)).copied().collect();
        if more.is_empty() {
            return Ok(());
        }
        let before = held.prefixes.clone();
        let error = self.set(&mut held, [before.as_slice(), &more].concat()).await?;
        let Some(error) = error else { return Ok(()) };
        self.set(&mut held, before).await?;
        Err(error)
    }

    /// Keeps only these, once `after` has passed; nothing happens when something else is wanted by then.
    pub(crate) fn keep(&self, prefixes: Vec<Prefix>, after: Duration) {
        let wanted = self.0.wanted.fetch_add(1, Ordering::Relaxed) + 1;
        let vips = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let mut held = vips.0.kernel.lock().await;
            if vips.0.wanted.load(Ordering::Relaxed) == wanted {
                vips.tell(vips.set(&mut held, prefixes).await.err());
            }
        });
    }

    /// Takes all of them back at once.
    pub(crate) async fn remove_all(&self) {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        let mut held = self.0.kernel.lock().await;
        self.tell(self.set(&mut held, Vec::new()).await.err());
    }

    /// Makes exactly these local, and tells what that meant; the first prefix that could not be done is returned.
    async fn set(&self, held: &mut Held, prefixes: Vec<Prefix>) -> Result<Option<VipError>, VipError> {
        let kernel = match &mut held.kernel {
            Some(kernel) => kernel,
            None if prefixes.is_empty() => return Ok(None),
            none => none.insert(KernelVips::open()?),
        };
        let Changes { added, removed, errors } = kernel.set(&prefixes).await;
        held.prefixes = prefixes;
        let journal = &self.0.journal;
        for prefix in added {
            journal.publish(EventKind::VipAdded { prefix });
        }
        for prefix in removed {
            journal.publish(EventKind::VipRemoved { prefix });
        }
        for error in &errors {
            self.tell(Some(error));
        }
        Ok(errors.into_iter().next())
    }

    fn tell(&self, error: Option<impl std::fmt::Display>) {
        if let Some(error) = error {
            self.0.journal.publish(EventKind::VipFailed { error: error.to_string() });
        }
    }
}
