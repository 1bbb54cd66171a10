//! How near other regions are, where something else than the round-trip time decides.
//!
//! ```text
//! routing table ─▶ a watch per address of a backend ─▶ a task each ─▶ bounded queue ─▶ Distances::learn
//!                                                                                           │ other places
//!                                                                                           ▼
//!                                                                                      new Snapshot
//! ```
//!
//! A watch holds what was told last, so that a table that changes faster than it is looked at costs one look.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use proxima_bgp_speaker::{BestPathRules, Route, SpeakerHandle, Watch};
use proxima_config::{Backend, Config, Distance};
use proxima_types::Prefix;
use tokio::{sync::mpsc, task::AbortHandle};

use crate::speaker::best_path;

/// How many changes may wait for the control task.
const QUEUE: usize = 64;
/// Where no route leads.
const NOWHERE: u32 = u32::MAX;

/// The best route to an address, now; none when no route leads there.
pub(crate) type Reached = (IpAddr, Option<Route>);

/// How far each backend is.
#[derive(Debug)]
pub(crate) struct Distances {
    by: Distance,
    rules: BestPathRules,
    routes: BTreeMap<IpAddr, Route>,
    /// From 0 for the nearest.
    places: BTreeMap<IpAddr, u32>,
}

/// What makes a backend as far as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why<'a> {
    /// Only the round-trip time counts.
    Time,
    /// The place of its region in the configuration, from 0.
    Configured(u32),
    /// A BGP path, its place from 0, and its LOCAL_PREF as it is compared.
    Path { place: u32, local_pref: u32, route: &'a Route },
    /// No BGP path leads to it.
    NoRoute,
}

impl Distances {
    /// As configured; no routes are known yet.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            by: config.data_plane.distance.clone(),
            rules: best_path(config),
            routes: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Takes another configuration. What is known of routes to its backends stays known.
    pub(crate) fn reconfigure(&mut self, config: &Config) {
        let mut before = std::mem::replace(self, Self::new(config));
        if self.by == Distance::Bgp {
            let backends = config.pools.values().flat_map(|pool| &pool.backends);
            let addresses: BTreeSet<IpAddr> = backends.map(|backend| backend.address.ip()).collect();
            before.routes.retain(|address, _| addresses.contains(address));
            self.learn(before.routes.into_iter().map(|(address, route)| (address, Some(route))));
        }
    }

    /// Takes changes over; true when some backend is now at another place.
    pub(crate) fn learn(&mut self, changes: impl IntoIterator<Item = Reached>) -> bool {
        for (address, route) in changes {
            match route {
                Some(route) => self.routes.insert(address, route),
                None => self.routes.remove(&address),
            };
        }
        let attributes = self.routes.values().map(|route| &route.shared.attributes);
        let places = self.routes.keys().copied().zip(self.rules.places(attributes)).collect();
        let changed = self.places != places;
        self.places = places;
        changed
    }

    /// What puts a backend before others of its kind: the least is the nearest.
    pub(crate) fn of(&self, backend: &Backend) -> u32 {
        match self.why(backend) {
            Why::Time => 0,
            Why::Configured(place) | Why::Path { place, .. } => place,
            Why::NoRoute => NOWHERE,
        }
    }

    /// The same with its reason.
    pub(crate) fn why(&self, backend: &Backend) -> Why<'_> {
        match &self.by {
            Distance::Rtt => Why::Time,
            Distance::Configured(order) => {
                let place = (0..).zip(order).find(|(_, region)| **region == backend.region);
                Why::Configured(place.map_or(NOWHERE, |(place, _)| place))
            }
            Distance::Bgp => {
                let address = backend.address.ip();
                match (self.routes.get(&address), self.places.get(&address)) {
                    (Some(route), Some(place)) => {
                        let local_pref = self.rules.local_pref(&route.shared.attributes);
                        Why::Path { place: *place, local_pref, route }
                    }
                    _ => Why::NoRoute,
                }
            }
        }
    }
}

/// Watches the routes to all backends, if they matter.
#[derive(Debug)]
pub(crate) struct Followers {
    speaker: SpeakerHandle,
    changes: mpsc::Sender<Reached>,
    /// They end with the speaker, or when nobody listens.
    tasks: BTreeMap<IpAddr, AbortHandle>,
}

impl Followers {
    /// Nothing is followed yet. What is comes to the receiver.
    pub(crate) fn new(speaker: SpeakerHandle) -> (Self, mpsc::Receiver<Reached>) {
        let (changes, receiver) = mpsc::channel(QUEUE);
        (Self { speaker, changes, tasks: BTreeMap::new() }, receiver)
    }

    /// Watches what `config` has, and nothing else, from now on.
    pub(crate) fn follow(&mut self, config: &Config) {
        let matter = config.data_plane.distance == Distance::Bgp;
        let backends = config.pools.values().filter(|_| matter).flat_map(|pool| &pool.backends);
        let addresses: BTreeSet<IpAddr> = backends.map(|backend| backend.address.ip()).collect();
        self.tasks.retain(|address, task| {
            let stays = addresses.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in addresses {
            let (speaker, changes) = (&self.speaker, &self.changes);
            self.tasks.entry(address).or_insert_with(|| {
                tokio::spawn(follow(address, speaker.clone(), changes.clone())).abort_handle()
            });
        }
    }
}

async fn follow(address: IpAddr, speaker: SpeakerHandle, changes: mpsc::Sender<Reached>) {
    let Ok(mut told) = speaker.watch(Watch::Covering(Prefix::host(address))).await else { return };
    while told.changed().await.is_ok() {
        let best = told.borrow_and_update().as_ref().and_then(|change| change.best.clone());
        if changes.send((address, best)).await.is_err() {
            return;
        }
    }
}
