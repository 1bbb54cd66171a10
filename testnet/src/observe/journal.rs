//! An append-only list that several readers follow at their own pace, and can wait on.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

/// Entries are kept for the life of the journal; a reader remembers how many it has seen.
#[derive(Debug)]
pub struct Journal<T> {
    entries: Mutex<Vec<T>>,
    length: watch::Sender<usize>,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self { entries: Mutex::default(), length: watch::Sender::new(0) }
    }
}

impl<T> Journal<T> {
    /// Adds an entry and wakes whoever waits.
    pub fn push(&self, entry: T) {
        let length = {
            let mut entries = self.lock();
            entries.push(entry);
            entries.len()
        };
        // Two writers may get here in the other order; a waiter re-reads the list itself, so only growth matters.
        self.length.send_modify(|known| *known = (*known).max(length));
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at the entries from position `from` on; keep `look` short, writers wait for it.
    pub fn read<R>(&self, from: usize, look: impl FnOnce(&[T]) -> R) -> R {
        let entries = self.lock();
        look(entries.get(from..).unwrap_or_default())
    }

    /// Waits until `look` finds what it wants among the entries from position `from` on; `None` at the deadline.
    ///
    /// Cancel-safe: holds nothing across its waits.
    pub async fn wait<R>(
        &self,
        from: usize,
        deadline: Instant,
        mut look: impl FnMut(&[T]) -> Option<R>,
    ) -> Option<R> {
        let mut length = self.length.subscribe();
        loop {
            length.borrow_and_update();
            if let Some(found) = self.read(from, &mut look) {
                return Some(found);
            }
            match tokio::time::timeout_at(deadline.into(), length.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return self.read(from, &mut look),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_waiter_wakes_when_the_entry_it_wants_arrives() {
        let journal = Arc::new(Journal::default());
        journal.push(1);
        let writer = Arc::clone(&journal);
        tokio::spawn(async move {
            for n in 2..10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                writer.push(n);
            }
        });
        let deadline = tokio::time::Instant::now().into_std() + Duration::from_secs(5);
        let found = journal.wait(0, deadline, |all| all.iter().position(|n| *n == 5)).await;
        assert_eq!(found, Some(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gives_up_at_its_deadline() {
        let journal = Journal::<u8>::default();
        let deadline = tokio::time::Instant::now().into_std() + Duration::from_secs(1);
        assert_eq!(journal.wait(0, deadline, |all| all.first().copied()).await, None);
    }

    #[test]
    fn reading_from_beyond_the_end_sees_nothing() {
        let journal = Journal::default();
        journal.push('a');
        assert!(journal.read(7, <[char]>::is_empty));
    }
}
