//! How many probes run at once.
//!
//! What a probe holds while it runs is file descriptors and memory, and a host has only so many. Probes whose predecessor
//! ran into its deadline wait for slots of their own: however many backends hang, those that answer are probed on time.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The slots of all probes.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    quick: Semaphore,
    slow: Semaphore,
}

impl Slots {
    /// `most` slots, a quarter of them for slow probes.
    pub(crate) fn new(most: usize) -> Self {
        let slow = (most / 4).max(1);
        let quick = most.saturating_sub(slow).max(1);
        Self(Arc::new(Kept { quick: Semaphore::new(quick), slow: Semaphore::new(slow) }))
    }

    /// Waits for a slot, in turn. It is given back when the guard is dropped.
    pub(crate) async fn enter(&self, is_slow: bool) -> Option<SemaphorePermit<'_>> {
        let semaphore = if is_slow { &self.0.slow } else { &self.0.quick };
        // An error would mean that the semaphore is closed, which nobody does.
        semaphore.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn probes_that_hang_leave_the_others_their_slots() {
        let slots = Slots::new(4);
        let hanging = slots.enter(true).await;
        let mut waiting = std::pin::pin!(slots.enter(true));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "one slow probe at a time");
        let mut quick = Vec::new();
        for _ in 0..3 {
            quick.push(slots.enter(false).await);
        }
        drop(hanging);
        assert!(waiting.await.is_some());
    }
}
