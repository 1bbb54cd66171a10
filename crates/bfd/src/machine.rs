//! The state machine (RFC 5880 §6.2, §6.8.6): a session's state and the state its neighbour tells decide what is next.
//!
//! ```text
//!                              +--+
//!                              |  | UP, ADMIN DOWN, TIMER
//!                              |  V
//!                      DOWN  +------+  INIT
//!               +------------|      |------------+
//!               |            | DOWN |            |
//!               |  +-------->|      |<--------+  |
//!               |  |         +------+         |  |
//!               |  |                          |  |
//!               |  |               ADMIN DOWN,|  |
//!               |  |ADMIN DOWN,          DOWN,|  |
//!               |  |TIMER                TIMER|  |
//!               V  |                          |  V
//!             +------+                      +------+
//!        +----|      |                      |      |----+
//!    DOWN|    | INIT |--------------------->|  UP  |    |INIT, UP
//!        +--->|      | INIT, UP             |      |<---+
//!             +------+                      +------+
//! ```
//!
//! `AdminDown` is entered and left by command only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The state of a session (RFC 5880 §4.1, §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Held down by an operator. Says nothing about the path.
    AdminDown,
    /// The path is not known to work.
    Down,
    /// The neighbour is heard, but has not yet said that it hears us.
    Init,
    /// Both hear each other.
    Up,
}

impl State {
    /// The four of them.
    pub const ALL: [Self; 4] = [Self::AdminDown, Self::Down, Self::Init, Self::Up];

    /// By the two bits of a packet.
    pub(crate) const fn from_code(code: u8) -> Self {
        match code & 3 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    /// The two bits of a packet.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }

    /// What a session in this state does when its neighbour says it is in `received` (RFC 5880 §6.8.6).
    pub const fn on_received(self, received: Self) -> Step {
        use State::{AdminDown, Down, Init, Up};
        match (self, received) {
            (AdminDown, AdminDown | Down | Init | Up) => Step::Discard,
            (Down, AdminDown | Up) | (Init, Down) | (Up, Init | Up) => Step::Stay,
            (Down, Down) => Step::Advance(Init),
            (Down, Init) | (Init, Init | Up) => Step::Advance(Up),
            (Init, AdminDown) | (Up, AdminDown | Down) => Step::NeighborSignaledDown,
        }
    }

    /// What a session in this state does when nothing came for the detection time (RFC 5880 §6.8.4).
    pub const fn on_detection_time_expired(self) -> Step {
        match self {
            Self::AdminDown | Self::Down => Step::Stay,
            Self::Init | Self::Up => Step::DetectionTimeExpired,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        })
    }
}

/// What an event does to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing changes.
    Stay,
    /// The session comes nearer to `Up`.
    Advance(State),
    /// To `Down`, with [`Diagnostic::NeighborSignaledSessionDown`].
    NeighborSignaledDown,
    /// To `Down`, with [`Diagnostic::ControlDetectionTimeExpired`].
    DetectionTimeExpired,
    /// The packet counts for nothing: an operator holds the session down.
    Discard,
}

/// Why a session left `Up` the last time, as it is told to the neighbour (RFC 5880 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub enum Diagnostic {
    /// 0
    None,
    /// 1
    ControlDetectionTimeExpired,
    /// 2
    EchoFunctionFailed,
    /// 3
    NeighborSignaledSessionDown,
    /// 4
    ForwardingPlaneReset,
    /// 5
    PathDown,
    /// 6
    ConcatenatedPathDown,
    /// 7
    AdministrativelyDown,
    /// 8
    ReverseConcatenatedPathDown,
    /// 9 to 31; greater numbers do not fit the field.
    Other(u8),
}

impl Diagnostic {
    /// By the five bits of a packet.
    pub const fn from_code(code: u8) -> Self {
        match code & 0x1f {
            0 => Self::None,
            1 => Self::ControlDetectionTimeExpired,
            2 => Self::EchoFunctionFailed,
            3 => Self::NeighborSignaledSessionDown,
            4 => Self::ForwardingPlaneReset,
            5 => Self::PathDown,
            6 => Self::ConcatenatedPathDown,
            7 => Self::AdministrativelyDown,
            8 => Self::ReverseConcatenatedPathDown,
            other => Self::Other(other),
        }
    }

    /// The five bits of a packet.
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ControlDetectionTimeExpired => 1,
            Self::EchoFunctionFailed => 2,
            Self::NeighborSignaledSessionDown => 3,
            Self::ForwardingPlaneReset => 4,
            Self::PathDown => 5,
            Self::ConcatenatedPathDown => 6,
            Self::AdministrativelyDown => 7,
            Self::ReverseConcatenatedPathDown => 8,
            Self::Other(code) => code & 0x1f,
        }
    }
}

impl From<u8> for Diagnostic {
    fn from(code: u8) -> Self {
        Self::from_code(code)
    }
}

impl From<Diagnostic> for u8 {
    fn from(diagnostic: Diagnostic) -> Self {
        diagnostic.code()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no diagnostic",
            Self::ControlDetectionTimeExpired => "control detection time expired",
            Self::EchoFunctionFailed => "echo function failed",
            Self::NeighborSignaledSessionDown => "neighbor signaled session down",
            Self::ForwardingPlaneReset => "forwarding plane reset",
            Self::PathDown => "path down",
            Self::ConcatenatedPathDown => "concatenated path down",
            Self::AdministrativelyDown => "administratively down",
            Self::ReverseConcatenatedPathDown => "reverse concatenated path down",
            Self::Other(code) => return write!(f, "diagnostic {code}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{State::*, Step::*, *};

    #[test]
    fn every_state_meets_every_received_state_as_rfc_5880_says() {
        let table = [
            (AdminDown, AdminDown, Discard),
            (AdminDown, Down, Discard),
            (AdminDown, Init, Discard),
            (AdminDown, Up, Discard),
            (Down, AdminDown, Stay),
            (Down, Down, Advance(Init)),
            (Down, Init, Advance(Up)),
            (Down, Up, Stay),
            (Init, AdminDown, NeighborSignaledDown),
            (Init, Down, Stay),
            (Init, Init, Advance(Up)),
            (Init, Up, Advance(Up)),
            (Up, AdminDown, NeighborSignaledDown),
            (Up, Down, NeighborSignaledDown),
            (Up, Init, Stay),
            (Up, Up, Stay),
        ];
        for (state, received, step) in table {
            assert_eq!(state.on_received(received), step, "{state} receives {received}");
        }
        assert_eq!(table.len(), State::ALL.len() * State::ALL.len());
    }

    #[test]
    fn silence_ends_init_and_up_only() {
        let table =
            [(AdminDown, Stay), (Down, Stay), (Init, DetectionTimeExpired), (Up, DetectionTimeExpired)];
        for (state, step) in table {
            assert_eq!(state.on_detection_time_expired(), step, "{state}");
        }
    }

    #[test]
    fn codes_are_those_of_rfc_5880() {
        for (code, state) in [AdminDown, Down, Init, Up].into_iter().enumerate() {
            assert_eq!((State::from_code(code as u8), state.code()), (state, code as u8));
        }
        for code in 0..32 {
            assert_eq!(Diagnostic::from_code(code).code(), code);
        }
        assert_eq!(Diagnostic::from_code(7), Diagnostic::AdministrativelyDown);
        assert_eq!(Diagnostic::from_code(5), Diagnostic::PathDown);
        assert_eq!(Diagnostic::from_code(9), Diagnostic::Other(9));
    }
}
