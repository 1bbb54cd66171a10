//! What was counted as it happened, and is told again at each scrape: the registry lets go of what nobody tells of any more.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::Counter;

type Labels = Vec<(&'static str, String)>;

/// By name and labels. Of the process, as its metrics are.
static TALLIES: Mutex<BTreeMap<(&'static str, Labels), u64>> = Mutex::new(BTreeMap::new());

pub(super) fn add(name: &'static str, labels: &[(&'static str, &str)], count: u64) {
    let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
    *TALLIES.lock().unwrap_or_else(PoisonError::into_inner).entry((name, labels)).or_default() += count;
}

/// Tells of all, and forgets those with a label that is not to be kept.
pub(super) fn tell(keep: impl Fn(&str, &str) -> bool) {
    let mut tallies = TALLIES.lock().unwrap_or_else(PoisonError::into_inner);
    tallies.retain(|(name, labels), total| {
        let stays = labels.iter().all(|(label, value)| keep(label, value));
        if stays {
            let labels: Vec<_> = labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
            Counter { name, help: "" }.set(&labels, *total);
        }
        stays
    });
}
