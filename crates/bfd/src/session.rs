//! One session: what RFC 5880 §6.8 asks of it.
//!
//! | when                      | what                                                                    | RFC 5880       |
//! |---------------------------|-------------------------------------------------------------------------|----------------|
//! | a packet comes            | checked, remembered, answered when it polls, the state moves            | §6.8.6         |
//! | the send time comes       | a packet goes out, P set while a poll sequence runs                     | §6.8.7, §6.5   |
//! | the detection time passes | the state moves, the neighbour is forgotten                             | §6.8.4, §6.8.1 |
//! | the state changes         | a packet goes out at once                                               | §6.8.7         |
//!
//! A session sends at its interval at most, except for answers to polls and for packets that tell something new.

use std::{
    collections::VecDeque,
    num::NonZeroU8,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    auth::Sequences,
    discard::Discard,
    interface::{Cause, Change, Command, Counters, Down, Output, Settings, Status},
    machine::{Diagnostic, State, Step},
    packet::{Datagram, Discriminator, Interval, Packet, Received},
    path::Path,
    timing::{Intervals, OwnIntervals, Random, SLOW, slack},
};

mod handover;

pub use handover::Snapshot;

/// What the neighbour told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remote {
    discriminator: Discriminator,
    desired_min_tx: Interval,
    required_min_rx: Interval,
    multiplier: NonZeroU8,
    demand: bool,
    control_plane_independent: bool,
}

/// A BFD session.
#[derive(Debug)]
pub struct Session {
    discriminator: Discriminator,
    settings: Settings,
    state: State,
    since: Instant,
    diagnostic: Diagnostic,
    own: OwnIntervals,
    remote: Option<Remote>,
    remote_state: State,
    remote_diagnostic: Diagnostic,
    sequences: Sequences,
    random: Random,
    last_sent: Option<Instant>,
    next_send: Option<Instant>,
    /// The interval that `next_send` was made from.
    sending_at: Option<Duration>,
    last_received: Instant,
    detect_at: Option<Instant>,
    /// Whether a silence of the neighbour has been excused since its last packet.
    excused: bool,
    answer_poll: bool,
    send: bool,
    changes: VecDeque<Change>,
    counters: Counters,
    last_down: Option<Down>,
    /// Present while another process is to go on with the session.
    handed: Option<handover::Handed>,
}

impl Session {
    /// A session that is down and begins to send at once. `seed` is random, for the jitter and the first sequence number.
    pub fn new(now: Instant, discriminator: Discriminator, settings: Settings, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sequences = Sequences::new(random.next() as u32);
        Self {
            discriminator,
            own: OwnIntervals::new(intervals(&settings, State::Down)),
            settings,
            state: State::Down,
            since: now,
            diagnostic: Diagnostic::None,
            remote: None,
            remote_state: State::Down,
            remote_diagnostic: Diagnostic::None,
            sequences,
            random,
            last_sent: None,
            next_send: Some(now),
            sending_at: None,
            last_received: now,
            detect_at: None,
            excused: false,
            answer_poll: false,
            send: false,
            changes: VecDeque::new(),
            counters: Counters::default(),
            last_down: None,
            handed: None,
        }
    }

    /// Takes a packet that was found to be for this session (RFC 5880 §6.8.6, from authentication on).
    ///
    /// # Errors
    /// The rule for which it was discarded.
    pub fn handle(&mut self, now: Instant, received: &Received<'_>) -> Result<(), Discard> {
        debug_assert!(self.handed.is_none(), "what comes is the other process's");
        let result = self.take(now, received);
        match result {
            Ok(()) => self.counters.received += 1,
            Err(reason) => self.counters.discarded.add(reason),
        }
        result
    }

    fn take(&mut self, now: Instant, received: &Received<'_>) -> Result<(), Discard> {
        self.sequences.verify(now, self.settings.authentication.as_ref(), received)?;
        let packet = &received.packet;
        self.remote = Some(Remote {
            discriminator: packet.my_discriminator,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            multiplier: packet.multiplier,
            demand: packet.demand,
            control_plane_independent: packet.control_plane_independent,
        });
        self.remote_state = packet.state;
        self.remote_diagnostic = packet.diagnostic;
        if packet.finished {
            self.own.answered();
        }
        let step = self.state.on_received(packet.state);
        if step != Step::Discard && packet.poll {
            self.answer_poll = true;
        }
        self.step(now, step);
        self.last_received = now;
        self.excused = false;
        self.watch();
        self.schedule(now);
        if let Some(detection_time) = self.detection_time() {
            self.sequences.keep(now, detection_time);
        }
        if step == Step::Discard { Err(Discard::AdminDown) } else { Ok(()) }
    }

    /// Counts a packet for this session that was discarded before it got here.
    pub(crate) fn discarded(&mut self, reason: Discard) {
        self.counters.discarded.add(reason);
    }

    /// Does what an operator asks.
    pub fn command(&mut self, now: Instant, command: Command) {
        debug_assert!(self.handed.is_none(), "the other process commands");
        match (command, self.state) {
            (Command::AdminDown, State::Down | State::Init | State::Up) => {
                self.change(now, State::AdminDown, Cause::AdminDown, Diagnostic::AdministrativelyDown);
            }
            (Command::AdminUp, State::AdminDown) => {
                self.change(now, State::Down, Cause::AdminUp, self.diagnostic);
            }
            (Command::AdminDown, State::AdminDown)
            | (Command::AdminUp, State::Down | State::Init | State::Up) => {}
            (Command::Reconfigure(settings), _) => self.reconfigure(now, settings),
        }
        self.watch();
        self.schedule(now);
    }

    fn reconfigure(&mut self, now: Instant, settings: Settings) {
        if settings.authentication != self.settings.authentication {
            self.sequences.forget();
        }
        let other_multiplier = settings.multiplier != self.settings.multiplier;
        let other_intervals = self.own.change(intervals(&settings, self.state), self.state == State::Up);
        self.settings = settings;
        if other_multiplier || other_intervals {
            self.send(now);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.expires(now) {
            let step = self.state.on_detection_time_expired();
            self.step(now, step);
            self.forget_remote();
            self.schedule(now);
        }
        if self.may_send(now) {
            self.send(now);
        }
    }

    /// Whether [`Session::handle_timeout`] would do something, though it might have time.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.may_send(now) || self.expires(now)
    }

    fn may_send(&self, now: Instant) -> bool {
        let slack = self.sending_at.map(slack).unwrap_or_default();
        self.next_send.is_some_and(|at| at <= now + slack)
    }

    /// Whether the detection time has passed.
    pub(crate) fn expires(&self, now: Instant) -> bool {
        self.detect_at.is_some_and(|at| at <= now)
    }

    /// The driver was away for `absence` and has found nothing from the neighbour since it is back. What was not looked for
    /// is no silence of the neighbour: once per silence, it gets one more interval from now on. An absence of less than
    /// half an interval is no excuse.
    pub fn excuse(&mut self, now: Instant, absence: Duration) {
        let (Some(interval), Some(at)) = (self.receive_interval(), self.detect_at) else { return };
        if !self.excused && absence >= interval / 2 && at < now + interval {
            self.excused = true;
            self.detect_at = Some(now + interval);
        }
    }

    /// When [`Session::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.next_send, self.detect_at) {
            (Some(send), Some(detect)) => Some(send.min(detect)),
            (send, detect) => send.or(detect),
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(change) = self.changes.pop_front() {
            return Some(Output::StateChanged(change));
        }
        if std::mem::take(&mut self.answer_poll) {
            // It tells what is new as well.
            self.send = false;
            return Some(Output::Send(self.datagram(false, true)));
        }
        if std::mem::take(&mut self.send) {
            let poll = self.own.polling() && self.remote.is_some() && self.handed.is_none();
            if poll {
                self.own.asked();
            }
            return Some(Output::Send(self.datagram(poll, false)));
        }
        None
    }

    /// Whether [`Session::poll_output`] has something.
    pub(crate) fn has_output(&self) -> bool {
        self.send || self.answer_poll || !self.changes.is_empty()
    }

    /// Our state.
    pub fn state(&self) -> State {
        self.state
    }

    /// For people.
    pub fn status(&self, path: Path) -> Status {
        let remote = self.remote;
        Status {
            path,
            state: self.state,
            since: self.since,
            remote_state: self.remote_state,
            diagnostic: self.diagnostic,
            remote_diagnostic: self.remote_diagnostic,
            discriminator: self.discriminator,
            remote_discriminator: remote.map(|remote| remote.discriminator),
            desired_min_tx: self.own.told.desired_min_tx.duration(),
            required_min_rx: self.own.told.required_min_rx.duration(),
            multiplier: self.settings.multiplier,
            remote_desired_min_tx: remote.map(|remote| remote.desired_min_tx.duration()),
            remote_required_min_rx: remote.map(|remote| remote.required_min_rx.duration()),
            remote_multiplier: remote.map(|remote| remote.multiplier),
            transmit_interval: self.transmit_interval(),
            detection_time: self.detection_time(),
            polling: self.own.polling(),
            remote_demand: remote.is_some_and(|remote| remote.demand),
            authentication: self.settings.authentication.as_ref().map(|auth| auth.kind),
            counters: self.counters,
            last_down: self.last_down,
        }
    }

    /// The interval we send at, before jitter (RFC 5880 §6.8.2, §6.8.7). None while the neighbour wants no periodic packets.
    pub fn transmit_interval(&self) -> Option<Duration> {
        let own = self.own.in_force.desired_min_tx;
        let Some(remote) = &self.remote else { return Some(own.duration()) };
        let both_up = self.state == State::Up && self.remote_state == State::Up;
        let silenced = remote.demand && both_up && !self.own.polling();
        let unwanted = remote.required_min_rx == Interval(0);
        (!silenced && !unwanted).then(|| own.max(remote.required_min_rx).duration())
    }

    /// How long a silence is taken for a failure (RFC 5880 §6.8.4). None while the neighbour is not heard.
    pub fn detection_time(&self) -> Option<Duration> {
        self.remote.and_then(|remote| Some(self.receive_interval()? * u32::from(remote.multiplier.get())))
    }

    /// The interval the neighbour sends at.
    fn receive_interval(&self) -> Option<Duration> {
        self.remote.map(|remote| remote.desired_min_tx.max(self.own.in_force.required_min_rx).duration())
    }

    fn step(&mut self, now: Instant, step: Step) {
        match step {
            Step::Stay | Step::Discard => {}
            Step::Advance(State::Up) => self.change(now, State::Up, Cause::Handshake, Diagnostic::None),
            Step::Advance(to) => self.change(now, to, Cause::Handshake, self.diagnostic),
            Step::NeighborSignaledDown => {
                let admin = self.remote_state == State::AdminDown;
                let cause = if admin { Cause::NeighborAdminDown } else { Cause::NeighborDown };
                self.change(now, State::Down, cause, Diagnostic::NeighborSignaledSessionDown);
            }
            Step::DetectionTimeExpired => {
                let diagnostic = Diagnostic::ControlDetectionTimeExpired;
                self.change(now, State::Down, Cause::DetectionTimeExpired, diagnostic);
            }
        }
    }

    fn change(&mut self, now: Instant, to: State, cause: Cause, diagnostic: Diagnostic) {
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        self.diagnostic = diagnostic;
        let remote_diagnostic = self.remote_diagnostic;
        if from == State::Up {
            self.counters.flaps += 1;
            self.last_down = Some(Down { at: now, cause, remote_diagnostic });
        }
        self.own.change(intervals(&self.settings, to), to == State::Up);
        let remote_independent = self.remote.is_some_and(|remote| remote.control_plane_independent);
        let change = Change { from, to, cause, diagnostic, remote_diagnostic, remote_independent };
        self.changes.push_back(change);
        self.send(now);
    }

    /// What RFC 5880 §6.8.1 lets a session know of a neighbour that is not heard: nothing.
    fn forget_remote(&mut self) {
        self.remote = None;
        self.remote_state = State::Down;
        self.detect_at = None;
        self.excused = false;
        self.own.abandon();
    }

    /// Sets the end of the neighbour's silence, from its last packet on.
    fn watch(&mut self) {
        if !self.excused {
            self.detect_at = self.detection_time().map(|time| self.last_received + time);
        }
    }

    /// Sets the next periodic packet, from the last one on, when the interval has changed.
    fn schedule(&mut self, now: Instant) {
        let interval = self.transmit_interval();
        let Some(last_sent) = self.last_sent else { return };
        if interval == self.sending_at {
            return;
        }
        self.sending_at = interval;
        let multiplier = self.settings.multiplier;
        self.next_send =
            interval.map(|interval| (last_sent + self.random.jittered(interval, multiplier)).max(now));
    }

    /// A packet goes out now: the periodic one, or before its time because it tells something new (RFC 5880 §6.8.7). The
    /// next one follows an interval later.
    fn send(&mut self, now: Instant) {
        self.send = true;
        self.last_sent = Some(now);
        self.sending_at = self.transmit_interval();
        let multiplier = self.settings.multiplier;
        self.next_send = self.sending_at.map(|interval| now + self.random.jittered(interval, multiplier));
        self.spend_reserve();
    }

    fn datagram(&mut self, poll: bool, finished: bool) -> Datagram {
        self.counters.sent += 1;
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll,
            finished,
            control_plane_independent: false,
            demand: false,
            multiplier: self.settings.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.map(|remote| remote.discriminator),
            desired_min_tx: self.own.told.desired_min_tx,
            required_min_rx: self.own.told.required_min_rx,
            required_min_echo_rx: Interval(0),
        };
        let mut datagram = Datagram::encode(&packet);
        if let Some(auth) = &self.settings.authentication {
            if self.handed.as_ref().is_some_and(handover::Handed::repeats_numbers) {
                self.sequences.sign_ahead(auth, &mut datagram);
            } else {
                self.sequences.sign(auth, &mut datagram);
            }
        }
        datagram
    }
}

/// What is told in `state`: not up, we send slowly.
fn intervals(settings: &Settings, state: State) -> Intervals {
    let desired = match state {
        State::Up => settings.desired_min_tx,
        State::AdminDown | State::Down | State::Init => settings.desired_min_tx.max(SLOW),
    };
    Intervals {
        desired_min_tx: Interval::from_duration(desired),
        required_min_rx: Interval::from_duration(settings.required_min_rx),
    }
}
