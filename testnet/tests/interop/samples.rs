//! The configurations that come with the product, `configs/`, on both sides of a session.
//!
//! The routers take theirs as they are. In the daemon's, what is not on the cable is changed: apps and their probes, the admin
//! socket, other peers, monitoring, and where the key lies.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use proxima_testnet::router::Make;
use toml::{Table, Value};

use crate::support::{APP_PORTS, Lab, in_sandbox, wait};

const ROUTER: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 1));
const POP: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 11), Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x11));
const IPV4: &str = "203.0.113.0/24";
const IPV6: &str = "2001:db8:ac::/48";
/// What the routers' samples have as the key.
const KEY: &str = "the-line-in-tor1.md5";

fn sample(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs")).join(name)
}

/// The daemon's sample with nothing changed of `tor1` but these lines.
fn configuration(lab: &Lab, file: &str, without: &[&str], with: &str) -> String {
    let mut config: Table = fs::read_to_string(sample(file)).unwrap().parse().unwrap();
    let bgp = config["bgp"].as_table_mut().unwrap();
    bgp.remove("bmp");
    bgp.remove("mrt");
    let peers = bgp["peers"].as_array_mut().unwrap();
    peers.retain(|peer| peer["name"].as_str() == Some("tor1"));
    let tor1 = peers[0].as_table_mut().unwrap();
    for key in without {
        tor1.remove(*key);
    }
    tor1.extend(with.parse::<Table>().unwrap());
    if let Some(path) = tor1.get_mut("password-file") {
        *path = Value::from(lab.pop.file("tor1.md5", KEY).display().to_string());
    }
    let probe: Table = "tcp = true\ninterval = \"200ms\"\ntimeout = \"200ms\"".parse().unwrap();
    for (_, pool) in config["pools"].as_table_mut().unwrap() {
        pool.as_table_mut().unwrap().insert("probe".to_owned(), probe.clone().into());
        for (number, backend) in (1..).zip(pool["backends"].as_array_mut().unwrap()) {
            // One app, by many addresses of this host.
            let address = SocketAddr::from(([127, 0, 0, number], APP_PORTS[0])).to_string();
            backend.as_table_mut().unwrap().insert("address".to_owned(), address.into());
        }
    }
    let admin = format!("socket = \"{}\"", lab.pop.socket().display());
    config.insert("admin".to_owned(), admin.parse::<Table>().unwrap().into());
    config.to_string()
}

/// The session comes up, and the router takes exactly what the daemon announces.
fn work_together(make: Make, router: &str, pop: &str, without: &[&str], with: &str) {
    let mut lab = Lab::between(make, ROUTER, POP);
    lab.peering.sample = Some(sample(router));
    lab.pop.whole = Some(configuration(&lab, pop, without, with));
    lab.start_router();
    // FRR takes nobody for some seconds after it has read its configuration, and the daemon would wait longer each time.
    wait("router that takes connections", || match lab.router.session().unwrap().told {
        told if told.contains("BGP state = Idle") => Err(told),
        _ => Ok(()),
    });
    lab.pop.start();
    lab.wait_established();
    for (text, next_hop) in [(IPV4, POP.0.into()), (IPV6, POP.1.into())] {
        lab.wait_path(text, "", |path| path.next_hop == Some(next_hop));
        lab.wait_fib(text.parse().unwrap(), &[next_hop]);
    }
}

#[test]
fn the_samples_of_the_daemon_and_of_bird_work_together() {
    in_sandbox(|| work_together(Make::Bird, "router-bird.conf", "example.toml", &[], ""));
}

#[test]
fn the_samples_of_the_daemon_and_of_frr_work_together() {
    in_sandbox(|| work_together(Make::Frr, "router-frr.conf", "peers.toml", &[], ""));
}

#[test]
fn the_samples_of_the_daemon_and_of_gobgp_work_together() {
    in_sandbox(|| work_together(Make::GoBgp, "router-gobgp.conf", "peers.toml", &["bfd", "role"], ""));
}

#[test]
fn the_samples_of_the_daemon_and_of_openbgpd_work_together() {
    in_sandbox(|| {
        work_together(Make::OpenBgpd, "router-openbgpd.conf", "peers.toml", &["bfd"], "passive = true");
    });
}
