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

/// Gives the calling thread the highest ordinary priority that it may have, and says which: -20 is the highest, 0 what
/// every thread has. Only a greater share of the processors: unlike with [`set_fifo`] the thread may have to wait.
pub fn set_least_nice() -> i32 {
    lower_nice(-20)
}

/// The same, but not below `least`.
pub fn lower_nice(least: i32) -> i32 {
    let had = nice();
    (least..had).find(|nice| set_nice(*nice).is_ok()).unwrap_or(had)
}

/// The nice value of the calling thread.
pub fn nice() -> i32 {
    // SAFETY: 0 is the calling thread; no memory is involved. It cannot fail for a thread that there is.
    #[allow(unsafe_code, reason = "no safe wrapper for getpriority")]
    unsafe {
        libc::getpriority(libc::PRIO_PROCESS, 0)
    }
}

/// Sets the nice value of the calling thread. Threads it starts later inherit it.
///
/// # Errors
/// `PermissionDenied` for less than it has, without CAP_SYS_NICE or a sufficient `RLIMIT_NICE` (systemd: `LimitNICE=`).
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: 0 is the calling thread; no memory is involved.
    #[allow(unsafe_code, reason = "no safe wrapper for setpriority")]
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
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
    fn a_thread_gets_the_least_nice_value_it_may_have() {
        std::thread::spawn(|| {
            let nice = set_least_nice();
            assert!((-20..=0).contains(&nice));
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<_> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            assert_eq!(fields[19 - 3], nice.to_string());
            assert_eq!(super::nice(), nice);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_goes_no_lower_than_asked_and_always_up_again() {
        std::thread::spawn(|| {
            let had = nice();
            let lowered = lower_nice(-10);
            assert!(lowered == had || (-10..had).contains(&lowered), "{lowered}");
            set_nice(had).unwrap();
            assert_eq!(nice(), had);
            set_nice(7).unwrap();
            assert_eq!(lower_nice(7), 7);
        })
        .join()
        .unwrap();
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
