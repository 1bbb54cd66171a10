//! What is configured at a PoP: the shape of the world, with the revisions in its file.

use proxima_announce::{
    AnnouncerConfig, Cap, Damping, Degraded, GroupConfig, GuardConfig, WhenDown, Withdrawn,
};
use proxima_types::{Community, RouteAttributes, Score};

use crate::{
    clock::{SECOND, span},
    fault::Revision,
    net::LOCAL_AS,
    world::World,
};

/// Of a route that is as it should be: 64512:100.
const SERVES: Community = Community((64512 << 16) + 100);
/// Of one that is degraded: 64512:666.
const DEGRADED: Community = Community((64512 << 16) + 666);
impl World {
    /// What a PoP's file says, in force or not.
    pub(crate) fn announcer_config(&self, pop: usize) -> AnnouncerConfig {
        let revisions = &self.pops[pop].revisions;
        let mut groups: Vec<GroupConfig> =
            (0..self.shape.groups.len()).map(|group| self.group_config(pop, group)).collect();
        for revision in revisions {
            match revision {
                Revision::FewerGroups if groups.len() > 1 => {
                    groups.pop();
                }
                Revision::FewerGroups => {}
                Revision::Emptied => groups.clear(),
                Revision::Strict => groups.iter_mut().for_each(strict_bounds),
                Revision::Attributes => groups.iter_mut().for_each(|group| group.attributes.prepend = 1),
                Revision::Bounds => groups.iter_mut().for_each(other_bounds),
                Revision::HoldDown => groups.iter_mut().for_each(|group| {
                    if let WhenDown::Withdraw(withdrawn) = &mut group.when_down {
                        withdrawn.hold_down += span(2 * SECOND);
                    }
                }),
            }
        }
        let cap = self.shape.cap.map(|(most, within)| Cap { most, within: span(within) });
        AnnouncerConfig { groups, cap }
    }

    fn group_config(&self, pop: usize, group: usize) -> GroupConfig {
        let shape = &self.shape.groups[group];
        let attributes = RouteAttributes { communities: vec![SERVES], ..RouteAttributes::default() };
        let degraded = RouteAttributes {
            prepend: 2,
            med: Some(200),
            communities: vec![SERVES, DEGRADED],
            ..RouteAttributes::default()
        };
        GroupConfig {
            name: self.names.groups[group].clone(),
            prefixes: vec![self.names.prefixes[group]],
            attributes,
            degraded: shape.degraded.map(|(below, above)| Degraded {
                below: Score::new(below),
                above: Score::new(above),
                attributes: degraded,
            }),
            when_down: shape.withdrawn.map_or(WhenDown::Stay, |(below, above)| {
                WhenDown::Withdraw(Withdrawn {
                    below: Score::new(below),
                    above: Score::new(above),
                    hold_down: span(shape.hold_down),
                    min_up: span(shape.min_up),
                })
            }),
            damping: shape.damping.map(|damping| Damping {
                half_life: span(damping.half_life),
                suppress: damping.suppress,
                reuse: damping.reuse,
                most: span(damping.most),
            }),
            guard: shape.guard.map(|least| {
                GuardConfig::new(LOCAL_AS, self.router_id(pop).into(), least, span(self.shape.quiet()))
            }),
            dead_man: self.shape.dead_man.map(span),
        }
    }
}

fn other_bounds(group: &mut GroupConfig) {
    if let Some(degraded) = &mut group.degraded {
        degraded.below = Score::new(0.5);
        degraded.above = Score::new(0.75);
    }
    if let WhenDown::Withdraw(withdrawn) = &mut group.when_down {
        withdrawn.below = Score::new(0.2);
        withdrawn.above = Score::new(0.5);
    }
}

fn strict_bounds(group: &mut GroupConfig) {
    if let WhenDown::Withdraw(withdrawn) = &mut group.when_down {
        withdrawn.below = Score::FULL;
        withdrawn.above = Score::FULL;
    }
}
