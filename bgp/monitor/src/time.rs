//! Points in time as both formats write them: seconds and microseconds since 1970, in 32 bits each.

use std::time::{Duration, SystemTime};

/// Zero for times before 1970; the last second that fits for those after 2106.
pub(crate) fn since_epoch(time: SystemTime) -> (u32, u32) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (u32::try_from(since.as_secs()).unwrap_or(u32::MAX), since.subsec_micros())
}
