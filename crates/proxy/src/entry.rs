//! Where connections come in, as one worker has it: what they are served, what counts them, and how they are told to leave.
//!
//! An entry is a listener for as long as it is configured the same. One that is configured otherwise, or no more, leaves: it takes
//! no new connections, and those it has end as when the data plane drains. They are served to their ends by what the entry had
//! last, and are cut when their time is over.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    task::Context,
};

use tokio::task::AbortHandle;

use crate::{
    Listener, Protocol,
    descriptors::Seat,
    limits::{Counted, TooMany},
    stats::ServiceCounters,
    view::{ServiceView, View},
    worker::Worker,
};

/// Where connections come in.
pub(crate) struct Entry {
    /// `None`: it is for the probes of one connection.
    listener: Option<Listener>,
    pub(crate) counters: Arc<ServiceCounters>,
    view: RefCell<Option<Rc<ServiceView>>>,
    /// The port of HTTP/3 at the same address, where this speaks HTTPS.
    http3: Cell<Option<u16>>,
    leaving: Cell<bool>,
    cut: Cell<bool>,
    tasks: RefCell<Tasks>,
}

/// What drives the connections that came over TCP.
#[derive(Default)]
struct Tasks {
    next: u64,
    running: HashMap<u64, Option<AbortHandle>>,
}

impl Entry {
    pub(crate) fn of_clients(listener: Listener, counters: Arc<ServiceCounters>) -> Rc<Self> {
        Rc::new(Self::new(Some(listener), counters, None))
    }

    /// For probes, which are served `view`.
    pub(crate) fn of_probe(view: ServiceView, counters: Arc<ServiceCounters>) -> Rc<Self> {
        Rc::new(Self::new(None, counters, Some(Rc::new(view))))
    }

    fn new(
        listener: Option<Listener>,
        counters: Arc<ServiceCounters>,
        view: Option<Rc<ServiceView>>,
    ) -> Self {
        Self {
            listener,
            counters,
            view: RefCell::new(view),
            http3: Cell::default(),
            leaving: Cell::default(),
            cut: Cell::default(),
            tasks: RefCell::default(),
        }
    }

    /// Whether clients connect there, and not probes.
    pub(crate) fn is_for_clients(&self) -> bool {
        self.listener.is_some()
    }

    pub(crate) fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// What it serves now, as far as its worker knows: see [`Worker::service`].
    pub(crate) fn view(&self) -> Option<Rc<ServiceView>> {
        self.view.borrow().clone()
    }

    /// Serves what `view` has from now on. Where that lacks the service, or has it in another protocol, the entry is about to
    /// leave, and goes on with what it had.
    pub(crate) fn follow(&self, view: &View) {
        let Some(listener) = &self.listener else { return };
        if let Some(newer) = view.service(&listener.service).filter(|newer| newer.speaks(listener.protocol)) {
            self.view.replace(Some(newer.clone()));
        }
    }

    /// The port of HTTP/3 beside it, to be told to clients.
    pub(crate) fn http3(&self) -> Option<u16> {
        self.http3.get()
    }

    pub(crate) fn set_http3(&self, port: Option<u16>) {
        self.http3.set(port);
    }

    /// Whether its clients do better elsewhere.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    pub(crate) fn leave(&self) {
        self.leaving.set(true);
    }

    /// Whether its connections have to end now, whatever is under way on them.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Ends its connections now. Those over QUIC see it by [`is_cut`](Self::is_cut), when they are woken.
    pub(crate) fn cut(&self) {
        self.cut.set(true);
        let running = std::mem::take(&mut self.tasks.borrow_mut().running);
        running.into_values().flatten().for_each(|task| task.abort());
    }

    /// Whether it has no connections.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.borrow().running.is_empty()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listener {
            Some(Listener { address, .. }) => address.fmt(f),
            None => f.write_str("a probe's"),
        }
    }
}

/// Counts a connection as open until it is dropped.
pub(crate) struct Open {
    worker: Rc<Worker>,
    entry: Rc<Entry>,
    number: u64,
    /// `None`: a probe's, for which no drain waits.
    seat: Option<Seat>,
    /// It counts as one with nothing under way.
    is_idle: Cell<bool>,
    /// Among the connections of its address.
    counted: Option<Counted>,
}

impl Open {
    pub(crate) fn new(worker: Rc<Worker>, entry: Rc<Entry>, seat: Seat, counted: Option<Counted>) -> Self {
        entry.counters.connections.add(1);
        entry.counters.open.add(1);
        worker.counters.open.add(1);
        let mut open = Self::numbered(worker, entry, Some(seat));
        open.counted = counted;
        open
    }

    /// The connection of a probe, which is nobody's client.
    pub(crate) fn of_probe(worker: Rc<Worker>, entry: Rc<Entry>) -> Self {
        Self::numbered(worker, entry, None)
    }

    fn numbered(worker: Rc<Worker>, entry: Rc<Entry>, seat: Option<Seat>) -> Self {
        let number = {
            let mut tasks = entry.tasks.borrow_mut();
            let number = tasks.next;
            tasks.next += 1;
            tasks.running.insert(number, None);
            number
        };
        Self { worker, entry, number, seat, is_idle: false.into(), counted: None }
    }

    /// Where it came in.
    pub(crate) fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    /// Counts the connection among those of its address, which is known to be the client's now.
    ///
    /// # Errors
    /// When that has as many as it may have.
    pub(crate) fn count(&mut self, client: IpAddr) -> Result<(), TooMany> {
        if self.counted.is_none() {
            self.counted = self.worker.count(&self.entry, client)?;
        }
        Ok(())
    }

    /// Nothing is under way for the client from now on; the task of `cx` asks whether it is sent away.
    pub(crate) fn rest(&self, cx: &Context<'_>) {
        if self.seat.as_ref().is_some_and(|seat| seat.rest(cx.waker())) {
            self.note_idle(true);
        }
    }

    /// A request has begun: the connection is not closed for others from now on.
    pub(crate) fn begin(&self) {
        if self.seat.as_ref().is_some_and(Seat::insist) {
            self.note_idle(false);
        }
    }

    /// Something is under way from now on; whether there is a place for its connection to a backend.
    pub(crate) async fn resume(&self) -> bool {
        self.note_idle(false);
        match &self.seat {
            Some(seat) => self.worker.resume(seat).await,
            None => true,
        }
    }

    /// Whether it is to leave, for another client that needs its place.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_sent_away)
    }

    /// It leaves, for another client.
    pub(crate) fn note_evicted(&self) {
        self.note_idle(false);
        self.entry.counters.evicted.add(1);
    }

    fn note_idle(&self, is_idle: bool) {
        let idle = &self.entry.counters.idle;
        match (self.is_idle.replace(is_idle), is_idle) {
            (false, true) => idle.add(1),
            (true, false) => idle.sub(1),
            (false, false) | (true, true) => {}
        }
    }

    /// Serves the connection in a task of its own, which a cut ends.
    pub(crate) fn serve<F>(self, serve: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + 'static,
    {
        let (entry, number) = (self.entry.clone(), self.number);
        let task = tokio::task::spawn_local(serve(self));
        if entry.is_cut() {
            task.abort();
        } else {
            entry.tasks.borrow_mut().running.insert(number, Some(task.abort_handle()));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.entry.tasks.borrow_mut().running.remove(&self.number);
        // Its places are free before anybody, in whatever thread, can see that it is gone.
        drop(self.counted.take());
        self.note_idle(false);
        if self.seat.take().is_some() {
            self.entry.counters.open.sub(1);
            self.worker.counters.open.sub(1);
        }
    }
}

impl ServiceView {
    /// Whether it is for a listener of `protocol`.
    fn speaks(&self, protocol: Protocol) -> bool {
        match (self, protocol) {
            (Self::Http { tls, .. }, Protocol::Https | Protocol::Http3) => tls.is_some(),
            (Self::Http { tls, .. }, Protocol::Http) => tls.is_none(),
            (Self::Tcp(_), Protocol::Tcp) => true,
            (Self::Http { .. }, Protocol::Tcp) | (Self::Tcp(_), _) => false,
        }
    }
}
