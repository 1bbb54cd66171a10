//! GoBGP: gobgpd, asked by `gobgp` over a Unix socket. Its policies cannot set LOCAL_PREF to 0 (that means "leave it"): the
//! last resort is 1.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
};

use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};
use serde_json::Value;

use super::{
    Announcement, Make, Neighbour, Path, Peering, Router, START, Session, Site,
    path::{community, sorted},
    peering::cannot,
    program::{self, ask, ask_json, kill, logs},
};
use crate::{error::Result, process::Process, wait::block_until};

/// LOCAL_PREF of a route that says nothing of it (RFC 4271 leaves it to the router).
const DEFAULT_LOCAL_PREF: u32 = 100;
/// `session_state` of an established session in its interface.
const ESTABLISHED: u64 = 6;

#[derive(Debug)]
pub(super) struct GoBgp {
    site: Site,
    peering: Option<Peering>,
    announced: Vec<Announcement>,
    ran_before: bool,
    process: Option<Process>,
}

impl GoBgp {
    pub(super) fn new(site: Site) -> Self {
        Self { site, peering: None, announced: Vec::new(), ran_before: false, process: None }
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.file("api.sock").display())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir.join(name)
    }

    fn gobgp(&self, words: &[&str]) -> Command {
        let mut command = Command::new("gobgp");
        command.args(["--target", &self.socket()]).args(words);
        command
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        ask(&self.site, Make::GoBgp, &mut self.gobgp(words))
    }

    fn ask_json(&self, words: &[&str]) -> Result<Value> {
        ask_json(&self.site, Make::GoBgp, self.gobgp(words).arg("-j"))
    }

    fn neighbour(&self) -> Result<String> {
        let peering =
            self.peering.as_ref().ok_or_else(|| cannot(Make::GoBgp, "be asked before its start"))?;
        Ok(match &peering.neighbour {
            Neighbour::Address(address) => address.to_string(),
            Neighbour::LinkLocal(address, interface) => format!("{address}%{interface}"),
            Neighbour::Interface(interface) => interface.clone(),
        })
    }

    fn add(&self, route: &Announcement) -> Result<()> {
        let Some(peering) = &self.peering else { return Ok(()) };
        let (prefix, family) = (route.prefix.to_string(), route.prefix.family());
        let mut words = vec!["global".to_owned(), "rib".to_owned(), "add".to_owned(), prefix];
        let mut option = |key: &str, value: String| words.extend([key.to_owned(), value]);
        option("-a", family.to_string());
        option("nexthop", peering.next_hop(family).to_string());
        for (key, values) in [
            ("community", &route.communities),
            ("large-community", &route.large_communities),
            ("rt", &route.route_targets),
        ] {
            if !values.is_empty() {
                option(key, values.join(","));
            }
        }
        if let Some(med) = route.med {
            option("med", med.to_string());
        }
        if !route.as_path.is_empty() {
            let ases: Vec<String> = route.as_path.iter().map(u32::to_string).collect();
            option("aspath", ases.join(" "));
        }
        if route.nth > 0 {
            option("identifier", route.nth.to_string());
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.ask(&words).map(drop)
    }
}

impl Router for GoBgp {
    fn make(&self) -> Make {
        Make::GoBgp
    }

    fn start(&mut self, peering: &Peering) -> Result<()> {
        self.peering = Some(peering.clone());
        let text = match peering.sample()? {
            Some(sample) => sample,
            None => configuration(peering)?,
        };
        program::write(&self.file("gobgpd.toml"), &text)?;
        let mut command = Command::new("gobgpd");
        command.arg("-f").arg(self.file("gobgpd.toml")).args([
            "--api-hosts",
            &self.socket(),
            "-l",
            "debug",
            "-p",
        ]);
        if self.ran_before && peering.graceful_restart.is_some() {
            command.arg("-r");
        }
        self.ran_before = true;
        self.process = Some(program::start(&self.site, "gobgpd", "gobgpd", command)?);
        block_until(START, || {
            self.check()?;
            Ok(self.ask_json(&["neighbor"]).map_or_else(|error| error.to_string(), |_| String::new()))
        })?;
        self.announced.iter().try_for_each(|route| self.add(route))
    }

    fn session(&self) -> Result<Session> {
        let neighbour = self.neighbour()?;
        let json = self.ask_json(&["neighbor", &neighbour])?;
        let established = json["state"]["session_state"].as_u64() == Some(ESTABLISHED);
        // Absent when it is 0, as all numbers in its interface.
        let hold_time =
            established.then(|| json["timers"]["state"]["negotiated_hold_time"].as_u64().unwrap_or_default());
        // The reason of the last end is in its log only.
        let told = self.ask(&["neighbor", &neighbour])? + &json.to_string() + &self.log();
        Ok(Session { established, hold_time, told })
    }

    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>> {
        let (prefix, family) = (prefix.to_string(), prefix.family().to_string());
        let neighbour = self.neighbour()?;
        // What is not in the table is an error to the command.
        let Ok(json) = self.ask_json(&["global", "rib", &prefix, "-a", &family]) else {
            return Ok(Vec::new());
        };
        Ok(parse_paths(&json[prefix.as_str()], &neighbour))
    }

    fn announce(&mut self, route: &Announcement) -> Result<()> {
        route.is_plain_for(Make::GoBgp)?;
        self.announced.push(route.clone());
        if self.process.is_some() { self.add(route) } else { Ok(()) }
    }

    fn withdraw(&mut self, prefix: Prefix) -> Result<()> {
        let (gone, kept) = self.announced.drain(..).partition(|known| known.prefix == prefix);
        self.announced = kept;
        let (text, family) = (prefix.to_string(), prefix.family().to_string());
        let gone: Vec<Announcement> = gone;
        for route in gone {
            let identifier = route.nth.to_string();
            let mut words = vec!["global", "rib", "del", &text, "-a", &family];
            if route.nth > 0 {
                words.extend(["identifier", &identifier]);
            }
            self.ask(&words)?;
        }
        Ok(())
    }

    fn forget(&mut self, prefix: Prefix) {
        self.announced.retain(|known| known.prefix != prefix);
    }

    fn refresh(&mut self, family: Family) -> Result<()> {
        // It asks nobody: it keeps what it was sent and looks at that again.
        self.ask(&["neighbor", &self.neighbour()?, "softresetin", "-a", &family.to_string()]).map(drop)
    }

    fn shut_down(&mut self, reason: &str) -> Result<()> {
        let neighbour = self.neighbour()?;
        // The newer `disable` forgets the reason.
        self.ask(&["neighbor", &neighbour, "shutdown", "--reason", reason]).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal).map(drop))
    }

    fn kill(&mut self) -> Result<()> {
        kill(&mut self.process)?;
        // The socket file outlives the program, which then refuses to start.
        std::fs::remove_file(self.file("api.sock")).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(crate::Error::io("removing the socket of gobgpd")(error)),
        })
    }

    fn check(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn log(&self) -> String {
        logs(&self.site)
    }
}

fn configuration(peering: &Peering) -> Result<String> {
    for (wanted, what) in [
        (peering.two_octet_as, "leave out the four-octet AS capability"),
        (peering.extended_parameters, "extend the parameters of a short OPEN"),
        (peering.extended_messages, "take extended messages"),
        (peering.role.is_some(), "have a role"),
        (peering.bfd.is_some(), "speak BFD"),
        (peering.multihop.is_some(), "talk over several hops here"),
    ] {
        if wanted {
            return Err(cannot(Make::GoBgp, what));
        }
    }
    // A link-local address is one together with its interface.
    let (neighbour, local) = match &peering.neighbour {
        Neighbour::LinkLocal(address, interface) => {
            (format!("neighbor-address = \"{address}%{interface}\""), None)
        }
        Neighbour::Interface(interface) => {
            return Err(cannot(Make::GoBgp, &format!("find a neighbour on {interface} here")));
        }
        Neighbour::Address(address) => {
            (format!("neighbor-address = \"{address}\""), Some(peering.local_end(*address)))
        }
    };
    let listen = match local {
        Some(_) => [IpAddr::from(peering.local), peering.local_ipv6.into()],
        None => [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
    };
    let mut text = format!(
        "[global.config]\n\
         as = {}\n\
         router-id = \"{}\"\n\
         local-address-list = [\"{}\", \"{}\"]\n\
         [global.apply-policy.config]\n\
         import-policy-list = [\"honour-shutdown\"]\n\
         default-import-policy = \"accept-route\"\n\
         default-export-policy = \"accept-route\"\n\
         [[defined-sets.bgp-defined-sets.community-sets]]\n\
         community-set-name = \"graceful-shutdown\"\n\
         community-list = [\"65535:0\"]\n\
         [[policy-definitions]]\n\
         name = \"honour-shutdown\"\n\
         [[policy-definitions.statements]]\n\
         name = \"last-resort\"\n\
         [policy-definitions.statements.conditions.bgp-conditions.match-community-set]\n\
         community-set = \"graceful-shutdown\"\n\
         [policy-definitions.statements.actions]\n\
         route-disposition = \"accept-route\"\n\
         [policy-definitions.statements.actions.bgp-actions]\n\
         set-local-pref = 1\n",
        peering.local_as, peering.local, listen[0], listen[1]
    );
    let _ = write!(
        text,
        "[[neighbors]]\n\
         [neighbors.config]\n\
         {neighbour}\n\
         peer-as = {}\n",
        peering.remote_as
    );
    if let Some(password) = &peering.password {
        let _ = writeln!(text, "auth-password = \"{password}\"");
    }
    let _ = write!(
        text,
        "[neighbors.timers.config]\n\
         connect-retry = 1\n\
         hold-time = {}\n\
         keepalive-interval = {}\n\
         idle-hold-time-after-reset = 1\n\
         [neighbors.transport.config]\n\
         passive-mode = {}\n",
        peering.hold_time,
        peering.hold_time / 3,
        peering.passive
    );
    if let Some(local) = local {
        let _ = writeln!(text, "local-address = \"{local}\"");
    }
    if peering.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    if let Some(seconds) = peering.graceful_restart {
        let _ = write!(
            text,
            "[neighbors.graceful-restart.config]\n\
             enabled = true\n\
             notification-enabled = true\n\
             restart-time = {seconds}\n"
        );
    }
    if peering.add_path {
        text += "[neighbors.add-paths.config]\nsend-max = 8\n";
    }
    for family in &peering.families {
        let _ = write!(
            text,
            "[[neighbors.afi-safis]]\n\
             [neighbors.afi-safis.config]\n\
             afi-safi-name = \"{family}-unicast\"\n"
        );
        if peering.graceful_restart.is_some() {
            text += "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n";
        }
        if let Some(limit) = peering.max_prefixes {
            let _ = write!(text, "[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = {limit}\n");
        }
    }
    Ok(text)
}

/// A list of paths to one prefix, those of its own included.
fn parse_paths(json: &Value, neighbour: &str) -> Vec<Path> {
    let mut paths: Vec<&Value> = json.as_array().into_iter().flatten().collect();
    // `fe80::2%eth0` stands as `fe80::2`.
    let without_zone = |address: &str| address.split('%').next().unwrap_or_default().to_owned();
    let neighbour = without_zone(neighbour);
    let is_there = |from: &str| without_zone(from) == neighbour;
    paths.retain(|path| path["neighbor-ip"].as_str().is_some_and(is_there));
    paths.sort_by_key(|path| path["best"] != true);
    paths.into_iter().map(parse_path).collect()
}

/// Attributes carry their type codes (RFC 4271 §5 and others).
fn parse_path(json: &Value) -> Path {
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut path =
        Path { local_pref: Some(DEFAULT_LOCAL_PREF), stale: json["stale"] == true, ..Path::default() };
    for attribute in list(&json["attrs"]) {
        let next_hop = || attribute["nexthop"].as_str().and_then(|text| text.parse().ok());
        match attribute["type"].as_u64() {
            Some(2) => {
                let segments = list(&attribute["as_paths"]);
                path.as_path = segments
                    .iter()
                    .flat_map(|segment| list(&segment["asns"]))
                    .filter_map(|asn| number(&asn))
                    .collect();
            }
            Some(3 | 14) => path.next_hop = next_hop(),
            Some(4) => path.med = number(&attribute["metric"]),
            Some(5) => path.local_pref = Some(number(&attribute["value"]).unwrap_or_default()),
            Some(8) => {
                let values = list(&attribute["communities"]);
                path.communities = sorted(values.iter().filter_map(number).map(community).collect());
            }
            Some(32) => {
                let values = list(&attribute["value"]);
                let part = |value: &Value, key| value[key].as_u64().unwrap_or_default();
                let word = |value: &Value| {
                    ["ASN", "LocalData1", "LocalData2"].map(|key| part(value, key).to_string()).join(":")
                };
                path.large_communities = sorted(values.iter().map(word).collect());
            }
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_by_their_type_codes() {
        let json: Value = serde_json::from_str(
            r#"[{"best":true,"attrs":[{"type":1,"value":0},
                {"type":2,"as_paths":[{"segment_type":2,"num":2,"asns":[4200000001,4200000001]}]},
                {"type":4,"metric":50},{"type":5,"value":0},{"type":8,"communities":[4227858532]},
                {"type":14,"nexthop":"fd00::2"}],"stale":false,"neighbor-ip":"10.0.0.2"},
                {"attrs":[],"neighbor-ip":"<nil>"}]"#,
        )
        .unwrap();
        assert_eq!(
            parse_paths(&json, "10.0.0.2"),
            [Path {
                next_hop: Some("fd00::2".parse().unwrap()),
                as_path: vec![4_200_000_001; 2],
                med: Some(50),
                local_pref: Some(0),
                communities: vec!["64512:100".to_owned()],
                ..Path::default()
            }]
        );
    }
}
