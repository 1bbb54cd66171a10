//! A witness of the machine: whether it stood still while something was measured.
//!
//! On each core a thread of the highest real-time priority does nothing but wake up. When it wakes late, nothing else could have
//! run on that core either: the processor was elsewhere, as a virtual machine's often is. What a deadline of a few milliseconds
//! does in such a moment says nothing about the program that had it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::error::{Error, Result};

/// How often a witness wakes up.
const PACE: Duration = Duration::from_millis(2);
/// From so late on it is told.
const LATE: Duration = Duration::from_millis(10);
const PRIORITY: u8 = 99;

/// A time in which a core did nothing for anybody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When it began.
    pub from: Instant,
    /// When it was over.
    pub to: Instant,
}

/// Watches every core until it is dropped.
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    stalls: Mutex<Vec<Stall>>,
}

impl Witness {
    /// Begins to watch.
    ///
    /// # Errors
    /// When real-time priority is not permitted.
    pub fn start() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(|errno| refused(errno.into()))?;
        let cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
        let mut witness = Self { shared: Arc::default(), threads: Vec::new() };
        for core in cores {
            let (shared, (told, ready)) = (Arc::clone(&witness.shared), mpsc::sync_channel(1));
            witness.threads.push(thread::spawn(move || {
                let stands = stand(core);
                let stood = stands.is_ok();
                // The one who asks is gone only when another core has failed.
                told.send(stands).ok();
                if stood {
                    watch(&shared);
                }
            }));
            ready.recv().unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into())).map_err(refused)?;
        }
        Ok(witness)
    }

    /// The stalls of all cores so far.
    pub fn stalls(&self) -> Vec<Stall> {
        self.shared.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().ok(); // it has nothing to tell
        }
    }
}

/// The longest time that a core stood still within `from` to `to`.
pub fn longest_within(stalls: &[Stall], from: Instant, to: Instant) -> Duration {
    let within = |stall: &Stall| stall.to.min(to).saturating_duration_since(stall.from.max(from));
    stalls.iter().map(within).max().unwrap_or_default()
}

fn stand(core: usize) -> std::io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &only)?;
    proxima_sys::set_fifo(PRIORITY)
}

fn watch(shared: &Shared) {
    let mut last = Instant::now();
    while !shared.over.load(Ordering::Relaxed) {
        thread::sleep(PACE);
        let now = Instant::now();
        if now - last >= PACE + LATE {
            let stall = Stall { from: last + PACE, to: now };
            shared.stalls.lock().unwrap_or_else(PoisonError::into_inner).push(stall);
        }
        last = now;
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::Sandbox {
        reason: format!("watching the cores at real-time priority: {error}"),
        remedy: "run as root".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_of_a_stall_within_the_time_asked_for_counts() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let stalls = [Stall { from: at(100), to: at(150) }, Stall { from: at(300), to: at(310) }];
        let longest = |from, to| longest_within(&stalls, at(from), at(to)).as_millis();
        assert_eq!(longest(0, 90), 0);
        assert_eq!(longest(120, 400), 30);
        assert_eq!(longest(90, 400), 50);
        assert_eq!(longest(305, 400), 5);
        assert_eq!(longest(160, 290), 0);
    }
}
