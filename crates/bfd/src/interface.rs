//! What goes into a session and what comes out of it.

use std::{
    fmt,
    num::NonZeroU8,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    auth::{Authentication, AuthenticationKind},
    discard::Discards,
    machine::{Diagnostic, State},
    packet::{Datagram, Discriminator},
    path::Path,
};

/// The shortest interval that can be configured.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(10);
/// The longest interval that fits into a packet, about 71 minutes.
pub const MOST_INTERVAL: Duration = Duration::from_micros(u32::MAX as u64);

/// How a session is configured. What is in force also depends on the neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The interval to send at while up, when the neighbour allows it; [`LEAST_INTERVAL`] to [`MOST_INTERVAL`].
    pub desired_min_tx: Duration,
    /// The least interval the neighbour may send at; [`LEAST_INTERVAL`] to [`MOST_INTERVAL`].
    pub required_min_rx: Duration,
    /// Packets of ours in a row that may get lost before the neighbour takes the session down.
    pub multiplier: NonZeroU8,
    /// Both ends have the same.
    pub authentication: Option<Authentication>,
}

/// Settings that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Out of range.
    #[error(
        "a BFD interval of {0:?} is out of range; it is at least {LEAST_INTERVAL:?} and at most {MOST_INTERVAL:?}"
    )]
    Interval(Duration),
}

impl Settings {
    /// Whether they can be.
    pub fn check(&self) -> Result<(), SettingsError> {
        for interval in [self.desired_min_tx, self.required_min_rx] {
            if !(LEAST_INTERVAL..=MOST_INTERVAL).contains(&interval) {
                return Err(SettingsError::Interval(interval));
            }
        }
        Ok(())
    }
}

/// What an operator asks of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Hold it down, and tell the neighbour that this is no failure (RFC 5880 §6.8.16).
    AdminDown,
    /// Let it come up again.
    AdminUp,
    /// Other intervals are negotiated by a poll sequence without leaving `Up` (RFC 5880 §6.8.3). Other authentication
    /// takes effect at once: the neighbour has to follow within its detection time, or the session fails.
    Reconfigure(Settings),
}

/// What a session wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Send this to the neighbour now.
    Send(Datagram),
    /// For the clients of the session.
    StateChanged(Change),
}

/// A change of a session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// Since.
    pub to: State,
    /// What made it change.
    pub cause: Cause,
    /// What we tell the neighbour as the reason.
    pub diagnostic: Diagnostic,
    /// What the neighbour told last as the reason of its own last change.
    pub remote_diagnostic: Diagnostic,
    /// The neighbour said last that its BFD outlives its control plane (C, RFC 5880 §4.1): its silence is then no restart
    /// of that. Clear where it is not heard.
    pub remote_independent: bool,
}

/// What made a session change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The neighbour's packets said that it hears us, or is about to.
    Handshake,
    /// No packet came for the detection time.
    DetectionTimeExpired,
    /// The neighbour says its side is down; its diagnostic says why.
    NeighborDown,
    /// The neighbour's operator took it down.
    NeighborAdminDown,
    /// Our operator took it down.
    AdminDown,
    /// Our operator let it come up again.
    AdminUp,
    /// Nothing changed: another process had the session in that state and has handed it over. What is told is from
    /// `Down`, for those who hear of the session for the first time.
    HandedOver,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "handshake",
            Self::DetectionTimeExpired => "detection time expired",
            Self::NeighborDown => "neighbor is down",
            Self::NeighborAdminDown => "neighbor is administratively down",
            Self::AdminDown => "administratively down",
            Self::AdminUp => "administratively enabled",
            Self::HandedOver => "handed over",
        })
    }
}

/// What a change means for the routing protocol that asked for the session (RFC 5882 §3.2, §4.2, §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// The path works.
    Up,
    /// It worked and has failed: act.
    Failed,
    /// Nothing is known about the path any more, by an operator's wish: go on without BFD.
    AdminDown,
    /// The session comes up, or has never been up: nothing to act on.
    Nothing,
}

impl Change {
    /// What a client should make of it.
    pub const fn meaning(&self) -> Meaning {
        match (self.from, self.to, self.cause) {
            (_, State::Up, _) => Meaning::Up,
            (_, State::AdminDown, _) | (_, _, Cause::AdminDown | Cause::NeighborAdminDown) => {
                Meaning::AdminDown
            }
            (State::Up, _, Cause::DetectionTimeExpired | Cause::NeighborDown) => Meaning::Failed,
            (_, _, _) => Meaning::Nothing,
        }
    }
}

/// How a session went down the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Down {
    /// When.
    pub at: Instant,
    /// What made it.
    pub cause: Cause,
    /// What the neighbour had told as the reason of its own last change.
    pub remote_diagnostic: Diagnostic,
}

/// What a session has counted since it was added, in whichever process it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Counters {
    /// Packets handed out to be sent.
    pub sent: u64,
    /// Packets taken.
    pub received: u64,
    /// Packets that named this session or came from its neighbour, and were not taken.
    pub discarded: Discards,
    /// How often it has left `Up`.
    pub flaps: u64,
}

/// What a session knows, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Whom it watches.
    pub path: Path,
    /// Our state.
    pub state: State,
    /// Since when.
    pub since: Instant,
    /// The neighbour's state, as it told last.
    pub remote_state: State,
    /// Why our state changed the last time.
    pub diagnostic: Diagnostic,
    /// Why the neighbour's did.
    pub remote_diagnostic: Diagnostic,
    /// Our name for it.
    pub discriminator: Discriminator,
    /// The neighbour's name for it, while it is heard.
    pub remote_discriminator: Option<Discriminator>,
    /// What we tell: the least interval we want to send at.
    pub desired_min_tx: Duration,
    /// What we tell: the least interval we can receive at.
    pub required_min_rx: Duration,
    /// What we tell: packets that may get lost.
    pub multiplier: NonZeroU8,
    /// What the neighbour tells: the least interval it wants to send at. Absent while it is not heard, as are the next two.
    pub remote_desired_min_tx: Option<Duration>,
    /// What the neighbour tells: the least interval it can receive at.
    pub remote_required_min_rx: Option<Duration>,
    /// What the neighbour tells: packets that may get lost.
    pub remote_multiplier: Option<NonZeroU8>,
    /// The interval we send at, before jitter; none while the neighbour wants no periodic packets.
    pub transmit_interval: Option<Duration>,
    /// How long a silence is taken for a failure; none while the neighbour is not heard.
    pub detection_time: Option<Duration>,
    /// Whether a poll sequence of ours is under way.
    pub polling: bool,
    /// Whether the neighbour asks not to be sent packets periodically.
    pub remote_demand: bool,
    /// How packets are signed.
    pub authentication: Option<AuthenticationKind>,
    /// What was counted.
    pub counters: Counters,
    /// How it left `Up` the last time.
    pub last_down: Option<Down>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_session_that_was_up_fails_and_admin_down_is_no_failure() {
        use State::{AdminDown, Down, Init, Up};
        let table = [
            (Init, Up, Cause::Handshake, Meaning::Up),
            (Down, Init, Cause::Handshake, Meaning::Nothing),
            (Up, Down, Cause::DetectionTimeExpired, Meaning::Failed),
            (Up, Down, Cause::NeighborDown, Meaning::Failed),
            (Init, Down, Cause::DetectionTimeExpired, Meaning::Nothing),
            (Up, Down, Cause::NeighborAdminDown, Meaning::AdminDown),
            (Init, Down, Cause::NeighborAdminDown, Meaning::AdminDown),
            (Up, AdminDown, Cause::AdminDown, Meaning::AdminDown),
            (AdminDown, Down, Cause::AdminUp, Meaning::Nothing),
            (Down, Up, Cause::HandedOver, Meaning::Up),
            (Down, AdminDown, Cause::HandedOver, Meaning::AdminDown),
            (Down, Init, Cause::HandedOver, Meaning::Nothing),
        ];
        for (from, to, cause, meaning) in table {
            let diagnostic = Diagnostic::None;
            let change = Change {
                from,
                to,
                cause,
                diagnostic,
                remote_diagnostic: diagnostic,
                remote_independent: false,
            };
            assert_eq!(change.meaning(), meaning, "{change:?}");
        }
    }

    #[test]
    fn intervals_below_10_ms_are_refused_with_the_limit() {
        let mut settings = Settings {
            desired_min_tx: LEAST_INTERVAL,
            required_min_rx: MOST_INTERVAL,
            multiplier: NonZeroU8::MIN,
            authentication: None,
        };
        settings.check().unwrap();
        settings.required_min_rx = Duration::from_micros(9_999);
        assert_eq!(
            settings.check().unwrap_err().to_string(),
            "a BFD interval of 9.999ms is out of range; it is at least 10ms and at most 4294.967295s"
        );
    }
}
