//! VIPs without a kernel.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use proxima_types::Prefix;

use crate::{Action, VipError, Vips};

/// Records what it is asked for. Clones share one host.
#[derive(Debug, Clone, Default)]
pub struct FakeVips(Arc<Mutex<Host>>);

/// One thing that was asked for.
pub type Call = (Action, Prefix);

#[derive(Debug, Default)]
struct Host {
    present: BTreeSet<Prefix>,
    forbidden: BTreeSet<Prefix>,
    calls: Vec<Call>,
}

impl FakeVips {
    /// A host on which a run that crashed has left `prefixes`.
    pub fn with_leftovers(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let fake = Self::default();
        fake.host().present.extend(prefixes);
        fake
    }

    /// From now on nothing may be done with `prefix`.
    pub fn forbid(&self, prefix: Prefix) {
        self.host().forbidden.insert(prefix);
    }

    /// Everything that was asked for, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.host().calls.clone()
    }

    fn ask(&self, action: Action, prefix: Prefix) -> Result<(), VipError> {
        let mut host = self.host();
        host.calls.push((action, prefix));
        if host.forbidden.contains(&prefix) {
            return Err(VipError::Permission { action, prefix });
        }
        match action {
            Action::Add => host.present.insert(prefix),
            Action::Remove => host.present.remove(&prefix),
        };
        Ok(())
    }

    fn host(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vips for FakeVips {
    async fn present(&self) -> Result<Vec<Prefix>, VipError> {
        Ok(self.host().present.iter().copied().collect())
    }

    async fn add(&self, prefix: Prefix) -> Result<(), VipError> {
        self.ask(Action::Add, prefix)
    }

    async fn remove(&self, prefix: Prefix) -> Result<(), VipError> {
        self.ask(Action::Remove, prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn leftovers_are_removed_or_adopted_and_only_the_missing_added() {
        let [left, kept, new] = ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/48"].map(prefix);
        let vips = FakeVips::with_leftovers([left, kept]);
        let changes = vips.set(&[kept, new]).await;
        assert_eq!((changes.added, changes.removed), (vec![new], vec![left]));
        assert_eq!(vips.calls(), [(Action::Remove, left), (Action::Add, new)]);
        let changes = vips.set(&[]).await;
        assert_eq!(changes.removed, [kept, new]);
        assert_eq!(vips.present().await.unwrap(), []);
    }

    #[tokio::test]
    async fn an_error_with_one_prefix_leaves_the_others_done_and_names_the_remedy() {
        let [bad, good] = ["192.0.2.0/24", "198.51.100.0/24"].map(prefix);
        let vips = FakeVips::default();
        vips.forbid(bad);
        let changes = vips.set(&[bad, good]).await;
        assert_eq!(changes.added, [good]);
        let error = changes.errors[0].to_string();
        assert!(
            error.starts_with("not permitted to add the local route 192.0.2.0/24: CAP_NET_ADMIN"),
            "{error}"
        );
    }
}
