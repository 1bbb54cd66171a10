//! FRR: zebra and bgpd, and bfdd where BFD is wanted, each started by hand.
//!
//! All sockets are in the router's own directory (`--vty_socket`, `-z`). Routes change line by line, as by a person.

use std::{
    fmt::Write as _,
    os::unix::net::UnixStream,
    path::{self, PathBuf},
    process::Command,
};

use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};
use serde_json::Value;

use super::{
    Announcement, Make, Neighbour, Path, Peering, Router, START, Session, Site,
    path::sorted,
    peering::cannot,
    program::{self, ask, json, kill, logs},
    vty,
};
use crate::{error::Result, process::Process, wait::block_until};

/// Where Debian has its daemons; `bgpd` on the path is OpenBGPD's.
const DAEMONS: &str = "/usr/lib/frr";
/// What it takes a route for that says nothing of LOCAL_PREF.
const DEFAULT_LOCAL_PREF: u32 = 100;
/// The name of its BFD timers.
const BFD_PROFILE: &str = "pop";
/// The number of a second path to a prefix, which it has to learn from the kernel.
const KERNEL: u32 = 2;

#[derive(Debug)]
pub(super) struct Frr {
    site: Site,
    peering: Option<Peering>,
    announced: Vec<Announcement>,
    route_maps: usize,
    // bgpd ends first, so that it takes its routes out of zebra.
    bgpd: Option<Process>,
    others: Vec<Process>,
}

impl Frr {
    pub(super) fn new(site: Site) -> Self {
        Self { site, peering: None, announced: Vec::new(), route_maps: 0, bgpd: None, others: Vec::new() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir.join(name)
    }

    fn start_daemon(&self, name: &str) -> Result<Process> {
        let mut command = daemon(name, &self.site.dir);
        command.args(["--log", "stdout", "--log-level", "debug"]);
        if name == "bfdd" {
            command.arg("--bfdctl").arg(self.file("bfdd.sock"));
        }
        let process = program::start(&self.site, name, "frr", command)?;
        block_until(START, || {
            process.check()?;
            let answers = UnixStream::connect(socket(name, &self.site.dir)).is_ok();
            Ok(if answers { String::new() } else { format!("{name} does not answer") })
        })?;
        Ok(process)
    }

    fn bgp(&self, lines: &[&str]) -> Result<String> {
        vty::ask(&socket("bgpd", &self.site.dir), lines)
    }

    fn neighbour(&self) -> String {
        self.peering.as_ref().map(neighbour_of).unwrap_or_default()
    }

    /// The lines that announce one route, its attributes in a route map of its own.
    fn announcing(&mut self, route: &Announcement) -> Result<Vec<String>> {
        let Some(peering) = &self.peering else { return Ok(Vec::new()) };
        self.route_maps += 1;
        let map = format!("route{}", self.route_maps);
        let mut lines = vec![format!("route-map {map} permit 10")];
        if route.nth == KERNEL {
            let kind = if route.prefix.family() == Family::Ipv4 { "ip" } else { "ipv6" };
            lines.insert(0, format!("{kind} prefix-list {map} permit {}", route.prefix));
            lines.push(format!("match {kind} address prefix-list {map}"));
        }
        if let Some(med) = route.med {
            lines.push(format!("set metric {med}"));
        }
        if !route.as_path.is_empty() {
            let ases: Vec<String> = route.as_path.iter().map(u32::to_string).collect();
            lines.push(format!("set as-path prepend {}", ases.join(" ")));
        }
        for (what, words) in [
            ("community", &route.communities),
            ("large-community", &route.large_communities),
            ("extcommunity rt", &route.route_targets),
        ] {
            if !words.is_empty() {
                lines.push(format!("set {what} {}", words.join(" ")));
            }
        }
        lines.push("exit".to_owned());
        lines.push(format!("router bgp {}", peering.local_as));
        lines.push(format!("address-family {} unicast", route.prefix.family()));
        lines.push(match route.nth {
            0 | 1 => format!("network {} route-map {map}", route.prefix),
            // A second local path: zebra learns the route from the kernel.
            KERNEL => format!("redistribute kernel route-map {map}"),
            _ => return Err(cannot(Make::Frr, "originate more than two paths to a prefix")),
        });
        Ok(lines)
    }

    fn kernel_route(&self, prefix: Prefix) -> Result<()> {
        let mut command = Command::new("ip");
        command.args(["route", "replace", "blackhole", &prefix.to_string()]);
        ask(&self.site, Make::Frr, &mut command).map(drop)
    }

    fn configure(&self, lines: &[String]) -> Result<()> {
        let all: Vec<&str> =
            ["configure terminal"].into_iter().chain(lines.iter().map(String::as_str)).collect();
        self.bgp(&all).map(drop)
    }
}

impl Router for Frr {
    fn make(&self) -> Make {
        Make::Frr
    }

    fn start(&mut self, peering: &Peering) -> Result<()> {
        self.peering = Some(peering.clone());
        let sample = peering.sample()?;
        let text = if sample.is_some() { "hostname router\n".to_owned() } else { configuration(peering)? };
        program::write(&self.file("bgpd.conf"), &text)?;
        if self.others.is_empty() {
            program::write(&self.file("zebra.conf"), "hostname router\n")?;
            program::write(&self.file("bfdd.conf"), &bfdd_configuration(peering))?;
            self.others.push(self.start_daemon("zebra")?);
            if peering.bfd.is_some() {
                self.others.push(self.start_daemon("bfdd")?);
            }
        }
        self.bgpd = Some(self.start_daemon("bgpd")?);
        if let Some(sample) = &peering.sample {
            // One file for all daemons.
            let mut command = Command::new("vtysh");
            command.arg("--vty_socket").arg(&self.site.dir).arg("-f").arg(sample);
            ask(&self.site, Make::Frr, &mut command)?;
        }
        for route in self.announced.clone() {
            let lines = self.announcing(&route)?;
            self.configure(&lines)?;
        }
        Ok(())
    }

    fn session(&self) -> Result<Session> {
        let answer = self.bgp(&["show bgp neighbors json"])?;
        let json: Value = serde_json::from_str(&answer).unwrap_or_default();
        let neighbour = &json[self.neighbour()];
        let established = neighbour["bgpState"] == "Established";
        let hold_time = neighbour["bgpTimerHoldTimeMsecs"].as_u64().map(|millis| millis / 1000);
        // Some of what it knows is in its text only.
        let told = self.bgp(&["show bgp neighbors"])? + &answer;
        Ok(Session { established, hold_time, told })
    }

    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>> {
        let show = format!("show bgp {} unicast {prefix} json", prefix.family());
        Ok(parse_paths(&json(Make::Frr, &show, &self.bgp(&[&show])?)?))
    }

    fn announce(&mut self, route: &Announcement) -> Result<()> {
        route.is_plain_for(Make::Frr)?;
        self.announced.push(route.clone());
        if route.nth == KERNEL {
            self.kernel_route(route.prefix)?;
        }
        if self.bgpd.is_none() {
            return Ok(());
        }
        let lines = self.announcing(route)?;
        self.configure(&lines)
    }

    fn withdraw(&mut self, prefix: Prefix) -> Result<()> {
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.announced.drain(..).partition(|known| known.prefix == prefix);
        self.announced = kept;
        let Some(peering) = &self.peering else { return Ok(()) };
        let mut lines = vec![
            format!("router bgp {}", peering.local_as),
            format!("address-family {} unicast", prefix.family()),
        ];
        for route in &gone {
            lines.push(match route.nth {
                KERNEL => "no redistribute kernel".to_owned(),
                _ => format!("no network {prefix}"),
            });
        }
        self.configure(&lines)
    }

    fn forget(&mut self, prefix: Prefix) {
        self.announced.retain(|known| known.prefix != prefix);
    }

    fn refresh(&mut self, family: Family) -> Result<()> {
        self.bgp(&[&format!("clear bgp {family} unicast {} soft in", self.neighbour())]).map(drop)
    }

    fn shut_down(&mut self, reason: &str) -> Result<()> {
        let Some(peering) = &self.peering else { return Ok(()) };
        self.configure(&[
            format!("router bgp {}", peering.local_as),
            format!("neighbor {} shutdown message {reason}", self.neighbour()),
        ])
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let bfdd = self.others.iter().filter(|process| process.name() == "bfdd");
        self.bgpd.iter().chain(bfdd).try_for_each(|process| process.signal(signal).map(drop))
    }

    fn bfd_admin_down(&mut self) -> Result<()> {
        let lines = ["configure terminal", "bfd", &format!("peer {}", self.neighbour()), "shutdown"];
        vty::ask(&socket("bfdd", &self.site.dir), &lines).map(drop)
    }

    fn kill(&mut self) -> Result<()> {
        kill(&mut self.bgpd)
    }

    fn check(&self) -> Result<()> {
        self.bgpd.iter().chain(&self.others).try_for_each(Process::check)
    }

    fn log(&self) -> String {
        logs(&self.site)
    }
}

/// One of FRR's daemons as root, with its files `NAME.conf` and `NAME.pid` and all sockets in `dir`.
pub(crate) fn daemon(name: &str, dir: &path::Path) -> Command {
    let mut command = Command::new(format!("{DAEMONS}/{name}"));
    command.args(["-u", "root", "-g", "root", "-A", "127.0.0.1", "-P", "0"]);
    command.arg("-f").arg(dir.join(format!("{name}.conf"))).arg("-i").arg(dir.join(format!("{name}.pid")));
    command.arg("--vty_socket").arg(dir).arg("-z").arg(dir.join("zserv.api"));
    command
}

/// Where [`vty::ask`] finds a daemon that was started so.
pub(crate) fn socket(name: &str, dir: &path::Path) -> PathBuf {
    dir.join(format!("{name}.vty"))
}

fn neighbour_of(peering: &Peering) -> String {
    match &peering.neighbour {
        Neighbour::Address(address) => address.to_string(),
        Neighbour::LinkLocal(address, _) => address.to_string(),
        Neighbour::Interface(interface) => interface.clone(),
    }
}

fn bfdd_configuration(peering: &Peering) -> String {
    let mut text = "hostname router\n".to_owned();
    if let Some(bfd) = &peering.bfd {
        let _ = writeln!(
            text,
            "bfd\n profile {BFD_PROFILE}\n  detect-multiplier {}\n  receive-interval {1}\n  transmit-interval {1}\n exit\nexit",
            bfd.multiplier, bfd.interval_ms
        );
    }
    text
}

fn configuration(peering: &Peering) -> Result<String> {
    if peering.bfd_key.is_some() {
        return Err(cannot(Make::Frr, "authenticate BFD"));
    }
    let name = neighbour_of(peering);
    let mut text = format!(
        "hostname router\n\
         debug bgp neighbor-events\n\
         debug bgp zebra\n\
         router bgp {}\n \
           bgp router-id {}\n \
           no bgp ebgp-requires-policy\n \
           no bgp network import-check\n \
           no bgp default ipv4-unicast\n",
        peering.local_as, peering.local
    );
    if let Some(seconds) = peering.graceful_restart {
        let _ = writeln!(
            text,
            " bgp graceful-restart\n bgp graceful-restart restart-time {seconds}\n \
             bgp graceful-restart stalepath-time {seconds}\n bgp graceful-restart preserve-fw-state"
        );
    }
    match &peering.neighbour {
        Neighbour::Address(_) => {
            let _ = writeln!(text, " neighbor {name} remote-as {}", peering.remote_as);
        }
        Neighbour::LinkLocal(_, interface) => {
            let _ = writeln!(
                text,
                " neighbor {name} remote-as {}\n neighbor {name} interface {interface}",
                peering.remote_as
            );
        }
        Neighbour::Interface(_) => {
            let _ = writeln!(text, " neighbor {name} interface remote-as external");
        }
    }
    let mut lines = vec![
        format!("timers {} {}", peering.hold_time / 3, peering.hold_time),
        "timers connect 1".to_owned(),
        "advertisement-interval 0".to_owned(),
    ];
    for (on, line) in [
        (peering.passive, "passive"),
        (peering.ttl_security, "ttl-security hops 1"),
        (peering.two_octet_as, "dont-capability-negotiate"),
        (peering.extended_next_hop, "capability extended-nexthop"),
        (peering.extended_parameters, "extended-optional-parameters"),
    ] {
        if on {
            lines.push(line.to_owned());
        }
    }
    if let Some((local, hops)) = peering.multihop {
        lines.extend([format!("ebgp-multihop {hops}"), format!("update-source {local}")]);
    }
    lines.extend(peering.password.iter().map(|password| format!("password {password}")));
    if peering.bfd.is_some() {
        // Its timers are bfdd's business: what bgpd takes begins at 50 ms, and a profile at 10.
        lines.extend(["bfd".to_owned(), format!("bfd profile {BFD_PROFILE}")]);
    }
    lines.extend(peering.role.map(|(role, strict)| {
        format!("local-role {}{}", role.word(), if strict { " strict-mode" } else { "" })
    }));
    for line in lines {
        let _ = writeln!(text, " neighbor {name} {line}");
    }
    for family in &peering.families {
        let _ = writeln!(text, " address-family {family} unicast\n  neighbor {name} activate");
        if peering.add_path {
            let _ = writeln!(text, "  neighbor {name} addpath-tx-all-paths");
        }
        if let Some(limit) = peering.max_prefixes {
            let _ = writeln!(text, "  neighbor {name} maximum-prefix {limit}");
        }
        text += " exit-address-family\n";
    }
    Ok(text + "exit\n")
}

/// `show bgp … PREFIX json`: all paths, those of its own included.
fn parse_paths(json: &Value) -> Vec<Path> {
    let mut paths: Vec<&Value> = json["paths"].as_array().into_iter().flatten().collect();
    paths.retain(|path| path["valid"] == true && path["peer"]["peerId"] != "0.0.0.0");
    paths.sort_by_key(|path| path["bestpath"]["overall"] != true);
    paths.into_iter().map(parse_path).collect()
}

fn parse_path(json: &Value) -> Path {
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let words = |value: &Value| -> Vec<String> {
        let words = value["list"].as_array().into_iter().flatten().filter_map(Value::as_str);
        sorted(words.map(str::to_owned).collect())
    };
    let hops = json["nexthops"].as_array().into_iter().flatten();
    let global = hops.clone().find(|hop| hop["scope"] != "link-local").or_else(|| hops.clone().next());
    let segments = json["aspath"]["segments"].as_array().into_iter().flatten();
    Path {
        next_hop: global.and_then(|hop| hop["ip"].as_str()?.parse().ok()),
        as_path: segments
            .flat_map(|segment| segment["list"].as_array().into_iter().flatten())
            .filter_map(number)
            .collect(),
        med: number(&json["metric"]),
        local_pref: Some(number(&json["locPrf"]).unwrap_or(DEFAULT_LOCAL_PREF)),
        communities: words(&json["community"])
            .into_iter()
            .map(|word| if word == "gracefulShutdown" { "65535:0".to_owned() } else { word })
            .collect(),
        large_communities: words(&json["largeCommunity"]),
        stale: json["stale"] == true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_json_and_a_local_one_is_left_out() {
        let json = serde_json::json!({ "paths": [
            { "valid": true, "peer": { "peerId": "0.0.0.0" } },
            { "valid": true, "peer": { "peerId": "10.0.0.2" }, "metric": 50, "bestpath": { "overall": true },
              "aspath": { "segments": [{ "list": [4_200_000_001_u32] }] },
              "community": { "list": ["64512:100", "64512:1"] },
              "nexthops": [{ "ip": "fe80::1", "scope": "link-local" }, { "ip": "fd00::2", "scope": "global" }] },
        ]});
        let paths = parse_paths(&json);
        assert_eq!(
            paths,
            [Path {
                next_hop: Some("fd00::2".parse().unwrap()),
                as_path: vec![4_200_000_001],
                med: Some(50),
                local_pref: Some(100),
                communities: vec!["64512:1".to_owned(), "64512:100".to_owned()],
                ..Path::default()
            }]
        );
    }
}
