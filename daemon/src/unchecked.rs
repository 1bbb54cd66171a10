//! Tells whose checks can't be made: once when that begins, with the reason, and once when it is over.
//!
//! What keeps one probe from being made mostly keeps many: those that begin together for one reason are told together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use proxima_api::EventKind;
use proxima_types::BackendId;

use crate::self_check::Unchecked;

/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// How many backends an event names at most.
const NAMED: usize = 16;

/// What has been told.
#[derive(Debug, Default)]
pub(crate) struct Tellings {
    told: BTreeSet<BackendId>,
    looked_at: Option<Instant>,
}

impl Tellings {
    /// Whether it is time for another look.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.looked_at.is_none_or(|at| now >= at + LOOK)
    }

    /// What is to be told, given all that can't be checked at `now`.
    pub(crate) fn look(&mut self, now: Instant, unchecked: BTreeMap<BackendId, Unchecked>) -> Vec<EventKind> {
        self.looked_at = Some(now);
        let mut begun: BTreeMap<Option<Arc<str>>, Vec<BackendId>> = BTreeMap::new();
        for (backend, Unchecked { why, .. }) in &unchecked {
            if !self.told.contains(backend) {
                begun.entry(why.clone()).or_default().push(backend.clone());
            }
        }
        let over = self.told.iter().filter(|backend| !unchecked.contains_key(*backend)).cloned().collect();
        self.told = unchecked.into_keys().collect();
        let begun = begun.into_iter().map(|(why, backends)| {
            let (backends, more) = named(backends);
            EventKind::ChecksFailing { backends, more, why: why.map(|why| why.to_string()) }
        });
        let (backends, more) = named(over);
        let over = (!backends.is_empty()).then_some(EventKind::ChecksResumed { backends, more });
        begun.chain(over).collect()
    }
}

/// The first of them, and how many more there are.
fn named(mut backends: Vec<BackendId>) -> (Vec<BackendId>, u32) {
    let more = backends.len().saturating_sub(NAMED);
    backends.truncate(NAMED);
    (backends, u32::try_from(more).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unchecked(ids: &[(&str, Option<&str>)]) -> BTreeMap<BackendId, Unchecked> {
        let since = Instant::now();
        let one = |(id, why): &(&str, Option<&str>)| {
            (id.parse().unwrap(), Unchecked { since, why: why.map(Into::into), believed: true })
        };
        ids.iter().map(one).collect()
    }

    fn ids(ids: &[&str]) -> Vec<BackendId> {
        ids.iter().map(|id| id.parse().unwrap()).collect()
    }

    #[test]
    fn those_that_begin_for_one_reason_are_told_together_and_once() {
        let (mut tellings, now) = (Tellings::default(), Instant::now());
        let found = [("a/1", Some("no file")), ("a/2", Some("no file")), ("b/1", None)];
        let failing = |backends: &[&str], why: Option<&str>| EventKind::ChecksFailing {
            backends: ids(backends),
            more: 0,
            why: why.map(str::to_owned),
        };
        assert!(tellings.is_due(now));
        assert_eq!(
            tellings.look(now, unchecked(&found)),
            [failing(&["b/1"], None), failing(&["a/1", "a/2"], Some("no file"))]
        );
        assert!(!tellings.is_due(now));
        assert_eq!(tellings.look(now, unchecked(&found)), []);
        let other = [("a/2", Some("another reason")), ("a/3", Some("no file"))];
        let resumed = EventKind::ChecksResumed { backends: ids(&["a/1", "b/1"]), more: 0 };
        assert_eq!(tellings.look(now, unchecked(&other)), [failing(&["a/3"], Some("no file")), resumed]);
    }

    #[test]
    fn of_many_some_are_named() {
        let many: Vec<String> = (100..150).map(|n| format!("a/{n}")).collect();
        let many: Vec<_> = many.iter().map(|id| (id.as_str(), None)).collect();
        let told = Tellings::default().look(Instant::now(), unchecked(&many));
        let [EventKind::ChecksFailing { backends, more: 34, why: None }] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(backends.len(), 16);
    }
}
