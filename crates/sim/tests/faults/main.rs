//! Faults about health, announcing and lifecycle, each as a world in which it happens, under several seeds. Every world is held
//! to all rules besides.

mod announcing;
mod apps;
mod lifecycle;
mod observation;

use proxima_sim::{App, Fact, Fault, FaultKind, Gone, MS, Nanos, SECOND, Shape, World};
use proxima_types::ReachState;

/// Clocks, delays and the order of events differ from seed to seed.
const SEEDS: std::ops::Range<u64> = 0..12;
/// By now all is as it should be.
const READY: Nanos = 5 * SECOND;

/// A world in which certain things go wrong.
struct Scenario {
    shape: Shape,
    faults: Vec<Fault>,
}

impl Scenario {
    fn new(shape: Shape) -> Self {
        Self { shape, faults: Vec::new() }
    }

    fn fault(mut self, at: Nanos, lasts: Nanos, kind: FaultKind) -> Self {
        self.faults.push(Fault { at, lasts, kind });
        self
    }

    /// Runs it under each seed, and holds what happened against `claim`.
    fn holds(&self, claim: impl Fn(&Told<'_>)) {
        let mut world = World::new();
        for seed in SEEDS {
            let broken = world.replay(seed, &self.shape, &self.faults).err();
            let timeline = || world.timeline().join("\n");
            assert_eq!(broken.as_ref().map(ToString::to_string), None, "seed {seed}\n{}", timeline());
            let told = Told { facts: world.history().facts(), timeline: &timeline };
            told.all_ready(self.shape.links());
            claim(&told);
        }
    }
}

/// What happened in a run.
struct Told<'a> {
    facts: &'a [(Nanos, Fact)],
    timeline: &'a dyn Fn() -> String,
}

impl Told<'_> {
    /// When something first happened, from a time on.
    fn first(&self, from: Nanos, is: impl Fn(&Fact) -> bool) -> Option<Nanos> {
        self.facts.iter().find(|(at, fact)| *at >= from && is(fact)).map(|(at, _)| *at)
    }

    fn count(&self, from: Nanos, is: impl Fn(&Fact) -> bool) -> usize {
        self.facts.iter().filter(|(at, fact)| *at >= from && is(fact)).count()
    }

    /// Something happens within this time after `from`; returns when.
    #[track_caller]
    fn within(&self, from: Nanos, limit: Nanos, is: impl Fn(&Fact) -> bool) -> Nanos {
        let at = self.first(from, is);
        let Some(at) = at.filter(|at| at - from <= limit) else {
            panic!("it was to happen within {} ms, and did at {at:?}\n{}", limit / MS, (self.timeline)());
        };
        at
    }

    /// Nothing of the kind happens from `from` on.
    #[track_caller]
    fn never(&self, from: Nanos, is: impl Fn(&Fact) -> bool) {
        let at = self.first(from, is);
        assert_eq!(at, None, "\n{}", (self.timeline)());
    }

    /// All routers hold all routes when the scenario begins.
    #[track_caller]
    fn all_ready(&self, links: u8) {
        for link in 0..links {
            self.within(0, READY, came(link));
        }
    }

    /// At any time from `from` on some router holds the first group.
    #[track_caller]
    fn always_announced(&self, from: Nanos) {
        let mut holders = std::collections::BTreeSet::new();
        for (at, fact) in self.facts {
            match fact {
                Fact::Came { link, group: 0 } => _ = holders.insert(*link),
                Fact::Lost { link, group: 0, .. } => _ = holders.remove(link),
                _ => {}
            }
            assert!(*at < from || !holders.is_empty(), "nobody at {at}\n{}", (self.timeline)());
        }
    }
}

fn came(of: u8) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Came { link, .. } if *link == of)
}

fn lost(of: u8) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Lost { link, .. } if *link == of)
}

fn lost_by(of: u8, by: Gone) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Lost { link, how, .. } if *link == of && *how == by)
}

fn refused(by: u8) -> impl Fn(&Fact) -> bool {
    move |fact| *fact == Fact::Refused(by)
}

fn any_lost(fact: &Fact) -> bool {
    matches!(fact, Fact::Lost { .. })
}

fn any_change(fact: &Fact) -> bool {
    matches!(fact, Fact::Came { .. } | Fact::Lost { .. } | Fact::Transition { .. })
}

fn goes(of: u8, state: ReachState) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Transition { pop, to, .. } if *pop == of && *to == state)
}

fn alarm(says: &'static str) -> impl Fn(&Fact) -> bool {
    move |fact| matches!(fact, Fact::Alarm { what, .. } if what.contains(says))
}

/// Three PoPs with four backends each; the news of one are at the others within 200 ms.
fn region() -> Shape {
    Shape { propagation: 200 * MS, ..Shape::plain(3, 4) }
}

/// The same without a guard: health needs nobody's word.
fn unguarded() -> Shape {
    let mut shape = region();
    shape.groups[0].guard = None;
    shape
}

const fn app(pop: u8, backend: u8) -> App {
    App { pop, backend }
}
