//! The announcement groups: scores from verdicts, and the whole of what peers should hold.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_announce::{
    Announcer, AnnouncerConfig, Cap, Damping, Degraded, Group, GroupConfig, GuardConfig, Input, Order,
    Origin, Output, View, WhenDown, Withdrawn,
};
use proxima_config::{Backend, Config, Pool, Withdrawals};
use proxima_health::{Degradation, Member, RegionScore, region_score};
use proxima_types::{Announcement, BackendId, GroupName, Health, Prefix, ServiceName};

use crate::routing::Observed;

/// All groups of this PoP, and what gates each.
#[derive(Clone)]
pub(crate) struct Groups {
    announcer: Announcer,
    gates: BTreeMap<GroupName, Vec<ServiceName>>,
}

impl Groups {
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        Self { announcer: Announcer::new(now, core_config(config)), gates: gates(config) }
    }

    /// Goes on with the groups of another process, by this configuration.
    pub(crate) fn resume(now: Instant, config: &Config, announcer: Announcer) -> Self {
        let mut groups = Self::of(config, announcer);
        groups.reconfigure(now, config);
        groups
    }

    /// The groups of another process, by its own configuration.
    pub(crate) fn of(config: &Config, announcer: Announcer) -> Self {
        Self { announcer, gates: gates(config) }
    }

    /// For another process.
    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }

    /// Takes another configuration: groups that stay keep their whole state.
    pub(crate) fn reconfigure(&mut self, now: Instant, config: &Config) {
        self.announcer.reconfigure(now, core_config(config));
        self.gates = gates(config);
    }

    /// Scores every group anew from the verdicts that are believed, and from what real traffic degrades it by.
    pub(crate) fn score(
        &mut self,
        now: Instant,
        config: &Config,
        believed: &impl Fn(&BackendId) -> Observed,
        degradations: &impl Fn(&GroupName) -> Vec<Degradation>,
    ) {
        for (name, services) in &self.gates {
            let score = score(config, services, believed).degraded_by(degradations(name));
            if self.announcer.group(name).is_some_and(|group| group.score() != Some(&score)) {
                self.announcer.handle(now, name, Input::Score(score));
            }
        }
    }

    /// Tells a group news.
    pub(crate) fn tell(&mut self, now: Instant, group: &GroupName, news: Input) {
        self.announcer.handle(now, group, news);
    }

    /// Gives a group an operator's order, or the daemon's own.
    pub(crate) fn order(&mut self, now: Instant, group: &GroupName, order: Order) {
        self.announcer.handle(now, group, Input::Order(order));
    }

    /// Who else announces the group.
    pub(crate) fn view(&mut self, now: Instant, group: &GroupName, view: View) {
        self.announcer.handle(now, group, Input::View(view));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.announcer.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.announcer.poll_timeout()
    }

    /// The next transition or alarm of any group.
    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.announcer.poll_output()
    }

    /// Everything the peers should hold.
    pub(crate) fn desired(&self) -> Vec<Announcement> {
        self.announcer.desired()
    }

    /// Whether the first verdicts of every gating service are known.
    pub(crate) fn are_settled(&self) -> bool {
        self.announcer.groups().all(Group::is_settled)
    }

    /// Whether a group has forgotten its score.
    pub(crate) fn want_scores(&self) -> bool {
        self.announcer.groups().any(|group| group.score().is_none())
    }

    /// Whether nothing is announced.
    pub(crate) fn are_withdrawn(&self) -> bool {
        self.announcer.is_silent()
    }

    /// Each group with the services that gate it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Group, &[ServiceName])> {
        self.announcer.groups().map(|group| {
            let gates = self.gates.get(group.name()).map_or(&[][..], Vec::as_slice);
            (group, gates)
        })
    }

    /// The group of that name.
    pub(crate) fn group(&self, name: &GroupName) -> Option<&Group> {
        self.announcer.group(name)
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &GroupName> {
        self.gates.keys()
    }

    /// The group that announces `prefix`.
    pub(crate) fn of_prefix(&self, prefix: &Prefix) -> Option<&GroupName> {
        self.announcer
            .groups()
            .map(Group::config)
            .find_map(|config| config.prefixes.contains(prefix).then_some(&config.name))
    }

    /// Whether another configuration would leave nothing announced, now or when what holds a group is over, although something
    /// is now.
    pub(crate) fn would_fall_silent(
        &self,
        now: Instant,
        config: &Config,
        believed: &impl Fn(&BackendId) -> Observed,
    ) -> bool {
        let mut tried = self.clone();
        tried.reconfigure(now, config);
        tried.score(now, config, believed, &|_| Vec::new());
        self.announcer.would_fall_silent(&tried.announcer)
    }
}

/// How long a group's health is believed without a probe's end; `None`: for ever, as where no probe of the own region gates it.
pub(crate) fn dead_man(config: &Config, group: &proxima_config::Group) -> Option<Duration> {
    group.dead_man.filter(|_| gating(config, &group.services).next().is_some())
}

/// The backends of the own region behind `services`, each once.
pub(crate) fn gating<'a>(
    config: &'a Config,
    services: &'a [ServiceName],
) -> impl Iterator<Item = &'a BackendId> {
    let own = behind(config, services).filter(|backend| backend.region == config.pop.region);
    own.map(|backend| &backend.id)
}

/// The same with those that every region uses: all whose first verdict `services` wait for.
pub(crate) fn scored<'a>(
    config: &'a Config,
    services: &'a [ServiceName],
) -> impl Iterator<Item = &'a BackendId> {
    behind(config, services).filter(|backend| counts(config, backend)).map(|backend| &backend.id)
}

/// The same, each with its pool.
pub(crate) fn behind_scores<'a>(
    config: &'a Config,
    services: &'a [ServiceName],
) -> impl Iterator<Item = (&'a Pool, &'a Backend)> {
    let of_pool = |pool: &'a Pool| pool.backends.iter().map(move |backend| (pool, backend));
    pools(config, services).flat_map(of_pool).filter(|(_, backend)| counts(config, backend))
}

fn behind<'a>(config: &'a Config, services: &'a [ServiceName]) -> impl Iterator<Item = &'a Backend> {
    pools(config, services).flat_map(|pool| &pool.backends)
}

fn pools<'a>(config: &'a Config, services: &'a [ServiceName]) -> impl Iterator<Item = &'a Pool> {
    let pools = services.iter().filter_map(|name| config.services.get(name)).flat_map(|it| it.pools());
    let pools: std::collections::BTreeSet<_> = pools.collect();
    pools.into_iter().map(|pool| &config.pools[pool])
}

fn counts(config: &Config, backend: &Backend) -> bool {
    backend.region == config.pop.region || backend.shared
}

fn gates(config: &Config) -> BTreeMap<GroupName, Vec<ServiceName>> {
    config.groups.iter().map(|(name, group)| (name.clone(), group.services.clone())).collect()
}

/// The score of the own region over `services`.
fn score(
    config: &Config,
    services: &[ServiceName],
    believed: &impl Fn(&BackendId) -> Observed,
) -> RegionScore {
    region_score(services.iter().map(|name| {
        let pools = config.services[name].pools().into_iter().map(|pool| &config.pools[pool]);
        let scored = pools.flat_map(|pool| &pool.backends).filter(|backend| counts(config, backend));
        let scored: Vec<_> = scored.map(|backend| (backend, believed(&backend.id))).collect();
        (name, members(&scored))
    }))
}

/// Those that count. What a reload has added does so from its first verdict on: no score falls for what nothing is known of. Where
/// there is nothing else it counts as any that is unknown: no region is up for what nothing is known of.
fn members<'a>(scored: &[(&'a Backend, Observed)]) -> Vec<Member<'a>> {
    let is_known = |observed: &Observed| !observed.is_new || observed.health != Health::Unknown;
    let has_known = scored.iter().any(|(backend, observed)| !backend.shared && is_known(observed));
    let counting =
        scored.iter().filter(|(backend, observed)| is_known(observed) || (!backend.shared && !has_known));
    let member = |(backend, observed): &(&'a Backend, Observed)| {
        let Observed { health, share, unchecked, .. } = *observed;
        let (weight, shared) = (backend.weight, backend.shared);
        Member { backend: &backend.id, weight, health, share, shared, unchecked }
    };
    counting.map(member).collect()
}

fn core_config(config: &Config) -> AnnouncerConfig {
    let cap = |Withdrawals { most, within }| Cap { most: most.get(), within };
    AnnouncerConfig {
        groups: config.groups.values().map(|group| group_config(config, group)).collect(),
        cap: config.limits.withdrawals.map(cap),
    }
}

fn group_config(config: &Config, group: &proxima_config::Group) -> GroupConfig {
    GroupConfig {
        name: group.name.clone(),
        prefixes: group.prefixes.clone(),
        attributes: group.attributes.clone(),
        degraded: group.degraded.as_ref().map(|degraded| Degraded {
            below: degraded.below,
            above: degraded.above,
            attributes: degraded.attributes.clone(),
        }),
        when_down: match group.when_down {
            proxima_config::WhenDown::Stay => WhenDown::Stay,
            proxima_config::WhenDown::Withdraw(withdrawn) => WhenDown::Withdraw(Withdrawn {
                below: withdrawn.below,
                above: withdrawn.above,
                hold_down: withdrawn.hold_down,
                min_up: withdrawn.min_up,
            }),
        },
        damping: group.damping.map(|damping| Damping {
            half_life: damping.half_life,
            suppress: damping.suppress,
            reuse: damping.reuse,
            most: damping.max_suppress,
        }),
        guard: group.guard.as_ref().map(|guard| {
            let origin = Origin::from(config.pop.router_id);
            let least = u32::from(guard.min_announcers.get());
            GuardConfig::new(config.bgp.local_as, origin, least, guard.quiet)
        }),
        dead_man: dead_man(config, group),
    }
}

#[cfg(test)]
mod tests {
    use proxima_announce::Override;

    use super::*;

    const CONFIG: &str = include_str!("../tests/two-jurisdictions.toml");

    fn config(region: &str, group: &str) -> Config {
        let more = format!(
            "[[bgp.peers]]\nname = \"router\"\naddress = \"10.0.0.1\"\nremote-as = 65001\n\
             [announce.web]\nprefixes = [\"198.51.100.0/24\"]\nservices = [\"web\"]\nvip = \"none\"\n{group}\n"
        );
        let text = CONFIG.replace("region = \"eu\"\nrouter-id", &format!("region = \"{region}\"\nrouter-id"));
        let text = text.replace("[regions.eu]", "[regions.none]\njurisdiction = \"EU\"\n[regions.eu]");
        Config::parse(&(text + &more), "two-jurisdictions.toml").unwrap()
    }

    fn health(up: bool) -> impl Fn(&BackendId) -> Observed {
        let health = if up { Health::Up } else { Health::Down };
        move |_| Observed { health, ..Observed::default() }
    }

    #[test]
    fn a_group_that_no_own_probe_gates_has_no_dead_man() {
        let stay = "when-down = \"stay\"";
        for (region, expected) in [("eu", Some(Duration::from_secs(30))), ("none", None)] {
            let config = config(region, stay);
            let group = &config.groups[&"web".parse::<GroupName>().unwrap()];
            assert_eq!(dead_man(&config, group), expected, "{region}");
        }
    }

    #[test]
    fn a_configuration_falls_silent_by_what_health_then_asks_for_held_back_or_not() {
        let now = Instant::now();
        let mild = config("eu", "[announce.web.withdrawn]\nbelow = 0.4\nabove = 0.5\nmin-up = \"1h\"");
        let strict = config("eu", "[announce.web.withdrawn]\nbelow = 0.8\nabove = 0.9\nmin-up = \"1h\"");
        let half = |backend: &BackendId| health(backend.to_string() == "app/eu-1")(backend);
        let mut groups = Groups::new(now, &mild);
        assert!(!groups.would_fall_silent(now, &mild, &health(false)), "nothing is announced as it is");
        groups.score(now, &mild, &half, &|_| Vec::new());
        assert!(!groups.are_withdrawn());
        assert!(!groups.would_fall_silent(now, &mild, &half));
        assert!(groups.would_fall_silent(now, &strict, &half), "although min-up holds it for an hour");
        let order = Order { verb: Override::Announce, ..Order::default() };
        groups.order(now, &"web".parse().unwrap(), order);
        assert!(!groups.would_fall_silent(now, &strict, &half), "an operator wants it announced");
    }
    #[test]
    fn what_a_reload_has_added_counts_from_its_first_verdict_on_unless_there_is_nothing_else() {
        let config = config("eu", "when-down = \"stay\"");
        let new = Observed { is_new: true, ..Observed::default() };
        let up = Observed { health: Health::Up, ..Observed::default() };
        let down = Observed { health: Health::Down, ..Observed::default() };
        for (first, second, score, unknown) in [
            (up, Observed::default(), 0.5, true),
            (up, new, 1.0, false),
            (down, new, 0.0, false),
            (up, Observed { health: Health::Down, ..new }, 0.5, false),
            (new, new, 0.0, true),
        ] {
            let believed =
                |backend: &BackendId| if backend.to_string() == "app/eu-1" { first } else { second };
            let found = super::score(&config, &["web".parse().unwrap()], &believed);
            assert_eq!((found.score.share(), found.unknown), (score, unknown), "{first:?} {second:?}");
        }
    }
}
