//! Orders in force: what the announcement core does not know of them, such as whose they are.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use proxima_announce::Override;
use proxima_api::{self as api, By, Drained, OrderVerb, Timestamp};
use proxima_types::{GroupName, moment};
use serde::{Deserialize, Serialize};

/// The orders of all groups, and that of the PoP as a whole.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Orders {
    given: BTreeMap<GroupName, api::Order>,
    drained: Option<Drained>,
    /// When that ends by itself.
    #[serde(with = "moment::option")]
    drained_until: Option<Instant>,
}

impl Orders {
    /// An order is given to a group.
    pub(crate) fn give(&mut self, group: &GroupName, order: api::Order) {
        self.given.insert(group.clone(), order);
    }

    /// The latest order of a group, expired or not.
    pub(crate) fn of(&self, group: &GroupName) -> Option<&api::Order> {
        self.given.get(group)
    }

    /// Forgets the orders of all groups but these.
    pub(crate) fn forget(&mut self, but: impl Fn(&GroupName) -> bool) {
        self.given.retain(|group, _| but(group));
    }

    /// The PoP as a whole is drained.
    pub(crate) fn drain(&mut self, drained: Drained, until: Option<Instant>) {
        self.drained = Some(drained);
        self.drained_until = until;
    }

    /// It no longer is.
    pub(crate) fn undrain(&mut self) {
        self.drained = None;
        self.drained_until = None;
    }

    /// Whether the PoP as a whole is drained.
    pub(crate) fn drained(&self) -> Option<&Drained> {
        self.drained.as_ref()
    }

    /// When that ends by itself.
    pub(crate) fn drained_until(&self) -> Option<Instant> {
        self.drained_until
    }

    /// Ends the drain whose time is over; true if it was.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        let over = self.drained_until().is_some_and(|until| until <= now);
        if over {
            self.undrain();
        }
        over
    }

    /// An order as the core tells it, in the interface's words.
    pub(crate) fn told(
        &self,
        group: &GroupName,
        order: &proxima_announce::Order,
        clocks: (Instant, Timestamp),
    ) -> api::Order {
        if let Some(given) = self.given.get(group).filter(|given| given.verb == verb(order.verb)) {
            return given.clone();
        }
        api::Order {
            verb: verb(order.verb),
            by: By::Operator { uid: None, pid: None },
            reason: order.reason.clone(),
            since: clocks.1,
            until: order.until.map(|until| crate::report::wall(clocks, until)),
        }
    }
}

/// An order for the core.
pub(crate) fn core_order(
    order: &api::Order,
    until: Option<Instant>,
    graceful_shutdown: Duration,
) -> proxima_announce::Order {
    let verb = match order.verb {
        OrderVerb::Auto => Override::Auto,
        OrderVerb::Announce => Override::Announce,
        OrderVerb::Drain => Override::Drain { graceful_shutdown },
        OrderVerb::Withdraw => Override::Withdraw,
    };
    proxima_announce::Order { verb, reason: order.reason.clone(), until }
}

/// What an order of the core does.
pub(crate) fn verb(verb: Override) -> OrderVerb {
    match verb {
        Override::Auto => OrderVerb::Auto,
        Override::Announce => OrderVerb::Announce,
        Override::Drain { .. } => OrderVerb::Drain,
        Override::Withdraw => OrderVerb::Withdraw,
    }
}
