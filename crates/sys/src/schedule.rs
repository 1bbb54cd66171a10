//! Real-time scheduling.

use std::{io, ops::RangeInclusive};

/// The priorities of `SCHED_FIFO`; the greater goes first.
pub const FIFO_PRIORITIES: RangeInclusive<u8> = 1..=99;

/// Runs the calling thread before every ordinary one, until it waits or one of higher priority wants to run. Threads it
/// starts later do not inherit it. A thread that does not wait for long starves what shares its core.
///
/// # Errors
/// `PermissionDenied` without CAP_SYS_NICE or a sufficient `RLIMIT_RTPRIO` (systemd: `LimitRTPRIO=`);
/// `InvalidInput` for a priority outside [`FIFO_PRIORITIES`].
pub fn set_fifo(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority.into() };
    // SAFETY: 0 is the calling thread; the kernel only reads the parameter, which lives until the call returns.
    #[allow(unsafe_code, reason = "no safe wrapper for sched_setscheduler")]
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_priority_outside_the_range_is_refused() {
        for priority in [0, 100] {
            assert_eq!(set_fifo(priority).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn a_thread_becomes_real_time_where_that_is_allowed() {
        std::thread::spawn(|| match set_fifo(1) {
            Ok(()) => {
                let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
                let after_name = stat.rsplit_once(") ").unwrap().1;
                // Fields 40 and 41 of proc_pid_stat(5): the priority, and the policy, of which 1 is SCHED_FIFO.
                let fields: Vec<_> = after_name.split(' ').collect();
                assert_eq!((fields[40 - 3], fields[41 - 3]), ("1", "1"));
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        })
        .join()
        .unwrap();
    }
}
