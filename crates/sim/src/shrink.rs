//! From a schedule that breaks a rule to the least that still breaks it.
//!
//! Faults are left out, then made shorter, then moved together; then the world is made smaller. Whatever still breaks the same
//! rule is kept, until nothing can be taken away any more. Each purpose draws from a stream of its own, so that a fault that is
//! left out moves nothing else of the schedule.

use std::fmt;

use crate::{
    clock::{MS, SECOND},
    fault::{Fault, schedule},
    oracle::{Rule, Violation},
    shape::Shape,
    world::World,
};

/// What a world is made of and what befalls it.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Where its chances come from.
    pub seed: u64,
    /// The world.
    pub shape: Shape,
    /// What befalls it.
    pub faults: Vec<Fault>,
}

impl Case {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let shape = Shape::seeded(seed);
        let faults = schedule(seed, &shape);
        Self { seed, shape, faults }
    }

    /// The same, in the largest world.
    pub fn full(seed: u64) -> Self {
        let shape = Shape::full(seed);
        let faults = schedule(seed, &shape);
        Self { seed, shape, faults }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The rule that was broken.
    pub fn run(&self, world: &mut World) -> Result<(), Violation> {
        world.run(self.seed, &self.shape, &self.faults)
    }
}

/// The least case found that breaks the rule that `case` breaks. Takes a few hundred runs at most.
pub fn shrink(world: &mut World, case: &Case, rule: Rule) -> Case {
    least(case, &mut |case| case.run(world).is_err_and(|broken| broken.rule == rule))
}

fn least(case: &Case, breaks: Breaks<'_>) -> Case {
    let mut least = case.clone();
    loop {
        let before = least.clone();
        for smaller in [fewer, shorter, simpler] {
            smaller(&mut least, breaks);
        }
        if least == before {
            return least;
        }
    }
}

/// Whether a case still breaks the rule.
type Breaks<'a> = &'a mut dyn FnMut(&Case) -> bool;

fn fewer(least: &mut Case, breaks: Breaks<'_>) {
    let mut at = least.faults.len();
    while at > 0 {
        at -= 1;
        let mut without = least.clone();
        without.faults.remove(at);
        if breaks(&without) {
            *least = without;
        }
    }
}

fn shorter(least: &mut Case, breaks: Breaks<'_>) {
    for at in 0..least.faults.len() {
        for _ in 0..6 {
            let mut shorter = least.clone();
            let lasts = shorter.faults[at].lasts / 2 / MS * MS;
            if lasts == 0 {
                break;
            }
            shorter.faults[at].lasts = lasts;
            if !breaks(&shorter) {
                break;
            }
            *least = shorter;
        }
    }
    let mut sooner = least.clone();
    if let Some(first) = sooner.faults.first().map(|fault| fault.at).filter(|at| *at > 3 * SECOND) {
        let by = (first - 3 * SECOND) / SECOND * SECOND;
        sooner.faults.iter_mut().for_each(|fault| fault.at -= by);
        if by > 0 && breaks(&sooner) {
            *least = sooner;
        }
    }
}

fn simpler(least: &mut Case, breaks: Breaks<'_>) {
    let simplifications: [fn(&mut Shape); 10] = [
        |shape| shape.groups.truncate(1),
        |shape| shape.shared = false,
        |shape| shape.routers = 1,
        |shape| shape.cap = None,
        |shape| shape.bfd = None,
        |shape| shape.routers_connect = false,
        |shape| shape.drift = 0,
        |shape| shape.groups.iter_mut().for_each(|group| group.damping = None),
        |shape| shape.groups.iter_mut().for_each(|group| group.min_up = 0),
        |shape| shape.groups.iter_mut().for_each(|group| group.degraded = None),
    ];
    for simplify in simplifications {
        let mut simpler = least.clone();
        simplify(&mut simpler.shape);
        // Links go by number: with fewer routers those of the schedule may not be there.
        if simpler != *least
            && simpler.faults.iter().all(|fault| fault.fits(&simpler.shape))
            && breaks(&simpler)
        {
            *least = simpler;
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:#?}", self.seed, self.shape)?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::FaultKind;

    #[test]
    fn what_a_broken_rule_does_not_need_is_left_out() {
        let kills = |case: &Case| case.faults.iter().any(|fault| matches!(fault.kind, FaultKind::Kill(_)));
        let case = (0..1000).map(Case::of).find(|case| kills(case) && case.faults.len() > 4).unwrap();
        let least = least(&case, &mut |case| kills(case) && case.shape.routers == 1);
        assert_eq!(least.faults.len(), 1);
        assert!(least.faults[0].lasts < 2 * MS, "{}", least.faults[0]);
        assert_eq!((least.shape.groups.len(), least.shape.cap), (1, None));
    }

    #[test]
    fn a_fault_of_a_link_that_is_no_longer_there_keeps_the_link() {
        let resets = |case: &Case| {
            let reset = |fault: &Fault| fault.kind == FaultKind::RouterReset(3);
            case.shape.pops == 2 && case.faults.iter().any(reset)
        };
        let shape = Shape { routers: 2, ..Shape::plain(2, 1) };
        let faults = vec![Fault { at: 5 * SECOND, lasts: SECOND, kind: FaultKind::RouterReset(3) }];
        let case = Case { seed: 0, shape, faults };
        assert_eq!(least(&case, &mut |case| resets(case)).shape.routers, 2);
    }
}
