//! All sessions of a host: finds the one a packet is for (RFC 5880 §6.3, RFC 5881 §3, RFC 5883 §3) and knows which of them
//! has something to do next.
//!
//! ```text
//!  datagram ─▶ TTL ─▶ Your Discriminator ─┬─ given ─▶ by it alone, then the link must fit
//!                                         └─ zero ──▶ by source address, port, interface, own address
//! ```
//!
//! A packet costs a look-up in a hash table, a timer O(log n). Nothing is allocated per packet.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{
    deadlines::Deadlines,
    discard::{Discard, Discards},
    interface::{Command, Output, Settings, SettingsError, Status},
    machine::State,
    packet::{Discriminator, Received},
    path::{Arrival, Hops, Path},
    session::{Session, Snapshot},
};

/// A removed session tells its neighbour so for its detection time, but not for longer.
const LONGEST_FAREWELL: Duration = Duration::from_secs(5);

/// Why a session was not added.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AddError {
    /// The discriminator is in use: draw another one.
    #[error("the discriminator {0} is in use")]
    Discriminator(Discriminator),
    /// Another session watches the same.
    #[error(
        "there is a BFD session to {0} already; give one of them an interface or a local address of its own"
    )]
    Path(Path),
    /// The settings cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

#[derive(Debug)]
struct Entry {
    discriminator: Discriminator,
    path: Path,
    session: Session,
    /// Removed; says so to its neighbour until then.
    leaves_at: Option<Instant>,
    /// Whether it is in the queue of those with output.
    queued: bool,
}

/// All sessions of a host.
#[derive(Debug, Default)]
pub struct Sessions {
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    by_discriminator: HashMap<Discriminator, u32>,
    by_remote: HashMap<IpAddr, Vec<u32>>,
    deadlines: Deadlines,
    ready: VecDeque<u32>,
    discards: Discards,
}

impl Sessions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a session, which begins to send at once. `discriminator` and `seed` are random; the former names the session.
    ///
    /// # Errors
    /// When the discriminator or the path is taken, or the settings cannot be.
    pub fn add(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        path: Path,
        settings: Settings,
        seed: u64,
    ) -> Result<(), AddError> {
        self.make_room(discriminator, &path, &settings)?;
        self.insert(discriminator, path, Session::new(now, discriminator, settings, seed));
        Ok(())
    }

    /// Goes on with a session of another process, see [`Session::resume`].
    ///
    /// # Errors
    /// When its discriminator or the path is taken, or the settings cannot be.
    pub fn resume(
        &mut self,
        now: Instant,
        path: Path,
        snapshot: &Snapshot,
        settings: Settings,
        seed: u64,
    ) -> Result<(), AddError> {
        let discriminator = snapshot.discriminator();
        self.make_room(discriminator, &path, &settings)?;
        self.insert(discriminator, path, Session::resume(now, snapshot, settings, seed));
        Ok(())
    }

    /// Hands all sessions to another process, see [`Session::hand_over`]. Removed ones stay, and go on saying farewell.
    pub fn hand_over(&mut self, now: Instant) -> Vec<Snapshot> {
        let mut snapshots = Vec::with_capacity(self.len());
        self.for_each_present(|session| snapshots.push(session.hand_over(now)));
        snapshots
    }

    /// Goes on with all sessions, for the other process came to nothing, see [`Session::take_back`].
    pub fn take_back(&mut self, now: Instant) {
        self.for_each_present(|session| session.take_back(now));
    }

    fn for_each_present(&mut self, mut act: impl FnMut(&mut Session)) {
        for slot in 0..self.entries.len() {
            if let Some(entry) = self.entries[slot].as_mut().filter(|entry| entry.leaves_at.is_none()) {
                act(&mut entry.session);
                self.settle(slot as u32);
            }
        }
    }

    /// Whether a session can be added; takes away one that says farewell on the same path.
    fn make_room(
        &mut self,
        discriminator: Discriminator,
        path: &Path,
        settings: &Settings,
    ) -> Result<(), AddError> {
        settings.check()?;
        if self.by_discriminator.contains_key(&discriminator) {
            return Err(AddError::Discriminator(discriminator));
        }
        match self.same_path(path) {
            Some((_, false)) => return Err(AddError::Path(*path)),
            // Two sessions talking to one neighbour would confuse it.
            Some((slot, true)) => self.drop_slot(slot),
            None => {}
        }
        Ok(())
    }

    fn insert(&mut self, discriminator: Discriminator, path: Path, session: Session) {
        let entry = Entry { discriminator, path, session, leaves_at: None, queued: false };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("memory ends before 2^32 sessions")
        });
        self.entries[slot as usize] = Some(entry);
        self.by_discriminator.insert(discriminator, slot);
        self.by_remote.entry(path.remote).or_default().push(slot);
        self.settle(slot);
    }

    /// Removes a session. Its neighbour is told that this is no failure, for a detection time; false when there is none
    /// of that name.
    pub fn remove(&mut self, now: Instant, discriminator: Discriminator) -> bool {
        let Some((slot, entry)) = self.present(discriminator) else { return false };
        entry.session.command(now, Command::AdminDown);
        let status = entry.session.status(entry.path);
        let interval = status.transmit_interval.filter(|_| status.remote_discriminator.is_some());
        let farewell = interval.unwrap_or_default() * u32::from(status.multiplier.get());
        entry.leaves_at = Some(now + farewell.min(LONGEST_FAREWELL));
        self.settle(slot);
        true
    }

    /// Hands a command to a session; false when there is none of that name.
    ///
    /// # Errors
    /// When the settings of a [`Command::Reconfigure`] cannot be. Nothing changes then.
    pub fn command(
        &mut self,
        now: Instant,
        discriminator: Discriminator,
        command: Command,
    ) -> Result<bool, SettingsError> {
        if let Command::Reconfigure(settings) = &command {
            settings.check()?;
        }
        let Some((slot, entry)) = self.present(discriminator) else { return Ok(false) };
        entry.session.command(now, command);
        self.settle(slot);
        Ok(true)
    }

    /// Another interface index, after the interface was made anew. False when there is no session of that name.
    pub fn set_interface(&mut self, discriminator: Discriminator, interface: u32) -> bool {
        self.present(discriminator).map(|(_, entry)| entry.path.interface = Some(interface)).is_some()
    }

    /// Another least TTL for a multihop session; false when there is no such session.
    pub fn set_least_ttl(&mut self, discriminator: Discriminator, least_ttl: u8) -> bool {
        match self.present(discriminator) {
            Some((_, Entry { path: Path { hops: hops @ Hops::Multi { .. }, .. }, .. })) => {
                *hops = Hops::Multi { least_ttl };
                true
            }
            _ => false,
        }
    }

    /// Takes a datagram (RFC 5880 §6.8.6).
    ///
    /// # Errors
    /// The rule for which it was discarded. It is counted.
    pub fn handle(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        payload: &[u8],
    ) -> Result<Discriminator, Discard> {
        let result = self.take(now, arrival, payload);
        if let Err(reason) = result {
            self.discards.add(reason);
        }
        result
    }

    fn take(&mut self, now: Instant, arrival: &Arrival, payload: &[u8]) -> Result<Discriminator, Discard> {
        // RFC 5881 §5: before anything else, for it is what keeps strangers out.
        if !arrival.multihop && arrival.ttl != 255 {
            return Err(Discard::TtlTooLow);
        }
        let received = Received::decode(payload)?;
        let slot = match received.packet.your_discriminator {
            Some(discriminator) => {
                *self.by_discriminator.get(&discriminator).ok_or(Discard::UnknownDiscriminator)?
            }
            None => self.by_path(arrival).ok_or(Discard::NoSession)?,
        };
        let entry = self.entries[slot as usize].as_mut().expect("an index names no free slot");
        let refused = if !entry.path.fits_link(arrival) {
            Some(Discard::WrongPath)
        } else if arrival.ttl < entry.path.hops.least_ttl() {
            Some(Discard::TtlTooLow)
        } else {
            None
        };
        if let Some(reason) = refused {
            entry.session.discarded(reason);
            return Err(reason);
        }
        let result = entry.session.handle(now, &received).map(|()| entry.discriminator);
        self.settle(slot);
        result
    }

    /// The session that fits best what a datagram without Your Discriminator tells.
    fn by_path(&self, arrival: &Arrival) -> Option<u32> {
        let slots = self.by_remote.get(&arrival.source)?;
        let fitting = slots.iter().copied().filter(|slot| {
            self.entries[*slot as usize]
                .as_ref()
                .is_some_and(|entry| entry.leaves_at.is_none() && entry.path.fits(arrival))
        });
        fitting.max_by_key(|slot| self.entries[*slot as usize].as_ref().map(|entry| entry.path.detail()))
    }

    /// Does what is due. All datagrams that have arrived before `now` must have been handed in.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, slot)) = self.deadlines.first() {
            let entry = self.entries[slot as usize].as_mut().expect("a free slot has no deadline");
            if at > now && !entry.session.is_due(now) {
                break;
            }
            if entry.leaves_at.is_some_and(|at| at <= now) {
                self.drop_slot(slot);
                continue;
            }
            entry.session.handle_timeout(now);
            self.settle(slot);
        }
    }

    /// Whether [`Sessions::handle_timeout`] would find a neighbour silent for too long. Then it is time for a last look at
    /// what has arrived.
    pub fn expires(&self, now: Instant) -> bool {
        self.deadlines.any_due(now, |slot| {
            self.entries[slot as usize].as_ref().is_some_and(|entry| entry.session.expires(now))
        })
    }

    /// The driver was away for `absence`, has then handed in what had arrived, and comes to [`Sessions::handle_timeout`]
    /// next. See [`Session::excuse`].
    pub fn excuse(&mut self, now: Instant, absence: Duration) {
        for slot in 0..self.entries.len() {
            if let Some(entry) = &mut self.entries[slot] {
                entry.session.excuse(now, absence);
                self.settle(slot as u32);
            }
        }
    }

    /// When [`Sessions::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| at)
    }

    /// The next thing to do, and for which session. What a removed session does to its state is not told.
    pub fn poll_output(&mut self) -> Option<(Discriminator, Path, Output)> {
        while let Some(slot) = self.ready.front().copied() {
            if let Some(entry) = &mut self.entries[slot as usize] {
                while let Some(output) = entry.session.poll_output() {
                    if entry.leaves_at.is_none() || matches!(output, Output::Send(_)) {
                        return Some((entry.discriminator, entry.path, output));
                    }
                }
                entry.queued = false;
            }
            self.ready.pop_front();
        }
        None
    }

    /// The state of a session.
    pub fn state(&self, discriminator: Discriminator) -> Option<State> {
        self.entry(discriminator).map(|entry| entry.session.state())
    }

    /// What a session knows.
    pub fn status(&self, discriminator: Discriminator) -> Option<Status> {
        self.entry(discriminator).map(|entry| entry.session.status(entry.path))
    }

    /// What was discarded, whether or not it was for a session.
    pub fn discards(&self) -> Discards {
        self.discards
    }

    /// Whether there is a session of that name, be it a removed one that still says farewell.
    pub fn contains(&self, discriminator: Discriminator) -> bool {
        self.by_discriminator.contains_key(&discriminator)
    }

    /// How many sessions there are, removed ones that still say farewell included.
    pub fn len(&self) -> usize {
        self.by_discriminator.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_discriminator.is_empty()
    }

    fn entry(&self, discriminator: Discriminator) -> Option<&Entry> {
        let slot = *self.by_discriminator.get(&discriminator)?;
        self.entries[slot as usize].as_ref().filter(|entry| entry.leaves_at.is_none())
    }

    fn present(&mut self, discriminator: Discriminator) -> Option<(u32, &mut Entry)> {
        let slot = *self.by_discriminator.get(&discriminator)?;
        let entry = self.entries[slot as usize].as_mut().filter(|entry| entry.leaves_at.is_none())?;
        Some((slot, entry))
    }

    /// A session with the same path, and whether it is leaving.
    fn same_path(&self, path: &Path) -> Option<(u32, bool)> {
        self.by_remote.get(&path.remote)?.iter().find_map(|slot| {
            let entry = self.entries[*slot as usize].as_ref()?;
            entry.path.same_as(path).then_some((*slot, entry.leaves_at.is_some()))
        })
    }

    /// After something was done with a session: its deadline, and its place in the queue.
    fn settle(&mut self, slot: u32) {
        let Some(entry) = &mut self.entries[slot as usize] else { return };
        let session = entry.session.poll_timeout();
        let deadline = match (session, entry.leaves_at) {
            (Some(session), Some(leaves)) => Some(session.min(leaves)),
            (session, leaves) => session.or(leaves),
        };
        self.deadlines.set(slot, deadline);
        if entry.session.has_output() && !entry.queued {
            entry.queued = true;
            self.ready.push_back(slot);
        }
    }

    fn drop_slot(&mut self, slot: u32) {
        let Some(entry) = self.entries[slot as usize].take() else { return };
        self.by_discriminator.remove(&entry.discriminator);
        if let Some(slots) = self.by_remote.get_mut(&entry.path.remote) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_remote.remove(&entry.path.remote);
            }
        }
        self.deadlines.set(slot, None);
        // A slot in the queue is not used anew before the queue has been emptied of it.
        self.ready.retain(|other| *other != slot);
        self.free.push(slot);
    }
}
