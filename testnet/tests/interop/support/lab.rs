//! ```text
//! router ── 10.0.0.1, fd00::1 ══ cable ══ 10.0.0.2, fd00::2 ── PoP
//! ```

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    thread,
};

use proxima_api::SessionState;
use proxima_testnet::{
    link::{self, End},
    netns::NetNs,
    router::{Make, Path, Peering, Router, Session, Site, fib},
};
use proxima_types::Prefix;

use super::{Pop, pop::LOCAL_AS, tcp::tcp_counter, wait};

pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const ROUTER_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
pub(crate) const POP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const POP_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
pub(crate) const ROUTER_AS: u32 = 65001;
/// With a router between: the PoP's addresses, and those of the router between, towards the router and towards the PoP.
pub(crate) const FAR_POP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
pub(crate) const FAR_POP_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
pub(crate) const BETWEEN: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 254), Ipv4Addr::new(10, 0, 1, 254)];
const BETWEEN_IPV6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0xfe), Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0xfe)];
/// The interface of either host.
pub(crate) const INTERFACE: &str = "eth0";

/// How much of a log a failure shows.
const TAIL: usize = 12_000;

/// Both hosts. Nothing runs before [`Lab::start`], so that a test can say what it wants otherwise.
pub(crate) struct Lab {
    pub(crate) make: Make,
    pub(crate) peering: Peering,
    // Ends before the router does.
    pub(crate) pop: Pop,
    pub(crate) router: Box<dyn Router>,
    pub(crate) hosts: [NetNs; 2],
    /// The router between them, where there is one.
    pub(crate) between: Option<NetNs>,
}

fn end<'a>(ns: &'a NetNs, interface: &'a str, (ipv4, ipv6): (Ipv4Addr, Ipv6Addr)) -> End<'a> {
    End { ns, interface, addresses: vec![(ipv4.into(), 24), (ipv6.into(), 64)] }
}

impl Lab {
    pub(crate) fn new(make: Make) -> Self {
        Self::between(make, (ROUTER, ROUTER_IPV6), (POP, POP_IPV6))
    }

    /// The same with other addresses on the cable.
    pub(crate) fn between(make: Make, router: (Ipv4Addr, Ipv6Addr), pop: (Ipv4Addr, Ipv6Addr)) -> Self {
        let hosts = ["router", "pop"].map(|name| NetNs::create(name).unwrap());
        link::veth(&end(&hosts[0], INTERFACE, router), &end(&hosts[1], INTERFACE, pop)).unwrap();
        Self::of(make, hosts, router, pop)
    }

    /// With a router between that does nothing but forward, so that the TTL falls on the way; a network on either side.
    ///
    /// ```text
    /// router ── 10.0.0.1, fd00::1 ══ .254, fe  between  .254, fe ══ 10.0.1.2, fd00:1::2 ── PoP
    /// ```
    pub(crate) fn with_a_router_between(make: Make) -> Self {
        let hosts = ["router", "pop"].map(|name| NetNs::create(name).unwrap());
        let between = NetNs::create("between").unwrap();
        let ends = [(ROUTER, ROUTER_IPV6), (FAR_POP, FAR_POP_IPV6)];
        for ((host, addresses), (side, name)) in hosts.iter().zip(ends).zip([(0, "near"), (1, "far")]) {
            let middle = end(&between, name, (BETWEEN[side], BETWEEN_IPV6[side]));
            link::veth(&end(host, INTERFACE, addresses), &middle).unwrap();
            let (ipv4, ipv6) = ends[1 - side];
            host.add_route(Prefix::truncating(ipv4.into(), 24), BETWEEN[side].into()).unwrap();
            host.add_route(Prefix::truncating(ipv6.into(), 64), BETWEEN_IPV6[side].into()).unwrap();
        }
        let mut lab = Self::of(make, hosts, ends[0], ends[1]);
        lab.between = Some(between);
        lab
    }

    fn of(make: Make, hosts: [NetNs; 2], router: (Ipv4Addr, Ipv6Addr), pop: (Ipv4Addr, Ipv6Addr)) -> Self {
        for (host, address) in hosts.iter().zip([router.1, pop.1]) {
            // The kernel looks at an address once more after it was added, for others who have it, before it lets
            // programs use it.
            wait("usable IPv6 address", || {
                host.run(|| UdpSocket::bind((address, 0)).map(drop))
                    .unwrap()
                    .map_err(|error| error.to_string())
            });
        }
        let mut peering = Peering::new(ROUTER_AS, LOCAL_AS, router, pop.0.into());
        peering.passive = true;
        let dir = env::temp_dir();
        let router = make.at(Site { ns: hosts[0].clone(), dir: dir.join("router") }).unwrap();
        let pop = Pop::new(hosts[1].clone(), dir.join("pop"));
        Self { make, peering, pop, router, hosts, between: None }
    }

    /// Starts the router, then the daemon.
    pub(crate) fn start(&mut self) {
        self.start_router();
        self.pop.start();
    }

    pub(crate) fn start_router(&mut self) {
        self.router.start(&self.peering).unwrap();
    }

    /// Both, and waits until both sides have the session.
    pub(crate) fn establish(&mut self) {
        self.start();
        self.wait_established();
    }

    /// Waits until both sides have the session.
    pub(crate) fn wait_established(&self) -> Session {
        wait("established session", || {
            self.check();
            let session = self.router.session().unwrap();
            let ours = self.pop.peer();
            if session.established && ours.state == SessionState::Established {
                return Ok(session);
            }
            Err(format!("{:?} here and {} there", ours, session.told))
        })
    }

    /// Waits until the best path the router has to `prefix` is as wanted, and its kernel, where it has a part in that, sends
    /// packets that way.
    pub(crate) fn wait_path(&self, prefix: &str, what: &str, wanted: impl Fn(&Path) -> bool) -> Path {
        let prefix: Prefix = prefix.parse().unwrap();
        let path = wait(&format!("path of {} to {prefix}: {what}", self.make), || {
            self.check();
            let paths = self.router.rib(prefix).unwrap();
            match paths.first() {
                Some(path) if wanted(path) => Ok(path.clone()),
                _ => Err(format!("{paths:?}")),
            }
        });
        if self.make.has_fib() {
            wait(&format!("route to {prefix} in the kernel of {}: {path:?}", self.make), || {
                self.check();
                match self.fib(prefix).as_slice() {
                    [gateway] if self.leads_to(*gateway, &path) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            });
        }
        path
    }

    /// Whether that is the gateway of the path: its next hop, or the router on the way there. A global IPv6 next hop comes with the
    /// link-local one beside it (RFC 2545 §3), and routers take either.
    fn leads_to(&self, gateway: IpAddr, path: &Path) -> bool {
        let Some(next_hop) = path.next_hop else { return false };
        let link_local = matches!(gateway, IpAddr::V6(gateway) if gateway.is_unicast_link_local());
        match self.between {
            Some(_) => gateway == BETWEEN[0] || gateway == BETWEEN_IPV6[0],
            None => gateway == next_hop || (next_hop.is_ipv6() && link_local),
        }
    }

    /// Waits until the router has no path to `prefix`, and no route in its kernel.
    pub(crate) fn wait_gone(&self, prefix: &str) {
        let prefix: Prefix = prefix.parse().unwrap();
        wait(&format!("end of the paths of {} to {prefix}", self.make), || {
            self.check();
            let paths = self.router.rib(prefix).unwrap();
            if paths.is_empty() { Ok(()) } else { Err(format!("{paths:?}")) }
        });
        self.wait_fib(prefix, &[]);
    }

    /// Waits until the router's kernel sends packets for `prefix` to these gateways; asks nothing of a router that has
    /// no part in its kernel's table.
    pub(crate) fn wait_fib(&self, prefix: Prefix, gateways: &[IpAddr]) {
        if !self.make.has_fib() {
            return;
        }
        wait(&format!("route to {prefix} by {gateways:?} in the kernel of {}", self.make), || {
            self.check();
            let seen = self.fib(prefix);
            if seen == gateways { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// The gateways of the router's kernel for `prefix`.
    pub(crate) fn fib(&self, prefix: Prefix) -> Vec<IpAddr> {
        fib::gateways(&self.hosts[0], prefix).unwrap()
    }

    /// A TCP counter of the router's kernel.
    pub(crate) fn router_counter(&self, name: &str) -> u64 {
        self.hosts[0].run(|| tcp_counter(name)).unwrap()
    }

    /// A TCP counter of the PoP's kernel.
    pub(crate) fn pop_counter(&self, name: &str) -> u64 {
        self.hosts[1].run(|| tcp_counter(name)).unwrap()
    }

    /// Neither side has ended on its own.
    pub(crate) fn check(&self) {
        self.router.check().unwrap();
        self.pop.check();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            let router = self.router.log();
            let from = router.ceil_char_boundary(router.len().saturating_sub(TAIL));
            println!("=== {}\n{}\n=== proximad\n{}", self.make, &router[from..], self.pop.log());
        }
    }
}
