//! Health verdicts, weights and scores.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The verdict on a backend. Unknown never counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// No verdict yet: too few probes since the start.
    #[default]
    Unknown,
    /// Serves.
    Up,
    /// Does not serve.
    Down,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        })
    }
}

/// A backend's share of traffic and of its region's capacity, relative to its neighbours. 0 takes no new traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(pub u16);

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

/// A healthy share of capacity, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// Nothing serves.
    pub const ZERO: Self = Self(0.0);
    /// Everything serves.
    pub const FULL: Self = Self(1.0);

    /// The share as given, held within 0 to 1; not-a-number is taken as 0.
    pub fn new(share: f64) -> Self {
        if share.is_nan() { Self::ZERO } else { Self(share.clamp(0.0, 1.0)) }
    }

    /// The share, 0 to 1.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

/// How many of a service's backends in a region are up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpCount {
    /// How many are up.
    pub up: u32,
    /// How many of these offer less than all of their capacity, by their agents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reduced: u32,
    /// How many have no verdict, or none that is still believed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown: u32,
    /// How many can't be checked for longer than a verdict is believed, whatever it was.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unchecked: u32,
    /// How many there are.
    pub backends: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// `1 of 2 up`.
impl fmt::Display for UpCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, reduced, unknown, unchecked, backends } = self;
        if *backends == 0 {
            return f.write_str("no backends in this region");
        }
        write!(f, "{up} of {backends} up")?;
        if *reduced > 0 {
            write!(f, ", {reduced} reduced by the agent")?;
        }
        if *unknown > 0 {
            write!(f, ", {unknown} unknown")?;
        }
        if *unchecked > 0 {
            write!(f, ", {unchecked} unchecked")?;
        }
        Ok(())
    }
}
