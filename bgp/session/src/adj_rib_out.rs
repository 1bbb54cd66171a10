//! Adj-RIB-Out: what the peer is to hold, what it holds, and the UPDATEs between the two (RFC 4271 §3.2, §9.2).
//!
//! ```text
//!  desired ─┐
//!           ├─ difference ─▶ BoRR ─▶ withdrawals ─▶ announcements, by shared attributes ─▶ EoRR ─▶ End-of-RIB once released
//!  sent ────┘                       one message or few at a time, when the driver has room for them
//! ```
//!
//! Desired state is replaced as a whole and the latest wins: whatever happened in between while the peer was slow is
//! never sent. State that is equal to what was sent yields nothing.
//!
//! - Before a shutdown every route goes out once more as about to go: with GRACEFUL_SHUTDOWN (RFC 8326).
//! - A peer that asks for its routes again gets them between marks if both know them (RFC 7313); one that asks while it is
//!   being answered gets the answer from its beginning. Where graceful restart was agreed on no mark goes out before the
//!   End-of-RIB of its family (§4).
//! - On a session that was handed over nothing is withdrawn before the desired state is complete.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use proxima_bgp_wire::{Message, Negotiated, NextHop, RefreshKind, RouteRefresh, update};
use proxima_types::{Community, Family, Prefix, RouteAttributes};

use crate::{
    Announced, Desired, Exportable, Local, Settings, Terms, export, problem::Problem, shared::encoded,
};

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

/// What messages about our routes say.
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
    /// All routes of the family follow, as the peer asked for (a ROUTE-REFRESH).
    RefreshBegun(Family),
    /// Those were all (a ROUTE-REFRESH).
    RefreshEnded(Family),
}

impl UpdateContent {
    /// Whether it goes as UPDATEs.
    pub fn is_update(&self) -> bool {
        match self {
            Self::Withdrawn(_) | Self::Announced { .. } | Self::EndOfRib(_) => true,
            Self::RefreshBegun(_) | Self::RefreshEnded(_) => false,
        }
    }
}

/// What the messages of one session need to know of it.
#[derive(Debug, Clone)]
struct Channel {
    negotiated: Negotiated,
    graceful_restart: bool,
    local: Local,
    /// The families routes are announced in, each with its next hop.
    next_hops: BTreeMap<Family, NextHop>,
    /// The families of the session without a next hop, until it was told that routes are held back for it.
    untold: BTreeSet<Family>,
}

impl Channel {
    fn new(terms: &Terms, local: Local, settings: &Settings) -> Self {
        let negotiated = terms.negotiated;
        let mut next_hops = BTreeMap::new();
        let mut untold = BTreeSet::new();
        for family in negotiated.families.iter() {
            match settings.next_hop(family, local, negotiated.extended_next_hop_send) {
                Some(next_hop) => {
                    next_hops.insert(family, next_hop);
                }
                None => {
                    untold.insert(family);
                }
            }
        }
        let graceful_restart = terms.graceful_restart.is_some();
        Self { negotiated, graceful_restart, local, next_hops, untold }
    }
}

/// How far the answer to a route refresh with marks has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is to begin, or to begin again.
    Due,
    /// The mark of its beginning is out.
    Begun,
}

/// Desired and sent state of one peer.
#[derive(Debug, Default)]
pub struct AdjRibOut {
    desired: Desired,
    sent: BTreeMap<Prefix, Sent>,
    channel: Option<Channel>,
    withdrawals: BTreeSet<Prefix>,
    announcements: VecDeque<Group>,
    /// To be sent again, changed or not.
    refresh: BTreeSet<Prefix>,
    answers: BTreeMap<Family, Answer>,
    /// Routes that can't be encoded, until the desired state changes.
    unsendable: BTreeSet<Prefix>,
    end_of_rib_released: bool,
    end_of_rib_due: BTreeSet<Family>,
    /// All routes are about to go.
    leaving: bool,
    /// What was sent by a predecessor stays until the desired state is complete.
    inherited: bool,
}

/// A route as the peer holds it.
#[derive(Debug)]
struct Sent {
    /// As it was desired.
    chosen: Arc<RouteAttributes>,
    /// As it went out.
    announced: Arc<Announced>,
}

/// Routes of one family that share attributes.
#[derive(Debug)]
struct Group {
    family: Family,
    attributes: Arc<RouteAttributes>,
    prefixes: VecDeque<Exportable>,
}

/// What a successor has to know of what the peer holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inheritance {
    pub(crate) sent: Vec<(Prefix, RouteAttributes)>,
    pub(crate) end_of_rib_due: Vec<Family>,
    /// Families that have not been sent again in full, as the peer has asked or a next hop has changed.
    pub(crate) again: Vec<Family>,
}

impl AdjRibOut {
    /// The routes the peer holds from us, as they were sent, in order of prefix. On a session that was handed over they are
    /// as they would be sent now, until they are.
    pub fn sent(&self) -> impl Iterator<Item = (Prefix, &Arc<Announced>)> + '_ {
        self.sent.iter().map(|(prefix, sent)| (*prefix, &sent.announced))
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
            && self.answers.is_empty()
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
        if !std::mem::replace(&mut self.end_of_rib_released, true) && self.inherited {
            self.plan();
        }
    }

    /// A session is established: everything is to be sent.
    pub(crate) fn open(&mut self, terms: &Terms, local: Local, settings: &Settings) {
        self.close();
        self.end_of_rib_due = terms.negotiated.families.iter().collect();
        self.channel = Some(Channel::new(terms, local, settings));
        self.plan();
    }

    /// The session is lost: the peer holds nothing.
    pub(crate) fn close(&mut self) {
        *self = Self {
            desired: std::mem::take(&mut self.desired),
            end_of_rib_released: self.end_of_rib_released,
            ..Self::default()
        };
    }

    /// The next hops of the settings may have changed; what they change is announced again.
    pub(crate) fn reconfigure(&mut self, terms: &Terms, settings: &Settings) {
        let Some(old) = self.channel.take() else { return };
        let new = Channel::new(terms, old.local, settings);
        let changed = |family| old.next_hops.get(&family) != new.next_hops.get(&family);
        self.refresh.extend(self.sent.keys().filter(|prefix| changed(prefix.family())));
        self.channel = Some(new);
        self.plan();
    }

    /// Says of all routes that they are about to go, or takes it back.
    pub(crate) fn set_leaving(&mut self, leaving: bool) {
        if std::mem::replace(&mut self.leaving, leaving) != leaving {
            self.plan();
        }
    }

    /// The peer wants the routes of a family again (RFC 2918 §4).
    pub(crate) fn refresh(&mut self, family: Family) {
        let Some(channel) = &self.channel else { return };
        if !channel.negotiated.families.contains(family) {
            return;
        }
        if channel.negotiated.enhanced_refresh {
            self.answers.insert(family, Answer::Due);
        } else {
            self.send_again(family);
        }
    }

    /// Withdraws everything at once, for a session that is about to end; the number of messages is told too.
    pub(crate) fn withdraw_all(&mut self) -> Option<(Bytes, usize)> {
        let channel = self.channel.as_ref()?;
        let mut buf = BytesMut::new();
        let messages = update::withdraw(self.sent.keys().copied(), channel.negotiated, &mut buf);
        self.close();
        (messages > 0).then(|| (buf.freeze(), messages))
    }

    /// What a successor has to know.
    pub(crate) fn bequeath(&self) -> Inheritance {
        let again = self.refresh.iter().map(Prefix::family).chain(self.answers.keys().copied());
        Inheritance {
            sent: self
                .sent
                .iter()
                .map(|(prefix, sent)| (*prefix, RouteAttributes::clone(&sent.chosen)))
                .collect(),
            end_of_rib_due: self.end_of_rib_due.iter().copied().collect(),
            again: again.collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    /// Goes on where a predecessor stopped. What it was sending again is sent again from the beginning.
    pub(crate) fn inherit(&mut self, from: Inheritance, terms: &Terms, local: Local, settings: &Settings) {
        self.close();
        let channel = Channel::new(terms, local, settings);
        let inherited = |(prefix, chosen): (Prefix, RouteAttributes)| {
            let next_hop = channel.next_hops.get(&prefix.family()).copied();
            let announced = Announced::new(settings, &chosen, next_hop.unwrap_or(local.address.into()));
            (prefix, Sent { chosen: Arc::new(chosen), announced: Arc::new(announced) })
        };
        self.sent = from.sent.into_iter().map(inherited).collect();
        self.channel = Some(channel);
        self.end_of_rib_due = from.end_of_rib_due.into_iter().collect();
        self.inherited = true;
        from.again.into_iter().for_each(|family| self.refresh(family));
        self.plan();
    }

    /// The next step towards the desired state; None when the peer holds it, or there is no session.
    pub(crate) fn next_batch(
        &mut self,
        settings: &Settings,
        problems: &mut Vec<Problem>,
    ) -> Option<UpdateBatch> {
        self.tell_missing_next_hops(problems);
        if let Some(begin) = self.begin_answer() {
            return Some(begin);
        }
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
            let announced = Arc::new(Announced::new(settings, &attributes, next_hop));
            let prefixes: Vec<Prefix> = routes.iter().map(|route| route.prefix()).collect();
            let mut buf = BytesMut::new();
            match export::announce(&announced, &routes, channel.negotiated, &mut buf) {
                Ok(messages) => {
                    for prefix in &prefixes {
                        self.refresh.remove(prefix);
                        let (chosen, announced) = (attributes.clone(), announced.clone());
                        self.sent.insert(*prefix, Sent { chosen, announced });
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
        // What a predecessor sent may yet be desired, and has to be sent again then.
        if !self.awaits_desired() {
            self.refresh.clear();
        }
        self.end_answer().or_else(|| self.end_of_rib())
    }

    /// Whether a predecessor sent what we have no verdict on yet: it is not to go, and so no answer to a refresh may end.
    fn awaits_desired(&self) -> bool {
        self.inherited && !self.end_of_rib_released
    }

    fn begin_answer(&mut self) -> Option<UpdateBatch> {
        if self.awaits_desired() {
            return None;
        }
        let channel = self.channel.as_ref()?;
        let allowed = |family: &Family| !channel.graceful_restart || !self.end_of_rib_due.contains(family);
        let due = |(family, answer): &(&Family, &Answer)| **answer == Answer::Due && allowed(family);
        let family = *self.answers.iter().find(due)?.0;
        self.answers.insert(family, Answer::Begun);
        self.send_again(family);
        Some(mark(family, RefreshKind::Begin, UpdateContent::RefreshBegun(family)))
    }

    fn end_answer(&mut self) -> Option<UpdateBatch> {
        let family = *self.answers.iter().find(|(_, answer)| **answer == Answer::Begun)?.0;
        self.answers.remove(&family);
        Some(mark(family, RefreshKind::End, UpdateContent::RefreshEnded(family)))
    }

    fn end_of_rib(&mut self) -> Option<UpdateBatch> {
        if !self.end_of_rib_released {
            return None;
        }
        let family = self.end_of_rib_due.pop_first()?;
        let mut buf = BytesMut::new();
        update::end_of_rib(family, &mut buf);
        Some(UpdateBatch { bytes: buf.freeze(), messages: 1, content: UpdateContent::EndOfRib(family) })
    }

    fn send_again(&mut self, family: Family) {
        self.refresh.extend(self.sent.keys().filter(|prefix| prefix.family() == family));
        self.plan();
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
        for (exportable, chosen) in self.desired.iter() {
            let prefix = exportable.prefix();
            let family = prefix.family();
            if !channel.next_hops.contains_key(&family) || self.unsendable.contains(&prefix) {
                continue;
            }
            wanted.insert(prefix);
            let known = index.get(&(family, chosen.as_ref())).copied();
            let attributes = match known {
                Some(at) => groups[at].attributes.clone(),
                None if self.leaving => about_to_go(chosen),
                None => chosen.clone(),
            };
            if self.sent.get(&prefix).is_some_and(|sent| sent.chosen == attributes)
                && !self.refresh.contains(&prefix)
            {
                continue;
            }
            let at = known.unwrap_or_else(|| {
                groups.push(Group { family, attributes, prefixes: VecDeque::new() });
                index.insert((family, chosen), groups.len() - 1);
                groups.len() - 1
            });
            groups[at].prefixes.push_back(exportable);
        }
        if !self.awaits_desired() {
            self.withdrawals.extend(self.sent.keys().filter(|prefix| !wanted.contains(prefix)));
        }
        self.announcements.extend(groups);
    }
}

/// The attributes with GRACEFUL_SHUTDOWN among the communities, which stay sorted.
fn about_to_go(chosen: &Arc<RouteAttributes>) -> Arc<RouteAttributes> {
    match chosen.communities.binary_search(&Community::GRACEFUL_SHUTDOWN) {
        Ok(_) => chosen.clone(),
        Err(at) => {
            let mut attributes = RouteAttributes::clone(chosen);
            attributes.communities.insert(at, Community::GRACEFUL_SHUTDOWN);
            Arc::new(attributes)
        }
    }
}

fn mark(family: Family, kind: RefreshKind, content: UpdateContent) -> UpdateBatch {
    let refresh = RouteRefresh { family: family.into(), kind };
    UpdateBatch { bytes: encoded(&Message::RouteRefresh(refresh)), messages: 1, content }
}
