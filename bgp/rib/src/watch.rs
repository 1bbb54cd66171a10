//! Watches: who wants to hear when the paths to a prefix change.

use std::collections::{BTreeMap, BTreeSet};

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

#[derive(Debug, Default)]
pub(crate) struct Watches {
    exact: BTreeMap<Prefix, Told>,
    covering: BTreeMap<Prefix, Told>,
    touched: BTreeSet<Watch>,
}

/// What was told last.
#[derive(Debug, Default)]
struct Told {
    best: Option<Route>,
    paths: Vec<Route>,
}

impl Watches {
    pub(crate) fn add(&mut self, watch: Watch) {
        match watch {
            Watch::Exact(prefix) => self.exact.entry(prefix).or_default(),
            Watch::Covering(prefix) => self.covering.entry(prefix).or_default(),
        };
        self.touched.insert(watch);
    }

    pub(crate) fn remove(&mut self, watch: Watch) {
        match watch {
            Watch::Exact(prefix) => self.exact.remove(&prefix),
            Watch::Covering(prefix) => self.covering.remove(&prefix),
        };
        self.touched.remove(&watch);
    }

    /// A path to `prefix` has changed.
    pub(crate) fn touch(&mut self, prefix: Prefix) {
        if self.exact.contains_key(&prefix) {
            self.touched.insert(Watch::Exact(prefix));
        }
        let within = self.covering.range(prefix..).map(|(within, _)| *within);
        self.touched
            .extend(within.take_while(|within| prefix.contains(within.address())).map(Watch::Covering));
    }

    /// Many paths may have changed.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.exact.keys().copied().map(Watch::Exact));
        self.touched.extend(self.covering.keys().copied().map(Watch::Covering));
    }

    pub(crate) fn next_touched(&mut self) -> Option<Watch> {
        self.touched.pop_first()
    }

    /// What there is to tell, if it is other than what was told last.
    pub(crate) fn compare(&mut self, watch: Watch, best: Option<Route>, paths: Vec<Route>) -> Option<Change> {
        let told = match watch {
            Watch::Exact(prefix) => self.exact.get_mut(&prefix),
            Watch::Covering(prefix) => self.covering.get_mut(&prefix),
        }?;
        let best_changed = told.best != best;
        if !best_changed && told.paths == paths {
            return None;
        }
        told.best.clone_from(&best);
        told.paths.clone_from(&paths);
        Some(Change { watch, best, best_changed, paths })
    }
}
