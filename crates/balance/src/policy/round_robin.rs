//! Smooth weighted round-robin, as nginx does it: in each turn every candidate gains its weight, the one with the most
//! is chosen and pays the sum. Shares are exact over a cycle, and a heavy candidate's turns are spread out.

use crate::{Levels, Tried, rng::Rng};

#[derive(Debug, Clone)]
pub(super) struct RoundRobin {
    rng: Rng,
    /// What `credit` was made for.
    shape: Option<u64>,
    /// By candidate index.
    credit: Vec<i64>,
}

impl RoundRobin {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed), shape: None, credit: Vec::new() }
    }

    pub(super) fn choose(&mut self, levels: &Levels, level: usize, tried: &Tried) -> Option<usize> {
        if self.shape != Some(levels.shape()) {
            self.restart(levels);
        }
        let mut sum = 0;
        let mut best: Option<usize> = None;
        for index in levels.members(level).filter(|&index| !tried.contains(index)) {
            let weight = i64::from(levels.weight(index));
            sum += weight;
            self.credit[index] += weight;
            if best.is_none_or(|best| self.credit[index] > self.credit[best]) {
                best = Some(index);
            }
        }
        let best = best?;
        self.credit[best] -= sum;
        Some(best)
    }

    /// Starts at a random place of the cycle, so that workers that see the same change don't all choose the same.
    fn restart(&mut self, levels: &Levels) {
        self.shape = Some(levels.shape());
        self.credit.clear();
        self.credit.extend((0..levels.len()).map(|index| i64::from(self.rng.below(levels.weight(index)))));
    }
}
