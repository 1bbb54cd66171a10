//! How many probes are under way at once, and who waits for whom.
//!
//! Thousands of probes may be due at once, and each takes a connection and a moment of the processor. They begin in turn, as
//! slots come free, and hold one to their end, so that there are never more than there is room for:
//!
//! ```text
//! quick ─▶ ends within GRACE
//!   └─ does not ─▶ late: goes on there, and its quick slot is free again
//!                   └─ no room ─▶ broken off, which says nothing, and made anew as a slow one
//! slow ──▶ those whose probe before took longer than GRACE, in turn
//! ```
//!
//! So a quick one waits for other quick ones only, each of them no longer than [`GRACE`]: however many backends hang, those that answer
//! are probed on time. Backends that hang wait for each other.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// A probe that takes longer is a slow one.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// How many of each there may be at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) quick: usize,
    /// Those that were taken for quick ones.
    pub(crate) late: usize,
    pub(crate) slow: usize,
}

/// The slots of all probes of a sort.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Classes>);

#[derive(Debug)]
struct Classes {
    quick: Semaphore,
    late: Semaphore,
    slow: Semaphore,
}

impl Slots {
    pub(crate) fn new(room: Room) -> Self {
        let Room { quick, late, slow } = room;
        let [quick, late, slow] = [quick, late, slow].map(Semaphore::new);
        Self(Arc::new(Classes { quick, late, slow }))
    }

    /// Runs `work` once there is a slot for it; where it was broken off, `anew`. Returns when that began, too.
    pub(crate) async fn run<T>(
        &self,
        is_slow: bool,
        work: impl Future<Output = T>,
        anew: impl Future<Output = T>,
    ) -> (T, Instant) {
        if is_slow {
            self.run_slow(work).await
        } else if let Some(ran) = self.run_quick(work).await {
            ran
        } else {
            self.run_slow(anew).await
        }
    }

    /// Nothing where it is broken off.
    async fn run_quick<T>(&self, work: impl Future<Output = T>) -> Option<(T, Instant)> {
        // Here and below, an error would mean that the semaphore is closed, which nobody does.
        let slot = self.0.quick.acquire().await;
        let begun = Instant::now();
        let mut work = pin!(work);
        if let Ok(done) = timeout(GRACE, work.as_mut()).await {
            return Some((done, begun));
        }
        let _late = self.0.late.try_acquire().ok()?;
        drop(slot);
        Some((work.await, begun))
    }

    async fn run_slow<T>(&self, work: impl Future<Output = T>) -> (T, Instant) {
        let _slot = self.0.slow.acquire().await;
        let begun = Instant::now();
        (work.await, begun)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    const ROOM: Room = Room { quick: 2, late: 1, slow: 2 };

    /// Counts one for as long as it is there.
    struct Counted<'a>(&'a AtomicUsize);

    impl<'a> Counted<'a> {
        fn new(count: &'a AtomicUsize, most: &AtomicUsize) -> Self {
            most.fetch_max(count.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            Self(count)
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_hang_there_are_never_more_than_there_is_room_for_and_the_quick_are_on_time() {
        let (slots, count, most) =
            (Slots::new(ROOM), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut hanging = JoinSet::new();
        for n in 0..20 {
            let (slots, count, most) = (slots.clone(), Arc::clone(&count), Arc::clone(&most));
            hanging.spawn(async move {
                let work = async || {
                    let _counted = Counted::new(&count, &most);
                    std::future::pending::<()>().await;
                };
                slots.run(n % 2 == 0, work(), work()).await
            });
        }
        sleep(20 * GRACE).await;
        assert!(most.load(Ordering::Relaxed) <= 5, "{most:?} at once");
        assert_eq!(count.load(Ordering::Relaxed), 3, "one that is late, and the slow ones");
        for _ in 0..10 {
            let asked = Instant::now();
            let ((), begun) = slots.run(false, sleep(GRACE / 2), sleep(GRACE / 2)).await;
            assert_eq!(begun, asked);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_late_goes_on_where_there_is_room_and_else_begins_anew_among_the_slow() {
        for (late, begins) in [(1, 1_u32), (0, 2)] {
            let slots = Slots::new(Room { late, ..ROOM });
            let (begun, asked) = (AtomicUsize::new(0), Instant::now());
            let work = async || {
                begun.fetch_add(1, Ordering::Relaxed);
                sleep(2 * GRACE).await;
            };
            let ((), began) = slots.run(false, work(), work()).await;
            assert_eq!(begun.into_inner(), begins as usize, "{late} late ones");
            assert_eq!(began - asked, GRACE * (begins - 1));
            assert_eq!(asked.elapsed(), GRACE * (begins + 1));
        }
    }
}
