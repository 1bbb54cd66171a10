//! A way through a world at random.

use crate::world::{Act, News, Rules, World};

/// The worlds on the way; the same for the same seed.
pub(crate) struct Walk {
    rules: Rules,
    world: World,
    random: u64,
}

impl Walk {
    /// `seed` is not zero.
    pub(crate) fn new(rules: Rules, seed: u64) -> Self {
        Self { world: rules.start(), rules, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
    }

    /// A number below `bound` (xorshift64).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 33) as usize % bound
    }
}

impl Iterator for Walk {
    type Item = World;

    fn next(&mut self) -> Option<World> {
        let acts = self.rules.acts(&self.world);
        let quiet = |act: &&Act| matches!(act, Act::Tick | Act::Pop(_, _, News::Nothing));
        let calm: Vec<&Act> = acts.iter().filter(quiet).collect();
        // Much time without news, or nobody ever leaves.
        let act = match self.below(12) {
            0 => &acts[self.below(acts.len())],
            1..=5 if acts[0] == Act::Tick => &acts[0],
            _ if calm.is_empty() => &acts[self.below(acts.len())],
            _ => calm[self.below(calm.len())],
        };
        self.world = self.rules.next(&self.world, act);
        Some(self.world.clone())
    }
}
