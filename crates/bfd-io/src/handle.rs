//! What the daemon calls.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self as requests, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc;

use crate::{
    outbox::Outbox,
    priority::Priority,
    settings::{BfdError, BfdEvent, BfdOptions, BfdStatus, HostStatus, SessionConfig},
    socket::Sockets,
    worker::{Reply, Request, Worker},
};

/// Events between the thread and its reader; beyond that they are coalesced, see [`BfdEvent`].
const EVENTS: usize = 1024;
/// An answer takes microseconds. Who asks has timers of its own to keep, whatever has become of the thread.
const PATIENCE: Duration = Duration::from_secs(1);

/// BFD on this host.
#[derive(Debug)]
pub struct Bfd;

impl Bfd {
    /// Opens the sockets, in the network namespace of the caller, and starts the thread. It ends when the last handle is
    /// dropped; neighbours then notice its silence, unless [`BfdHandle::farewell`] was called.
    ///
    /// # Errors
    /// When a socket cannot be opened, above all because another BFD daemon has the ports, or there can be no thread.
    pub fn start(options: BfdOptions) -> io::Result<(BfdHandle, mpsc::Receiver<BfdEvent>)> {
        let sockets = Sockets::open(options.ipv4, options.ipv6)?;
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        // Without a bound of its own: each caller waits for its answer, so that there are never more requests than callers.
        let (request_sender, request_receiver) = requests::channel();
        let (event_sender, event_receiver) = mpsc::channel(EVENTS);
        let (ready_sender, ready_receiver) = requests::sync_channel(1);
        let thread_wake = wake.clone();
        let thread = thread::Builder::new().name("bfd".to_owned()).spawn(move || {
            let priority = Priority::take(options.real_time);
            let outbox = Outbox::new(event_sender);
            // The starter is there: it waits for this.
            ready_sender.send(priority).ok();
            Worker::new(sockets, request_receiver, thread_wake, outbox, priority).run();
        })?;
        let priority = ready_receiver.recv().map_err(|_| io::Error::other("the BFD thread has ended"))?;
        if let Priority::Ordinary { refused: Some(_), .. } = priority {
            tracing::warn!(%priority, "BFD runs without real-time priority");
        } else {
            tracing::info!(%priority, "BFD runs");
        }
        let shared = Shared { requests: Some(request_sender), wake, thread: Some(thread) };
        Ok((BfdHandle { shared: Arc::new(shared) }, event_receiver))
    }
}

#[derive(Debug)]
struct Shared {
    requests: Option<requests::Sender<Request>>,
    wake: Arc<EventFd>,
    thread: Option<thread::JoinHandle<()>>,
}

/// Steers the thread. Calls wait for its answer, which takes it some microseconds; it waits for nobody.
#[derive(Debug, Clone)]
pub struct BfdHandle {
    shared: Arc<Shared>,
}

impl BfdHandle {
    /// Adds a session, which begins to send at once.
    ///
    /// # Errors
    /// When its name or its path is taken, or it cannot be.
    pub fn add(&self, config: SessionConfig) -> Result<(), BfdError> {
        self.ask(|reply| Request::Add(config.into(), reply))?
    }

    /// Removes a session. Its neighbour is told that this is no failure. No event of it follows.
    ///
    /// # Errors
    /// When there is no such session.
    pub fn remove(&self, name: &str) -> Result<(), BfdError> {
        self.ask(|reply| Request::Remove(name.to_owned(), reply))?
    }

    /// Takes a session down, telling its neighbour that this is no failure, or lets it come up again.
    ///
    /// # Errors
    /// When there is no such session.
    pub fn set_admin_down(&self, name: &str, down: bool) -> Result<(), BfdError> {
        self.ask(|reply| Request::AdminDown(name.to_owned(), down, reply))?
    }

    /// Gives a session other settings, by its name. Intervals, multiplier and least TTL change without a flap; another
    /// address, interface or kind of path takes a new session.
    ///
    /// # Errors
    /// When there is no such session, or it cannot be; the former one is restored then.
    pub fn reconfigure(&self, config: SessionConfig) -> Result<(), BfdError> {
        self.ask(|reply| Request::Reconfigure(config.into(), reply))?
    }

    /// All sessions, by name.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn sessions(&self) -> Result<Vec<BfdStatus>, BfdError> {
        self.ask(Request::Sessions)
    }

    /// What is known about BFD on this host.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn host(&self) -> Result<HostStatus, BfdError> {
        self.ask(Request::Host)
    }

    /// Tells all neighbours, once, that the end of their sessions is no failure. The sessions are removed.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn farewell(&self) -> Result<(), BfdError> {
        self.ask(Request::Farewell)
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, BfdError> {
        let (reply, answer) = requests::sync_channel(1);
        let requests = self.shared.requests.as_ref().ok_or(BfdError::Stopped)?;
        requests.send(request(reply)).map_err(|_| BfdError::Stopped)?;
        self.shared.wake();
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => BfdError::Stuck,
            RecvTimeoutError::Disconnected => BfdError::Stopped,
        })
    }
}

impl Shared {
    fn wake(&self) {
        // Fails only when the counter is full, and then the thread wakes anyway.
        let _ = self.wake.write(1);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.requests.take());
        self.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed by the panic hook.
            let _ = thread.join();
        }
    }
}
