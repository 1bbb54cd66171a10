//! From evidence to verdicts: rise and fall, soft and hard evidence, a region's score.
//!
//! [`BackendTracker`] decides about one backend, [`region_score`] sums the verdicts up for an announcement group.
//! Both are pure: time and seeds are handed in, probes are asked for and their outcomes reported.

mod evidence;
mod percent;
mod score;
mod tracker;

pub use evidence::{Failure, Findings, Loss, Phase};
pub use percent::Percent;
pub use proxima_probe_kind::Role;
pub use score::{Member, RegionScore, ServiceScore, region_score};
pub use tracker::{BackendTracker, Input, Output, Reason, Settings, Verdict};
