//! Which faults there are, and where each is injected.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

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
    /// Probes do not get through; requests do.
    ProbesCut,
    /// The daemon is killed: SIGKILL.
    DaemonKilled,
    /// A worker of the daemon stands still.
    WorkerStuck,
    /// Its control thread does.
    ControlStuck,
    /// Something else takes every core.
    CoresTaken,
}

/// The regions that are hurt at the same time, and what each is hurt by, in this order.
pub(super) const TRACKS: [(&str, &[Fault]); 2] = [
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
    ("apac", &[Fault::LossyLines, Fault::WorkerStuck]),
];

/// What hurts everybody, when nothing else does.
pub(super) const ALONE: (&str, &[Fault]) = ("eu", &[Fault::CoresTaken]);

impl Fault {
    const ALL: [Self; 10] = [
        Self::OneApp,
        Self::AllApps,
        Self::SilentApps,
        Self::WrongAnswers,
        Self::LossyLines,
        Self::ProbesCut,
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
            Self::LossyLines => 6,
            Self::ProbesCut => 7,
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
            Self::WrongAnswers => "half of the apps answer their probes with 500, or too late",
            Self::LossyLines => "20 % loss to the apps",
            Self::ProbesCut => "probes cut off, requests not",
            Self::DaemonKilled => "daemon killed (SIGKILL)",
            Self::WorkerStuck => "one worker of the daemon stuck",
            Self::ControlStuck => "the daemon's control thread stuck",
            Self::CoresTaken => "every core taken by something else",
        }
    }

    /// Whether idempotent requests of the region's clients may fail: their connections end with the daemon.
    pub(super) fn may_fail_requests(self) -> bool {
        matches!(self, Self::DaemonKilled | Self::WorkerStuck | Self::ControlStuck)
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
    fn every_fault_is_injected_once_and_known_by_its_number() {
        let all = TRACKS.iter().chain([&ALONE]).flat_map(|(_, faults)| faults.iter().copied());
        let mut numbers: Vec<u32> = all.map(Fault::number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Fault::ALL.map(Fault::number));
        assert_eq!("12".parse(), Ok(Fault::DaemonKilled));
        assert!("11x".parse::<Fault>().unwrap_err().contains("there are 1, 2,"));
    }
}
