//! Which faults there are, and where each is injected.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::world::WorldSpec;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One app server of several is killed.
    OneApp,
    /// All app servers of a region are.
    AllApps,
    /// They accept connections and say nothing: SIGSTOP.
    SilentApps,
    /// Half of them say the wrong thing, or say it too late.
    WrongAnswers,
    /// A fifth of the packets to the app servers is lost.
    LossyLines,
    /// An app dies and comes back, once a second.
    FlappingApp,
    /// Probes do not get through; requests do.
    ProbesCut,
    /// The apps of all regions die at once.
    AllRegions,
    /// Those of two do, within a round trip, where a third PoP is gone already.
    TwoRegions,
    /// A PoP and its router are cut off from the others.
    Partition,
    /// They hear nothing of the others, who hear them.
    OneWayPartition,
    /// The daemon is killed: SIGKILL.
    DaemonKilled,
    /// A worker of the daemon stands still.
    WorkerStuck,
    /// Its control thread does.
    ControlStuck,
    /// Something else takes every core.
    CoresTaken,
}

/// A world, and what happens in it.
pub(super) struct Act {
    pub(super) world: fn() -> WorldSpec,
    /// The regions that are hurt at the same time, and what each is hurt by, in this order.
    pub(super) tracks: &'static [Track],
    /// What hurts everybody comes when nothing else does.
    pub(super) alone: Track,
}

/// A region and what it is hurt by.
pub(super) type Track = (&'static str, &'static [Fault]);

pub(super) const ACTS: [Act; 2] = [
    Act {
        world: WorldSpec::faults,
        tracks: &[
            (
                "eu",
                &[
                    Fault::OneApp,
                    Fault::AllApps,
                    Fault::SilentApps,
                    Fault::WrongAnswers,
                    Fault::ProbesCut,
                    Fault::DaemonKilled,
                    Fault::ControlStuck,
                ],
            ),
            ("apac", &[Fault::WorkerStuck]),
            ("sa", &[Fault::LossyLines, Fault::FlappingApp]),
        ],
        alone: ("eu", &[Fault::CoresTaken]),
    },
    Act {
        world: WorldSpec::guarded,
        tracks: &[],
        alone: ("eu", &[Fault::AllRegions, Fault::TwoRegions, Fault::Partition, Fault::OneWayPartition]),
    },
];

impl Fault {
    const ALL: [Self; 15] = [
        Self::OneApp,
        Self::AllApps,
        Self::SilentApps,
        Self::WrongAnswers,
        Self::FlappingApp,
        Self::LossyLines,
        Self::ProbesCut,
        Self::AllRegions,
        Self::TwoRegions,
        Self::Partition,
        Self::OneWayPartition,
        Self::DaemonKilled,
        Self::WorkerStuck,
        Self::ControlStuck,
        Self::CoresTaken,
    ];

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::OneApp => 1,
            Self::AllApps => 2,
            Self::SilentApps => 3,
            Self::WrongAnswers => 4,
            Self::FlappingApp => 5,
            Self::LossyLines => 6,
            Self::ProbesCut => 7,
            Self::AllRegions => 8,
            Self::TwoRegions => 9,
            Self::Partition => 10,
            Self::OneWayPartition => 11,
            Self::DaemonKilled => 12,
            Self::WorkerStuck => 13,
            Self::ControlStuck => 14,
            Self::CoresTaken => 36,
        }
    }

    /// What is done.
    pub fn about(self) -> &'static str {
        match self {
            Self::OneApp => "one app of a region killed",
            Self::AllApps => "all apps of a region killed",
            Self::SilentApps => "all apps of a region stopped (SIGSTOP)",
            Self::WrongAnswers => "half of the apps answer probes with 500, wrongly, too late",
            Self::FlappingApp => "an app flaps at 1 Hz",
            Self::LossyLines => "20 % loss to the apps",
            Self::ProbesCut => "probes cut off, requests not",
            Self::AllRegions => "the apps of all regions killed at once",
            Self::TwoRegions => "those of two within a round trip, the third PoP gone",
            Self::Partition => "a PoP cut off from the others, then without apps",
            Self::OneWayPartition => "a PoP that hears nothing of the others, the same",
            Self::DaemonKilled => "daemon killed (SIGKILL)",
            Self::WorkerStuck => "one worker of the daemon stuck",
            Self::ControlStuck => "the daemon's control thread stuck",
            Self::CoresTaken => "every core taken by something else",
        }
    }

    /// Whether requests of the region's clients may fail: their connections end with the daemon, nobody is left within reach
    /// who could answer, or routers have no way for a moment while several PoPs leave within a round trip.
    pub(super) fn may_fail_requests(self) -> bool {
        match self {
            Self::DaemonKilled
            | Self::WorkerStuck
            | Self::ControlStuck
            | Self::AllRegions
            | Self::TwoRegions
            | Self::Partition
            | Self::OneWayPartition => true,
            Self::OneApp
            | Self::AllApps
            | Self::SilentApps
            | Self::WrongAnswers
            | Self::FlappingApp
            | Self::LossyLines
            | Self::ProbesCut
            | Self::CoresTaken => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>2} {}", self.number(), self.about())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|fault| fault.number().to_string()).join(", ");
        let found = Self::ALL.into_iter().find(|fault| fault.number().to_string() == text);
        found.ok_or_else(|| format!("there is no fault {text}; there are {}", known()))
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_that_is_hurt_is_in_its_world() {
        for act in &ACTS {
            let world = (act.world)();
            for (region, _) in act.tracks.iter().chain([&act.alone]) {
                assert!(world.regions.iter().any(|known| known.name == *region), "{region}");
            }
        }
    }

    #[test]
    fn every_fault_is_injected_once_and_known_by_its_number() {
        let tracks = ACTS.iter().flat_map(|act| act.tracks.iter().chain([&act.alone]));
        let all = tracks.flat_map(|(_, faults)| faults.iter().copied());
        let mut numbers: Vec<u32> = all.map(Fault::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Fault::ALL.map(Fault::number));
        assert_eq!("12".parse(), Ok(Fault::DaemonKilled));
        assert!("11x".parse::<Fault>().unwrap_err().contains("there are 1, 2,"));
    }
}
