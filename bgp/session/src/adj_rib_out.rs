//! Adj-RIB-Out: what the peer is to hold, what it holds, and the UPDATEs between the two (RFC 4271 §3.2, §9.2).
//!
//! ```text
//!  desired ─┐
//!           ├─ difference ─▶ withdrawals ─▶ announcements, by shared attributes ─▶ End-of-RIB once released
//!  sent ────┘                     one UPDATE at a time, when the driver has room for it
//! ```
//!
//! Desired state is replaced as a whole and the latest wins: whatever happened in between while the peer was slow is
//! never sent. State that is equal to what was sent yields nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use proxima_bgp_wire::{Negotiated, update};
use proxima_types::{Family, Prefix, RouteAttributes};

use crate::{Desired, Exportable, Settings, export, interface::Problem};

/// How many prefixes go into one step: about one message of IPv4 routes, a few of IPv6 ones. A KEEPALIVE never waits
/// behind more.
const PREFIXES_PER_STEP: usize = 800;

/// UPDATEs to write, with what they tell the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateBatch {
    /// Whole messages.
    pub bytes: Bytes,
    /// How many messages.
    pub messages: usize,
    /// Their content.
    pub content: UpdateContent,
}

/// What an UPDATE of ours says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateContent {
    /// These prefixes are gone.
    Withdrawn(Vec<Prefix>),
    /// These prefixes have these attributes.
    Announced {
        /// The prefixes, all of one family.
        prefixes: Vec<Prefix>,
        /// As the operator chose them; the session added its own.
        attributes: Arc<RouteAttributes>,
    },
    /// All routes of the family have been sent.
    EndOfRib(Family),
}

/// What the messages of one session need to know of it.
#[derive(Debug, Clone)]
struct Channel {
    negotiated: Negotiated,
    /// The families routes are announced in, each with its next hop.
    next_hops: BTreeMap<Family, IpAddr>,
    /// The families of the session without a next hop, until it was told that routes are held back for it.
    untold: BTreeSet<Family>,
}

/// Desired and sent state of one peer.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    desired: Desired,
    sent: BTreeMap<Prefix, Arc<RouteAttributes>>,
    channel: Option<Channel>,
    withdrawals: BTreeSet<Prefix>,
    announcements: VecDeque<Group>,
    /// To be sent again at the peer's request, changed or not.
    refresh: BTreeSet<Prefix>,
    /// Routes that can't be encoded, until the desired state changes.
    unsendable: BTreeSet<Prefix>,
    end_of_rib_released: bool,
    end_of_rib_due: BTreeSet<Family>,
}

/// Routes of one family that share attributes.
#[derive(Debug)]
struct Group {
    family: Family,
    attributes: Arc<RouteAttributes>,
    prefixes: VecDeque<Exportable>,
}

impl AdjRibOut {
    /// The routes the peer holds from us, in order of prefix.
    pub fn sent(&self) -> impl Iterator<Item = (Prefix, &Arc<RouteAttributes>)> + '_ {
        self.sent.iter().map(|(prefix, attributes)| (*prefix, attributes))
    }

    /// How many routes the peer holds from us.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether the peer holds none.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Whether nothing is left to be sent.
    pub fn converged(&self) -> bool {
        self.withdrawals.is_empty()
            && self.announcements.is_empty()
            && (!self.end_of_rib_released || self.end_of_rib_due.is_empty())
    }

    pub(crate) fn set_desired(&mut self, desired: Desired) {
        if desired != self.desired {
            self.desired = desired;
            self.unsendable.clear();
            self.plan();
        }
    }

    pub(crate) fn release_end_of_rib(&mut self) {
        self.end_of_rib_released = true;
    }

    /// A session is established: everything is to be sent.
    pub(crate) fn open(&mut self, negotiated: Negotiated, local: IpAddr, settings: &Settings) {
        let mut next_hops = BTreeMap::new();
        let mut untold = BTreeSet::new();
        for family in negotiated.families.iter() {
            match settings.next_hop(family, local) {
                Some(next_hop) => {
                    next_hops.insert(family, next_hop);
                }
                None => {
                    untold.insert(family);
                }
            }
        }
        self.close();
        self.end_of_rib_due = negotiated.families.iter().collect();
        self.channel = Some(Channel { negotiated, next_hops, untold });
        self.plan();
    }

    /// The session is lost: the peer holds nothing.
    pub(crate) fn close(&mut self) {
        self.channel = None;
        self.sent.clear();
        self.refresh.clear();
        self.unsendable.clear();
        self.end_of_rib_due.clear();
        self.plan();
    }

    /// The peer wants the routes of a family again (RFC 2918 §4).
    pub(crate) fn refresh(&mut self, family: Family) {
        self.refresh.extend(self.sent.keys().filter(|prefix| prefix.family() == family));
        self.plan();
    }

    /// The next step towards the desired state; None when the peer holds it, or there is no session.
    pub(crate) fn next_batch(
        &mut self,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) -> Option<UpdateBatch> {
        self.tell_missing_next_hops(problems);
        loop {
            let channel = self.channel.as_ref()?;
            if !self.withdrawals.is_empty() {
                return Some(self.withdraw(channel.negotiated));
            }
            let Some(group) = self.announcements.front_mut() else { break };
            let count = group.prefixes.len().min(PREFIXES_PER_STEP);
            let routes: Vec<Exportable> = group.prefixes.drain(..count).collect();
            let (family, attributes) = (group.family, group.attributes.clone());
            if group.prefixes.is_empty() {
                self.announcements.pop_front();
            }
            let next_hop =
                *channel.next_hops.get(&family).expect("only families with a next hop are planned");
            let channel = export::Channel { settings, negotiated: channel.negotiated, next_hop };
            let prefixes: Vec<Prefix> = routes.iter().map(|route| route.prefix()).collect();
            let mut buf = BytesMut::new();
            match export::announce(channel, &attributes, &routes, &mut buf) {
                Ok(messages) => {
                    for prefix in &prefixes {
                        self.refresh.remove(prefix);
                        self.sent.insert(*prefix, attributes.clone());
                    }
                    let content = UpdateContent::Announced { prefixes, attributes };
                    return Some(UpdateBatch { bytes: buf.freeze(), messages, content });
                }
                Err(error) => {
                    problems.push(Problem::Unsendable { routes: prefixes.len(), error });
                    self.unsendable.extend(prefixes);
                    self.plan();
                }
            }
        }
        if !self.end_of_rib_released {
            return None;
        }
        let family = self.end_of_rib_due.pop_first()?;
        let mut buf = BytesMut::new();
        update::end_of_rib(family, &mut buf);
        Some(UpdateBatch { bytes: buf.freeze(), messages: 1, content: UpdateContent::EndOfRib(family) })
    }

    /// Tells once a session which routes wait for a next hop in vain, as soon as there are such routes.
    fn tell_missing_next_hops(&mut self, problems: &mut Vec<Problem>) {
        let Some(channel) = &mut self.channel else { return };
        let desired = &self.desired;
        let held_back = |family: &Family| desired.iter().any(|(route, _)| route.prefix().family() == *family);
        problems.extend(channel.untold.extract_if(.., |family| held_back(family)).map(Problem::NoNextHop));
    }

    /// Withdraws some prefixes of one family.
    fn withdraw(&mut self, negotiated: Negotiated) -> UpdateBatch {
        let family = self.withdrawals.first().map(Prefix::family);
        let prefixes: Vec<Prefix> = self
            .withdrawals
            .iter()
            .copied()
            .take_while(|prefix| Some(prefix.family()) == family)
            .take(PREFIXES_PER_STEP)
            .collect();
        for prefix in &prefixes {
            self.withdrawals.remove(prefix);
            self.refresh.remove(prefix);
            self.sent.remove(prefix);
        }
        let mut buf = BytesMut::new();
        let messages = update::withdraw(prefixes.iter().copied(), negotiated, &mut buf);
        UpdateBatch { bytes: buf.freeze(), messages, content: UpdateContent::Withdrawn(prefixes) }
    }

    /// Works out the difference between desired and sent, from scratch.
    fn plan(&mut self) {
        self.withdrawals.clear();
        self.announcements.clear();
        let Some(channel) = &self.channel else { return };
        let mut wanted = BTreeSet::new();
        let mut groups: Vec<Group> = Vec::new();
        let mut index: HashMap<(Family, &RouteAttributes), usize> = HashMap::new();
        for (exportable, attributes) in self.desired.iter() {
            let prefix = exportable.prefix();
            let family = prefix.family();
            if !channel.next_hops.contains_key(&family) || self.unsendable.contains(&prefix) {
                continue;
            }
            wanted.insert(prefix);
            if self.sent.get(&prefix) == Some(attributes) && !self.refresh.contains(&prefix) {
                continue;
            }
            let at = *index.entry((family, attributes)).or_insert_with(|| {
                groups.push(Group { family, attributes: attributes.clone(), prefixes: VecDeque::new() });
                groups.len() - 1
            });
            groups[at].prefixes.push_back(exportable);
        }
        self.withdrawals.extend(self.sent.keys().filter(|prefix| !wanted.contains(prefix)));
        self.announcements.extend(groups);
    }
}
