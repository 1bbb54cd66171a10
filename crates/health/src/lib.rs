//! From evidence to verdicts: rise and fall, soft and hard evidence, a region's score, objectives of real traffic.
//!
//! ```text
//! probes, standing connection, ──► BackendTracker ──► verdict ─┐
//! real traffic, notices                                        ├─► region_score ─► RegionScore { score, degraded }
//! counters of the workers ───────► SloWindow ───────► breach ──┘
//! ```
//!
//! [`BackendTracker`] decides about one backend, [`SloWindow`] about one service's objectives, and [`region_score`] sums
//! the verdicts up for an announcement group. [`Doubt`] tells which verdicts are too old to be believed, [`Thaw`] when nothing of this
//! process has run, and [`Watchdog`] whether its workers do. All are pure: time and seeds are handed in, probes are asked for and their
//! outcomes reported.

mod doubt;
mod evidence;
mod passive;
mod percent;
mod score;
mod slo;
mod thaw;
mod tracker;
mod watchdog;

pub use doubt::{Doubt, Gates, LatestProbes, Looked, Watched};
pub use evidence::{Failure, Findings, Loss, Phase};
pub use passive::{Passive, PassiveRule};
pub use percent::Percent;
pub use proxima_probe_kind::Role;
pub use score::{Degradation, Member, RegionScore, ServiceScore, region_score};
pub use slo::{Breach, Counted, Figures, Objectives, SloWindow};
pub use thaw::{Gap, LATE, Thaw};
pub use tracker::{BackendTracker, Input, Known, Output, Reason, Settings, Verdict};
pub use watchdog::{LOST, SILENCE, Silence, Watchdog, WorkerChange, WorkerStuck};
