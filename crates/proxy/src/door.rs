//! A worker's sockets: which entry's connections they take.
//!
//! ```text
//! DataPlane::reconfigure ─▶ main task: Doors::reconfigure ─┬─ same listener: nothing is touched
//!                                                          ├─ same address, another service or protocol: another entry
//!                                                          ├─ new: a task that accepts
//!                                                          └─ gone: TCP closes; QUIC stays for the connections it has
//! ```
//!
//! A socket stays as long as its address is listened on, whatever for: the kernel spreads what arrives over the sockets of an
//! address, and each that closes takes along what has not been accepted yet.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    fmt, io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use proxima_http3::Code;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
};

use crate::{
    Listener, Protocol,
    close::reset_on_close,
    descriptors::{Over, Seat},
    entry::{Entry, Open},
    http,
    limits::Counted,
    listening::{Done, Place, Reconfigure, Socket, Transport},
    quic::{Admission, Limits, Newcomer, Port},
    stream::Stream,
    tcp,
    timer::Deadline,
    tls,
    worker::Worker,
};

/// How long the end of a socket for QUIC waits until its clients have been told.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A worker's sockets.
#[derive(Default)]
pub(crate) struct Doors {
    open: HashMap<Place, Door>,
    /// Those that were closed, until their tasks have ended.
    closing: Vec<JoinHandle<()>>,
}

struct Door {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
    /// Until when a socket that nothing listens on any more stays for the connections it has.
    until: Option<Deadline>,
}

struct Shared {
    entry: RefCell<Rc<Entry>>,
    shut: Notify,
    /// Held until the task has ended.
    done: RefCell<Option<Done>>,
}

impl Doors {
    /// Listens as `order` says from now on. What was listened on otherwise leaves.
    pub(crate) fn reconfigure(&mut self, worker: &Rc<Worker>, order: Reconfigure) {
        let Reconfigure { listeners, sockets, drain, done, .. } = order;
        let deadline = worker.timers.deadline(drain);
        let mut sockets: HashMap<Place, Socket> = sockets.into_iter().collect();
        let mut wanted = HashSet::new();
        for listener in listeners.iter() {
            let place = Place::of(listener);
            wanted.insert(place);
            match (self.open.get_mut(&place), sockets.remove(&place)) {
                (Some(door), _) => door.serve(worker, listener, deadline),
                (None, Some(socket)) => {
                    let entry = worker.enter(listener.clone());
                    self.open.insert(place, Door::open(worker, entry, socket));
                }
                (None, None) => {
                    tracing::error!(address = %listener.address, "there is no socket to listen on");
                }
            }
        }
        for (place, mut door) in std::mem::take(&mut self.open) {
            let goes = !wanted.contains(&place) && door.until.is_none();
            if goes {
                worker.dismiss(&door.shared.entry.borrow(), deadline);
                door.until = Some(deadline);
            }
            if goes && place.transport == Transport::Tcp {
                door.shared.done.replace(Some(done.clone()));
                self.closing.push(door.close());
            } else {
                self.open.insert(place, door);
            }
        }
        worker.note_http3(&listeners);
    }

    /// Stops listening over TCP. QUIC goes on for the connections there are.
    pub(crate) fn begin_drain(&mut self) {
        for (place, door) in std::mem::take(&mut self.open) {
            match place.transport {
                Transport::Tcp => self.closing.push(door.close()),
                Transport::Udp => drop(self.open.insert(place, door)),
            }
        }
    }

    /// Whether nothing comes over TCP any more.
    pub(crate) fn are_shut(&self) -> bool {
        self.closing.iter().all(JoinHandle::is_finished)
    }

    /// Closes what has stayed long enough, or has nothing to stay for.
    pub(crate) fn sweep(&mut self, worker: &Worker) {
        self.closing.retain(|task| !task.is_finished());
        let is_over = |place: Place, door: &Door| {
            door.until.is_some_and(|until| worker.timers.is_past(until) || !worker.has_connections(place))
        };
        let over: Vec<Place> = self
            .open
            .iter()
            .filter(|(place, door)| is_over(**place, door))
            .map(|(place, _)| *place)
            .collect();
        for place in over {
            let door = self.open.remove(&place);
            self.closing.extend(door.map(Door::close));
        }
    }

    /// Waits until clients of QUIC have been told that all is over.
    pub(crate) async fn close(self) {
        let is_quic =
            |(place, door): (Place, Door)| (place.transport == Transport::Udp).then(|| door.close());
        let closing: Vec<_> = self.open.into_iter().filter_map(is_quic).collect();
        for task in closing {
            // An error is a panic of the task, which has been told.
            let _ = task.await;
        }
    }
}

impl Door {
    fn open(worker: &Rc<Worker>, entry: Rc<Entry>, socket: Socket) -> Self {
        let (entry, shut, done) = (RefCell::new(entry), Notify::new(), RefCell::default());
        let shared = Rc::new(Shared { entry, shut, done });
        let task = match socket {
            Socket::Tcp(socket) => tokio::task::spawn_local(accept(worker.clone(), shared.clone(), socket)),
            Socket::Quic(port) => tokio::task::spawn_local(receive(worker.clone(), shared.clone(), port)),
        };
        Self { shared, task, until: None }
    }

    /// Takes connections for `listener` from now on.
    fn serve(&mut self, worker: &Worker, listener: &Listener, deadline: Deadline) {
        let entry = self.shared.entry.borrow().clone();
        if self.until.take().is_none() && entry.listener() == Some(listener) {
            return;
        }
        worker.dismiss(&entry, deadline);
        self.shared.entry.replace(worker.enter(listener.clone()));
    }

    fn close(self) -> JoinHandle<()> {
        self.shared.shut.notify_one();
        self.task
    }
}

impl Shared {
    fn entry(&self) -> Rc<Entry> {
        self.entry.borrow().clone()
    }
}

/// Accepts until the socket is shut; then takes what the kernel has already completed, and closes.
async fn accept(worker: Rc<Worker>, shared: Rc<Shared>, socket: std::net::TcpListener) {
    let socket = match TcpListener::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(address = %shared.entry(), %error, "the event loop does not take the listener");
            return;
        }
    };
    let mut backoff = Backoff::default();
    loop {
        worker.clear().await;
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = shared.shut.notified() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                backoff = Backoff::default();
                spawn(&worker, &shared.entry(), stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                worker.counters.accept_errors.add(1);
                backoff.wait(&shared.entry(), &error).await;
            }
        }
    }
    let entry = shared.entry();
    take_completed(&worker, &entry, socket).unwrap_or_else(|error| {
        tracing::warn!(address = %entry, %error, "connections the kernel had completed are lost");
    });
}

/// Takes what waits in the kernel, seen by the event loop or not, and closes the listener.
fn take_completed(worker: &Rc<Worker>, entry: &Rc<Entry>, socket: TcpListener) -> io::Result<()> {
    let socket = socket.into_std()?;
    loop {
        match socket.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(true)?;
                spawn(worker, entry, TcpStream::from_std(stream)?, peer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Takes clients of HTTP/3 while the entry has not left, and datagrams of those it has until the socket is shut. Then tells them
/// so.
async fn receive(worker: Rc<Worker>, shared: Rc<Shared>, port: Port) {
    let mut gate = match port.open(Limits::default()) {
        Ok(gate) => gate,
        Err(error) => {
            tracing::error!(address = %shared.entry(), %error, "the event loop does not take the listener");
            return;
        }
    };
    loop {
        worker.clear().await;
        let next = tokio::select! {
            next = gate.next(|newcomer| admit(&worker, shared.entry(), &newcomer)) => next,
            () = shared.shut.notified() => break,
        };
        // The endpoint is closed below only.
        let Some((handshake, (entry, seat, counted))) = next else { break };
        let open = Open::new(worker.clone(), entry, seat, counted);
        tokio::task::spawn_local(http::h3::serve(worker.clone(), open, handshake));
    }
    gate.close(Code::NoError.value(), LAST_WORDS).await;
}

/// What becomes of a client that comes over QUIC, and where it counts.
fn admit(
    worker: &Worker,
    entry: Rc<Entry>,
    newcomer: &Newcomer,
) -> Admission<(Rc<Entry>, Seat, Option<Counted>)> {
    let Some(crypto) = worker.crypto(&entry, newcomer.is_left) else { return Admission::Refused };
    let (client, mut counted) = (newcomer.address.ip(), None);
    // An address that may be forged is counted when the handshake is done: nobody shall use up another's share.
    if newcomer.is_validated {
        let Ok(count) = worker.count(&entry, client) else { return Admission::Refused };
        counted = count;
    } else if worker.is_full(&entry, client) {
        return Admission::Refused;
    }
    // Nor is anybody sent away for it.
    let seat = if newcomer.is_validated { worker.admit(Over::Udp) } else { worker.admit_if_free(Over::Udp) };
    match seat {
        Some(seat) => Admission::Taken(crypto, (entry, seat, counted)),
        None if newcomer.is_validated => {
            entry.counters.shed.add(1);
            worker.tell_shed(&entry);
            Admission::Refused
        }
        None => Admission::Later,
    }
}

fn spawn(worker: &Rc<Worker>, entry: &Rc<Entry>, stream: TcpStream, peer: SocketAddr) {
    let Some(listener) = entry.listener() else { return };
    let Ok(counted) = worker.count(entry, peer.ip()) else { return reset_on_close(&stream) };
    let Some(seat) = worker.admit(Over::Tcp) else {
        return shed(worker, entry, listener.protocol, stream, peer);
    };
    let open = Open::new(worker.clone(), entry.clone(), seat, counted);
    let (worker, entry) = (worker.clone(), entry.clone());
    match listener.protocol {
        Protocol::Http => {
            open.serve(move |open| http::serve(worker, open, entry, Stream::Plain(stream), peer));
        }
        Protocol::Https => open.serve(move |open| tls::serve(worker, open, entry, stream, peer)),
        Protocol::Tcp => open.serve(move |open| tcp::serve(worker, open, entry, stream, peer)),
        Protocol::Http3 => unreachable!("its clients do not come over TCP"),
    }
}

/// Turns a client away: with an answer where there is one to give that costs no handshake, and not too many get theirs already.
fn shed(worker: &Rc<Worker>, entry: &Rc<Entry>, protocol: Protocol, stream: TcpStream, peer: SocketAddr) {
    entry.counters.shed.add(1);
    worker.tell_shed(entry);
    match worker.refusal() {
        Some(place) if protocol == Protocol::Http => {
            let stream = Stream::Plain(stream);
            tokio::task::spawn_local(http::turn_away(worker.clone(), place, entry.clone(), stream, peer));
        }
        _ => reset_on_close(&stream),
    }
}

/// Whether only the connection that was to be accepted is lost.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::Interrupted)
}

/// Out of descriptors or memory: trying again at once would only burn the CPU that might free some.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) async fn wait(&mut self, at: &impl fmt::Display, error: &io::Error) {
        if self.failures == 0 {
            tracing::warn!(
                address = %at, %error,
                "can't accept connections; for `too many open files` raise LimitNOFILE. Trying on"
            );
        }
        let pause = Duration::from_millis(10 << self.failures.min(6));
        self.failures += 1;
        tokio::time::sleep(pause).await;
    }
}
