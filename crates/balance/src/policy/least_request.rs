//! Least request by the power of two choices: two distinct candidates are drawn by weight. The first drawn is taken
//! unless the second, with this request added, would still bear no more per weight than the first does now.
//!
//! Without load the draw alone decides, so shares follow the weights exactly; under load both converge to an equal
//! number of pending exchanges per weight. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001).

use crate::{Levels, Tried, rng::Rng};

#[derive(Debug, Clone)]
pub(super) struct LeastRequest {
    rng: Rng,
}

impl LeastRequest {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::new(seed) }
    }

    pub(super) fn choose(
        &mut self,
        levels: &Levels,
        level: usize,
        tried: &Tried,
        load: impl Fn(usize) -> u32,
    ) -> Option<usize> {
        let (first, second) = if tried.is_empty() {
            self.draw(levels, level)?
        } else {
            self.draw_untried(levels, level, tried)?
        };
        let Some(second) = second else {
            return Some(first);
        };
        let pending = |index| u64::from(load(index));
        let weight = |index| u64::from(levels.weight(index));
        let second_is_better = (pending(second) + 1) * weight(first) <= pending(first) * weight(second);
        Some(if second_is_better { second } else { first })
    }

    /// Two of a whole level, by its sums of weights.
    fn draw(&mut self, levels: &Levels, level: usize) -> Option<(usize, Option<usize>)> {
        let members = levels.members(level);
        let sum = levels.weight_up_to(members.end.checked_sub(1)?);
        let first = levels.at_weight(level, self.rng.below(sum));
        if members.len() == 1 {
            return Some((first, None));
        }
        let weight = levels.weight(first);
        let before = levels.weight_up_to(first) - weight;
        let point = self.rng.below(sum - weight);
        let second = levels.at_weight(level, if point < before { point } else { point + weight });
        Some((first, Some(second)))
    }

    /// Two of those left: a walk over the level, only after a failed attempt.
    fn draw_untried(
        &mut self,
        levels: &Levels,
        level: usize,
        tried: &Tried,
    ) -> Option<(usize, Option<usize>)> {
        let first = self.draw_one(levels, level, |index| !tried.contains(index))?;
        let second = self.draw_one(levels, level, |index| index != first && !tried.contains(index));
        Some((first, second))
    }

    fn draw_one(&mut self, levels: &Levels, level: usize, eligible: impl Fn(usize) -> bool) -> Option<usize> {
        let members = || levels.members(level).filter(|&index| eligible(index));
        let sum: u32 = members().map(|index| levels.weight(index)).sum();
        if sum == 0 {
            return None;
        }
        let mut point = self.rng.below(sum);
        members().find(|&index| {
            let weight = levels.weight(index);
            let hit = point < weight;
            point = point.saturating_sub(weight);
            hit
        })
    }
}
