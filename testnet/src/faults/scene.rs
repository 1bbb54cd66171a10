//! The world of the faults, with an observer of each region and clients everywhere.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use proxima_types::Prefix;

use crate::{
    crowd::{self, Crowd, POP_INTERFACE, workload},
    error::{Error, Result},
    load::{Kind, Outcome, Workload},
    observe::{FibWatch, Follower, Journal, WireWatch},
    world::{Region, World, WorldSpec},
};

const CONVERGENCE: Duration = Duration::from_mins(1);
/// Small requests a second, of each region's clients by each family.
const WORK_RATE: f64 = 15.0;
/// Token streams a second, the same.
const STREAM_RATE: f64 = 2.0;
/// A stream of one second.
const TOKENS: u32 = 20;

/// Everything that runs while faults are injected.
#[derive(Debug)]
pub(super) struct Scene {
    // Clients and observers end before the hosts they are on: fields are dropped in this order.
    clients: Crowd,
    pub(super) outcomes: Arc<Journal<Outcome>>,
    seats: Vec<Seat>,
    pub(super) prefixes: [Prefix; 2],
    pub(super) world: World,
}

/// Who watches one region.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) region: String,
    /// BGP between its PoP and its router.
    pub(super) wire: WireWatch,
    /// Its router's kernel.
    pub(super) fib: FibWatch,
    /// Its daemon's own account.
    pub(super) events: Follower,
}

impl Scene {
    /// Makes the world, waits until it has converged, then starts observers and clients.
    pub(super) async fn build(spec: WorldSpec, seed: u64, proximad: &Path, work_dir: &Path) -> Result<Self> {
        let world = crowd::converged(spec, seed, proximad, work_dir, CONVERGENCE).await?;
        let mut seats = Vec::new();
        for region in world.regions() {
            seats.push(Seat::take(region).await?);
        }
        let prefixes = crowd::both_families(&world)?;
        let outcomes = Arc::new(Journal::default());
        let everywhere = |_: &Region| world.anycast_vips().iter().flat_map(workloads).collect();
        let clients = Crowd::start(&world, seed, TOKENS, everywhere, &outcomes)?;
        Ok(Self { clients, outcomes, seats, prefixes, world })
    }

    /// The observers of a region.
    pub(super) fn seat(&self, region: &str) -> Result<&Seat> {
        let found = self.seats.iter().find(|seat| seat.region == region);
        found.ok_or_else(|| Error::Spec(format!("nobody watches {region}")))
    }

    /// The observers of every region.
    pub(super) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The name of the anycast group.
    pub(super) fn group(&self) -> &str {
        &self.world.spec().anycast.name
    }

    /// Ends the clients once their last requests have ended, at most after `patience`.
    pub(super) async fn silence(&mut self, patience: Duration) {
        self.clients.silence(patience).await;
    }
}

impl Seat {
    async fn take(region: &Region) -> Result<Self> {
        Ok(Self {
            region: region.name.clone(),
            wire: crowd::watch_wire(region)?,
            fib: FibWatch::start(&region.router.host.ns, POP_INTERFACE).await?,
            events: Follower::start(region.pop.admin_socket()),
        })
    }
}

fn workloads(vip: &IpAddr) -> [Workload; 2] {
    [(Kind::Work, WORK_RATE), (Kind::Stream, STREAM_RATE)]
        .map(|(kind, rate)| workload(kind, *vip, rate, None))
}
