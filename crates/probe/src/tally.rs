//! What probes came to, counted by pool: ten thousand backends have few pools.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_health::Failure;
use proxima_types::PoolName;

/// What the probes of one pool have come to since the start. No number ever falls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tally {
    /// How many ended with which result: `passed`, or [what sort of failure](Failure::name) it was.
    pub results: BTreeMap<&'static str, u64>,
    /// How long those took that could be made, from their slot to their end.
    pub took: Spread,
    /// How much later than they were due they had their slot.
    pub late: Spread,
}

impl Tally {
    fn note(&mut self, failure: Option<&Failure>, took: Duration, late: Duration) {
        *self.results.entry(failure.map_or("passed", Failure::name)).or_default() += 1;
        self.late.note(late);
        if !failure.is_some_and(Failure::is_local) {
            self.took.note(took);
        }
    }
}

/// How times are spread.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spread {
    buckets: [u64; Self::ENDS.len()],
    sum: Duration,
    count: u64,
}

impl Spread {
    /// Upper ends of the buckets, in milliseconds.
    const ENDS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

    fn note(&mut self, time: Duration) {
        if let Some(bucket) = Self::ENDS.iter().position(|end| time <= Duration::from_millis(*end)) {
            self.buckets[bucket] += 1;
        }
        self.sum += time;
        self.count += 1;
    }

    /// Upper ends of the buckets, rising, each with how many times lie up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> {
        Self::ENDS.into_iter().zip(&self.buckets).scan(0, |below, (end, count)| {
            *below += count;
            Some((Duration::from_millis(end), *below))
        })
    }

    /// All times together.
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The tallies of all pools.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tallies(Arc<Mutex<BTreeMap<PoolName, Sheet>>>);

/// Where the tasks of a pool's backends count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sheet(Arc<Mutex<Tally>>);

impl Tallies {
    pub(crate) fn sheet(&self, pool: &PoolName) -> Sheet {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(pool.clone()).or_default().clone()
    }

    pub(crate) fn read(&self) -> BTreeMap<PoolName, Tally> {
        let sheets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = |sheet: &Sheet| sheet.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sheets.iter().map(|(pool, sheet)| (pool.clone(), tally(sheet))).collect()
    }
}

impl Sheet {
    pub(crate) fn note(&self, failure: Option<&Failure>, took: Duration, late: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).note(failure, took, late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_counted_by_pool_and_result() {
        let (tallies, ms) = (Tallies::default(), Duration::from_millis);
        let (app, db): (PoolName, PoolName) = ("app".parse().unwrap(), "db".parse().unwrap());
        let one = tallies.sheet(&app);
        one.note(None, ms(2), ms(0));
        tallies.sheet(&app).note(Some(&Failure::Refused), ms(3), ms(0));
        one.note(Some(&Failure::Local { error: "no program".to_owned() }), ms(4000), ms(20_000));
        tallies.sheet(&db).note(None, ms(1), ms(0));
        let read = tallies.read();
        assert_eq!(read[&db].results, [("passed", 1)].into());
        let app = &read[&app];
        assert_eq!(app.results, [("not-made", 1), ("passed", 1), ("refused", 1)].into());
        assert_eq!((app.took.count(), app.took.sum()), (2, ms(5)), "one that was not made took no time");
        let below: Vec<_> =
            app.took.cumulative().map(|(end, below)| (end.as_millis(), below)).take(3).collect();
        assert_eq!(below, [(1, 0), (2, 1), (5, 2)]);
        assert_eq!((app.late.count(), app.late.cumulative().last()), (3, Some((ms(10_000), 2))));
    }
}
