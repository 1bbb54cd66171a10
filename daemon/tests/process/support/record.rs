//! What was seen so far, and waiting for more of it.

use std::{
    fmt::Debug,
    sync::{Condvar, Mutex, PoisonError},
    time::Instant,
};

use super::PATIENCE;

/// A growing list that threads append to and tests wait on.
#[derive(Debug)]
pub(crate) struct Record<T> {
    seen: Mutex<Seen<T>>,
    grown: Condvar,
}

#[derive(Debug)]
struct Seen<T> {
    items: Vec<T>,
    closed: bool,
}

impl<T> Default for Record<T> {
    fn default() -> Self {
        let seen = Mutex::new(Seen { items: Vec::new(), closed: false });
        Self { seen, grown: Condvar::new() }
    }
}

impl<T: Clone + Debug> Record<T> {
    pub(crate) fn push(&self, item: T) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).items.push(item);
        self.grown.notify_all();
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.grown.notify_all();
    }

    pub(crate) fn snapshot(&self) -> Vec<T> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).items.clone()
    }

    /// Waits until `find` finds what is looked for in all that was seen.
    ///
    /// # Panics
    /// When the record is closed without it, or when the patience is over.
    pub(crate) fn wait<R>(&self, what: &str, mut find: impl FnMut(&[T]) -> Option<R>) -> R {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = find(&seen.items) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!seen.closed && !left.is_zero(), "never seen: {what}; seen: {:#?}", seen.items);
            seen = self.grown.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until there are `count` items; false when it is closed before.
    pub(crate) fn reaches(&self, count: usize) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |seen: &mut Seen<T>| seen.items.len() < count && !seen.closed;
        self.grown.wait_while(seen, waiting).unwrap_or_else(PoisonError::into_inner).items.len() >= count
    }

    /// Waits for the end.
    pub(crate) fn wait_closed(&self, what: &str) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grown.wait_timeout_while(seen, PATIENCE, |seen| !seen.closed);
        let (seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(seen.closed, "{what} has not ended; seen: {:#?}", seen.items);
    }
}
