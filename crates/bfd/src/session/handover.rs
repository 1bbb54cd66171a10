//! A session that goes on in another process, without its neighbour noticing.
//!
//! ```text
//!  predecessor ─ hand_over ─▶ lame duck ─┬─▶ ends without a word
//!                   │                    └─▶ take_back, when the successor came to nothing
//!                   ▼
//!               Snapshot ───▶ resume ─▶ successor
//! ```
//!
//! From `hand_over` to `resume`, or to `take_back`, time stands still for a session: nobody looks whether the neighbour is
//! silent, and what was left until its silence counts is left afterwards. What has arrived meanwhile is to be handed in
//! before anything is judged.
//!
//! A lame duck that is `Up` sends what it told last, at its interval, so that the neighbour misses nothing however long the
//! successor takes, and where both send, the neighbour stays up. It asks nothing (P is clear), since the answer is for the
//! successor, which may have other intervals by then. In the other states it is silent: there is nothing to keep, and `Down` or
//! `AdminDown` would undo what the successor has brought about (RFC 5880 §6.8.6).
//!
//! No two packets of meticulous authentication may have the same sequence number, and a neighbour discards what is more than
//! three multipliers ahead (RFC 5880 §6.7.4). So a lame duck has two multipliers of numbers less one in reserve, and is silent
//! when they are spent. The successor begins behind them: two multipliers ahead at most, which leaves room for a multiplier
//! of packets lost before. Should the predecessor take the session back, it leaves out another multiplier, for the successor
//! may have sent: three multipliers ahead at most.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Remote, Session};
use crate::{
    auth::{AuthenticationKind, SequenceNumbers, Sequences},
    interface::{Cause, Change, Counters, Down, MOST_INTERVAL, Settings},
    machine::{Diagnostic, State},
    packet::Discriminator,
    timing::OwnIntervals,
};

/// No detection time is longer (RFC 5880 §6.8.4), and nothing counts for longer than two of them (§6.8.1).
const LONGEST: Duration = MOST_INTERVAL.saturating_mul(2 * u8::MAX as u32);

/// A session, for [`Session::resume`]. Times are what is left or has passed, as clocks are not shared. Settings are not part
/// of it: they have to be those of [`Session::hand_over`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    discriminator: Discriminator,
    state: State,
    /// How long it has been in this state.
    in_state_for: Duration,
    diagnostic: Diagnostic,
    own: OwnIntervals,
    remote: Option<Remote>,
    remote_state: State,
    remote_diagnostic: Diagnostic,
    sequences: SequenceNumbers,
    /// Since the last packet was sent.
    sent_ago: Option<Duration>,
    /// Until the next one is due.
    next_send: Option<Duration>,
    /// The interval that `next_send` was made from.
    sending_at: Option<Duration>,
    /// Since the neighbour's last packet.
    received_ago: Duration,
    /// Until the neighbour has been silent for too long.
    detect: Option<Duration>,
    excused: bool,
    counters: Counters,
    last_down: Option<DownAgo>,
}

/// [`Down`], some time ago.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct DownAgo {
    ago: Duration,
    cause: Cause,
    remote_diagnostic: Diagnostic,
}

impl Snapshot {
    /// Our name for the session, which the neighbour knows it by.
    pub const fn discriminator(&self) -> Discriminator {
        self.discriminator
    }

    /// The state it is handed over in.
    pub const fn state(&self) -> State {
        self.state
    }
}

/// What a lame duck knows.
#[derive(Debug)]
pub(super) struct Handed {
    since: Instant,
    detect_at: Option<Instant>,
    voice: Voice,
}

/// What a lame duck may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Voice {
    /// Nothing.
    Silent,
    /// Packets without authentication.
    Unsigned,
    /// Packets with the successor's first sequence number: it may repeat.
    Repeating,
    /// So many packets, each with a number of its own.
    Reserved(u32),
}

impl Handed {
    pub(super) fn repeats_numbers(&self) -> bool {
        self.voice == Voice::Repeating
    }
}

impl Session {
    /// What another process needs to go on with this session, to be asked for when [`Session::poll_output`] has nothing
    /// more. From now on this one is a lame duck: [`Session::handle_timeout`] and [`Session::poll_output`] are all that it
    /// may be asked, until [`Session::take_back`].
    pub fn hand_over(&mut self, now: Instant) -> Snapshot {
        self.take_back(now);
        let voice = self.voice();
        let reserved = if let Voice::Reserved(numbers) = voice { numbers } else { 0 };
        let ago = |at: Instant| now.saturating_duration_since(at);
        let left = |at: Instant| at.saturating_duration_since(now);
        let snapshot = Snapshot {
            discriminator: self.discriminator,
            state: self.state,
            in_state_for: ago(self.since),
            diagnostic: self.diagnostic,
            own: self.own.clone(),
            remote: self.remote,
            remote_state: self.remote_state,
            remote_diagnostic: self.remote_diagnostic,
            sequences: self.sequences.numbers(now, reserved),
            sent_ago: self.last_sent.map(ago),
            // The successor does not know when the lame duck has sent last: an interval more may be one too many.
            next_send: self
                .next_send
                .map(|at| if voice == Voice::Silent { left(at) } else { Duration::ZERO }),
            sending_at: self.sending_at,
            received_ago: ago(self.last_received),
            detect: self.detect_at.map(left),
            excused: self.excused,
            counters: self.counters,
            last_down: self.last_down.map(|down| DownAgo {
                ago: ago(down.at),
                cause: down.cause,
                remote_diagnostic: down.remote_diagnostic,
            }),
        };
        if voice == Voice::Silent {
            self.next_send = None;
        }
        self.handed = Some(Handed { since: now, detect_at: self.detect_at.take(), voice });
        snapshot
    }

    /// Goes on with a session that was handed over, for the other process came to nothing. Without
    /// [`Session::hand_over`] before, nothing happens.
    ///
    /// If that process has sent more than a multiplier of packets with meticulous authentication, the neighbour discards
    /// ours, and the session fails there: it must not have got that far.
    pub fn take_back(&mut self, now: Instant) {
        let Some(Handed { since, detect_at, voice }) = self.handed.take() else { return };
        let pause = now.saturating_duration_since(since);
        self.last_received += pause;
        self.detect_at = detect_at.map(|at| at + pause);
        let unused = if let Voice::Reserved(unused) = voice { unused } else { 0 };
        self.sequences.take_back(pause, self.window_unit().map_or(0, |unit| unused + unit));
        if self.next_send.is_none() {
            // It was silent, if only since its numbers were spent.
            self.next_send = self.transmit_interval().map(|_| now);
        }
    }

    /// Goes on with a session of another process, under its discriminator, with the `settings` it had there; others are
    /// for [`Command::Reconfigure`](crate::Command::Reconfigure). `seed` is random, for the jitter. A state other than
    /// `Down` is told as a change with [`Cause::HandedOver`], so that whoever uses the session here knows.
    pub fn resume(now: Instant, snapshot: &Snapshot, settings: Settings, seed: u64) -> Self {
        let mut session = Self::new(now, snapshot.discriminator, settings, seed);
        let ago = |passed: Duration| now.checked_sub(passed).unwrap_or(now);
        // No timer runs longer, whatever is said of it.
        let left = |left: Duration| now + left.min(LONGEST);
        session.state = snapshot.state;
        session.since = ago(snapshot.in_state_for);
        session.diagnostic = snapshot.diagnostic;
        session.own = snapshot.own.clone();
        session.remote = snapshot.remote;
        session.remote_state = snapshot.remote_state;
        session.remote_diagnostic = snapshot.remote_diagnostic;
        session.sequences = Sequences::resume(now, &snapshot.sequences, LONGEST);
        session.last_sent = snapshot.sent_ago.map(ago);
        session.next_send = snapshot.next_send.map(left);
        session.sending_at = snapshot.sending_at;
        session.last_received = ago(snapshot.received_ago);
        session.detect_at = snapshot.detect.map(left);
        session.excused = snapshot.excused;
        session.counters = snapshot.counters;
        session.last_down = snapshot.last_down.as_ref().map(|down| Down {
            at: ago(down.ago),
            cause: down.cause,
            remote_diagnostic: down.remote_diagnostic,
        });
        if session.state != State::Down {
            session.changes.push_back(Change {
                from: State::Down,
                to: session.state,
                cause: Cause::HandedOver,
                diagnostic: session.diagnostic,
                remote_diagnostic: session.remote_diagnostic,
                remote_independent: session.remote.is_some_and(|remote| remote.control_plane_independent),
            });
        }
        session
    }

    /// A packet of a lame duck goes out.
    pub(super) fn spend_reserve(&mut self) {
        if let Some(Handed { voice: Voice::Reserved(left), .. }) = &mut self.handed {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.next_send = None;
            }
        }
    }

    fn voice(&self) -> Voice {
        match (self.state, &self.settings.authentication, self.window_unit()) {
            (State::AdminDown | State::Down | State::Init, _, _) => Voice::Silent,
            (State::Up, None, _) => Voice::Unsigned,
            (State::Up, Some(_), None) => Voice::Repeating,
            (State::Up, Some(_), Some(unit)) => Voice::Reserved(2 * unit - 1),
        }
    }

    /// A third of the neighbour's window of sequence numbers, where each packet needs its own; at least 1. Some neighbours
    /// reckon it by our multiplier, some by their own: this one by the lesser.
    fn window_unit(&self) -> Option<u32> {
        let kind = self.settings.authentication.as_ref()?.kind;
        let ours = self.settings.multiplier;
        let least = self.remote.map_or(ours, |remote| ours.min(remote.multiplier));
        (kind == AuthenticationKind::MeticulousKeyedSha1).then(|| u32::from(least.get()))
    }
}

#[cfg(test)]
mod tests;
