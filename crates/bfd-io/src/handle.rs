//! What the daemon calls.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self as requests, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::eventfd::{EfdFlags, EventFd};
use tokio::sync::mpsc;

use crate::{
    handover::{HandedOver, HandedSession},
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
        Self::start_with(options, HandedOver::default())
    }

    /// As [`Bfd::start`], with what another process has handed over ([`BfdHandle::hand_over`]): its sockets, as far as they
    /// are where `options` say, and its sessions, which the thread goes on with at once.
    ///
    /// They are nobody's at first, and no event of them is told. [`BfdHandle::add`] makes one whose path it is asked for
    /// the configured one: its events are told from then on, those since the hand-over at once, beginning with its state then
    /// unless that was `Down` ([`Cause::HandedOver`](proxima_bfd::Cause::HandedOver)). The others are ended by
    /// [`BfdHandle::end_unclaimed`].
    ///
    /// A session that can't go on, since its address family is off here or what is said of it makes no sense, is left out,
    /// with a warning.
    ///
    /// # Errors
    /// As [`Bfd::start`]. The descriptors are closed then; the other process has its own.
    pub fn start_with(
        options: BfdOptions,
        inherited: HandedOver,
    ) -> io::Result<(BfdHandle, mpsc::Receiver<BfdEvent>)> {
        Self::prepare(options)?.start_with(inherited)
    }

    /// Starts the thread, at its priority, which then waits for [`PreparedBfd::start_with`]. A thread that is still to be
    /// started may wait for a processor, on a busy host for longer than a session with authentication can be silent
    /// ([`BfdHandle::hand_over`]): to be called before the sessions are asked for.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn prepare(options: BfdOptions) -> io::Result<PreparedBfd> {
        let wake = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        // Without a bound of its own: each caller waits for its answer, so that there are never more requests than callers.
        let (request_sender, request_receiver) = requests::channel();
        let (event_sender, event_receiver) = mpsc::channel(EVENTS);
        let (work_sender, work_receiver) = requests::sync_channel::<Work>(1);
        let (ready_sender, ready_receiver) = requests::sync_channel(1);
        let thread_wake = wake.clone();
        let thread = thread::Builder::new().name("bfd".to_owned()).spawn(move || {
            let priority = Priority::take(options.real_time);
            // The starter is there: it waits for this.
            ready_sender.send(priority).ok();
            let Ok(Work { sockets, sessions, begun }) = work_receiver.recv() else { return };
            let outbox = Outbox::new(event_sender);
            let mut worker = Worker::new(sockets, request_receiver, thread_wake, outbox, priority);
            worker.inherit(Instant::now(), sessions);
            begun.send(()).ok();
            worker.run();
        })?;
        let priority = ready_receiver.recv().map_err(|_| ended())?;
        let shared = Shared { requests: Some(request_sender), wake, thread: Some(thread) };
        let handle = BfdHandle { shared: Arc::new(shared) };
        Ok(PreparedBfd { options, priority, work: work_sender, handle, events: event_receiver })
    }
}

/// What a prepared thread is to do.
struct Work {
    sockets: Sockets,
    sessions: Vec<HandedSession>,
    /// Where it is told that the sessions go on.
    begun: requests::SyncSender<()>,
}

/// A thread that waits for its sockets and sessions; it ends when this is dropped.
#[derive(Debug)]
pub struct PreparedBfd {
    options: BfdOptions,
    priority: Priority,
    // Before the handle, which waits for the thread: the thread waits for this.
    work: requests::SyncSender<Work>,
    handle: BfdHandle,
    events: mpsc::Receiver<BfdEvent>,
}

impl PreparedBfd {
    /// See [`Bfd::start_with`].
    ///
    /// # Errors
    /// As there.
    pub fn start_with(self, inherited: HandedOver) -> io::Result<(BfdHandle, mpsc::Receiver<BfdEvent>)> {
        let Self { options, priority, work, handle, events } = self;
        let HandedOver { sessions, sockets } = inherited;
        let sockets = Sockets::open(options.ipv4, options.ipv6, sockets);
        let sockets = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                // Lets the thread end, which the handle waits for.
                drop(work);
                return Err(error);
            }
        };
        let (begun, has_begun) = requests::sync_channel(1);
        work.send(Work { sockets, sessions, begun }).map_err(|_| ended())?;
        has_begun.recv().map_err(|_| ended())?;
        if let Priority::Ordinary { refused: Some(_), .. } = priority {
            tracing::warn!(%priority, "BFD runs without real-time priority");
        } else {
            tracing::info!(%priority, "BFD runs");
        }
        Ok((handle, events))
    }
}

fn ended() -> io::Error {
    io::Error::other("the BFD thread has ended")
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
    /// Adds a session, which begins to send at once. If another process has handed over one with the same path that nobody
    /// has claimed yet, under whatever name, this is the claim: the session goes on, and `config` changes it as
    /// [`BfdHandle::reconfigure`] does. One that an operator held down stays so until [`BfdHandle::set_admin_down`].
    ///
    /// # Errors
    /// When its name or its path is taken, or it cannot be; [`BfdError::HandedOver`], as for all that change sessions.
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
    /// When the thread has ended, or the sessions are another process's, so that they have not ended.
    pub fn farewell(&self) -> Result<(), BfdError> {
        self.ask(Request::Farewell)?
    }

    /// Hands all sessions and second descriptors of the sockets to another process, for [`Bfd::start_with`] there. From then
    /// on this thread reads nothing, judges no silence and tells no events. It goes on sending what the sessions that are
    /// up told last, so that their neighbours miss nothing while the other process starts; where authentication is
    /// meticulous, only some packets, two multipliers less one: no neighbour takes numbers that are further ahead.
    ///
    /// What follows is [`BfdHandle::end_silently`] when the other process has the sessions, or [`BfdHandle::take_back`].
    ///
    /// # Errors
    /// When they have been handed over already, a descriptor can't be had, or the thread has ended: nothing has changed
    /// then. After [`BfdError::Stuck`] they may be handed over yet: take them back.
    pub fn hand_over(&self) -> Result<HandedOver, BfdError> {
        self.ask(Request::HandOver)?
    }

    /// The other process came to nothing: goes on as if nothing had happened, with what has arrived meanwhile first. The
    /// other process must have ended, or it reads what is for this one. If it has sent more packets of a session with
    /// meticulous authentication than its multiplier, the neighbour discards ours and the session fails.
    ///
    /// Does nothing if nothing was handed over.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn take_back(&self) -> Result<(), BfdError> {
        self.ask(Request::TakeBack)
    }

    /// Ends the thread without a word to anybody, as dropping the last handle does. No packet of it is sent after that.
    ///
    /// # Errors
    /// When the thread has ended already.
    pub fn end_silently(&self) -> Result<(), BfdError> {
        self.ask(Request::End)
    }

    /// Ends the sessions of another process that nobody has claimed, as if they had been removed, and tells the names they
    /// had there.
    ///
    /// # Errors
    /// When the thread has ended, or the sessions are another process's again.
    pub fn end_unclaimed(&self) -> Result<Vec<String>, BfdError> {
        self.ask(Request::EndUnclaimed)?
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
