//! The world on stage: its observers, its clients, its end.

use std::{path::Path, sync::Arc, time::Duration};

use proxima_types::Prefix;
use serde::Serialize;

use super::{FAILING, Options};
use crate::{
    crowd::{self, Crowd, POP_INTERFACE, workload},
    error::{Error, Result},
    load::{Kind, Outcome, Workload, arrivals::Random},
    observe::{FibWatch, Follower, Journal, MarkerWatch, WireWatch, bgp::Message, fence::Sightings},
    world::{Region, World, WorldSpec, bird::wan_interface},
};

const CONVERGENCE: Duration = Duration::from_secs(30);

/// Requests per second of each family, for each kind.
const WORK_RATE_FAILING: f64 = 150.0;
const WORK_RATE_OTHERS: f64 = 60.0;
const STREAM_RATE: f64 = 5.0;
const FENCED_RATE: f64 = 5.0;
/// Clients here also send fenced requests to the anycast address.
const FENCED_ABROAD: &str = "us-east";
/// A stream of two seconds.
const TOKENS: u32 = 40;

/// Everything that runs during a demo.
#[derive(Debug)]
pub(super) struct Stage {
    // Clients and observers end before the hosts they are on: fields are dropped in this order.
    clients: Crowd,
    outcomes: Arc<Journal<Outcome>>,
    wires: Vec<(String, WireWatch)>,
    fib: FibWatch,
    fence: FenceWatch,
    events: Follower,
    prefixes: [Prefix; 2],
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
        let spec = WorldSpec::three_regions();
        let world = crowd::converged(spec, options.seed, proximad, work_dir, CONVERGENCE).await?;
        let failing = world.region(FAILING)?;
        let router = &failing.router.host;
        let wires = world
            .regions()
            .iter()
            .map(|region| Ok((region.name.clone(), crowd::watch_wire(region)?)))
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
        let prefixes = crowd::both_families(&world)?;
        let outcomes = Arc::new(Journal::default());
        let of_region = |region: &Region| workloads(&world, &region.name, options.load, &marker);
        let clients = Crowd::start(&world, options.seed, TOKENS, of_region, &outcomes)?;
        Ok(Self {
            clients,
            outcomes,
            wires,
            fib,
            fence: FenceWatch { borders, control },
            events,
            prefixes,
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
    pub(super) async fn end(mut self) -> Result<Ended> {
        const PATIENCE: Duration = Duration::from_secs(3);
        self.clients.silence(PATIENCE).await;
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

fn workloads(world: &World, region: &str, factor: f64, marker: &Arc<str>) -> Vec<Workload> {
    let work = if region == FAILING { WORK_RATE_FAILING } else { WORK_RATE_OTHERS };
    let mut all = Vec::new();
    for vip in world.anycast_vips() {
        all.push(workload(Kind::Work, vip, factor * work, None));
        all.push(workload(Kind::Stream, vip, factor * STREAM_RATE, None));
    }
    if region == FENCED_ABROAD {
        // No marker: with the apps alive these rightly cross the border.
        let fenced = |vip| workload(Kind::Fenced, vip, factor * FENCED_RATE, None);
        all.extend(world.anycast_vips().into_iter().map(fenced));
    }
    for vip in world.pinned_vips(region) {
        all.push(workload(Kind::Fenced, vip, factor * FENCED_RATE, Some(Arc::clone(marker))));
    }
    all
}
