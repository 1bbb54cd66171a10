//! Connections to one backend that many exchanges of a worker share: of HTTP/2 and of HTTP/3.
//!
//! ```text
//! exchange ─▶ place on a connection with room ─▶ stream
//!              └─ none: one task connects, waits until the backend takes streams, and drives the connection to its end;
//!                 all that want a place wait for it
//! ```
//!
//! A connection whose backend says GOAWAY takes no more streams; those it has go on. One that rests too long is closed.

mod http2;
mod http3;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use tokio::sync::Notify;

pub(crate) use self::{http2::Http2Link, http3::Http3Link};
use crate::{
    backend::{Backend, IDLE},
    descriptors::Lease,
    stats::Reason,
    timer::{Deadline, Timers},
};

/// Streams on one connection at most, whatever its backend allows.
const STREAMS: usize = 128;

/// What drives a connection, to its end.
type Drive = Pin<Box<dyn Future<Output = ()>>>;

/// A connection of a version of HTTP. Dropped, it ends with its last stream.
pub(crate) trait Link: Sized + 'static {
    /// What one request is sent with.
    type Stream;

    /// Those of `backend`.
    fn of(backend: &Backend) -> &Multiplexed<Self>;
    /// A connection whose backend takes streams.
    async fn connect(backend: &Backend) -> Result<(Self, Drive), Reason>;
    /// Whether its backend takes more streams at all.
    fn is_usable(&self) -> bool;
    /// One more beside `streams`, if the backend allows it now.
    fn open(&self, streams: usize) -> Option<Self::Stream>;
    /// Whether its backend takes extended CONNECT, by which WebSockets come (RFC 8441 §3, RFC 9220 §3). `None`: its settings have not come.
    fn takes_websockets(&self) -> Option<bool>;
    /// Waits for its settings.
    ///
    /// # Errors
    /// When the connection ends before them.
    async fn settled(&self) -> Result<(), Reason>;
}

/// The connections to one backend.
#[derive(Debug)]
pub(crate) struct Multiplexed<L> {
    connections: RefCell<Vec<Rc<Shared<L>>>>,
    connecting: Cell<bool>,
    /// How many times connecting failed, and for what the last time.
    failed: Cell<(u64, Option<Reason>)>,
    /// A connection has been made, or could not be made, or has room again.
    changed: Rc<Notify>,
}

impl<L> Default for Multiplexed<L> {
    fn default() -> Self {
        let (connecting, failed, changed) = Default::default();
        Self { connections: RefCell::default(), connecting, failed, changed }
    }
}

/// One connection.
#[derive(Debug)]
struct Shared<L> {
    link: L,
    streams: Cell<usize>,
    /// Streams it takes: one fewer than when its backend has last refused one, and one more for each that it has not.
    limit: Cell<usize>,
    /// Streams were on it.
    is_used: Cell<bool>,
    /// When it has rested long enough, if it rests.
    until: Cell<Deadline>,
    _place: Lease,
}

impl<L: Link> Shared<L> {
    fn open(&self) -> Option<L::Stream> {
        let streams = self.streams.get();
        if streams < self.limit.get() { self.link.open(streams) } else { None }
    }
}

/// A place for one stream on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<L> {
    shared: Rc<Shared<L>>,
    timers: Rc<Timers>,
    changed: Rc<Notify>,
    /// Streams were on this connection before.
    pub(crate) is_used: bool,
    /// The backend has refused the stream.
    is_refused: Cell<bool>,
}

impl<L> Place<L> {
    /// The connection.
    pub(crate) fn link(&self) -> &L {
        &self.shared.link
    }

    /// The backend has refused the stream: it takes no more than there are beside it.
    pub(crate) fn note_refused(&self) {
        self.shared.limit.set(self.shared.streams.get() - 1);
        self.is_refused.set(true);
    }
}

impl<L> Drop for Place<L> {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        if !self.is_refused.get() {
            // What was refused once may be taken again, step by step.
            self.shared.limit.set(STREAMS.min(self.shared.limit.get() + 1));
        }
        if streams == 0 {
            self.shared.until.set(self.timers.deadline(IDLE));
        }
        self.changed.notify_one();
    }
}

impl<L: Link> Multiplexed<L> {
    /// A place on a connection to `backend`, and what the request is sent with. `deadline` is for a new connection. `websocket`: the request
    /// is for one; no stream is opened before the backend has said that it takes any.
    ///
    /// # Errors
    /// When a connection was needed and could not be made; [`Reason::Upgrade`] when the backend takes no WebSockets.
    pub(crate) async fn place(
        backend: &Rc<Backend>,
        timers: &Rc<Timers>,
        deadline: Duration,
        websocket: bool,
    ) -> Result<(Place<L>, L::Stream), Reason> {
        let own = L::of(backend);
        loop {
            if let Some((shared, stream)) = own.with_room(websocket) {
                let is_used = shared.is_used.replace(true);
                shared.streams.set(shared.streams.get() + 1);
                let (timers, changed) = (timers.clone(), own.changed.clone());
                let place = Place { shared, timers, changed, is_used, is_refused: Cell::new(false) };
                return Ok((place, stream));
            }
            if websocket && let Some(shared) = own.unsettled() {
                shared.link.settled().await?;
                continue;
            }
            if websocket && own.takes_no_websockets() {
                return Err(Reason::Upgrade);
            }
            let failed = own.failed.get();
            if !own.connecting.replace(true) {
                tokio::task::spawn_local(connect::<L>(backend.clone(), timers.clone(), deadline));
            }
            own.changed.notified().await;
            match own.failed.get() {
                (count, Some(reason)) if count != failed.0 => return Err(reason),
                _ => {}
            }
        }
    }

    /// A connection with room. Those that take no more streams are let go.
    fn with_room(&self, websocket: bool) -> Option<(Rc<Shared<L>>, L::Stream)> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|shared| shared.link.is_usable());
        let mut fit =
            connections.iter().filter(|shared| !websocket || shared.link.takes_websockets() == Some(true));
        fit.find_map(|shared| Some((shared.clone(), shared.open()?)))
    }

    /// A connection whose backend has not said yet whether it takes WebSockets.
    fn unsettled(&self) -> Option<Rc<Shared<L>>> {
        let connections = self.connections.borrow();
        let mut unsettled = connections.iter().filter(|shared| shared.link.takes_websockets().is_none());
        unsettled.find(|shared| shared.link.is_usable()).cloned()
    }

    /// Whether the backend has said so on a connection that is of use: another one would be told the same.
    fn takes_no_websockets(&self) -> bool {
        let connections = self.connections.borrow();
        let mut usable = connections.iter().filter(|shared| shared.link.is_usable());
        usable.any(|shared| shared.link.takes_websockets() == Some(false))
    }

    /// Closes what rested too long, or takes no more streams.
    pub(crate) fn sweep(&self, timers: &Timers) {
        self.connections.borrow_mut().retain(|shared| {
            let rests = shared.streams.get() == 0 && timers.is_past(shared.until.get());
            !rests && shared.link.is_usable()
        });
    }

    /// How many connections rest.
    pub(crate) fn resting(&self) -> usize {
        self.connections.borrow().iter().filter(|shared| shared.streams.get() == 0).count()
    }

    /// Closes one connection that rests, if there is one.
    pub(crate) fn forget_one(&self) -> bool {
        let mut connections = self.connections.borrow_mut();
        let resting = connections.iter().position(|shared| shared.streams.get() == 0);
        resting.map(|at| connections.remove(at)).is_some()
    }

    /// Puts no more streams on the present connections.
    pub(crate) fn forget_all(&self) {
        self.connections.borrow_mut().clear();
    }
}

/// Connects, and drives the connection to its end. It ends by itself when nobody holds a place on it and it is forgotten.
async fn connect<L: Link>(backend: Rc<Backend>, timers: Rc<Timers>, deadline: Duration) {
    let place = backend.resting_place();
    let made = tokio::time::timeout(deadline, L::connect(&backend)).await;
    let own = L::of(&backend);
    own.connecting.set(false);
    let failed = |reason| {
        own.failed.set((own.failed.get().0 + 1, Some(reason)));
        own.changed.notify_waiters();
    };
    let (link, drive) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(reason)) => return failed(reason),
        Err(_) => return failed(Reason::ConnectTimeout),
    };
    let (streams, limit, is_used) = (Cell::new(0), Cell::new(STREAMS), Cell::new(false));
    let until = Cell::new(timers.deadline(IDLE));
    let shared = Shared { link, streams, limit, is_used, until, _place: place };
    own.connections.borrow_mut().push(Rc::new(shared));
    own.changed.notify_waiters();
    // From here on the connection must not keep its backend alive.
    drop(backend);
    drive.await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::descriptors::Descriptors;

    fn place(shared: &Rc<Shared<()>>) -> Place<()> {
        shared.streams.set(shared.streams.get() + 1);
        let (timers, changed) = (Timers::new(Instant::now()), Rc::default());
        Place { shared: shared.clone(), timers, changed, is_used: false, is_refused: Cell::new(false) }
    }

    #[test]
    fn a_connection_takes_fewer_streams_after_a_refusal_and_more_again_after_others() {
        let shared = Rc::new(Shared {
            link: (),
            streams: Cell::new(0),
            limit: Cell::new(STREAMS),
            is_used: Cell::new(false),
            until: Cell::new(Deadline::NEVER),
            _place: Descriptors::new(10).resting(),
        });
        let mut places: Vec<_> = (0..10).map(|_| place(&shared)).collect();
        for refused in places.drain(7..).rev() {
            refused.note_refused();
        }
        assert_eq!(shared.limit.get(), 7, "as many as it has not refused");
        drop(places);
        assert_eq!(shared.limit.get(), 14);
        for _ in 0..2 * STREAMS {
            drop(place(&shared));
        }
        assert_eq!(shared.limit.get(), STREAMS);
    }
}
