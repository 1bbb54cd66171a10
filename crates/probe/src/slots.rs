//! How many probes run at once.
//!
//! Thousands of probes may be due at once, and each takes a connection and a moment of the processor. They begin in turn, as
//! slots come free. Probes whose predecessor ran into its deadline wait for slots of their own, and a probe that takes longer
//! than [`GRACE`] gives its slot back: however many backends hang, those that answer are probed on time.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// How long a probe holds its slot at most.
const GRACE: Duration = Duration::from_millis(250);

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

    /// Runs `work` once there is a slot for it.
    pub(crate) async fn run<T>(&self, is_slow: bool, work: impl AsyncFnOnce() -> T) -> T {
        let slot = self.enter(is_slow).await;
        let mut work = pin!(work());
        if let Ok(done) = timeout(GRACE, work.as_mut()).await {
            return done;
        }
        drop(slot);
        work.await
    }

    /// Waits for a slot, in turn. It is given back when the guard is dropped.
    async fn enter(&self, is_slow: bool) -> Option<SemaphorePermit<'_>> {
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

    #[tokio::test]
    async fn a_probe_that_takes_long_goes_on_without_its_slot() {
        let slots = Slots::new(2);
        let (end, ended) = tokio::sync::oneshot::channel();
        let long = tokio::spawn({
            let slots = slots.clone();
            async move { slots.run(false, async || ended.await).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(slots.run(false, async || 7).await, 7, "the only quick slot comes free");
        assert!(!long.is_finished());
        end.send(8).unwrap();
        assert_eq!(long.await.unwrap(), Ok(8), "and the first goes on to its end");
    }
}
