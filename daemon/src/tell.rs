//! What becomes of groups, for the journal.

use std::time::Instant;

use proxima_announce::{Alarm, AlarmOver, Output, Override, Transition};
use proxima_api::{EventKind, Order, OrderVerb};
use proxima_types::GroupName;

use crate::{
    control::Control,
    words::{self, GroupWords},
};

impl Control {
    pub(crate) fn group_words(&self) -> GroupWords<'_> {
        GroupWords { clocks: self.started, orders: &self.orders }
    }

    /// Tells transitions, alarms, and orders that have expired.
    pub(crate) fn tell_groups(&mut self, now: Instant) {
        while let Some(output) = self.groups.poll_output() {
            match output {
                Output::Transition(transition) => self.tell_transition(transition),
                Output::Alarm(Alarm { group, kind, at }) => {
                    let alarm = words::alarm_kind(&kind);
                    self.journal.publish_at(EventKind::AlarmRaised { group, alarm }, at);
                }
                Output::AlarmOver(AlarmOver { alarm: Alarm { group, kind, at: since }, at }) => {
                    let alarm = words::alarm_kind(&kind);
                    let lasted_ms = crate::report::milliseconds(at.saturating_duration_since(since));
                    self.journal.publish_at(EventKind::AlarmOver { group, alarm, lasted_ms }, at);
                }
            }
        }
        for (order, groups) in self.expired_orders() {
            self.journal.publish(EventKind::OrderExpired { groups, order });
        }
        if self.orders.expire(now) {
            self.journal.publish(EventKind::Undrain);
        }
    }

    fn tell_transition(&mut self, transition: Transition) {
        let Transition { group, from, to, reason, at } = transition;
        let reason = self.group_words().reason(&group, &reason);
        let event = self
            .journal
            .publish_at(EventKind::GroupTransition { group: group.clone(), from, to, reason }, at);
        if self.config.groups.contains_key(&group) {
            self.group_since.insert(group, event.at);
        }
    }

    /// The orders that have ended by themselves since the last look, each with its groups. They are not known any more.
    fn expired_orders(&mut self) -> Vec<(Order, Vec<GroupName>)> {
        let mut expired: Vec<(Order, Vec<GroupName>)> = Vec::new();
        for (group, _) in self.groups.iter() {
            let Some(given) = self.orders.of(group.name()) else { continue };
            if group.order().verb != Override::Auto || given.verb == OrderVerb::Auto {
                continue;
            }
            match expired.iter_mut().find(|(order, _)| order == given) {
                Some((_, groups)) => groups.push(group.name().clone()),
                None => expired.push((given.clone(), vec![group.name().clone()])),
            }
        }
        let groups = &self.groups;
        self.orders.forget(|name| groups.group(name).is_some_and(|it| it.order().verb != Override::Auto));
        expired
    }
}
