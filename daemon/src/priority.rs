//! The control thread's priority: its deadlines are to hold while the workers keep every core busy.
//!
//! The control thread alone gets it. Threads inherit the priority of the one that starts them, so it is raised when all
//! others run, and those that the runtime starts later go back to what was before; so does the process that a restart
//! makes of this one.

use std::sync::atomic::{AtomicI32, Ordering};

/// Below what the kernel's own helpers have, and enough to be woken before any worker.
const NICE: i32 = -10;

/// The nice value that the process was started with.
static ORDINARY: AtomicI32 = AtomicI32::new(0);

/// Raises the calling thread's priority, as far as that is allowed.
pub(crate) fn raise() {
    let ordinary = proxima_sys::nice();
    ORDINARY.store(ordinary, Ordering::Relaxed);
    match proxima_sys::lower_nice(NICE) {
        nice if nice < ordinary => tracing::info!(nice, "the control thread goes before the workers"),
        nice => tracing::info!(
            nice,
            "the control thread has ordinary priority: more takes CAP_SYS_NICE or LimitNICE=-10"
        ),
    }
}

/// Gives the calling thread the priority back that the process was started with.
pub(crate) fn lower() {
    // Less priority is always allowed, and there is nobody to tell where it is not.
    proxima_sys::set_nice(ORDINARY.load(Ordering::Relaxed)).ok();
}
