//! PoPs with real cores, and a network that shows each what the others have announced, up to `latest` ticks ago.
//!
//! Time goes in ticks. Within one, PoPs act in any order. Before each decision a PoP is shown, of every other, anything that
//! one has announced within the last `latest` ticks: evidence comes late, out of order and more than once. It looks at least
//! once a tick, so what is older is out of sight. Where evidence is lost, others may be out of sight at any time, and all
//! that observes may be down.
//!
//! What the others see of a PoP is read off the routes its core wants its peers to hold.
//!
//! A state is known by its [`Key`]s: all that a core's future depends on, with times as they are from now. The last view is
//! no part of it, since another always precedes a decision. `equal_keys_behave_equally` holds this against the cores.

use std::{
    hash::{Hash, Hasher},
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use proxima_announce::{
    Group, GroupConfig, Guard, GuardConfig, Input, Origin, Sighting, View, WhenDown, Withdrawn,
};
use proxima_health::RegionScore;
use proxima_types::{Asn, ReachState, RouteAttributes, Score};

const TICK: Duration = Duration::from_secs(1);
const AS: Asn = Asn(64512);

/// Any instant will do.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What is looked into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// At most 9.
    pub(crate) pops: u8,
    pub(crate) rule: Rule,
    /// How old what is seen may be, in ticks.
    pub(crate) latest: u8,
    pub(crate) min_announcers: u32,
    /// Whether PoPs die and come back, and have faults.
    pub(crate) failures: bool,
    /// Whether evidence is lost too.
    pub(crate) lossy: bool,
    /// Whether a router on the way removes the mark of those who are leaving.
    pub(crate) unmarked: bool,
}

/// When a PoP that can't serve withdraws.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// As the guard says.
    Guard {
        /// In ticks.
        quiet: u8,
        /// In ticks.
        longest: u8,
        /// In ticks.
        calm: u8,
    },
    /// When it sees that another announces.
    AnotherIsSeen,
}

/// A PoP's route, to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Route {
    Absent,
    Present,
    Leaving,
}

const ROUTES: [Route; 3] = [Route::Absent, Route::Present, Route::Leaving];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    Tick,
    /// A PoP sees something, and then has news.
    Pop(usize, Seen, News),
}

/// What a PoP sees of each PoP; nothing of itself. `None`: nothing observes.
pub(crate) type Seen = Option<Vec<Route>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    Nothing,
    CanServe(bool),
    Fault(bool),
    /// The process dies, and begins anew: without a verdict, and seeing nothing.
    Restart,
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    clock: u32,
    pub(crate) pops: Vec<Pop>,
    /// How long ago a PoP last left because it had to; counted as far as it matters.
    abrupt: u8,
    /// Whether the last announcer has left by health, without anything abrupt before.
    pub(crate) deserted: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Pop {
    core: Arc<Group>,
    key: Key,
    route: Route,
    /// How long ago each of the routes was announced last, in ticks; counted up to one more than can be seen.
    ages: [u8; 3],
    /// Whether it has looked since the last tick.
    looked: bool,
    /// Whether anything observes for it.
    observing: bool,
    /// For how many ticks it could have known that nobody announces.
    pub(crate) dark: u8,
}

/// What a core's future depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "it is compared, never decided by")]
struct Key {
    can_serve: Option<bool>,
    fault: bool,
    settled: bool,
    wish: ReachState,
    state: ReachState,
    leaving: bool,
    left: bool,
    marked_for: Option<u64>,
    blind_for: Option<u64>,
    returned_for: Option<u64>,
    quiet: Option<u64>,
}

fn ticks(time: Duration) -> u64 {
    assert_eq!(time.subsec_nanos(), 0, "all times are whole ticks");
    time.as_secs()
}

impl Key {
    fn of(core: &Group, now: Instant, can_serve: Option<bool>) -> Self {
        let guard = core.guard();
        let marked = |guard: &Guard| guard.marked_for(now).map(|time| time.min(guard.config().longest));
        Self {
            can_serve,
            fault: core.fault().is_some(),
            settled: core.is_settled(),
            wish: core.by_health_alone(),
            state: core.state(),
            leaving: core.is_leaving(),
            left: guard.is_some_and(Guard::has_left),
            marked_for: guard.and_then(marked).map(ticks),
            blind_for: guard.and_then(|guard| guard.blind_for(now)).map(ticks),
            returned_for: guard.and_then(|guard| guard.returned_for(now)).map(ticks),
            quiet: guard.map(|guard| ticks(guard.quiet(now))),
        }
    }

    /// Whether its PoP decides by what is known of its backends.
    fn in_service(&self) -> bool {
        self.settled && !self.fault
    }
}

impl PartialEq for Pop {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Pop {
    fn parts(&self) -> (Key, Route, [u8; 3], bool, bool, u8) {
        (self.key, self.route, self.ages, self.looked, self.observing, self.dark)
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.pops == other.pops && (self.abrupt, self.deserted) == (other.abrupt, other.deserted)
    }
}

impl Eq for World {}

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for pop in &self.pops {
            pop.parts().hash(state);
        }
        (self.abrupt, self.deserted).hash(state);
    }
}

impl Rules {
    /// All PoPs serve, and have done so for long.
    pub(crate) fn start(&self) -> World {
        let pops = (0..usize::from(self.pops)).map(|at| self.pop_at_start(at)).collect();
        let mut world = World { clock: 0, pops, abrupt: self.abrupt_cap(), deserted: false };
        let all_present = Some(vec![Route::Present; usize::from(self.pops)]);
        for at in 0..usize::from(self.pops) {
            world = self.act(&world, at, all_present.as_ref(), News::CanServe(true));
        }
        for pop in &mut world.pops {
            pop.ages = ROUTES.map(|route| if route == pop.route { 0 } else { self.gone() });
            pop.looked = false;
        }
        World { abrupt: self.abrupt_cap(), ..world }
    }

    fn pop_at_start(&self, at: usize) -> Pop {
        let core = Group::new(self.config(at));
        let key = Key::of(&core, *START, None);
        let ages = ROUTES.map(|route| if route == Route::Absent { 0 } else { self.gone() });
        let route = Route::Absent;
        Pop { core: Arc::new(core), key, route, ages, looked: false, observing: false, dark: 0 }
    }

    fn config(&self, at: usize) -> GroupConfig {
        let secs = |ticks: u8| TICK * u32::from(ticks);
        let guard = match self.rule {
            Rule::Guard { quiet, longest, calm } => Some(GuardConfig {
                longest: secs(longest),
                calm: secs(calm),
                ..GuardConfig::new(AS, origin(at), self.min_announcers, secs(quiet))
            }),
            Rule::AnotherIsSeen => None,
        };
        GroupConfig {
            name: "web".parse().unwrap(),
            prefixes: vec!["203.0.113.0/24".parse().unwrap()],
            attributes: RouteAttributes::default(),
            degraded: None,
            when_down: WhenDown::Withdraw(Withdrawn {
                below: Score::new(0.5),
                above: Score::new(0.5),
                hold_down: Duration::ZERO,
                min_up: Duration::ZERO,
            }),
            damping: None,
            guard,
            dead_man: None,
        }
    }

    fn gone(&self) -> u8 {
        self.latest + 1
    }

    /// From then on nobody relies on who left abruptly, nor on who relied on it, and so on.
    fn abrupt_cap(&self) -> u8 {
        if self.failures { self.pops * self.latest + 1 } else { 0 }
    }

    /// Everything that may happen next.
    pub(crate) fn acts(&self, world: &World) -> Vec<Act> {
        let mut acts = Vec::new();
        if world.pops.iter().all(|pop| pop.looked || !pop.key.in_service()) {
            acts.push(Act::Tick);
        }
        for (at, pop) in world.pops.iter().enumerate() {
            if self.failures && pop.key.settled {
                acts.push(Act::Pop(at, None, News::Restart));
            }
            for (nth, seen) in self.sights(world, at).into_iter().enumerate() {
                // With these news it does not matter what is seen.
                let matters = |news: &News| !matches!(news, News::CanServe(true) | News::Fault(true));
                let news = self.news(pop).into_iter().filter(|news| nth == 0 || matters(news));
                acts.extend(news.map(|news| Act::Pop(at, seen.clone(), news)));
            }
        }
        acts
    }

    fn news(&self, pop: &Pop) -> Vec<News> {
        let health = match pop.key.can_serve {
            Some(can) => vec![News::CanServe(!can)],
            None => vec![News::CanServe(true), News::CanServe(false)],
        };
        let fault = (self.failures && pop.key.settled).then_some(News::Fault(!pop.key.fault));
        let nothing = pop.key.in_service().then_some(News::Nothing);
        nothing.into_iter().chain(health).chain(fault).collect()
    }

    /// All that a PoP may be shown now.
    fn sights(&self, world: &World, at: usize) -> Vec<Seen> {
        let mut sights = vec![Vec::new()];
        for (other, pop) in world.pops.iter().enumerate() {
            let visible = |route: Route| {
                let seen = pop.ages[route as usize] <= self.latest;
                let lost = self.lossy && route == Route::Absent;
                if other == at { route == Route::Absent } else { seen || lost }
            };
            let routes: Vec<Route> = ROUTES.into_iter().filter(|route| visible(*route)).collect();
            let longer = |sight: &Vec<Route>| {
                routes.iter().map(|route| [sight, &[*route][..]].concat()).collect::<Vec<_>>()
            };
            sights = sights.iter().flat_map(longer).collect();
        }
        sights.into_iter().map(Some).chain(self.lossy.then_some(None)).collect()
    }

    pub(crate) fn next(&self, world: &World, act: &Act) -> World {
        match act {
            Act::Tick => self.tick(world),
            Act::Pop(at, seen, news) => self.act(world, *at, seen.as_ref(), *news),
        }
    }

    fn tick(&self, world: &World) -> World {
        let mut next = world.clone();
        next.clock += 1;
        next.abrupt = self.abrupt_cap().min(world.abrupt + 1);
        let nobody = world.announcers() == 0;
        let now = next.now();
        for pop in &mut next.pops {
            let current = pop.route;
            let older = |route: Route| if route == current { 0 } else { pop.ages[route as usize] + 1 };
            pop.ages = ROUTES.map(|route| older(route).min(self.gone()));
            pop.looked = false;
            let knows = pop.key.in_service() && pop.observing;
            pop.dark = if nobody && knows { (pop.dark + 1).min(self.latest + 2) } else { 0 };
            pop.key = Key::of(&pop.core, now, pop.key.can_serve);
        }
        next
    }

    fn act(&self, world: &World, at: usize, seen: Option<&Vec<Route>>, news: News) -> World {
        let mut next = world.clone();
        let now = next.now();
        let pop = &mut next.pops[at];
        let mut can_serve = pop.key.can_serve;
        if news == News::Restart {
            pop.core = Arc::new(Group::new(self.config(at)));
            can_serve = None;
        } else {
            let core = Arc::make_mut(&mut pop.core);
            let view = self.view(seen);
            let another = !view.others.is_empty();
            core.handle(now, Input::View(view));
            match news {
                News::CanServe(can) => can_serve = Some(can),
                News::Fault(fault) => core.handle(now, Input::Fault(fault.then(|| "stuck".to_owned()))),
                News::Nothing | News::Restart => {}
            }
            let told = match (self.rule, can_serve) {
                (_, None) => None,
                (Rule::Guard { .. }, Some(can)) => matches!(news, News::CanServe(_)).then_some(can),
                (Rule::AnotherIsSeen, Some(can)) => Some(can || (pop.route == Route::Present && !another)),
            };
            if let Some(can) = told {
                core.handle(now, Input::Score(score(can)));
            }
            if core.poll_timeout().is_some_and(|due| due <= now) {
                core.handle_timeout(now);
            }
            assert!(core.poll_timeout().is_none_or(|due| due > now), "what is done is due no more");
            while core.poll_output().is_some() {}
        }
        pop.key = Key::of(&pop.core, now, can_serve);
        pop.observing = news != News::Restart && seen.is_some();
        pop.looked = true;
        let before = std::mem::replace(&mut pop.route, self.route(&pop.core));
        pop.ages[before as usize] = 0;
        pop.ages[pop.route as usize] = 0;
        let gone = before != Route::Absent && pop.route == Route::Absent;
        let forced = matches!(news, News::Restart | News::Fault(true));
        if gone && forced {
            next.abrupt = 0;
        } else if gone && next.announcers() == 0 {
            next.deserted |= world.abrupt == self.abrupt_cap();
        }
        if next.announcers() > 0 {
            next.pops.iter_mut().for_each(|pop| pop.dark = 0);
        }
        next
    }

    fn view(&self, seen: Option<&Vec<Route>>) -> View {
        let sighting = |(at, route): (usize, &Route)| match route {
            Route::Absent => None,
            Route::Present => Some(Sighting { origin: origin(at), leaving: false }),
            Route::Leaving => Some(Sighting { origin: origin(at), leaving: !self.unmarked }),
        };
        let others = seen.map(|seen| seen.iter().enumerate().filter_map(sighting).collect());
        View { observing: seen.is_some(), others: others.unwrap_or_default() }
    }

    /// What others can see of a core's routes.
    fn route(&self, core: &Group) -> Route {
        let desired = core.desired();
        let Some(announcement) = desired.first() else { return Route::Absent };
        match (self.rule, Sighting::of(AS, announcement.attributes.large_communities.iter().copied())) {
            (Rule::Guard { .. }, Some(Sighting { leaving: true, .. })) => Route::Leaving,
            (Rule::Guard { .. }, Some(Sighting { leaving: false, .. })) | (Rule::AnotherIsSeen, None) => {
                Route::Present
            }
            (rule, sighting) => unreachable!("{sighting:?} under {rule:?}"),
        }
    }
}

impl World {
    fn now(&self) -> Instant {
        *START + TICK * self.clock
    }

    pub(crate) fn announcers(&self) -> usize {
        self.pops.iter().filter(|pop| pop.route != Route::Absent).count()
    }

    /// How many have left by health.
    pub(crate) fn left(&self) -> usize {
        let left =
            |pop: &&Pop| pop.route == Route::Absent && pop.key.can_serve == Some(false) && !pop.key.fault;
        self.pops.iter().filter(left).count()
    }
}

fn origin(at: usize) -> Origin {
    Origin(Ipv4Addr::new(192, 0, 2, 1).to_bits() + at as u32)
}

fn score(can_serve: bool) -> RegionScore {
    let score = if can_serve { Score::FULL } else { Score::ZERO };
    RegionScore { score, at_best: score, unknown: false, degraded: vec![], services: vec![] }
}
