//! Random numbers: for discriminators and the seeds of sessions (RFC 5880 §6.8.1, §9).

use std::hash::{BuildHasher, RandomState};

/// Numbers that those before do not tell: a keyed hash of a counter, the key from the kernel.
#[derive(Debug)]
pub(crate) struct Draws {
    random: RandomState,
    drawn: u64,
}

impl Draws {
    pub(crate) fn new() -> Self {
        Self { random: RandomState::new(), drawn: 0 }
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.drawn += 1;
        self.random.hash_one(self.drawn)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const COUNT: usize = 4096;

    /// As discriminators: 32 bits of each.
    fn discriminators() -> Vec<u32> {
        let mut draws = Draws::new();
        (0..COUNT).map(|_| draws.draw() as u32).collect()
    }

    #[test]
    fn numbers_drawn_are_not_told_by_those_before_nor_by_another_process() {
        let (ones, others) = (discriminators(), discriminators());
        // Of 4096 random numbers of 32 bits two are alike in one run of 500; four pairs alike, in none.
        assert!(ones.iter().collect::<HashSet<_>>().len() > COUNT - 4);
        let common = ones.iter().filter(|number| others.contains(number)).count();
        assert!(common < 4, "{common} numbers are those of another key");
        // Each bit is set about half of the time, and changes about half of the time: 10 standard deviations are 320.
        let about_half = |count: usize| count.abs_diff(COUNT / 2) < 320;
        for bit in 0..32 {
            let set = |number: &u32| number & 1 << bit != 0;
            assert!(about_half(ones.iter().filter(|number| set(number)).count()), "bit {bit}");
            let changed = ones.windows(2).filter(|pair| set(&pair[0]) != set(&pair[1])).count();
            assert!(about_half(changed), "bit {bit}");
        }
        // Nor do they go up, or one by one.
        assert!(about_half(ones.windows(2).filter(|pair| pair[0] < pair[1]).count()));
    }
}
