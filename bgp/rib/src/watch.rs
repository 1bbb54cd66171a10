//! Watches: who wants to hear when the paths to a prefix change.

use proxima_types::Prefix;

use crate::Route;

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Watch {
    /// The paths to exactly this prefix.
    Exact(Prefix),
    /// The paths to the longest prefix that covers this one and has a usable path.
    Covering(Prefix),
}

/// The paths to a watched prefix have changed: others, more, fewer, with other attributes, or stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which watch.
    pub watch: Watch,
    /// The best path now.
    pub best: Option<Route>,
    /// Whether that is another than at the last change told.
    pub best_changed: bool,
    /// All paths now, usable or not.
    pub paths: Vec<Route>,
}
