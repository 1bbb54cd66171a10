//! The streams of one connection of HTTP/2 or HTTP/3 whose tasks have not ended.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use crate::stats::ServiceCounters;

/// How many there are, for whom they count, and whom to wake when there are none: the connection begins to rest then.
pub(super) struct Streams {
    counters: Arc<ServiceCounters>,
    active: Cell<usize>,
    connection: RefCell<Waker>,
}

impl Streams {
    pub(super) fn new(counters: Arc<ServiceCounters>) -> Rc<Self> {
        Rc::new(Self { counters, active: Cell::new(0), connection: RefCell::new(Waker::noop().clone()) })
    }

    pub(super) fn are_active(&self) -> bool {
        self.active.get() > 0
    }

    pub(super) fn are_several(&self) -> bool {
        self.active.get() > 1
    }

    /// Has the connection look at what has come.
    pub(super) fn wake_connection(&self) {
        self.connection.borrow().wake_by_ref();
    }

    /// One more, as long as what is returned lives.
    pub(super) fn begin(self: &Rc<Self>) -> Active {
        self.active.set(self.active.get() + 1);
        self.counters.streams.add(1);
        Active(self.clone())
    }

    /// The task of `cx` is the connection's.
    pub(super) fn register(&self, cx: &Context<'_>) {
        if !self.connection.borrow().will_wake(cx.waker()) {
            self.connection.replace(cx.waker().clone());
        }
    }
}

/// A stream whose task has not ended.
pub(super) struct Active(Rc<Streams>);

impl Drop for Active {
    fn drop(&mut self) {
        let Self(streams) = self;
        streams.active.set(streams.active.get() - 1);
        streams.counters.streams.sub(1);
        if !streams.are_active() {
            streams.wake_connection();
        }
    }
}
