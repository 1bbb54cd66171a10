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
}

impl Lab {
    pub(crate) fn new(make: Make) -> Self {
        Self::between(make, (ROUTER, ROUTER_IPV6), (POP, POP_IPV6))
    }

    /// The same with other addresses on the cable.
    pub(crate) fn between(make: Make, router: (Ipv4Addr, Ipv6Addr), pop: (Ipv4Addr, Ipv6Addr)) -> Self {
        let hosts = ["router", "pop"].map(|name| NetNs::create(name).unwrap());
        let end = |host: usize, (ipv4, ipv6): (Ipv4Addr, Ipv6Addr)| End {
            ns: &hosts[host],
            interface: INTERFACE,
            addresses: vec![(ipv4.into(), 24), (ipv6.into(), 64)],
        };
        link::veth(&end(0, router), &end(1, pop)).unwrap();
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
        Self { make, peering, pop, router, hosts }
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

    /// Waits until the best path the router has to `prefix` is as wanted.
    pub(crate) fn wait_path(&self, prefix: &str, what: &str, wanted: impl Fn(&Path) -> bool) -> Path {
        let prefix: Prefix = prefix.parse().unwrap();
        wait(&format!("path of {} to {prefix}: {what}", self.make), || {
            self.check();
            let paths = self.router.rib(prefix).unwrap();
            match paths.first() {
                Some(path) if wanted(path) => Ok(path.clone()),
                _ => Err(format!("{paths:?}")),
            }
        })
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
