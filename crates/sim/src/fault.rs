//! Faults: what goes wrong, when, and for how long. The schedule of a seed.

use std::fmt;

use crate::{
    clock::{MS, Nanos, SECOND},
    random::Random,
    shape::Shape,
};

/// A fault of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it begins.
    pub at: Nanos,
    /// How long it lasts.
    pub lasts: Nanos,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong. PoPs, links and apps go by number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The app's process is gone: its connections end, new ones are refused.
    Kill(App),
    /// The app accepts and is silent.
    Hang(App),
    /// The app answers with 500.
    Errors(App),
    /// The app answers later than a probe waits.
    Slow(App),
    /// The app's agent says that it offers so much less of itself, in percent.
    Reduced(App, u8),
    /// The app's process dies and comes back, each for this time.
    Flap(App, Nanos),
    /// All apps of a region are gone.
    KillRegion(u8),
    /// All apps of a region are silent.
    HangRegion(u8),
    /// The apps of all regions are gone within this time.
    KillAll(Nanos),
    /// This share of a PoP's packets to its apps is lost, in percent.
    ProbeLoss(u8, u8),
    /// Nothing of what a PoP sends to its apps arrives.
    ProbeCut(u8),
    /// This share of the segments between a PoP and a router is lost, and sent again, in percent.
    LinkLoss(u8, u8),
    /// What goes between a PoP and a router takes so much longer.
    LinkDelay(u8, Nanos),
    /// Nothing goes from the PoP to the router, or back, or both.
    LinkCut(u8, Direction),
    /// Routers of one PoP hear nothing from those of another.
    WanCut {
        /// Nothing is heard of this PoP.
        of: u8,
        /// At this PoP.
        at: u8,
        /// The other way neither.
        both: bool,
    },
    /// The routers of a PoP and all others hear nothing of each other.
    Isolate(u8),
    /// News from a PoP's routers take so much longer to all others.
    WanDelay(u8, Nanos),
    /// The host stands still, its kernel too, and goes on later as if nothing had been.
    Freeze(u8),
    /// The host is suspended: it stands still, and so does its monotonic clock.
    Suspend(u8),
    /// The daemon's control thread stands still; the kernel goes on.
    Stuck(u8),
    /// Everything the daemon does takes up to so long.
    Hog(u8, Nanos),
    /// The daemon is killed, and starts again afterwards.
    Crash(u8),
    /// The host is gone without a word, and starts again afterwards.
    PowerLoss(u8),
    /// The daemon is told to stop in order, and starts again some time after it has.
    Stop(u8),
    /// A worker of the data plane stands still.
    Worker(u8),
    /// The prober stands still: no probe ends.
    Checker(u8),
    /// What probes one backend stands still.
    CheckerOf(App),
    /// An operator's order, to `auto` afterwards.
    Order(u8, Verb),
    /// The same order, which ends by itself at the given time.
    OrderUntil(u8, Verb),
    /// The configuration changes, and back afterwards.
    Reconfigure(u8, Revision),
    /// A router's session with a PoP is reset.
    RouterReset(u8),
    /// Something in the daemon asks for a prefix that is not to be announced.
    Stray(u8, Stray),
}

/// A prefix that nothing may announce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stray {
    /// A part of one that is configured.
    MoreSpecific,
    /// One that a configured one is a part of.
    LessSpecific,
    /// The default route.
    Default,
    /// What the routers have told the PoP.
    Learned,
    /// That of the last group, where the PoP's file no longer has it.
    Removed,
}

/// A backend of a PoP's region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct App {
    /// The PoP.
    pub pop: u8,
    /// Which of its region's.
    pub backend: u8,
}

/// Which way a link is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the PoP to the router.
    Out,
    /// From the router to the PoP.
    In,
    /// Both.
    Both,
}

impl Direction {
    /// Whether what goes towards this side is cut: 0 is the PoP, 1 the router.
    pub(crate) fn cuts(self, towards: usize) -> bool {
        matches!((self, towards), (Self::Both, _) | (Self::Out, 1) | (Self::In, 0))
    }
}

/// What an operator orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Announced whatever the health.
    Announce,
    /// Withdrawn whatever the health.
    Withdraw,
    /// GRACEFUL_SHUTDOWN, then withdrawn.
    Drain,
}

/// How a configuration changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// Other bounds.
    Bounds,
    /// Other attributes: one more prepend.
    Attributes,
    /// The last group is gone, if there is more than one.
    FewerGroups,
    /// A longer hold-down.
    HoldDown,
    /// No group at all: refused while anything is announced.
    Emptied,
    /// Bounds that only a region without any fault meets: refused while that would leave nothing announced.
    Strict,
}

impl Fault {
    /// When it is over.
    pub fn ends(&self) -> Nanos {
        self.at + self.lasts
    }

    /// Whether a world of this shape has what it befalls.
    pub(crate) fn fits(&self, shape: &Shape) -> bool {
        match self.kind {
            FaultKind::Kill(app)
            | FaultKind::Hang(app)
            | FaultKind::Errors(app)
            | FaultKind::Slow(app)
            | FaultKind::Flap(app, _)
            | FaultKind::Reduced(app, _)
            | FaultKind::CheckerOf(app) => app.pop < shape.pops && app.backend < shape.probed(),
            FaultKind::LinkLoss(link, _)
            | FaultKind::LinkDelay(link, _)
            | FaultKind::LinkCut(link, _)
            | FaultKind::RouterReset(link) => link < shape.links(),
            FaultKind::WanCut { of, at, .. } => of.max(at) < shape.pops,
            FaultKind::KillAll(_) => true,
            FaultKind::KillRegion(pop)
            | FaultKind::HangRegion(pop)
            | FaultKind::ProbeLoss(pop, _)
            | FaultKind::ProbeCut(pop)
            | FaultKind::Isolate(pop)
            | FaultKind::WanDelay(pop, _)
            | FaultKind::Freeze(pop)
            | FaultKind::Suspend(pop)
            | FaultKind::Stray(pop, _)
            | FaultKind::Stuck(pop)
            | FaultKind::Hog(pop, _)
            | FaultKind::Crash(pop)
            | FaultKind::PowerLoss(pop)
            | FaultKind::Stop(pop)
            | FaultKind::Worker(pop)
            | FaultKind::Checker(pop)
            | FaultKind::Order(pop, _)
            | FaultKind::OrderUntil(pop, _)
            | FaultKind::Reconfigure(pop, _) => pop < shape.pops,
        }
    }
}

/// The faults of a seed, in order of time.
pub fn schedule(seed: u64, shape: &Shape) -> Vec<Fault> {
    let random = &mut Random::new(seed, 2);
    let health_only = random.chance(35);
    let many = if health_only { random.between(1, 8) } else { random.between(1, 10) };
    let mut faults: Vec<Fault> = (0..many)
        .map(|_| {
            let kind = if health_only || random.chance(40) {
                health(random, shape)
            } else {
                anything(random, shape)
            };
            let at = random.between(3 * SECOND, shape.length * 3 / 4);
            Fault { at: at / MS * MS, lasts: lasts(random), kind }
        })
        .collect();
    if random.chance(20) {
        // Two regions within the time that news take.
        let pops = u64::from(shape.pops);
        let (first, at) = (random.below(pops), random.between(5 * SECOND, 30 * SECOND) / MS * MS);
        let second = (first + random.between(1, pops - 1)) % pops;
        let apart = random.below(2 * shape.propagation) / MS * MS;
        for (pop, at) in [(first, at), (second, at + apart)] {
            let kind = FaultKind::KillRegion(pop as u8);
            faults.push(Fault { at, lasts: lasts(random), kind });
        }
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// 50 ms to 25 s, short ones as likely as long ones.
fn lasts(random: &mut Random) -> Nanos {
    let magnitude = random.between(0, 8);
    ((50 * MS) << magnitude) + random.below(50 << magnitude) * MS
}

fn app(random: &mut Random, shape: &Shape) -> App {
    App { pop: random.below(shape.pops.into()) as u8, backend: random.below(shape.probed().into()) as u8 }
}

fn health(random: &mut Random, shape: &Shape) -> FaultKind {
    let pop = random.below(shape.pops.into()) as u8;
    match random.below(18) {
        0..=3 => FaultKind::Kill(app(random, shape)),
        4 => FaultKind::Hang(app(random, shape)),
        5 => FaultKind::Errors(app(random, shape)),
        6 => FaultKind::Slow(app(random, shape)),
        7..=8 => FaultKind::Flap(app(random, shape), random.pick(&[200, 500, 500, 2000]) * MS),
        9..=11 => FaultKind::KillRegion(pop),
        12 => FaultKind::HangRegion(pop),
        13 => FaultKind::KillAll(random.pick(&[0, 50, 500, 3000]) * MS),
        14 => FaultKind::ProbeLoss(pop, random.pick(&[5, 20, 50])),
        15 => FaultKind::ProbeCut(pop),
        _ => FaultKind::Reduced(app(random, shape), random.pick(&[30, 50, 90, 100])),
    }
}

fn anything(random: &mut Random, shape: &Shape) -> FaultKind {
    let pops = u64::from(shape.pops);
    let pop = random.below(pops) as u8;
    let other = ((u64::from(pop) + random.between(1, pops - 1)) % pops) as u8;
    let link = random.below(shape.links().into()) as u8;
    let verb = random.pick(&[Verb::Announce, Verb::Withdraw, Verb::Drain, Verb::Drain]);
    match random.below(32) {
        0 => FaultKind::LinkLoss(link, random.pick(&[5, 20, 40])),
        1 => FaultKind::LinkDelay(link, random.pick(&[20, 200, 2000]) * MS),
        2..=3 => FaultKind::LinkCut(link, random.pick(&[Direction::Out, Direction::In, Direction::Both])),
        4..=5 => FaultKind::WanCut { of: pop, at: other, both: random.chance(50) },
        6 => FaultKind::Isolate(pop),
        7 => FaultKind::WanDelay(pop, random.pick(&[200, 1000, 5000]) * MS),
        8..=9 => FaultKind::Freeze(pop),
        10 => FaultKind::Stuck(pop),
        11 => FaultKind::Hog(pop, random.pick(&[10, 50, 150]) * MS),
        12..=13 => FaultKind::Crash(pop),
        14 => FaultKind::PowerLoss(pop),
        15..=16 => FaultKind::Stop(pop),
        17 => FaultKind::Worker(pop),
        18..=19 => FaultKind::Checker(pop),
        20..=21 => FaultKind::Order(pop, verb),
        22 => FaultKind::OrderUntil(pop, verb),
        23..=24 => FaultKind::Reconfigure(
            pop,
            random.pick(&[
                Revision::Bounds,
                Revision::Attributes,
                Revision::FewerGroups,
                Revision::HoldDown,
                Revision::Emptied,
                Revision::Strict,
            ]),
        ),
        25 => FaultKind::RouterReset(link),
        26..=27 => FaultKind::Suspend(pop),
        28..=29 => FaultKind::CheckerOf(app(random, shape)),
        _ => FaultKind::Stray(
            pop,
            random.pick(&[
                Stray::MoreSpecific,
                Stray::LessSpecific,
                Stray::Default,
                Stray::Learned,
                Stray::Removed,
            ]),
        ),
    }
}

impl fmt::Display for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pop{}/app{}", self.pop, self.backend)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |nanos: &Nanos| nanos / MS;
        match self {
            Self::Kill(app) => write!(f, "{app} is killed"),
            Self::Hang(app) => write!(f, "{app} hangs"),
            Self::Errors(app) => write!(f, "{app} answers with 500"),
            Self::Slow(app) => write!(f, "{app} is slow"),
            Self::Reduced(app, percent) => write!(f, "{app} offers {percent} % less of itself"),
            Self::Flap(app, every) => write!(f, "{app} flaps every {} ms", ms(every)),
            Self::KillRegion(pop) => write!(f, "all apps of pop{pop} are killed"),
            Self::HangRegion(pop) => write!(f, "all apps of pop{pop} hang"),
            Self::KillAll(within) => write!(f, "all apps of all PoPs are killed within {} ms", ms(within)),
            Self::ProbeLoss(pop, percent) => write!(f, "{percent} % loss from pop{pop} to its apps"),
            Self::ProbeCut(pop) => write!(f, "the path from pop{pop} to its apps is cut"),
            Self::LinkLoss(link, percent) => write!(f, "{percent} % loss on link{link}"),
            Self::LinkDelay(link, more) => write!(f, "{} ms more on link{link}", ms(more)),
            Self::LinkCut(link, Direction::Both) => write!(f, "link{link} is cut"),
            Self::LinkCut(link, Direction::Out) => write!(f, "link{link} is cut towards the router"),
            Self::LinkCut(link, Direction::In) => write!(f, "link{link} is cut towards the PoP"),
            Self::WanCut { of, at, both: true } => write!(f, "pop{of} and pop{at} are parted"),
            Self::WanCut { of, at, both: false } => write!(f, "pop{at} hears nothing of pop{of}"),
            Self::Isolate(pop) => write!(f, "pop{pop} is parted from all others"),
            Self::WanDelay(pop, more) => write!(f, "news of pop{pop} take {} ms more", ms(more)),
            Self::Freeze(pop) => write!(f, "the host of pop{pop} is frozen"),
            Self::Suspend(pop) => write!(f, "the host of pop{pop} is suspended"),
            Self::Stuck(pop) => write!(f, "the control thread of pop{pop} is stuck"),
            Self::Hog(pop, lag) => write!(f, "pop{pop} is busy: up to {} ms for each event", ms(lag)),
            Self::Crash(pop) => write!(f, "the daemon of pop{pop} is killed"),
            Self::PowerLoss(pop) => write!(f, "the host of pop{pop} loses power"),
            Self::Stop(pop) => write!(f, "pop{pop} is told to stop"),
            Self::Worker(pop) => write!(f, "a worker of pop{pop} is stuck"),
            Self::Checker(pop) => write!(f, "the prober of pop{pop} stands still"),
            Self::CheckerOf(app) => write!(f, "what probes {app} stands still"),
            Self::Stray(pop, stray) => write!(f, "pop{pop} wants to announce what it may not: {stray:?}"),
            Self::Order(pop, verb) => write!(f, "pop{pop} is ordered to {verb}"),
            Self::OrderUntil(pop, verb) => write!(f, "pop{pop} is ordered to {verb} for a time"),
            Self::Reconfigure(pop, revision) => write!(f, "pop{pop} is configured anew: {revision:?}"),
            Self::RouterReset(link) => write!(f, "the router of link{link} resets its session"),
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Announce => "announce",
            Self::Withdraw => "withdraw",
            Self::Drain => "drain",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |nanos: Nanos| nanos as f64 / SECOND as f64;
        write!(f, "{:.3} s for {:.3} s: {}", seconds(self.at), seconds(self.lasts), self.kind)
    }
}
