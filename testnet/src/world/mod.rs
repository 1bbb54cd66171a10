//! A world: regions with a router, a PoP host, app servers and a client host, joined by WAN links.
//!
//! ```text
//!            client ─┐                                        ┌─ client
//!   PoP (proximad) ──┤ router (BIRD) ═══ WAN, eBGP ═══ router ├── PoP (proximad)
//!            app k ──┘                                        └─ app k
//! ```
//!
//! [`spec`] describes it, [`plan`] gives out the addresses, [`bird`] runs the routers, [`pop`] the daemons and
//! [`apps`] the app servers. Everything ends with the [`World`], and with the sandbox in any case.

pub mod apps;
pub mod bird;
pub mod plan;
pub mod pop;
pub mod spec;

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    time::{Duration, Instant},
};

use proxima_types::{Health, Prefix};

pub use self::{apps::App, bird::Router, plan::Addresses, pop::Pop, spec::WorldSpec};
use crate::{
    error::{Error, Result},
    link::{self, End, Shape, WanLink},
    netns::NetNs,
    wait::wait_until,
};

/// The interface every host but a router has.
pub const HOST_INTERFACE: &str = "eth0";

/// Routers that have not found each other by then never will.
const ROUTERS: Duration = Duration::from_secs(30);

/// What a world is started with besides its description.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `proximad` binary. Without it the PoP hosts are there but announce nothing.
    pub proximad: Option<PathBuf>,
    /// The binary whose `app` command is the app server: this program itself.
    pub app_server: PathBuf,
    /// Where configs, logs and sockets go. Its path must leave room for socket names (about 60 characters).
    pub work_dir: PathBuf,
    /// The seed of the WAN links' losses and jitter.
    pub seed: u64,
}

impl Options {
    /// Options for a world in `work_dir`, run by this very program.
    pub fn new(proximad: Option<PathBuf>, work_dir: impl Into<PathBuf>) -> Result<Self> {
        let app_server = std::env::current_exe().map_err(Error::io("finding this program's own binary"))?;
        Ok(Self { proximad, app_server, work_dir: work_dir.into(), seed: 1 })
    }
}

/// A host of the world: a network namespace with a name and one link to its router.
#[derive(Debug, Clone)]
pub struct Host {
    /// The host's name, such as `eu-client`; unique in the world.
    pub name: String,
    /// Its network namespace.
    pub ns: NetNs,
    /// Its addresses on [`HOST_INTERFACE`]; a router's are those towards the PoP.
    pub addresses: Addresses,
}

/// One region and everything in it.
#[derive(Debug)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// The jurisdiction of its backends.
    pub jurisdiction: String,
    /// Its number in the addressing plan, from 1.
    pub number: usize,
    /// Its router.
    pub router: Router,
    /// Its PoP host with the daemon.
    pub pop: Pop,
    /// Its app servers.
    pub apps: Vec<App>,
    /// The host its clients run on.
    pub client: Host,
}

impl Region {
    /// Kills every app server with SIGKILL; the moment just before the first kill.
    pub fn kill_apps(&self) -> Result<Instant> {
        let before = Instant::now();
        self.apps.iter().try_for_each(|app| app.kill().map(drop))?;
        Ok(before)
    }

    /// Starts every app server that is not running and waits until all listen.
    pub async fn start_apps(&self) -> Result<()> {
        for app in &self.apps {
            app.spawn()?;
        }
        for app in &self.apps {
            app.wait_listening().await?;
        }
        Ok(())
    }
}

/// A link between two regions' routers.
#[derive(Debug)]
pub struct Wan {
    /// The two regions; frames go [`link::Direction::Forth`] from the first to the second.
    pub between: [String; 2],
    /// The line.
    pub link: WanLink,
}

/// A running world. Dropping it ends its programs and removes its hosts.
#[derive(Debug)]
pub struct World {
    // Programs end before the links and hosts they use go away: fields are dropped in this order.
    regions: Vec<Region>,
    wans: Vec<Wan>,
    spec: WorldSpec,
    options: Options,
}

impl World {
    /// Builds the hosts and links, then starts the routers, the app servers (and waits until they listen) and, once
    /// the routers have converged, the daemons. Has to be called inside a [`crate::sandbox`] and on a tokio runtime.
    pub async fn start(spec: WorldSpec, options: Options) -> Result<Self> {
        bird::check_installed()?;
        for folder in ["logs", "etc", "run"] {
            let folder = options.work_dir.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io(format!("creating {}", folder.display())))?;
        }
        let regions = (1..=spec.regions.len())
            .map(|number| build_region(&spec, &options, number))
            .collect::<Result<Vec<_>>>()?;
        let wans = build_wans(&spec, &regions, options.seed)?;
        introduce_neighbours(&spec, &regions)?;
        for region in &regions {
            region.router.start()?;
            for app in &region.apps {
                app.spawn()?;
            }
        }
        for app in regions.iter().flat_map(|region| &region.apps) {
            app.wait_listening().await?;
        }
        let world = Self { regions, wans, spec, options };
        if world.options.proximad.is_some() {
            // So that no daemon's first verdict on a remote backend is about a network that was not there yet.
            world.wait_converged(ROUTERS).await?;
            world.regions.iter().try_for_each(|region| region.pop.start())?;
        }
        Ok(world)
    }

    /// The description it was made from.
    pub fn spec(&self) -> &WorldSpec {
        &self.spec
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Every region, in the description's order.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The region of this name.
    pub fn region(&self, name: &str) -> Result<&Region> {
        self.regions.iter().find(|region| region.name == name).ok_or_else(|| Error::Unknown {
            kind: "region",
            name: name.to_owned(),
            known: self.regions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }

    /// Every WAN link.
    pub fn wans(&self) -> &[Wan] {
        &self.wans
    }

    /// The WAN link between two regions, whichever is named first.
    pub fn wan(&self, one: &str, other: &str) -> Result<&Wan> {
        self.wans.iter().find(|wan| wan.between == [one, other] || wan.between == [other, one]).ok_or_else(
            || Error::Unknown {
                kind: "WAN link",
                name: format!("{one} – {other}"),
                known: self.wans.iter().map(|w| w.between.join(" – ")).collect::<Vec<_>>().join(", "),
            },
        )
    }

    /// The VIPs of the anycast prefixes: one address per prefix, in the description's order.
    pub fn anycast_vips(&self) -> Vec<IpAddr> {
        plan::anycast_vips(&self.spec)
    }

    /// The VIPs of the group pinned to one region; empty when there is none.
    pub fn pinned_vips(&self, region: &str) -> Vec<IpAddr> {
        self.pinned_prefixes(region).map(plan::vip).collect()
    }

    /// Waits until every BGP session is established, every router's kernel sends the anycast prefixes, and its
    /// region's pinned ones, to its own PoP, and every daemon sees every app that runs as up. Where no daemon runs:
    /// until the router's kernel knows the way to every other region.
    ///
    /// # Errors
    /// After `within`: all that is missing, with the ends of the logs that explain it. At once when a router or a
    /// daemon has ended on its own.
    pub async fn wait_converged(&self, within: Duration) -> Result<()> {
        wait_until(within, || {
            let mut missing = String::new();
            for region in &self.regions {
                missing += &self.missing_in(region, &self.regions)?;
            }
            Ok(missing)
        })
        .await
    }

    /// The same for one region, whatever the others are up to: its router's sessions and routes, and its daemon's verdicts on
    /// its own apps.
    ///
    /// # Errors
    /// As [`World::wait_converged`].
    pub async fn wait_region_converged(&self, region: &Region, within: Duration) -> Result<()> {
        wait_until(within, || self.missing_in(region, std::slice::from_ref(region))).await
    }

    /// What `region` still lacks, a line each, its view of the apps of `seen` included; empty when nothing.
    fn missing_in(&self, region: &Region, seen: &[Region]) -> Result<String> {
        region.router.check()?;
        region.pop.check()?;
        let router = &region.router.host.name;
        let with_daemon = region.pop.is_running();
        let mut missing = Vec::new();
        for session in region.router.sessions()? {
            if !session.established && (with_daemon || session.name != bird::POP_SESSION) {
                missing.push(format!("{router}: session {} is {}", session.name, session.state));
            }
        }
        for (prefix, by) in self.expected_routes(region) {
            match (region.router.fib_gateway(prefix)?, by) {
                (None, _) => missing.push(format!("{router}: no route to {prefix}")),
                (Some(got), Some(by)) if got != by => {
                    missing.push(format!("{router}: {prefix} goes by {got}, not {by}"));
                }
                _ => {}
            }
        }
        if with_daemon {
            missing.extend(unseen_by(&region.pop, seen));
        }
        if missing.is_empty() {
            return Ok(String::new());
        }
        missing.push(format!("log of {router}:\n{}", region.router.log_tail()));
        if with_daemon {
            missing.push(format!("log of {}:\n{}", region.pop.host.name, region.pop.log_tail()));
        }
        Ok(missing.join("\n") + "\n")
    }

    /// The routes a region's router must have, and by which gateway if that matters.
    fn expected_routes(&self, region: &Region) -> Vec<(Prefix, Option<IpAddr>)> {
        if region.pop.is_running() {
            let own = self.pinned_prefixes(&region.name);
            let pop = region.pop.host.addresses;
            let all = self.spec.anycast.prefixes.iter().copied().chain(own);
            return all.map(|prefix| (prefix, Some(pop.of_family(prefix.address())))).collect();
        }
        let others = self.regions.iter().filter(|other| other.number != region.number);
        others
            .flat_map(|other| plan::pop_link(other.number).networks())
            .map(|prefix| (prefix, None))
            .collect()
    }

    fn pinned_prefixes(&self, region: &str) -> impl Iterator<Item = Prefix> {
        self.spec.pinned.iter().filter(move |group| group.region == region).flat_map(|g| g.prefixes.clone())
    }
}

/// The running apps of these regions that a daemon does not see as up.
fn unseen_by(pop: &Pop, regions: &[Region]) -> Vec<String> {
    let name = &pop.host.name;
    let backends = match pop.backends() {
        Ok(answer) => answer.backends,
        // Not there yet, which time may mend.
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let apps = regions.iter().flat_map(|region| &region.apps).filter(|app| app.is_running());
    let running: BTreeSet<&str> = apps.map(App::name).collect();
    backends
        .iter()
        .filter(|backend| running.contains(backend.id.name()) && backend.health != Health::Up)
        .map(|backend| format!("{name}: {} is {}", backend.id, backend.health))
        .collect()
}

fn build_region(spec: &WorldSpec, options: &Options, number: usize) -> Result<Region> {
    let region = &spec.regions[number - 1];
    let name = &region.name;
    let pop_link = plan::pop_link(number);
    let router = Host {
        name: format!("{name}-router"),
        ns: NetNs::create(&format!("{name}-router"))?,
        addresses: pop_link.near,
    };
    let attach = |host: &str, interface: &str, ends: plan::Ends| {
        attach_by(&router.ns, interface, host, ends, &Cable::Lan).map(|(host, _)| host)
    };
    let pop = attach(&format!("{name}-pop"), "pop", pop_link)?;
    let client = attach(&format!("{name}-client"), "client", plan::client_link(number))?;
    let apps = (1..=region.apps)
        .map(|app| {
            let cable = if region.app_lines {
                Cable::Line { seed: options.seed.wrapping_add(number as u64 * 1000 + u64::from(app)) }
            } else {
                Cable::Lan
            };
            let (host, interface) = (format!("{name}-{app}"), format!("app{app}"));
            let (host, line) = attach_by(&router.ns, &interface, &host, plan::app_link(number, app), &cable)?;
            Ok(App::new(host, line, name, options))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Region {
        name: name.clone(),
        jurisdiction: region.jurisdiction.clone(),
        number,
        router: Router::new(router, spec, number, options)?,
        pop: Pop::new(pop, spec, number, options)?,
        apps,
        client,
    })
}

/// What a host is connected by.
enum Cable {
    /// A veth pair.
    Lan,
    /// An emulated line without delay.
    Line { seed: u64 },
}

/// Makes a host and connects it to its router, by which it reaches everything else.
fn attach_by(
    router: &NetNs,
    interface: &str,
    name: &str,
    ends: plan::Ends,
    cable: &Cable,
) -> Result<(Host, Option<WanLink>)> {
    let ns = NetNs::create(name)?;
    let near = End { ns: router, interface, addresses: ends.near.with_lengths() };
    let far = End { ns: &ns, interface: HOST_INTERFACE, addresses: ends.far.with_lengths() };
    let line = match cable {
        Cable::Lan => link::veth(&near, &far).map(|()| None)?,
        Cable::Line { seed } => Some(WanLink::create(&near, &far, Shape::delay(Duration::ZERO), *seed)?),
    };
    ns.add_route(Prefix::truncating(Ipv4Addr::UNSPECIFIED.into(), 0), ends.near.v4.into())?;
    ns.add_route(Prefix::truncating(Ipv6Addr::UNSPECIFIED.into(), 0), ends.near.v6.into())?;
    Ok((Host { name: name.to_owned(), ns, addresses: ends.far }, line))
}

/// Has the routers resolve each other's addresses now, which would cost the first IPv6 packet over a WAN link up to
/// two more round trips: the sessions run over IPv4 and resolve only that.
fn introduce_neighbours(spec: &WorldSpec, regions: &[Region]) -> Result<()> {
    for region in regions {
        let ends = bird::neighbours(spec, region.number).into_iter().map(|other| {
            let ends = plan::wan_link(region.number, other);
            if region.number < other { ends.far } else { ends.near }
        });
        let addresses: Vec<IpAddr> = ends.flat_map(|end| [end.v4.into(), end.v6.into()]).collect();
        region.router.host.ns.greet(&addresses)?;
        region.pop.host.ns.greet(&[plan::pop_link(region.number).near.v6.into()])?;
    }
    Ok(())
}

fn build_wans(spec: &WorldSpec, regions: &[Region], seed: u64) -> Result<Vec<Wan>> {
    let number = |name: &String| regions.iter().position(|region| region.name == *name);
    (0..)
        .zip(&spec.wan)
        .map(|(nth, wan)| {
            let (Some(one), Some(other)) = (number(&wan.between[0]), number(&wan.between[1])) else {
                return Err(Error::Spec(format!("a WAN link leads nowhere: {:?}", wan.between)));
            };
            let ends = plan::wan_link(one + 1, other + 1);
            let (first, second) = if one < other { (ends.near, ends.far) } else { (ends.far, ends.near) };
            let names = [bird::wan_interface(&regions[other].name), bird::wan_interface(&regions[one].name)];
            let shape = Shape::delay(wan.delay).with_jitter(wan.jitter).with_loss(wan.loss);
            let line = WanLink::create(
                &End {
                    ns: &regions[one].router.host.ns,
                    interface: &names[0],
                    addresses: first.with_lengths(),
                },
                &End {
                    ns: &regions[other].router.host.ns,
                    interface: &names[1],
                    addresses: second.with_lengths(),
                },
                shape,
                seed.wrapping_add(nth),
            )?;
            Ok(Wan { between: wan.between.clone(), link: line })
        })
        .collect()
}
