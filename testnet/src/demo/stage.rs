//! The world on stage: its observers, its clients, its end.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use proxima_types::{Family, Prefix};
use serde::Serialize;

use super::{FAILING, Options};
use crate::{
    error::{Error, Result},
    load::{Generator, Kind, Outcome, Plan, Workload, arrivals::Random},
    netns::NsRuntime,
    observe::{FibWatch, Follower, Journal, MarkerWatch, WireWatch, bgp::Message, fence::Sightings},
    world::{self, Region, World, WorldSpec, bird::wan_interface},
};

const CONVERGENCE: Duration = Duration::from_secs(30);
const HOST: &str = "api.example.com";
const PORT: u16 = 80;

/// Requests per second of each family, for each kind.
const WORK_RATE_FAILING: f64 = 150.0;
const WORK_RATE_OTHERS: f64 = 60.0;
const STREAM_RATE: f64 = 5.0;
const FENCED_RATE: f64 = 5.0;
/// Clients here also send fenced requests to the anycast address.
const FENCED_ABROAD: &str = "us-east";
/// A stream of two seconds.
const TOKENS: u32 = 40;
const TOKEN_INTERVAL: Duration = Duration::from_millis(50);

/// The interface of a router to its PoP.
const POP_INTERFACE: &str = "pop";

/// Everything that runs during a demo.
#[derive(Debug)]
pub(super) struct Stage {
    // Clients and observers end before the hosts they are on: fields are dropped in this order.
    generators: Vec<Generator>,
    outcomes: Arc<Journal<Outcome>>,
    wires: Vec<(String, WireWatch)>,
    fib: FibWatch,
    fence: FenceWatch,
    events: Follower,
    prefixes: [Prefix; 2],
    _runtimes: Vec<NsRuntime>,
    world: World,
}

/// Captures that look for the fenced requests' marker.
#[derive(Debug)]
struct FenceWatch {
    /// By the region the link leads to.
    borders: Vec<(String, MarkerWatch)>,
    /// The link to the PoP, where the marker must be seen.
    control: MarkerWatch,
}

/// What the observers hold once all is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) outcomes: Arc<Journal<Outcome>>,
    /// BGP of every region's PoP.
    pub(super) wires: Vec<Wire>,
    pub(super) borders: Vec<Border>,
    /// The marker on the link to the PoP, where it must be seen.
    pub(super) control: Border,
    /// The failing region's daemon's last words.
    pub(super) daemon_log: Option<String>,
}

/// How well a PoP's BGP session could be followed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Wire {
    /// The PoP's region.
    pub(super) pop: String,
    /// Messages of either side that made no sense.
    pub(super) unreadable: usize,
    /// Frames the capture missed.
    pub(super) frames_dropped: u64,
}

/// What a link showed of the fenced requests.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Border {
    /// Where the link leads.
    pub(super) towards: String,
    /// Occurrences of the marker.
    pub(super) marker_seen: u64,
    /// Octets searched.
    pub(super) octets: u64,
    /// Frames searched.
    pub(super) frames: u64,
    /// Frames the capture missed.
    pub(super) frames_dropped: u64,
}

impl Stage {
    /// Makes the world, waits until it has converged, then starts observers and clients.
    pub(super) async fn build(options: &Options, proximad: &Path, work_dir: &Path) -> Result<Self> {
        let mut world_options = world::Options::new(Some(proximad.to_owned()), work_dir)?;
        world_options.seed = options.seed;
        let world = World::start(WorldSpec::three_regions(), world_options).await?;
        world.wait_converged(CONVERGENCE).await?;
        let failing = world.region(FAILING)?;
        let router = &failing.router.host;
        let wires = world
            .regions()
            .iter()
            .map(|region| Ok((region.name.clone(), watch_wire(region)?)))
            .collect::<Result<Vec<_>>>()?;
        let fib = FibWatch::start(&router.ns, POP_INTERFACE).await?;
        let marker: Arc<str> =
            format!("fenced-{:016x}", Random::new(options.seed ^ 0xfe4c_e000).bits()).into();
        let borders = world.regions().iter().filter(|region| region.name != FAILING);
        let borders = borders
            .map(|region| {
                let interface = wan_interface(&region.name);
                Ok((region.name.clone(), MarkerWatch::start(&router.ns, &interface, &marker)?))
            })
            .collect::<Result<Vec<_>>>()?;
        let control = MarkerWatch::start(&router.ns, POP_INTERFACE, &marker)?;
        let events = Follower::start(failing.pop.admin_socket());
        let prefixes = both_families(&world.spec().anycast.prefixes)?;
        let outcomes = Arc::new(Journal::default());
        let (generators, runtimes) = start_clients(&world, options, &marker, &outcomes)?;
        Ok(Self {
            generators,
            outcomes,
            wires,
            fib,
            fence: FenceWatch { borders, control },
            events,
            prefixes,
            _runtimes: runtimes,
            world,
        })
    }

    /// The region that fails.
    pub(super) fn failing(&self) -> Result<&Region> {
        self.world.region(FAILING)
    }

    /// The anycast prefixes, IPv4 first.
    pub(super) fn prefixes(&self) -> [Prefix; 2] {
        self.prefixes
    }

    /// The name of the anycast group.
    pub(super) fn group(&self) -> &str {
        &self.world.spec().anycast.name
    }

    pub(super) fn region_names(&self) -> Vec<String> {
        self.world.regions().iter().map(|region| region.name.clone()).collect()
    }

    pub(super) fn outcomes(&self) -> Arc<Journal<Outcome>> {
        Arc::clone(&self.outcomes)
    }

    /// BGP between the failing region's PoP and its router.
    pub(super) fn wire(&self) -> Result<&WireWatch> {
        let found = self.wires.iter().find(|(region, _)| region == FAILING);
        found.map(|(_, wire)| wire).ok_or_else(|| Error::Spec(format!("there is no region {FAILING}")))
    }

    /// BGP of every region's PoP.
    pub(super) fn wires(&self) -> &[(String, WireWatch)] {
        &self.wires
    }

    /// The failing region's router's kernel.
    pub(super) fn fib(&self) -> &FibWatch {
        &self.fib
    }

    /// The failing region's daemon's own account.
    pub(super) fn events(&self) -> &Follower {
        &self.events
    }

    /// Stops the clients, lets the captures run dry, and hands over what was seen.
    pub(super) async fn end(self) -> Result<Ended> {
        const PATIENCE: Duration = Duration::from_secs(3);
        let stopping = self.generators.into_iter().map(|generator| generator.stop(PATIENCE));
        futures_util::future::join_all(stopping).await;
        let daemon_log = self.world.region(FAILING).ok().map(|region| region.pop.log_tail());
        let borders =
            self.fence.borders.into_iter().map(|(region, watch)| Ok(Border::new(region, watch.finish()?)));
        let wires = self.wires.into_iter().map(|(region, watch)| Wire::new(region, watch));
        Ok(Ended {
            wires: wires.collect::<Result<_>>()?,
            borders: borders.collect::<Result<_>>()?,
            control: Border::new(format!("the PoP of {FAILING}"), self.fence.control.finish()?),
            outcomes: self.outcomes,
            daemon_log,
        })
    }
}

impl Wire {
    fn new(pop: String, watch: WireWatch) -> Result<Self> {
        let (seen, capture) = watch.finish()?;
        let unreadable =
            seen.read(0, |seen| seen.iter().filter(|seen| seen.message == Message::Unreadable).count());
        Ok(Self { pop, unreadable, frames_dropped: capture.dropped })
    }
}

impl Border {
    fn new(towards: String, seen: Sightings) -> Self {
        Self {
            towards,
            marker_seen: seen.hits,
            octets: seen.octets,
            frames: seen.capture.frames,
            frames_dropped: seen.capture.dropped,
        }
    }
}

fn watch_wire(region: &Region) -> Result<WireWatch> {
    let pop = region.pop.host.addresses;
    WireWatch::start(&region.router.host.ns, POP_INTERFACE, vec![pop.v4.into(), pop.v6.into()])
}

fn both_families(prefixes: &[Prefix]) -> Result<[Prefix; 2]> {
    let of = |family| prefixes.iter().copied().find(|prefix| prefix.family() == family);
    match (of(Family::Ipv4), of(Family::Ipv6)) {
        (Some(v4), Some(v6)) => Ok([v4, v6]),
        _ => Err(Error::Spec("the demo needs an anycast prefix of each family".to_owned())),
    }
}

fn start_clients(
    world: &World,
    options: &Options,
    marker: &Arc<str>,
    outcomes: &Arc<Journal<Outcome>>,
) -> Result<(Vec<Generator>, Vec<NsRuntime>)> {
    let (mut generators, mut runtimes) = (Vec::new(), Vec::new());
    for region in world.regions() {
        let plan = Plan {
            region: region.name.as_str().into(),
            host: HOST.to_owned(),
            seed: options.seed.wrapping_mul(1000).wrapping_add(region.number as u64 * 100),
            tokens: TOKENS,
            token_interval: TOKEN_INTERVAL,
            workloads: workloads(world, &region.name, options.load, marker),
        };
        let runtime = region.client.ns.runtime(&region.client.name)?;
        generators.push(Generator::start(runtime.handle(), &plan, outcomes));
        runtimes.push(runtime);
    }
    Ok((generators, runtimes))
}

fn workloads(world: &World, region: &str, factor: f64, marker: &Arc<str>) -> Vec<Workload> {
    let work = if region == FAILING { WORK_RATE_FAILING } else { WORK_RATE_OTHERS };
    let workload = |kind, address: &IpAddr, rate: f64, marker| Workload {
        kind,
        target: (*address, PORT).into(),
        rate: rate * factor,
        marker,
    };
    let mut all = Vec::new();
    for vip in &world.anycast_vips() {
        all.push(workload(Kind::Work, vip, work, None));
        all.push(workload(Kind::Stream, vip, STREAM_RATE, None));
    }
    if region == FENCED_ABROAD {
        // No marker: with the apps alive these rightly cross the border.
        all.extend(world.anycast_vips().iter().map(|vip| workload(Kind::Fenced, vip, FENCED_RATE, None)));
    }
    for vip in &world.pinned_vips(region) {
        all.push(workload(Kind::Fenced, vip, FENCED_RATE, Some(Arc::clone(marker))));
    }
    all
}
