//! What real traffic has met, on its way to the task of the backend.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use proxima_health::{Input, Passive, PassiveRule};
use proxima_types::BackendId;
use tokio::sync::Notify;

/// Hands the prober what real traffic has met; cheap to clone.
#[derive(Debug, Clone)]
pub struct PassiveSender {
    /// Written only when backends come or go.
    inboxes: Arc<RwLock<BTreeMap<BackendId, Arc<Inbox>>>>,
}

/// The reports that the task has not looked at yet, as one.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    report: Mutex<Option<(Passive, PassiveRule)>>,
    filled: Notify,
}

impl PassiveSender {
    pub(crate) fn new<'a>(backends: impl Iterator<Item = &'a BackendId>) -> Self {
        let inboxes: BTreeMap<_, _> = backends.map(|backend| (backend.clone(), Arc::default())).collect();
        Self { inboxes: Arc::new(inboxes.into()) }
    }

    /// From now on this backend is probed too.
    pub(crate) fn add(&self, backend: &BackendId) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).insert(backend.clone(), Arc::default());
    }

    /// From now on it is not.
    pub(crate) fn remove(&self, backend: &BackendId) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }

    /// Reports what was met since the last report, and what comes of it. Waits for nobody: what the prober has not looked at yet is added up. Of a backend that is not probed nothing is heard.
    pub fn report(&self, backend: &BackendId, seen: Passive, rule: PassiveRule) {
        if let Some(inbox) = self.find(backend) {
            inbox.add(seen, rule);
        }
    }

    /// Of a backend that is probed.
    pub(crate) fn inbox(&self, backend: &BackendId) -> Arc<Inbox> {
        self.find(backend).unwrap_or_default()
    }

    fn find(&self, backend: &BackendId) -> Option<Arc<Inbox>> {
        self.inboxes.read().unwrap_or_else(PoisonError::into_inner).get(backend).cloned()
    }
}

impl Inbox {
    fn add(&self, seen: Passive, rule: PassiveRule) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        let before = report.map_or_else(Passive::default, |(before, _)| before);
        *report = Some((before.and(seen), rule));
        self.filled.notify_one();
    }

    /// Waits for a report; cancel-safe.
    pub(crate) async fn next(&self) -> Input {
        loop {
            let report = self.report.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((seen, rule)) = report {
                return Input::Passive { seen, rule };
            }
            self.filled.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn reports_nobody_has_looked_at_are_added_up_and_told_once() {
        let ids: [BackendId; 2] = ["app/one", "app/other"].map(|id| id.parse().unwrap());
        let sender = PassiveSender::new(ids.iter());
        let rule = PassiveRule { mark_down: Some(Duration::from_secs(7)), ..PassiveRule::default() };
        let inboxes = ids.each_ref().map(|id| sender.inbox(id));
        for _ in 0..3 {
            sender.report(&ids[0], Passive::RESET, rule);
        }
        sender.report(&"app/stranger".parse().unwrap(), Passive::RESET, rule);
        let expected = Input::Passive { seen: Passive { resets: 3, ..Passive::default() }, rule };
        assert_eq!(inboxes[0].next().await, expected);
        for inbox in &inboxes {
            let next = std::pin::pin!(inbox.next());
            assert!(poll_once(next).is_pending(), "nothing more, and nothing of the other");
        }
        sender.report(&ids[1], Passive::CONNECT_ERROR, rule);
        let expected = Input::Passive { seen: Passive::CONNECT_ERROR, rule };
        assert_eq!(inboxes[1].next().await, expected);
    }

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
