//! Histories of three groups with everything there is, and what must hold in all of them.

use std::collections::HashMap;

use proptest::prelude::*;
use proxima_types::{Community, Score, moment};

use super::*;
use crate::{
    Alarm, AlarmKind, Bound, Damping, Reason, View,
    testing::{GRACEFUL, partly_unknown},
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const DEAD_MAN: Duration = Duration::from_secs(8);
const MIN_UP: Duration = Duration::from_secs(7);

#[derive(Debug, Clone)]
enum Step {
    Input(usize, Input),
    /// The newest probe ends now.
    Checked(usize),
    /// An order that ends after a time, if any is given.
    Order(usize, Override, Option<Duration>),
    FaultOfAll(bool),
    Wait(Duration),
    Reconfigure(AnnouncerConfig),
}

fn any_input() -> impl Strategy<Value = Input> {
    let share = || proptest::sample::select(vec![0.0, 0.0, 0.0, 0.2, 0.5, 0.7, 0.85, 1.0, 1.0, 1.0]);
    prop_oneof![
        8 => share().prop_map(|share| Input::Score(score(share))),
        1 => (share(), share()).prop_map(|(a, b)| Input::Score(partly_unknown(a.min(b), a.max(b)))),
        1 => proptest::option::weighted(0.2, Just("stuck".to_owned())).prop_map(Input::Fault),
        4 => proptest::collection::vec(-5i8..=5, 0..3).prop_map(|others| Input::View(sees(&others))),
        1 => Just(Input::View(View::default())),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let group = || 0..NAMES.len();
    let verb = proptest::sample::select(vec![
        Override::Auto,
        Override::Auto,
        Override::Auto,
        Override::Auto,
        Override::Announce,
        Override::Withdraw,
        Override::Drain { graceful_shutdown: GRACEFUL },
    ]);
    let time = || (0u64..15_000).prop_map(Duration::from_millis);
    let order = (group(), verb, proptest::option::of(time()));
    prop_oneof![
        12 => (group(), any_input()).prop_map(|(group, input)| Step::Input(group, input)),
        6 => group().prop_map(Step::Checked),
        1 => order.prop_map(|(group, verb, end)| Step::Order(group, verb, end)),
        1 => proptest::bool::weighted(0.2).prop_map(Step::FaultOfAll),
        6 => time().prop_map(Step::Wait),
        1 => any_config().prop_map(Step::Reconfigure),
    ]
}

fn any_group(name: &'static str) -> impl Strategy<Value = GroupConfig> {
    let most = Duration::from_secs(40);
    let damping = Damping { half_life: SECOND * 10, suppress: 2.0, reuse: 1.0, most };
    let flag = proptest::bool::weighted;
    (flag(0.2), flag(0.7), flag(0.3), flag(0.5), flag(0.5), flag(0.5)).prop_map(
        move |(stays, degrades, damped, guarded, dies, min_up)| {
            let min_up = if min_up { MIN_UP } else { Duration::ZERO };
            let withdraws = WhenDown::Withdraw(Withdrawn { min_up, ..withdrawn() });
            GroupConfig {
                when_down: if stays { WhenDown::Stay } else { withdraws },
                degraded: config().degraded.filter(|_| degrades),
                damping: damped.then_some(damping),
                guard: guarded.then(guard),
                dead_man: dies.then_some(DEAD_MAN),
                ..named(name)
            }
        },
    )
}

fn any_config() -> impl Strategy<Value = AnnouncerConfig> {
    let groups = NAMES.map(|name| proptest::option::weighted(0.9, any_group(name)));
    let within = Duration::from_secs(25);
    let cap = proptest::option::of((1u32..3).prop_map(move |most| Cap { most, within }));
    (groups, cap)
        .prop_map(|(groups, cap)| AnnouncerConfig { groups: groups.into_iter().flatten().collect(), cap })
}

/// What is known of a group by its outputs and by what it was told.
#[derive(Debug, Default)]
struct Known {
    state: Option<ReachState>,
    up_since: Option<Instant>,
    /// Since when its routes have said that it leaves.
    leaving_since: Option<Instant>,
    withdrawn_by_health_at: Option<Instant>,
    checked: Option<Instant>,
    alarms: Vec<Alarm>,
}

struct History {
    world: World,
    config: AnnouncerConfig,
    known: HashMap<String, Known>,
    withdrawals: Vec<Instant>,
    /// Since when the configuration is what it is.
    configured: Instant,
}

impl World {
    fn of(config: AnnouncerConfig, now: Instant) -> Self {
        Self { announcer: Announcer::new(now, config), now }
    }

    fn step(&mut self, step: Step) {
        let now = self.now;
        let mut tell =
            |group: usize, input| self.announcer.handle(now, &NAMES[group].parse().unwrap(), input);
        match step {
            Step::Input(group, input) => tell(group, input),
            Step::Checked(group) => tell(group, Input::Checked(now)),
            Step::Order(group, verb, end) => {
                tell(group, Input::Order(Order { verb, reason: None, until: end.map(|end| now + end) }));
            }
            Step::FaultOfAll(fault) => {
                self.announcer.handle_all(now, &Input::Fault(fault.then(|| "stuck".to_owned())));
            }
            Step::Wait(time) => self.now += time,
            Step::Reconfigure(config) => self.announcer.reconfigure(now, config),
        }
    }
}

impl History {
    fn new(config: AnnouncerConfig) -> Self {
        let now = start();
        let world = World::of(config.clone(), now);
        Self { world, config, known: HashMap::new(), withdrawals: Vec::new(), configured: now }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let now = self.world.now;
        match &step {
            Step::Wait(time) => return self.run_to(now + *time),
            Step::Checked(group) => {
                self.known.entry(NAMES[*group].to_owned()).or_default().checked = Some(now);
            }
            Step::Reconfigure(config) => {
                self.config = config.clone();
                self.configured = now;
                self.withdrawals.clear();
            }
            Step::Input(..) | Step::Order(..) | Step::FaultOfAll(_) => {}
        }
        self.world.step(step);
        self.look()?;
        let configured =
            |name: &String| self.config.groups.iter().any(|config| config.name.as_ref() == *name);
        self.known.retain(|name, _| configured(name));
        Ok(())
    }

    /// A driver: what is due is done on the way to `until`.
    fn run_to(&mut self, until: Instant) -> Result<(), TestCaseError> {
        while let Some(due) = self.world.announcer.poll_timeout().filter(|due| *due <= until) {
            self.world.now = self.world.now.max(due);
            let now = self.world.now;
            self.world.announcer.handle_timeout(now);
            let next = self.world.announcer.poll_timeout();
            prop_assert!(next.is_none_or(|next| next > now), "what is done is due no more");
            self.look()?;
        }
        self.world.now = until;
        Ok(())
    }

    fn look(&mut self) -> Result<(), TestCaseError> {
        while let Some(output) = self.world.announcer.poll_output() {
            let (alarm, begins) = match output {
                Output::Transition(transition) => {
                    self.moved(&transition)?;
                    continue;
                }
                Output::Alarm(alarm) => (alarm, true),
                Output::AlarmOver(over) => (over.alarm, false),
            };
            let alarms = &mut self.known.entry(alarm.group.to_string()).or_default().alarms;
            let of_kind =
                |on: &Alarm| std::mem::discriminant(&on.kind) == std::mem::discriminant(&alarm.kind);
            prop_assert_eq!(alarms.iter().any(of_kind), !begins, "each begins and ends once");
            alarms.retain(|on| !of_kind(on));
            alarms.extend(begins.then_some(alarm));
        }
        self.compare()
    }

    fn moved(&mut self, moved: &Transition) -> Result<(), TestCaseError> {
        let now = self.world.now;
        let known = self.known.entry(moved.group.to_string()).or_default();
        let before = known.state.replace(moved.to).unwrap_or(ReachState::Withdrawn);
        prop_assert_eq!((moved.from, moved.at), (before, now));
        prop_assert_ne!(moved.from, moved.to, "never two transitions to the same state");
        prop_assert!(is_told_whole(moved), "{} → {}: {:?}", moved.from, moved.to, moved.reason);
        let Some(config) = self.config.groups.iter().find(|config| config.name == moved.group) else {
            prop_assert_eq!(&moved.reason, &Reason::Removed);
            return Ok(());
        };
        let drains = self.world.announcer.group(&moved.group).is_some_and(Group::is_draining);
        let by_score = is_by_score(moved) && !drains; // A drain that ends early waits for nothing.
        let within_settings = |since: &Instant| *since > self.configured;
        if let WhenDown::Withdraw(bounds) = config.when_down {
            if by_score {
                let up_since = known.up_since.filter(within_settings);
                prop_assert!(up_since.is_none_or(|since| now >= since + bounds.min_up), "the least time up");
            }
            if is_improved(moved) {
                let at = known.withdrawn_by_health_at.filter(within_settings);
                prop_assert!(at.is_none_or(|at| now >= at + bounds.hold_down), "the hold-down");
            }
        }
        if by_score {
            prop_assert_ne!(config.when_down, WhenDown::Stay, "health does not withdraw it");
            if config.guard.is_some() {
                let since = known.leaving_since;
                prop_assert!(since.is_some_and(|since| now >= since + QUIET), "the quiet period");
                let suffices =
                    matches!(&moved.reason, Reason::Left { evidence: Some(seen), .. } if seen.suffices());
                prop_assert!(suffices, "others are seen: {:?}", moved.reason);
            }
            self.withdrawals.push(now);
            if let Some(cap) = self.config.cap {
                let count = self.withdrawals.iter().filter(|at| **at + cap.within > now).count();
                prop_assert!(count <= cap.most as usize, "the cap");
            }
        }
        if moved.to == ReachState::Withdrawn {
            let by_fault = matches!(moved.reason, Reason::Fault { .. } | Reason::Silent { .. });
            known.withdrawn_by_health_at = (is_by_score(moved) || by_fault).then_some(now);
            known.up_since = None;
        } else {
            known.up_since.get_or_insert(now);
        }
        Ok(())
    }

    /// What can be read of the groups against what was told.
    fn compare(&mut self) -> Result<(), TestCaseError> {
        let (now, configured) = (self.world.now, self.configured);
        for group in self.world.announcer.groups() {
            let known = self.known.entry(group.name().to_string()).or_default();
            let state = known.state.unwrap_or(ReachState::Withdrawn);
            prop_assert_eq!(group.state(), state);
            prop_assert_eq!(group.alarms(), &known.alarms[..]);
            let leaves = routes_are_right(group)?;
            known.leaving_since = leaves.then(|| known.leaving_since.unwrap_or(now));
            let by_health = group.order().verb == Override::Auto;
            if by_health && group.fault().is_some() {
                prop_assert_eq!(state, ReachState::Withdrawn, "a fault withdraws at once");
            }
            let silent = |checked: Instant, limit| checked + limit < now && configured + limit < now;
            if by_health
                && known.checked.zip(group.config().dead_man).is_some_and(|(at, limit)| silent(at, limit))
            {
                let withdrawn = state == ReachState::Withdrawn || !group.is_settled();
                prop_assert!(withdrawn, "nobody believes a silent checker");
            }
            for Alarm { kind, .. } in group.alarms() {
                let withdrawn = matches!(kind, AlarmKind::LeftAlone { .. });
                prop_assert_eq!(state == ReachState::Withdrawn, withdrawn, "{}", kind);
            }
        }
        Ok(())
    }

    /// Everything is well again, for long enough.
    fn recover(&mut self) -> Result<(), TestCaseError> {
        for group in 0..NAMES.len() {
            self.step(Step::Input(group, Input::Fault(None)))?;
            self.step(Step::Input(group, Input::Order(Order::default())))?;
        }
        for _ in 0..30 {
            for group in 0..NAMES.len() {
                self.step(Step::Checked(group))?;
                self.step(Step::Input(group, Input::Score(score(1.0))))?;
            }
            self.step(Step::Wait(SECOND * 2))?;
        }
        for group in self.world.announcer.groups() {
            prop_assert_eq!(group.state(), ReachState::Announced, "{:?}", group);
            prop_assert_eq!(group.alarms(), &[][..]);
        }
        Ok(())
    }
}

/// Whether the routes are the group's, with what its state asks for; returns whether they say that it leaves.
fn routes_are_right(group: &Group) -> Result<bool, TestCaseError> {
    let config = group.config();
    let desired = group.desired();
    prop_assert_eq!(desired.is_empty(), group.state() == ReachState::Withdrawn);
    let asks = group.by_health_alone() == ReachState::Withdrawn && group.order().verb != Override::Announce;
    let mut leaves = false;
    for announcement in &desired {
        prop_assert!(config.prefixes.contains(&announcement.prefix), "no others ever");
        let attributes = &announcement.attributes;
        prop_assert!(attributes.communities.is_sorted() && attributes.large_communities.is_sorted());
        let hard = attributes.communities.contains(&Community::GRACEFUL_SHUTDOWN);
        prop_assert_eq!(hard, group.is_draining() || asks, "who is kept is de-preferred as hard as can be");
        let has = |mark| attributes.large_communities.contains(&mark);
        let marked = config.guard.is_some() && !group.is_draining();
        prop_assert_eq!(has(guard().origin_mark()), marked);
        leaves = has(guard().leaving_mark());
        prop_assert_eq!(leaves, marked && asks);
    }
    Ok(leaves)
}

/// Whether the score has withdrawn the group, rather than a fault or the operator.
fn is_by_score(moved: &Transition) -> bool {
    moved.to == ReachState::Withdrawn && matches!(moved.reason, Reason::Score { .. } | Reason::Left { .. })
}

/// Whether health has brought the group back.
fn is_improved(moved: &Transition) -> bool {
    let improved = matches!(
        moved.reason,
        Reason::Score { .. } | Reason::FirstVerdicts { .. } | Reason::FaultOver { .. }
    );
    moved.from == ReachState::Withdrawn && improved
}

/// Whether the reason is one for that change.
fn is_told_whole(moved: &Transition) -> bool {
    use ReachState::{Announced, DePreferred, Withdrawn};
    let to = moved.to;
    match &moved.reason {
        Reason::Fault { .. } | Reason::Silent { .. } | Reason::Drained { .. } | Reason::Removed => {
            to == Withdrawn
        }
        Reason::Left { why, .. } => {
            to == Withdrawn && !matches!(**why, Reason::Fault { .. } | Reason::Silent { .. })
        }
        Reason::Held { .. } | Reason::Returned { .. } => to == DePreferred,
        Reason::FaultOver { .. } => to != Withdrawn,
        Reason::Score { bound, score, .. } => match *bound {
            Bound::Above(bound) => to != Withdrawn && score.score >= bound,
            Bound::Below(bound) => to != Announced && score.at_best < bound,
            Bound::Zero => to == Withdrawn && score.at_best == Score::ZERO,
            Bound::Degraded => to == DePreferred && !score.degraded.is_empty(),
        },
        Reason::FirstVerdicts { score, .. } => to != Withdrawn && !score.unknown,
        Reason::Operator { .. } | Reason::Expired { .. } | Reason::Reconfigured { .. } => true,
    }
}

proptest! {
    #[test]
    fn every_history_keeps_every_promise(
        config in any_config(),
        steps in proptest::collection::vec(any_step(), 1..100),
    ) {
        let mut history = History::new(config);
        for step in steps {
            history.step(step)?;
        }
        history.recover()?;
    }

    /// What another process takes over is all there is: it goes on as this one would have.
    #[test]
    fn a_history_goes_on_in_another_process(
        config in any_config(),
        before in proptest::collection::vec(any_step(), 1..40),
        after in proptest::collection::vec(any_step(), 1..40),
    ) {
        let begin = start();
        let mut one = World::of(config, begin);
        for step in before {
            one.step(step);
        }
        one.outputs();
        let text = moment::relative_to(begin, || serde_json::to_string(&one.announcer)).unwrap();
        let announcer = moment::relative_to(begin, || serde_json::from_str(&text)).unwrap();
        let mut other = World { announcer, now: one.now };
        for step in after {
            for world in [&mut one, &mut other] {
                world.step(step.clone());
                world.announcer.handle_timeout(world.now);
            }
            prop_assert_eq!(one.outputs(), other.outputs());
            prop_assert_eq!(one.announcer.desired(), other.announcer.desired());
            prop_assert_eq!(one.announcer.poll_timeout(), other.announcer.poll_timeout());
        }
    }

    /// The core knows time by differences only: what it does now it does at any time.
    #[test]
    fn a_history_is_the_same_at_any_time(
        config in any_config(),
        steps in proptest::collection::vec(any_step(), 1..60),
        later in 0u64..1_000_000_000_000,
    ) {
        let begin = start();
        let told = |begin: Instant| {
            let mut world = World::of(config.clone(), begin);
            let mut told = Vec::new();
            for step in &steps {
                world.step(step.clone());
                world.announcer.handle_timeout(world.now);
                told.extend(world.outputs());
                let due = world.announcer.poll_timeout().map(|due| due - begin);
                told.push(format!("{due:?} {:?}", world.announcer.desired()));
            }
            told
        };
        prop_assert_eq!(told(begin), told(begin + Duration::from_micros(later)));
    }
}
