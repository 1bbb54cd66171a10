//! Real-time scheduling, or the best there is.

use std::{fmt, io};

use proxima_sys::{set_fifo, set_least_nice};

/// How the thread is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Before every ordinary thread, with this priority.
    RealTime(u8),
    /// As an ordinary thread with this nice value, for that reason.
    Ordinary {
        /// -20 to 0.
        nice: i32,
        /// Why it is not real-time; absent when that was not wanted.
        refused: Option<io::ErrorKind>,
    },
}

impl Priority {
    /// Sets the calling thread's.
    pub(crate) fn take(real_time: Option<u8>) -> Self {
        let Some(priority) = real_time else {
            return Self::Ordinary { nice: set_least_nice(), refused: None };
        };
        match set_fifo(priority) {
            Ok(()) => Self::RealTime(priority),
            Err(error) => Self::Ordinary { nice: set_least_nice(), refused: Some(error.kind()) },
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RealTime(priority) => write!(f, "real-time, SCHED_FIFO {priority}"),
            Self::Ordinary { nice, refused: None } => write!(f, "ordinary, nice {nice}"),
            Self::Ordinary { nice, refused: Some(reason) } => {
                write!(
                    f,
                    "ordinary, nice {nice}; not real-time: {reason} (give it CAP_SYS_NICE or LimitRTPRIO=)"
                )
            }
        }
    }
}
