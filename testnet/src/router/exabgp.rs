//! ExaBGP. It keeps no routes: it writes what it hears to a process as lines of JSON, and takes commands from it.
//!
//! The process is a shell that appends what it reads to one file and follows another, into which commands are
//! written here. The routes are what the lines since the last connection come to.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
};

use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};
use serde_json::Value;

use super::{
    Announcement, Make, Path, Peering, RawAttribute, Router, START, Session, Site,
    path::sorted,
    peering::cannot,
    program::{self, kill, logs},
};
use crate::{
    error::{Error, Result},
    process::Process,
    wait::block_until,
};

/// What it is told as the PoP's AS when it does without four octets (RFC 6793 §9).
const AS_TRANS: u32 = 23456;
const BGP_PORT: u16 = 179;

#[derive(Debug)]
pub(super) struct ExaBgp {
    site: Site,
    peering: Option<Peering>,
    announced: Vec<Announcement>,
    process: Option<Process>,
}

impl ExaBgp {
    pub(super) fn new(site: Site) -> Self {
        Self { site, peering: None, announced: Vec::new(), process: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir.join(name)
    }

    fn command(&self, line: &str) -> Result<()> {
        let file = self.file("commands");
        OpenOptions::new()
            .append(true)
            .open(&file)
            .and_then(|mut commands| writeln!(commands, "{line}"))
            .map_err(Error::io(format!("writing to {}", file.display())))
    }

    fn add(&self, route: &Announcement) -> Result<()> {
        let Some(peering) = &self.peering else { return Ok(()) };
        let next_hop = peering.next_hop(route.prefix.family());
        let mut line = format!("announce route {} next-hop {next_hop}", route.prefix);
        if route.nth > 0 {
            let _ = write!(line, " path-information {}", route.nth);
        }
        if let Some(med) = route.med {
            let _ = write!(line, " med {med}");
        }
        if !(route.as_path.is_empty() && route.as_set.is_empty()) {
            line += &as_path(peering, route);
        }
        if let Some(RawAttribute { code, flags, value }) = &route.attribute {
            let value: Vec<String> = value.iter().map(|octet| format!("{octet:02x}")).collect();
            let _ = write!(line, " attribute [ 0x{code:02x} 0x{flags:02x} 0x{} ]", value.concat());
        }
        let targets: Vec<String> =
            route.route_targets.iter().map(|target| format!("target:{target}")).collect();
        for (key, values) in [
            ("community", &route.communities),
            ("large-community", &route.large_communities),
            ("extended-community", &targets),
        ] {
            if !values.is_empty() {
                let _ = write!(line, " {key} [ {} ]", values.join(" "));
            }
        }
        self.command(&line)
    }

    /// What it has heard and said, oldest first.
    fn received(&self) -> Result<(String, Vec<Value>)> {
        let file = self.file("received");
        let bytes = fs::read(&file).map_err(Error::io(format!("reading {}", file.display())))?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        // What a peer said with a NOTIFICATION stands in a string as it came, control characters and all.
        let printable = text.replace(|c: char| c.is_control() && c != '\n', "?");
        let events = printable.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((text, events))
    }
}

impl Router for ExaBgp {
    fn make(&self) -> Make {
        Make::ExaBgp
    }

    fn start(&mut self, peering: &Peering) -> Result<()> {
        self.peering = Some(peering.clone());
        let feed = self.file("feed.sh");
        let dir = self.site.dir.display();
        program::write(
            &feed,
            &format!("#!/bin/sh\ntail -n +1 -f {dir}/commands &\nexec cat >> {dir}/received\n"),
        )?;
        fs::set_permissions(&feed, fs::Permissions::from_mode(0o755))
            .map_err(Error::io(format!("making {} a program", feed.display())))?;
        for empty in ["commands", "received"] {
            program::write(&self.file(empty), "")?;
        }
        program::write(&self.file("exabgp.conf"), &configuration(peering, &feed.display().to_string())?)?;
        let mut command = Command::new("exabgp");
        // It listens where it waits to be called, and where it calls too. With a key or GTSM its listening socket is of no use.
        let listening = peering.passive || !(peering.ttl_security || peering.password.is_some());
        let bind = if listening { bound(peering)?.to_string() } else { String::new() };
        command
            .arg(self.file("exabgp.conf"))
            .env("exabgp.daemon.user", "root")
            .env("exabgp.daemon.drop", "false")
            .env("exabgp.api.cli", "false")
            .env("exabgp.log.all", "true")
            .env("exabgp.log.level", "DEBUG")
            .env("exabgp.tcp.bind", bind);
        self.process = Some(program::start(&self.site, "exabgp", "exabgp", command)?);
        block_until(START, || {
            self.check()?;
            let listens = !listening || listens(&self.site)?;
            Ok(if listens { String::new() } else { "ExaBGP does not listen".to_owned() })
        })?;
        self.announced.iter().try_for_each(|route| self.add(route))
    }

    fn session(&self) -> Result<Session> {
        let (text, events) = self.received()?;
        let state = events.iter().rev().find(|event| event["type"] == "state");
        let established = state.is_some_and(|event| event["neighbor"]["state"] == "up");
        let open = |direction: &str| {
            let opens =
                |event: &&Value| event["type"] == "open" && event["neighbor"]["direction"] == direction;
            events.iter().rev().find(opens).and_then(|event| event["neighbor"]["open"]["hold_time"].as_u64())
        };
        let hold_time = open("receive").zip(open("send")).map(|(theirs, ours)| theirs.min(ours));
        Ok(Session { established, hold_time: hold_time.filter(|_| established), told: text })
    }

    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>> {
        Ok(path_to(prefix, &self.received()?.1).into_iter().collect())
    }

    fn announce(&mut self, route: &Announcement) -> Result<()> {
        self.announced.push(route.clone());
        if self.process.is_some() { self.add(route) } else { Ok(()) }
    }

    fn withdraw(&mut self, prefix: Prefix) -> Result<()> {
        let Some(peering) = &self.peering else { return Ok(()) };
        let next_hop = peering.next_hop(prefix.family());
        let (gone, kept): (Vec<_>, Vec<_>) =
            self.announced.drain(..).partition(|known| known.prefix == prefix);
        self.announced = kept;
        gone.iter().try_for_each(|route| {
            let path = if route.nth > 0 { format!(" path-information {}", route.nth) } else { String::new() };
            self.command(&format!("withdraw route {prefix} next-hop {next_hop}{path}"))
        })
    }

    fn forget(&mut self, prefix: Prefix) {
        self.announced.retain(|known| known.prefix != prefix);
    }

    fn refresh(&mut self, family: Family) -> Result<()> {
        self.command(&format!("announce route-refresh {family} unicast"))
    }

    fn shut_down(&mut self, _: &str) -> Result<()> {
        Err(cannot(Make::ExaBgp, "say why it ends a session"))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal).map(drop))
    }

    fn kill(&mut self) -> Result<()> {
        kill(&mut self.process)
    }

    fn check(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn log(&self) -> String {
        let (text, _) = self.received().unwrap_or_default();
        logs(&self.site) + "--- received\n" + &text
    }
}

/// A whole path, since it adds no AS of its own to one that is given.
fn as_path(peering: &Peering, route: &Announcement) -> String {
    let own = (peering.local_as != peering.remote_as).then_some(peering.local_as);
    let words =
        |list: &mut dyn Iterator<Item = u32>| list.map(|asn| asn.to_string() + " ").collect::<String>();
    let sequence = words(&mut own.into_iter().chain(route.as_path.iter().copied()));
    let set = match route.as_set.as_slice() {
        [] => String::new(),
        set => format!("( {}) ", words(&mut set.iter().copied())),
    };
    format!(" as-path [ {sequence}{set}]")
}

/// The address of its end of the session.
fn bound(peering: &Peering) -> Result<IpAddr> {
    Ok(peering.local_end(peering.address(Make::ExaBgp)?))
}

/// Whether something on the router's host listens for BGP (proc(5), `/proc/net/tcp`: state 0A).
fn listens(site: &Site) -> Result<bool> {
    let port = format!(":{BGP_PORT:04X}");
    let tables = site.ns.run(|| {
        ["tcp", "tcp6"]
            .map(|table| fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default())
            .concat()
    })?;
    Ok(tables.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("0A")
    }))
}

fn configuration(peering: &Peering, feed: &str) -> Result<String> {
    for (wanted, what) in [
        (peering.role.is_some(), "have a role"),
        (peering.bfd.is_some(), "speak BFD"),
        (peering.multihop.is_some(), "talk over several hops here"),
        (peering.max_prefixes.is_some(), "limit prefixes"),
        (peering.extended_parameters, "extend the parameters of a short OPEN"),
    ] {
        if wanted {
            return Err(cannot(Make::ExaBgp, what));
        }
    }
    let neighbour = peering.address(Make::ExaBgp)?;
    let mut text = format!(
        "process feed {{ run {feed}; encoder json; }}\n\
         neighbor {neighbour} {{\n  \
           router-id {};\n  \
           local-address {};\n  \
           local-as {};\n  \
           peer-as {};\n  \
           hold-time {};\n  \
           passive {};\n  \
           adj-rib-out true;\n",
        peering.local,
        bound(peering)?,
        peering.local_as,
        if peering.two_octet_as { AS_TRANS } else { peering.remote_as },
        peering.hold_time,
        peering.passive
    );
    if let Some(password) = &peering.password {
        let _ = writeln!(text, "  md5-password \"{password}\";");
    }
    if peering.ttl_security {
        text += "  outgoing-ttl 255;\n  incoming-ttl 255;\n";
    }
    text += "  capability {\n    route-refresh enable;\n";
    if peering.two_octet_as {
        text += "    asn4 disable;\n";
    }
    if peering.add_path {
        text += "    add-path send;\n";
    }
    if peering.extended_next_hop {
        text += "    nexthop enable;\n";
    }
    if let Some(seconds) = peering.graceful_restart {
        let _ = writeln!(text, "    graceful-restart {seconds};");
    }
    text += "  }\n  family {\n";
    for family in &peering.families {
        let _ = writeln!(text, "    {family} unicast;");
    }
    text += "  }\n";
    if peering.extended_next_hop {
        text += "  nexthop { ipv4 unicast ipv6; }\n";
    }
    Ok(text
        + "  api {\n    processes [ feed ];\n    neighbor-changes;\n    \
             receive { parsed; update; notification; open; refresh; }\n    \
             send { parsed; notification; open; }\n  }\n}\n")
}

/// What the updates since the session was last connected come to.
fn path_to(prefix: Prefix, events: &[Value]) -> Option<Path> {
    let (text, family) = (prefix.to_string(), format!("{} unicast", prefix.family()));
    let is_it = |nlri: &Value| nlri["nlri"] == text.as_str() || *nlri == text.as_str();
    let mut path = None;
    for event in events {
        let neighbour = &event["neighbor"];
        if event["type"] == "state" && neighbour["state"] != "up" {
            path = None;
        }
        let update = &neighbour["message"]["update"];
        let withdrawn = update["withdraw"][&family].as_array().into_iter().flatten();
        if withdrawn.into_iter().any(is_it) {
            path = None;
        }
        for (next_hop, routes) in update["announce"][&family].as_object().into_iter().flatten() {
            if routes.as_array().into_iter().flatten().any(is_it) {
                path = Some(parse_attributes(next_hop, &update["attribute"]));
            }
        }
    }
    path
}

fn parse_attributes(next_hop: &str, json: &Value) -> Path {
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let words = |value: &Value| {
        let word = |parts: &Value| list(parts).iter().map(Value::to_string).collect::<Vec<_>>().join(":");
        sorted(list(value).iter().map(word).collect())
    };
    Path {
        next_hop: next_hop.parse().ok(),
        as_path: list(&json["as-path"]).iter().filter_map(number).collect(),
        med: number(&json["med"]),
        local_pref: number(&json["local-preference"]),
        communities: words(&json["community"]),
        large_communities: words(&json["large-community"]),
        stale: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_what_the_updates_of_the_last_session_come_to() {
        let announce = r#"{"type":"update","neighbor":{"direction":"receive","message":{"update":{"attribute":
            {"origin":"igp","as-path":[4200000001],"med":50,"community":[[64512,100]]},
            "announce":{"ipv4 unicast":{"10.0.0.2":[{"nlri":"203.0.113.0/24"}]}}}}}}"#;
        let withdraw = r#"{"type":"update","neighbor":{"message":{"update":{
            "withdraw":{"ipv4 unicast":[{"nlri":"203.0.113.0/24"}]}}}}}"#;
        let down = r#"{"type":"state","neighbor":{"state":"down"}}"#;
        let path = |lines: &[&str]| {
            let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            path_to("203.0.113.0/24".parse().unwrap(), &events)
        };
        let there = Path {
            next_hop: Some("10.0.0.2".parse().unwrap()),
            as_path: vec![4_200_000_001],
            med: Some(50),
            communities: vec!["64512:100".to_owned()],
            ..Path::default()
        };
        assert_eq!(path(&[announce]), Some(there.clone()));
        assert_eq!(path(&[announce, withdraw]), None);
        assert_eq!(path(&[announce, down]), None);
        assert_eq!(path(&[announce, withdraw, announce]), Some(there));
    }
}
