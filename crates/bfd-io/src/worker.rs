//! The thread: wait, read, judge, send.
//!
//! ```text
//!  ┌─▶ ppoll until the first deadline
//!  │   now = the clock
//!  │   read what ppoll has seen ─▶ Sessions::handle(now)
//!  │   a neighbour seems silent? ─▶ read everything again
//!  │   serve requests
//!  │   came late? ─▶ Sessions::excuse(now)
//!  │   Sessions::handle_timeout(now)
//!  └── send what is to be sent, tell what is to be told
//! ```
//!
//! `now` is read before the datagrams are: whatever arrived before it has been read when a silence is judged by it.

use std::{
    collections::HashMap,
    io,
    ops::AddAssign,
    os::fd::AsFd,
    sync::{Arc, mpsc::Receiver as Requests},
    time::{Duration, Instant},
};

use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, ppoll},
    sys::{eventfd::EventFd, time::TimeSpec},
};
use proxima_bfd::{AddError, Command, Discriminator, Output, Path, Sessions};

use self::handover::Unclaimed;
use crate::{
    draws::Draws,
    handover::HandedOver,
    outbox::Outbox,
    priority::Priority,
    settings::{BfdError, BfdEvent, BfdStatus, HostStatus, SessionConfig},
    socket::{Buffer, RECEIVERS, Sockets, Target},
};

mod handover;
mod requests;

pub(crate) use requests::{Reply, Request};

/// A delay that is worth a look at the sessions' excuses.
const LATE: Duration = Duration::from_millis(1);
/// Datagrams read in one round, more than the receive buffers hold. What is beyond them comes faster than it can be read.
const MOST_PER_ROUND: usize = 16_384;
/// Datagrams that come in closer succession are left to gather for so long, so that neither thousands of sessions nor a
/// flood take a core by waking the thread for each datagram.
const GATHER: Duration = Duration::from_micros(250);
/// How often events that found no room are told again.
const RETRY: Duration = Duration::from_millis(10);
/// How often interfaces are looked up: in slices, each of them once in ten.
const LOOK_UP: Duration = Duration::from_millis(100);
const SLICES: usize = 10;
/// The index of an interface that is not there. Nothing arrives by it and nothing is sent.
const ABSENT: u32 = 0;

/// What the core does not know of a session.
#[derive(Debug)]
struct Peer {
    name: Arc<str>,
    config: SessionConfig,
    /// The interface's index, [`ABSENT`] while it is not there.
    interface: Option<u32>,
    target: Target,
    send_errors: u64,
    last_send_error: Option<i32>,
}

impl Peer {
    fn new(config: SessionConfig, path: &Path) -> Self {
        Self {
            name: config.name.as_str().into(),
            config,
            interface: path.interface,
            target: Target::new(path),
            send_errors: 0,
            last_send_error: None,
        }
    }
}

/// The thread's state.
pub(crate) struct Worker {
    sessions: Sessions,
    peers: HashMap<Discriminator, Peer>,
    names: HashMap<Arc<str>, Discriminator>,
    /// Sessions of another process that are nobody's here yet; they have no name.
    unclaimed: HashMap<Discriminator, Unclaimed>,
    /// Another process has the sessions: this one only sends.
    handed: bool,
    /// Asked in this round, and done at its end.
    to_hand_over: Option<Reply<Result<HandedOver, BfdError>>>,
    ended: bool,
    sockets: Sockets,
    buffer: Buffer,
    requests: Requests<Request>,
    wake: Arc<EventFd>,
    outbox: Outbox,
    draws: Draws,
    look_up_at: Option<Instant>,
    slice: usize,
    priority: Priority,
    received: u64,
    sent: u64,
    worst_delay: Duration,
}

impl Worker {
    pub(crate) fn new(
        sockets: Sockets,
        requests: Requests<Request>,
        wake: Arc<EventFd>,
        outbox: Outbox,
        priority: Priority,
    ) -> Self {
        Self {
            sessions: Sessions::new(),
            peers: HashMap::new(),
            names: HashMap::new(),
            unclaimed: HashMap::new(),
            handed: false,
            to_hand_over: None,
            ended: false,
            sockets,
            buffer: [0; _],
            requests,
            wake,
            outbox,
            draws: Draws::new(),
            look_up_at: None,
            slice: 0,
            priority,
            received: 0,
            sent: 0,
            worst_delay: Duration::ZERO,
        }
    }

    /// Runs until all handles are gone, or one says so.
    pub(crate) fn run(mut self) {
        let mut before = Instant::now();
        let mut gather = false;
        loop {
            let wanted = self.deadline(before);
            let ready = self.wait(wanted, before, gather);
            let now = Instant::now();
            let late = wanted.map_or(Duration::ZERO, |wanted| now.saturating_duration_since(wanted));
            self.worst_delay = self.worst_delay.max(late);
            let mut reading = self.read(now, ready);
            if self.sessions.expires(now) {
                // What has arrived between the wait and the clock's reading counts as well.
                reading += self.read(now, [true; RECEIVERS]);
            }
            if !self.serve(now) {
                return;
            }
            self.look_up(now);
            if reading.unfinished {
                self.sessions.excuse(now, Duration::MAX);
            } else if late >= LATE {
                self.sessions.excuse(now, late);
            }
            self.sessions.handle_timeout(now);
            self.outbox.flush();
            self.put_out(now);
            self.hand_over_if_asked(now);
            gather = reading.datagrams > 0 && now.saturating_duration_since(before) < GATHER;
            before = now;
        }
    }

    /// When there is something to do, as seen at the end of the round that began at `before`.
    fn deadline(&self, before: Instant) -> Option<Instant> {
        let retry = self.outbox.is_waiting().then(|| before + RETRY);
        [self.sessions.poll_timeout(), self.look_up_at, retry].into_iter().flatten().min()
    }

    /// Until a datagram or a request comes, or the time does. Which receivers have something.
    fn wait(&self, until: Option<Instant>, before: Instant, gather: bool) -> [bool; RECEIVERS] {
        if gather {
            let end = before + GATHER;
            self.poll(Some(until.map_or(end, |until| until.min(end))), before, 0);
        }
        // What arrives for another process wakes nobody here.
        self.poll(until, before, if self.handed { 0 } else { self.sockets.receivers.len() })
    }

    fn poll(&self, until: Option<Instant>, before: Instant, receivers: usize) -> [bool; RECEIVERS] {
        let timeout = match until {
            None => None,
            // Overdue: only look. Saves reading the clock.
            Some(until) if until <= before => Some(Duration::ZERO),
            Some(until) => Some(until.saturating_duration_since(Instant::now())),
        };
        let mut descriptors = [(); 1 + RECEIVERS].map(|()| PollFd::new(self.wake.as_fd(), PollFlags::POLLIN));
        for (descriptor, receiver) in descriptors[1..].iter_mut().zip(&self.sockets.receivers) {
            *descriptor = PollFd::new(receiver.as_fd(), PollFlags::POLLIN);
        }
        // A signal ends the wait early; the round then finds nothing to do.
        let _ = ppoll(&mut descriptors[..=receivers], timeout.map(TimeSpec::from), None);
        let mut ready = [false; RECEIVERS];
        for (ready, descriptor) in ready.iter_mut().zip(&descriptors[1..]) {
            *ready = descriptor.any() == Some(true);
        }
        ready
    }

    /// Reads all that has arrived at those receivers.
    fn read(&mut self, now: Instant, ready: [bool; RECEIVERS]) -> Reading {
        let mut reading = Reading { datagrams: 0, unfinished: false };
        if self.handed {
            // What arrives waits for the other process.
            return reading;
        }
        for (receiver, _) in self.sockets.receivers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            loop {
                if reading.datagrams == MOST_PER_ROUND {
                    reading.unfinished = true;
                    return reading;
                }
                match receiver.receive(&mut self.buffer) {
                    Ok(Some((arrival, payload))) => {
                        self.received += 1;
                        // What is discarded is counted there.
                        let _ = self.sessions.handle(now, &arrival, payload);
                    }
                    Ok(None) => break,
                    // An error belongs to one datagram and is gone with it.
                    Err(_) => {}
                }
                reading.datagrams += 1;
            }
        }
        reading
    }

    fn add(&mut self, now: Instant, config: SessionConfig) -> Result<(), BfdError> {
        config.check()?;
        if self.names.contains_key(config.name.as_str()) {
            return Err(BfdError::Exists(config.name));
        }
        if !self.sockets.can_reach(config.remote) {
            return Err(BfdError::Family(config.remote));
        }
        let path = config.path(config.interface.as_deref().map(index_of));
        if let Some(discriminator) = self.unclaimed_like(&config, path.interface) {
            return self.claim(now, discriminator, config);
        }
        let discriminator = self.add_to_core(now, path, &config)?;
        let peer = Peer::new(config, &path);
        self.names.insert(peer.name.clone(), discriminator);
        self.insert(now, discriminator, peer);
        Ok(())
    }

    fn insert(&mut self, now: Instant, discriminator: Discriminator, peer: Peer) {
        if peer.interface.is_some() {
            self.look_up_at.get_or_insert(now + LOOK_UP);
        }
        self.peers.insert(discriminator, peer);
    }

    fn add_to_core(
        &mut self,
        now: Instant,
        path: Path,
        config: &SessionConfig,
    ) -> Result<Discriminator, BfdError> {
        loop {
            let Some(discriminator) = Discriminator::new(self.draws.draw() as u32) else { continue };
            let seed = self.draws.draw();
            match self.sessions.add(now, discriminator, path, config.settings.clone(), seed) {
                Ok(()) => return Ok(discriminator),
                Err(AddError::Discriminator(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn remove(&mut self, now: Instant, name: &str) -> Result<(), BfdError> {
        let Some(discriminator) = self.names.remove(name) else {
            return Err(BfdError::Unknown(name.to_owned()));
        };
        // The peer stays until its session has said farewell.
        self.sessions.remove(now, discriminator);
        self.outbox.forget(name);
        self.look_up_at.get_or_insert(now + LOOK_UP);
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Discriminator, BfdError> {
        self.names.get(name).copied().ok_or_else(|| BfdError::Unknown(name.to_owned()))
    }

    fn set_admin_down(&mut self, now: Instant, name: &str, down: bool) -> Result<(), BfdError> {
        let discriminator = self.find(name)?;
        let command = if down { Command::AdminDown } else { Command::AdminUp };
        self.sessions.command(now, discriminator, command)?;
        Ok(())
    }

    fn reconfigure(&mut self, now: Instant, config: SessionConfig) -> Result<(), BfdError> {
        let discriminator = self.find(&config.name)?;
        config.check()?;
        let Some(peer) = self.peers.get(&discriminator) else {
            return Err(BfdError::Unknown(config.name));
        };
        if peer.config.same_path(&config) {
            return self.change(now, discriminator, config);
        }
        let former = peer.config.clone();
        self.remove(now, &former.name)?;
        self.add(now, config).inspect_err(|_| {
            // It was there a moment ago: nothing is in its way.
            let _ = self.add(now, former);
        })
    }

    /// Gives a session other settings on the same path.
    fn change(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        config: SessionConfig,
    ) -> Result<(), BfdError> {
        self.sessions.command(now, discriminator, Command::Reconfigure(config.settings.clone()))?;
        if let Some(least_ttl) = config.multihop {
            self.sessions.set_least_ttl(discriminator, least_ttl);
        }
        if let Some(peer) = self.peers.get_mut(&discriminator) {
            peer.config = config;
        }
        Ok(())
    }

    fn statuses(&self) -> Vec<BfdStatus> {
        let mut statuses: Vec<_> = self
            .names
            .values()
            .filter_map(|discriminator| {
                let peer = self.peers.get(discriminator)?;
                Some(BfdStatus {
                    name: peer.name.clone(),
                    interface: peer.config.interface.clone(),
                    session: self.sessions.status(*discriminator)?,
                    send_errors: peer.send_errors,
                    last_send_error: peer
                        .last_send_error
                        .map(|code| io::Error::from_raw_os_error(code).to_string()),
                })
            })
            .collect();
        statuses.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        statuses
    }

    fn host(&mut self) -> HostStatus {
        HostStatus {
            priority: self.priority,
            sessions: self.names.len(),
            received: self.received,
            sent: self.sent,
            discards: self.sessions.discards(),
            worst_delay: std::mem::take(&mut self.worst_delay),
        }
    }

    fn farewell(&mut self, now: Instant) {
        for (name, discriminator) in self.names.drain() {
            self.sessions.remove(now, discriminator);
            self.outbox.forget(&name);
        }
        self.end_unclaimed(now);
        self.look_up_at.get_or_insert(now + LOOK_UP);
        self.put_out(now);
    }

    /// Looks up a slice of the interfaces, for they come and go, and forgets peers whose sessions have said farewell.
    fn look_up(&mut self, now: Instant) {
        if self.look_up_at.is_none_or(|at| now < at) {
            return;
        }
        self.peers.retain(|discriminator, _| self.sessions.contains(*discriminator));
        self.slice = (self.slice + 1) % SLICES;
        let mut any = self.peers.len() > self.names.len();
        // What sessions share is looked up once.
        let mut known: HashMap<String, u32> = HashMap::new();
        for (discriminator, peer) in &mut self.peers {
            let Some(interface) = &peer.config.interface else { continue };
            any = true;
            if discriminator.0.get() as usize % SLICES != self.slice && peer.interface != Some(ABSENT) {
                continue;
            }
            let index = match known.get(interface) {
                Some(index) => *index,
                None => *known.entry(interface.clone()).or_insert_with(|| index_of(interface)),
            };
            if peer.interface != Some(index) {
                peer.interface = Some(index);
                peer.target = Target::new(&peer.config.path(Some(index)));
                self.sessions.set_interface(*discriminator, index);
            }
        }
        self.look_up_at = any.then(|| now + LOOK_UP);
    }

    /// Sends what is to be sent, tells what is to be told.
    fn put_out(&mut self, now: Instant) {
        while let Some((discriminator, _, output)) = self.sessions.poll_output() {
            let Some(peer) = self.peers.get_mut(&discriminator) else { continue };
            match output {
                Output::Send(datagram) => {
                    let result = if peer.interface == Some(ABSENT) {
                        Err(io::Error::from(nix::Error::ENODEV))
                    } else {
                        self.sockets.send(&peer.target, datagram.as_bytes())
                    };
                    match result {
                        Ok(()) => self.sent += 1,
                        Err(error) => {
                            peer.send_errors += 1;
                            peer.last_send_error = error.raw_os_error();
                        }
                    }
                }
                Output::StateChanged(change) => {
                    let event = BfdEvent { name: peer.name.clone(), at: now, change };
                    match self.unclaimed.get_mut(&discriminator) {
                        Some(unclaimed) => unclaimed.add(event),
                        None => self.outbox.tell(event),
                    }
                }
            }
        }
    }
}

/// How the reading of a round went.
struct Reading {
    datagrams: usize,
    /// Whether there was more.
    unfinished: bool,
}

impl AddAssign for Reading {
    fn add_assign(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.unfinished |= other.unfinished;
    }
}

fn index_of(interface: &str) -> u32 {
    if_nametoindex(interface).unwrap_or(ABSENT)
}
