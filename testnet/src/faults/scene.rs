//! The world of the faults, with an observer of each region and clients everywhere.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use proxima_types::{Family, Prefix};

use crate::{
    error::{Error, Result},
    load::{Generator, Kind, Outcome, Plan, Workload},
    netns::NsRuntime,
    observe::{FibWatch, Follower, Journal, WireWatch},
    world::{self, Region, World, WorldSpec},
};

const CONVERGENCE: Duration = Duration::from_mins(1);
const HOST: &str = "api.example.com";
const PORT: u16 = 80;
/// Small requests a second, of each region's clients by each family.
const WORK_RATE: f64 = 15.0;
/// Token streams a second, the same.
const STREAM_RATE: f64 = 2.0;
/// A stream of one second.
const TOKENS: u32 = 20;
const TOKEN_INTERVAL: Duration = Duration::from_millis(50);
/// The interface of a router to its PoP.
const POP_INTERFACE: &str = "pop";

/// Everything that runs while faults are injected.
#[derive(Debug)]
pub(super) struct Scene {
    // Clients and observers end before the hosts they are on: fields are dropped in this order.
    generators: Vec<Generator>,
    pub(super) outcomes: Arc<Journal<Outcome>>,
    seats: Vec<Seat>,
    pub(super) prefixes: [Prefix; 2],
    _runtimes: Vec<NsRuntime>,
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
        let mut options = world::Options::new(Some(proximad.to_owned()), work_dir)?;
        options.seed = seed;
        let world = World::start(spec, options).await?;
        world.wait_converged(CONVERGENCE).await?;
        let mut seats = Vec::new();
        for region in world.regions() {
            seats.push(Seat::take(region).await?);
        }
        let prefixes = both_families(&world.spec().anycast.prefixes)?;
        let outcomes = Arc::new(Journal::default());
        let (generators, runtimes) = start_clients(&world, seed, &outcomes)?;
        Ok(Self { generators, outcomes, seats, prefixes, _runtimes: runtimes, world })
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
        let stopping = self.generators.drain(..).map(|generator| generator.stop(patience));
        futures_util::future::join_all(stopping).await;
    }
}

impl Seat {
    async fn take(region: &Region) -> Result<Self> {
        let (router, pop) = (&region.router.host.ns, region.pop.host.addresses);
        Ok(Self {
            region: region.name.clone(),
            wire: WireWatch::start(router, POP_INTERFACE, vec![pop.v4.into(), pop.v6.into()])?,
            fib: FibWatch::start(router, POP_INTERFACE).await?,
            events: Follower::start(region.pop.admin_socket()),
        })
    }
}

fn both_families(prefixes: &[Prefix]) -> Result<[Prefix; 2]> {
    let of = |family| prefixes.iter().copied().find(|prefix| prefix.family() == family);
    match (of(Family::Ipv4), of(Family::Ipv6)) {
        (Some(v4), Some(v6)) => Ok([v4, v6]),
        _ => Err(Error::Spec("faults need an anycast prefix of each family".to_owned())),
    }
}

fn start_clients(
    world: &World,
    seed: u64,
    outcomes: &Arc<Journal<Outcome>>,
) -> Result<(Vec<Generator>, Vec<NsRuntime>)> {
    let (mut generators, mut runtimes) = (Vec::new(), Vec::new());
    for region in world.regions() {
        let plan = Plan {
            region: region.name.as_str().into(),
            host: HOST.to_owned(),
            seed: seed.wrapping_mul(1000).wrapping_add(region.number as u64 * 100),
            tokens: TOKENS,
            token_interval: TOKEN_INTERVAL,
            workloads: world.anycast_vips().iter().flat_map(workloads).collect(),
        };
        let runtime = region.client.ns.runtime(&region.client.name)?;
        generators.push(Generator::start(runtime.handle(), &plan, outcomes));
        runtimes.push(runtime);
    }
    Ok((generators, runtimes))
}

fn workloads(vip: &IpAddr) -> [Workload; 2] {
    [(Kind::Work, WORK_RATE), (Kind::Stream, STREAM_RATE)].map(|(kind, rate)| Workload {
        kind,
        target: (*vip, PORT).into(),
        rate,
        marker: None,
    })
}
