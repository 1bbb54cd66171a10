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

/// The VIPs of this process.
pub(crate) struct LocalVips<V = KernelVips>(Arc<Inner<V>>);

struct Inner<V> {
    open: fn() -> Result<V, VipError>,
    held: Mutex<Held<V>>,
    /// Counts what was wanted: only the latest removal takes place.
    wanted: AtomicU64,
    journal: Arc<EventJournal>,
}

struct Held<V> {
    /// Opened when it is needed.
    kernel: Option<V>,
    prefixes: Vec<Prefix>,
}

/// Another handle of the same.
impl<V> Clone for LocalVips<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The prefixes that `config` wants to be local.
pub(crate) fn wanted(config: &Config) -> Vec<Prefix> {
    let groups = config.groups.values().filter(|group| group.vip == Vip::AnyIp);
    groups.flat_map(|group| group.prefixes.iter().copied()).collect()
}

impl LocalVips {
    /// Those that the process before this one has made local; none otherwise.
    pub(crate) fn new(inherited: Vec<Prefix>, journal: Arc<EventJournal>) -> Self {
        Self::of(KernelVips::open, inherited, journal)
    }
}

impl<V: Vips + Send + Sync + 'static> LocalVips<V> {
    fn of(open: fn() -> Result<V, VipError>, prefixes: Vec<Prefix>, journal: Arc<EventJournal>) -> Self {
        let held = Mutex::new(Held { kernel: None, prefixes });
        Self(Arc::new(Inner { open, held, wanted: AtomicU64::new(0), journal }))
    }

    /// Makes these local too, and takes none back that is to go later: [`Self::keep`] follows.
    ///
    /// # Errors
    /// The first thing that could not be done; then all is as it was before.
    pub(crate) async fn add(&self, prefixes: &[Prefix]) -> Result<(), VipError> {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        let mut held = self.0.held.lock().await;
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
            let mut held = vips.0.held.lock().await;
            if vips.0.wanted.load(Ordering::Relaxed) == wanted {
                vips.tell(vips.set(&mut held, prefixes).await.err());
            }
        });
    }

    /// Keeps only these, at once; all others are taken back.
    pub(crate) async fn keep_only(&self, prefixes: &[Prefix]) {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
        let mut held = self.0.held.lock().await;
        self.tell(self.set(&mut held, prefixes.to_vec()).await.err());
    }

    /// They are another process's from now on: nothing that was to be done later is done.
    pub(crate) fn leave(&self) {
        self.0.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are local now, as far as this process has a part in it.
    pub(crate) async fn held(&self) -> Vec<Prefix> {
        self.0.held.lock().await.prefixes.clone()
    }

    /// Makes exactly these local, and tells what that meant; the first prefix that could not be done is returned.
    async fn set(&self, held: &mut Held<V>, prefixes: Vec<Prefix>) -> Result<Option<VipError>, VipError> {
        let kernel = match &mut held.kernel {
            Some(kernel) => kernel,
            None if prefixes.is_empty() => return Ok(None),
            none => none.insert((self.0.open)()?),
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

#[cfg(test)]
mod tests {
    use proxima_netlink::{Action, FakeVips};

    use super::*;

    const WAIT: Duration = Duration::from_secs(5);

    thread_local! {
        static HOST: FakeVips = FakeVips::default();
    }

    fn vips_of(inherited: &[Prefix]) -> LocalVips<FakeVips> {
        LocalVips::of(|| Ok(HOST.with(Clone::clone)), inherited.to_vec(), EventJournal::new(16))
    }

    fn vips() -> (LocalVips<FakeVips>, FakeVips) {
        (vips_of(&[]), HOST.with(Clone::clone))
    }

    fn prefixes<const N: usize>(texts: [&str; N]) -> [Prefix; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_prefix_is_local_at_once_and_an_old_one_until_its_time_is_over() {
        let [old, new] = prefixes(["192.0.2.0/25", "198.51.100.0/24"]);
        let (vips, host) = vips();
        vips.add(&[old]).await.unwrap();
        vips.add(&[new]).await.unwrap();
        vips.keep(vec![new], WAIT);
        assert_eq!(host.calls(), [(Action::Add, old), (Action::Add, new)]);
        tokio::time::sleep(2 * WAIT).await;
        assert_eq!(host.calls()[2..], [(Action::Remove, old)]);
        vips.keep_only(&[]).await;
        assert_eq!(host.calls()[3..], [(Action::Remove, new)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_prefix_that_is_wanted_again_meanwhile_stays() {
        let [one, other] = prefixes(["192.0.2.0/25", "198.51.100.0/24"]);
        let (vips, host) = vips();
        vips.add(&[one, other]).await.unwrap();
        vips.keep(vec![one], WAIT);
        tokio::time::sleep(WAIT / 2).await;
        vips.add(&[one, other]).await.unwrap();
        vips.keep(vec![one, other], WAIT);
        tokio::time::sleep(2 * WAIT).await;
        assert_eq!(host.calls(), [(Action::Add, one), (Action::Add, other)]);
    }

    #[tokio::test]
    async fn what_could_not_be_added_is_an_error_and_leaves_all_as_it_was() {
        let [one, bad, other] = prefixes(["192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24"]);
        let (vips, host) = vips();
        vips.add(&[one]).await.unwrap();
        host.forbid(bad);
        assert!(vips.add(&[bad, other]).await.is_err());
        assert_eq!(host.present().await.unwrap(), [one]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_successor_can_not_have_costs_its_predecessor_nothing() {
        let [one, bad, new] = prefixes(["192.0.2.0/25", "192.0.2.128/25", "198.51.100.0/24"]);
        let (vips, host) = vips();
        vips.add(&[one]).await.unwrap();
        host.forbid(bad);
        let successor = vips_of(&vips.held().await);
        assert!(successor.add(&[one, bad]).await.is_err());
        successor.keep_only(&[one]).await;
        assert_eq!(host.present().await.unwrap(), [one]);
        // What was to be done later is the successor's to do, or not.
        vips.keep(vec![], WAIT);
        let successor = vips_of(&vips.held().await);
        successor.add(&[new]).await.unwrap();
        vips.leave();
        successor.keep(vec![one, new], WAIT);
        tokio::time::sleep(2 * WAIT).await;
        assert_eq!(host.present().await.unwrap(), [one, new]);
    }
}
