//! What passes the cable, seen by a capture on the router's side.

use std::net::IpAddr;

use proxima_testnet::observe::{
    WireWatch,
    bgp::{Message, Refresh, Update},
    wire::Seen,
};
use proxima_types::{Family, Prefix};

use super::{INTERFACE, Lab, POP, wait};

/// Everything that was said since the capture began.
pub(crate) struct Wire(WireWatch);

/// What one side says of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// It asks for all routes again.
    Request,
    /// The answer to such a request begins.
    Begin,
    Announced(Prefix),
    Withdrawn(Prefix),
    /// The answer ends.
    End,
}

impl Wire {
    /// From now on; before the session, if nothing of it is to be missed.
    pub(crate) fn of(lab: &Lab) -> Self {
        Self(WireWatch::start(&lab.hosts[0], INTERFACE, vec![POP.into()]).unwrap())
    }

    /// How much was seen: where to go on later. The capture is behind what the sides have heard: wait for the last of that.
    pub(crate) fn mark(&self) -> usize {
        self.0.seen().len()
    }

    /// Waits until one side was seen to announce all these prefixes since a mark.
    pub(crate) fn wait_announced(&self, mark: usize, from: IpAddr, prefixes: &[&str]) {
        let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        wait(&format!("{prefixes:?} on the wire"), || {
            let steps = Family::ALL.map(|family| self.steps(mark, from, family)).concat();
            let seen = |prefix: &Prefix| steps.contains(&Step::Announced(*prefix));
            if prefixes.iter().all(seen) { Ok(()) } else { Err(format!("{steps:?}")) }
        });
    }

    /// All that was said from a mark on.
    pub(crate) fn since(&self, mark: usize) -> Vec<Seen> {
        self.0.seen().read(mark, <[Seen]>::to_vec)
    }

    /// What one side said of a family from a mark on, End-of-RIB left out.
    pub(crate) fn steps(&self, mark: usize, from: IpAddr, family: Family) -> Vec<Step> {
        self.since(mark)
            .into_iter()
            .filter(|seen| seen.from() == from)
            .flat_map(|seen| match seen.message {
                Message::RouteRefresh(of, refresh) if of == Some(family) => vec![match refresh {
                    Refresh::Request => Step::Request,
                    Refresh::Begin => Step::Begin,
                    Refresh::End => Step::End,
                }],
                Message::Update(update) => of_family(&update, family),
                _ => Vec::new(),
            })
            .collect()
    }
}

fn of_family(update: &Update, family: Family) -> Vec<Step> {
    let withdrawn = update.withdrawn.iter().copied().map(Step::Withdrawn);
    let announced = update.announced.iter().copied().map(Step::Announced);
    let is_of = |step: &Step| match step {
        Step::Withdrawn(prefix) | Step::Announced(prefix) => prefix.family() == family,
        Step::Request | Step::Begin | Step::End => true,
    };
    withdrawn.chain(announced).filter(is_of).collect()
}
