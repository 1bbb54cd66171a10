//! The announcement groups: scores from verdicts, and the whole of what peers should hold.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_announce::{Degraded, Group, GroupConfig, Input, Override, Transition, WhenDown, Withdrawn};
use proxima_config::Config;
use proxima_health::{Member, RegionScore, region_score};
use proxima_types::{Announcement, BackendId, GroupName, Prefix, ReachState, ServiceName};

use crate::routing::Observed;

/// All groups of this PoP, and what gates each.
pub(crate) struct Groups {
    groups: Vec<Gated>,
}

struct Gated {
    core: Group,
    services: Vec<ServiceName>,
}

impl Groups {
    pub(crate) fn new(config: &Config) -> Self {
        let gated = |group: &proxima_config::Group| Gated {
            core: Group::new(core_config(group)),
            services: group.services.clone(),
        };
        Self { groups: config.groups.values().map(gated).collect() }
    }

    /// Scores every group anew from the verdicts.
    pub(crate) fn score(&mut self, now: Instant, config: &Config, observed: &BTreeMap<BackendId, Observed>) {
        for gated in &mut self.groups {
            let score = score(config, &gated.services, observed);
            if gated.core.score() != Some(&score) {
                gated.core.handle(now, Input::Score(score));
            }
        }
    }

    /// Tells every group of a fault of this PoP, or that there is none.
    pub(crate) fn fault(&mut self, now: Instant, fault: Option<&str>) {
        for gated in &mut self.groups {
            if gated.core.fault() != fault {
                gated.core.handle(now, Input::Fault(fault.map(str::to_owned)));
            }
        }
    }

    /// Gives every group the operator's order.
    pub(crate) fn order(&mut self, now: Instant, order: Override) {
        for gated in &mut self.groups {
            gated.core.handle(now, Input::Override(order));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        for gated in &mut self.groups {
            gated.core.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.groups.iter().filter_map(|gated| gated.core.poll_timeout()).min()
    }

    /// The next transition of any group.
    pub(crate) fn poll_transition(&mut self) -> Option<Transition> {
        self.groups.iter_mut().find_map(|gated| gated.core.poll_output())
    }

    /// Everything the peers should hold.
    pub(crate) fn desired(&self) -> Vec<Announcement> {
        self.groups.iter().flat_map(|gated| gated.core.desired()).collect()
    }

    /// Whether the first verdicts of every gating service are known.
    pub(crate) fn are_settled(&self) -> bool {
        self.groups.iter().all(|gated| gated.core.is_settled())
    }

    /// Whether nothing is announced.
    pub(crate) fn are_withdrawn(&self) -> bool {
        self.groups.iter().all(|gated| gated.core.state() == ReachState::Withdrawn)
    }

    /// Each group with the services that gate it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Group, &[ServiceName])> {
        self.groups.iter().map(|gated| (&gated.core, gated.services.as_slice()))
    }

    /// The group that announces `prefix`.
    pub(crate) fn of_prefix(&self, prefix: &Prefix) -> Option<&GroupName> {
        self.groups
            .iter()
            .map(|gated| gated.core.config())
            .find_map(|config| config.prefixes.contains(prefix).then_some(&config.name))
    }
}

/// The order that empties a PoP: GRACEFUL_SHUTDOWN for a time, then withdrawn.
pub(crate) fn drain_order(graceful_shutdown: Duration) -> Override {
    Override::Drain { graceful_shutdown }
}

/// The score of the own region over `services`.
fn score(config: &Config, services: &[ServiceName], observed: &BTreeMap<BackendId, Observed>) -> RegionScore {
    region_score(services.iter().map(|name| {
        let members = config.services[name].pools().into_iter().flat_map(|pool| {
            let own = config.pools[pool].backends.iter().filter(|b| b.region == config.pop.region);
            own.map(|backend| {
                let Observed { health, share, .. } = observed.get(&backend.id).copied().unwrap_or_default();
                Member { backend: &backend.id, weight: backend.weight, health, share, shared: false }
            })
        });
        (name, members)
    }))
}

fn core_config(group: &proxima_config::Group) -> GroupConfig {
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
            }),
        },
    }
}
