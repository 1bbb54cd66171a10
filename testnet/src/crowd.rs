//! What the demo and the faults set up alike: a world that has converged, who watches its routers, and clients in every region.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use proxima_types::{Family, Prefix};

use crate::{
    error::{Error, Result},
    load::{Generator, Kind, Outcome, Plan, Workload},
    netns::NsRuntime,
    observe::{Journal, WireWatch},
    world::{self, Region, World, WorldSpec},
};

const HOST: &str = "api.example.com";
const PORT: u16 = 80;
const TOKEN_INTERVAL: Duration = Duration::from_millis(50);

/// The interface of a router to its PoP.
pub(crate) const POP_INTERFACE: &str = "pop";

/// Makes a world that runs `proximad`, and waits until it has converged.
pub(crate) async fn converged(
    spec: WorldSpec,
    seed: u64,
    proximad: &Path,
    work_dir: &Path,
    within: Duration,
) -> Result<World> {
    let mut options = world::Options::new(Some(proximad.to_owned()), work_dir)?;
    options.seed = seed;
    let world = World::start(spec, options).await?;
    world.wait_converged(within).await?;
    Ok(world)
}

/// The world's anycast prefixes, IPv4 first.
pub(crate) fn both_families(world: &World) -> Result<[Prefix; 2]> {
    let prefixes = &world.spec().anycast.prefixes;
    let of = |family| prefixes.iter().copied().find(|prefix| prefix.family() == family);
    match (of(Family::Ipv4), of(Family::Ipv6)) {
        (Some(v4), Some(v6)) => Ok([v4, v6]),
        _ => Err(Error::Spec("the world needs an anycast prefix of each family".to_owned())),
    }
}

/// Watches BGP between a region's PoP and its router.
pub(crate) fn watch_wire(region: &Region) -> Result<WireWatch> {
    let pop = region.pop.host.addresses;
    WireWatch::start(&region.router.host.ns, POP_INTERFACE, vec![pop.v4.into(), pop.v6.into()])
}

/// Requests of `kind` to the service's port at `address`, so many a second.
pub(crate) fn workload(kind: Kind, address: IpAddr, rate: f64, marker: Option<Arc<str>>) -> Workload {
    Workload { kind, target: (address, PORT).into(), rate, marker }
}

/// The clients of all regions. They end before the hosts they are on: to be dropped before the world.
#[derive(Debug)]
pub(crate) struct Crowd {
    generators: Vec<Generator>,
    _runtimes: Vec<NsRuntime>,
}

impl Crowd {
    /// Clients in every region, whose requests `workloads` says and whose streams have so many tokens, 50 ms apart.
    pub(crate) fn start(
        world: &World,
        seed: u64,
        tokens: u32,
        workloads: impl Fn(&Region) -> Vec<Workload>,
        outcomes: &Arc<Journal<Outcome>>,
    ) -> Result<Self> {
        let (mut generators, mut runtimes) = (Vec::new(), Vec::new());
        for region in world.regions() {
            let plan = Plan {
                region: region.name.as_str().into(),
                host: HOST.to_owned(),
                seed: seed.wrapping_mul(1000).wrapping_add(region.number as u64 * 100),
                tokens,
                token_interval: TOKEN_INTERVAL,
                workloads: workloads(region),
            };
            let runtime = region.client.ns.runtime(&region.client.name)?;
            generators.push(Generator::start(runtime.handle(), &plan, outcomes));
            runtimes.push(runtime);
        }
        Ok(Self { generators, _runtimes: runtimes })
    }

    /// Ends the clients once their last requests have ended, at most after `patience`.
    pub(crate) async fn silence(&mut self, patience: Duration) {
        let stopping = self.generators.drain(..).map(|generator| generator.stop(patience));
        futures_util::future::join_all(stopping).await;
    }
}
