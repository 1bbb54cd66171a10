//! One coarse timer per worker.
//!
//! A deadline is a number in a cell. Arming it is a store; nothing is queued, moved or woken. The worker's beat
//! advances the clock and wakes the tasks whose deadline has passed. A task then sees it by [`Timer::has_expired`].

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

/// From beat to beat.
pub(crate) const BEAT: Duration = Duration::from_millis(50);

const NEVER: u64 = u64::MAX;

/// The clock and the deadlines of one worker.
#[derive(Debug)]
pub(crate) struct Timers {
    epoch: Instant,
    /// Milliseconds since the epoch, as of the last beat.
    now: Cell<u64>,
    slots: RefCell<Vec<Rc<Slot>>>,
}

#[derive(Debug)]
struct Slot {
    deadline: Cell<u64>,
    waker: RefCell<Waker>,
}

/// The deadline of one task.
#[derive(Debug)]
pub(crate) struct Timer {
    timers: Rc<Timers>,
    slot: Rc<Slot>,
}

/// A point in time on a worker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    pub(crate) const NEVER: Self = Self(NEVER);
    /// Before the clock began.
    pub(crate) const PAST: Self = Self(0);

    /// So many milliseconds after the clock began.
    pub(crate) fn at_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds after the clock began.
    pub(crate) fn millis(self) -> u64 {
        self.0
    }
}

impl Timers {
    pub(crate) fn new(epoch: Instant) -> Rc<Self> {
        Rc::new(Self { epoch, now: Cell::new(0), slots: RefCell::default() })
    }

    /// A timer for the task of `cx`, which must be the one that will ask it.
    pub(crate) fn timer(self: &Rc<Self>, cx: &Context<'_>) -> Timer {
        let slot = Rc::new(Slot { deadline: Cell::new(NEVER), waker: RefCell::new(cx.waker().clone()) });
        self.slots.borrow_mut().push(slot.clone());
        Timer { timers: self.clone(), slot }
    }

    /// Advances the clock, wakes what is due and forgets the timers that were dropped.
    pub(crate) fn beat(&self, now: Instant) {
        let now = millis(now.saturating_duration_since(self.epoch));
        self.now.set(now);
        self.slots.borrow_mut().retain(|slot| {
            if slot.deadline.get() <= now {
                slot.waker.borrow().wake_by_ref();
            }
            Rc::strong_count(slot) > 1
        });
    }

    /// Wakes every task, so that each looks at what changed.
    pub(crate) fn wake_all(&self) {
        self.slots.borrow().iter().for_each(|slot| slot.waker.borrow().wake_by_ref());
    }

    /// The last beat: up to a beat ago.
    pub(crate) fn now(&self) -> Deadline {
        Deadline(self.now.get())
    }

    /// Whether `deadline` has passed.
    pub(crate) fn is_past(&self, deadline: Deadline) -> bool {
        deadline.0 <= self.now.get()
    }

    /// `after` from now. The clock is behind by up to a beat, which is added: better late than early.
    pub(crate) fn deadline(&self, after: Duration) -> Deadline {
        Deadline(self.now.get().saturating_add(millis(after + BEAT)))
    }
}

impl Timer {
    /// Sets the deadline, whatever it was before.
    pub(crate) fn arm(&self, deadline: Deadline) {
        self.slot.deadline.set(deadline.0);
    }

    /// As [`Timer::arm`], `after` from now.
    pub(crate) fn arm_after(&self, after: Duration) {
        self.arm(self.timers.deadline(after));
    }

    /// Whether the deadline has passed.
    pub(crate) fn has_expired(&self) -> bool {
        self.slot.deadline.get() <= self.timers.now.get()
    }

    /// Whether `deadline` has passed.
    pub(crate) fn is_past(&self, deadline: Deadline) -> bool {
        self.timers.is_past(deadline)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_wakes_its_task_when_it_is_due_and_never_early() {
        let start = Instant::now();
        let timers = Timers::new(start);
        let wakes = Arc::new(Wakes::default());
        let timer = timers.timer(&Context::from_waker(&wakes.clone().into()));
        timers.beat(start + Duration::from_secs(1));
        assert!(!timer.has_expired());
        timer.arm_after(Duration::from_millis(100));
        for (at, expired) in [(1050, false), (1100, false), (1149, false), (1150, true)] {
            timers.beat(start + Duration::from_millis(at));
            assert_eq!(timer.has_expired(), expired, "{at}");
            assert_eq!(wakes.0.load(Ordering::Relaxed), usize::from(expired), "{at}");
        }
        timer.arm(Deadline::NEVER);
        assert!(!timer.has_expired());
    }

    #[test]
    fn a_dropped_timer_is_forgotten() {
        let timers = Timers::new(Instant::now());
        drop(timers.timer(&Context::from_waker(Waker::noop())));
        timers.beat(Instant::now());
        assert!(timers.slots.borrow().is_empty());
    }
}
