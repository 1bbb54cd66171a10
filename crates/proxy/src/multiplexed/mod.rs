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
    /// Whether its backend takes extended CONNECT, by which WebSockets come (RFC 8441 §3, RFC 9220 §3). Waits for its settings.
    ///
    /// # Errors
    /// When the connection ends before them.
    async fn takes_websockets(&self) -> Result<bool, Reason>;
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
    /// Streams it takes, as long as its backend has refused none below.
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
}

impl<L> Place<L> {
    /// The connection.
    pub(crate) fn link(&self) -> &L {
        &self.shared.link
    }

    /// The backend has refused the stream: it takes no more than there are beside it.
    pub(crate) fn note_refused(&self) {
        self.shared.limit.set(self.shared.streams.get() - 1);
    }
}

impl<L> Drop for Place<L> {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        if streams == 0 {
            self.shared.until.set(self.timers.deadline(IDLE));
        }
        self.changed.notify_one();
    }
}

impl<L: Link> Multiplexed<L> {
    /// A place on a connection to `backend`, and what the request is sent with. `deadline` is for a new connection.
    ///
    /// # Errors
    /// When a connection was needed and could not be made.
    pub(crate) async fn place(
        backend: &Rc<Backend>,
        timers: &Rc<Timers>,
        deadline: Duration,
    ) -> Result<(Place<L>, L::Stream), Reason> {
        let own = L::of(backend);
        loop {
            if let Some((shared, stream)) = own.with_room() {
                let is_used = shared.is_used.replace(true);
                shared.streams.set(shared.streams.get() + 1);
                let place = Place { shared, timers: timers.clone(), changed: own.changed.clone(), is_used };
                return Ok((place, stream));
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
    fn with_room(&self) -> Option<(Rc<Shared<L>>, L::Stream)> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|shared| shared.link.is_usable());
        connections.iter().find_map(|shared| Some((shared.clone(), shared.open()?)))
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
