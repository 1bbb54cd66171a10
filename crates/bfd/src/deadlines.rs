//! One deadline per session: a binary heap that knows where each of its entries is.

use std::time::Instant;

/// No place in the heap.
const NOWHERE: u32 = u32::MAX;

/// Deadlines of things that are numbered from zero. Setting, moving and removing one takes O(log n), no allocation once
/// it has grown.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<(Instant, u32)>,
    /// Where in the heap each number is.
    places: Vec<u32>,
}

impl Deadlines {
    /// The earliest deadline and whose it is.
    pub(crate) fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().copied()
    }

    /// Whether `test` holds for one of those whose deadline has come.
    pub(crate) fn any_due(&self, now: Instant, test: impl Fn(u32) -> bool) -> bool {
        self.any_due_below(0, now, &test)
    }

    /// As deep as the heap is high.
    fn any_due_below(&self, place: usize, now: Instant, test: &impl Fn(u32) -> bool) -> bool {
        match self.heap.get(place) {
            Some((at, number)) if *at <= now => {
                test(*number)
                    || self.any_due_below(2 * place + 1, now, test)
                    || self.any_due_below(2 * place + 2, now, test)
            }
            _ => false,
        }
    }

    /// Those with a deadline, in no order.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (Instant, u32)> + '_ {
        self.heap.iter().copied()
    }

    /// Sets or takes away the deadline of `number`.
    pub(crate) fn set(&mut self, number: u32, deadline: Option<Instant>) {
        let index = number as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, NOWHERE);
        }
        let place = self.places[index];
        match (deadline, place) {
            (None, NOWHERE) => {}
            (None, place) => self.remove(place as usize),
            (Some(at), NOWHERE) => {
                self.heap.push((at, number));
                self.up(self.heap.len() - 1);
            }
            (Some(at), place) => {
                let place = place as usize;
                if self.heap[place].0 != at {
                    self.heap[place].0 = at;
                    let place = self.up(place);
                    self.down(place);
                }
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let (_, number) = self.heap.swap_remove(place);
        self.places[number as usize] = NOWHERE;
        if place < self.heap.len() {
            let place = self.up(place);
            self.down(place);
        }
    }

    /// Moves an entry towards the first; returns where it ended.
    fn up(&mut self, mut place: usize) -> usize {
        let entry = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
        place
    }

    fn down(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let left = 2 * place + 1;
            if left >= self.heap.len() {
                break;
            }
            let right = left + 1;
            let child =
                if right < self.heap.len() && self.heap[right].0 < self.heap[left].0 { right } else { left };
            if entry.0 <= self.heap[child].0 {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: (Instant, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_earliest_is_first_whatever_was_set_before(
            steps in proptest::collection::vec((0u32..20, proptest::option::of(0u64..50)), 1..200)
        ) {
            let start = Instant::now();
            let mut deadlines = Deadlines::default();
            let mut model = BTreeSet::new();
            for (number, at) in steps {
                let at = at.map(|ms| start + Duration::from_millis(ms));
                deadlines.set(number, at);
                model.retain(|(_, other)| *other != number);
                model.extend(at.map(|at| (at, number)));
                prop_assert_eq!(deadlines.first().map(|(at, _)| at), model.first().map(|(at, _)| *at));
                prop_assert_eq!(deadlines.iter().collect::<BTreeSet<_>>(), model.clone());
                let now = start + Duration::from_millis(25);
                for number in 0..20 {
                    let due = model.iter().any(|(at, other)| *at <= now && *other == number);
                    prop_assert_eq!(deadlines.any_due(now, |other| other == number), due);
                }
            }
            while let Some((at, number)) = deadlines.first() {
                prop_assert_eq!(Some(at), model.first().map(|(at, _)| *at));
                deadlines.set(number, None);
                model.remove(&(at, number));
            }
            prop_assert!(model.is_empty());
        }
    }
}
