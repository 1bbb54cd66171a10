//! What the daemon tells of itself: the log, the event journal, the metrics.
//!
//! - [`log`]: `tracing` to standard error, as text or JSON. A thread of its own does the writing, so a stuck reader of the
//!   log never delays whoever logs.
//! - [`access_log`]: where the data plane's lines are written, by a thread of its own too.
//! - [`journal`]: the last events, numbered, to read and to follow.
//! - [`metrics`]: every metric's name and help in one table, and the Prometheus text.
//!
//! An event is published once; the journal then logs and counts it too.
#![allow(clippy::disallowed_methods, reason = "a driver: stamps events with the clocks")]

pub mod access_log;
pub mod journal;
pub mod log;
pub mod metrics;

pub use access_log::{AccessLogError, AccessLogTarget, AccessLogWriter};
pub use journal::{EventJournal, Followed, Follower};
pub use log::{LogError, LogFilter, LogFormat, LogGuard, LogOptions};
pub use metrics::{MetricsError, Prometheus};
