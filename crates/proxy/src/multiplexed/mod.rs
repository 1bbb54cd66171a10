//! HTTP/2 connections to one backend, shared by the exchanges of a worker.
//!
//! ```text
//! exchange ─▶ place on a connection with room ─▶ stream
//!              └─ none: one task connects, waits for the backend's SETTINGS and drives the connection to its end;
//!                 all that want a place wait for it
//! ```
//!
//! A connection whose backend says GOAWAY takes no more streams; those it has go on. One that rests too long is closed.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use tokio::sync::Notify;

use crate::{
    backend::{Backend, IDLE},
    descriptors::Lease,
    stats::Reason,
    stream::Stream,
    timer::{Deadline, Timers},
    tls::H2,
};

/// Streams on one connection at most, whatever its backend allows.
const STREAMS: usize = 128;
/// What a backend may send on one stream beyond what was passed on.
const WINDOW: u32 = 64 * 1024;
/// What may wait to be written, of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// The longest list of fields a response may have, in bytes as RFC 9113 §10.5.1 counts them.
const MAX_LIST: u32 = 64 * 1024;

/// The connections to one backend.
#[derive(Debug, Default)]
pub(crate) struct Multiplexed {
    connections: RefCell<Vec<Rc<Shared>>>,
    connecting: Cell<bool>,
    /// How many times connecting failed, and for what the last time.
    failed: Cell<(u64, Option<Reason>)>,
    /// A connection has been made, or could not be made, or has room again.
    changed: Rc<Notify>,
}

/// One connection.
#[derive(Debug)]
struct Shared {
    send: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// Streams it takes, as long as its backend has refused none below.
    limit: Cell<usize>,
    /// Streams were on it.
    is_used: Cell<bool>,
    /// When it has rested long enough, if it rests.
    until: Cell<Deadline>,
    _place: Lease,
}

impl Shared {
    fn is_usable(&self) -> bool {
        !matches!(self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    fn has_room(&self) -> bool {
        let limit = self.limit.get().min(self.send.current_max_send_streams());
        self.streams.get() < limit
    }
}

/// A place for one stream on a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    shared: Rc<Shared>,
    timers: Rc<Timers>,
    changed: Rc<Notify>,
    /// Streams were on this connection before.
    pub(crate) is_used: bool,
}

impl Place {
    /// To send the one request with.
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.shared.send.clone()
    }

    /// The backend has refused the stream: it takes no more than there are beside it.
    pub(crate) fn note_refused(&self) {
        self.shared.limit.set(self.shared.streams.get() - 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let streams = self.shared.streams.get() - 1;
        self.shared.streams.set(streams);
        if streams == 0 {
            self.shared.until.set(self.timers.deadline(IDLE));
        }
        self.changed.notify_one();
    }
}

impl Multiplexed {
    /// A place on a connection to `backend`, whose own these are. `deadline` is for a new connection.
    ///
    /// # Errors
    /// When a connection was needed and could not be made.
    pub(crate) async fn place(
        backend: &Rc<Backend>,
        timers: &Rc<Timers>,
        deadline: Duration,
    ) -> Result<Place, Reason> {
        let own = &backend.multiplexed;
        loop {
            if let Some(shared) = own.with_room() {
                let is_used = shared.is_used.replace(true);
                shared.streams.set(shared.streams.get() + 1);
                return Ok(Place { shared, timers: timers.clone(), changed: own.changed.clone(), is_used });
            }
            let failed = own.failed.get();
            if !own.connecting.replace(true) {
                tokio::task::spawn_local(connect(backend.clone(), timers.clone(), deadline));
            }
            own.changed.notified().await;
            match own.failed.get() {
                (count, Some(reason)) if count != failed.0 => return Err(reason),
                _ => {}
            }
        }
    }

    /// A connection with room. Those that take no more streams are let go.
    fn with_room(&self) -> Option<Rc<Shared>> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|shared| shared.is_usable());
        connections.iter().find(|shared| shared.has_room()).cloned()
    }

    /// Closes what rested too long, or takes no more streams.
    pub(crate) fn sweep(&self, timers: &Timers) {
        self.connections.borrow_mut().retain(|shared| {
            let rests = shared.streams.get() == 0 && timers.is_past(shared.until.get());
            !rests && shared.is_usable()
        });
    }

    /// How many connections rest.
    pub(crate) fn resting(&self) -> usize {
        self.connections.borrow().iter().filter(|shared| shared.streams.get() == 0).count()
    }

    /// Closes one connection that rests.
    pub(crate) fn forget_one(&self) {
        let mut connections = self.connections.borrow_mut();
        if let Some(at) = connections.iter().position(|shared| shared.streams.get() == 0) {
            connections.remove(at);
        }
    }

    /// Puts no more streams on the present connections.
    pub(crate) fn forget_all(&self) {
        self.connections.borrow_mut().clear();
    }
}

/// Connects, and drives the connection to its end. It ends by itself when nobody holds a place on it and it is forgotten.
async fn connect(backend: Rc<Backend>, timers: Rc<Timers>, deadline: Duration) {
    let place = backend.resting_place();
    let made = tokio::time::timeout(deadline, handshake(&backend)).await;
    let own = &backend.multiplexed;
    own.connecting.set(false);
    let failed = |reason| {
        own.failed.set((own.failed.get().0 + 1, Some(reason)));
        own.changed.notify_waiters();
    };
    let (send, connection) = match made {
        Ok(Ok(made)) => made,
        Ok(Err(reason)) => return failed(reason),
        Err(_) => return failed(Reason::ConnectTimeout),
    };
    let (streams, limit, is_used) = (Cell::new(0), Cell::new(STREAMS), Cell::new(false));
    let until = Cell::new(timers.deadline(IDLE));
    let shared = Shared { send, streams, limit, is_used, until, _place: place };
    own.connections.borrow_mut().push(Rc::new(shared));
    own.changed.notify_waiters();
    // From here on the connection must not keep its backend alive.
    drop(backend);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to a backend ended");
    }
}

/// A connection whose backend has shown by its SETTINGS that it speaks HTTP/2, and how many streams it takes.
async fn handshake(backend: &Backend) -> Result<(SendRequest<Bytes>, Connection<Stream, Bytes>), Reason> {
    let stream = backend.connect().await?;
    // RFC 9113 §3.2: over TLS, what ALPN has agreed on.
    if matches!(&stream, Stream::Tls(tls) if tls.alpn() != Some(H2)) {
        tracing::debug!(backend = %backend.id, "the backend did not agree on h2");
        return Err(Reason::Tls);
    }
    preface(stream).await.map_err(|error| {
        tracing::debug!(backend = %backend.id, %error, "no HTTP/2 connection");
        Reason::Connect
    })
}

async fn preface(stream: Stream) -> io::Result<(SendRequest<Bytes>, Connection<Stream, Bytes>)> {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * STREAMS as u32)
        .max_header_list_size(MAX_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(0);
    let (send, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    poll_fn(|cx| {
        let ended = pin!(&mut connection).poll(cx).map_err(io::Error::other)?.is_ready();
        match send.current_max_send_streams() {
            0 if ended => Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof))),
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    })
    .await?;
    Ok((send, connection))
}
