//! OpenBGPD, the portable version: bgpd, asked by `bgpctl`.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use nix::sys::signal::{Signal, killpg};
use proxima_types::{Family, Prefix};
use serde_json::Value;

use super::{
    Announcement, Make, Path, Peering, Router, START, Session, Site,
    path::sorted,
    peering::cannot,
    program::{self, ask, ask_json, kill, logs},
};
use crate::{
    error::{Error, Result},
    process::Process,
    wait::block_until,
};

/// FRR's has the same name, but lies elsewhere.
const PROGRAM: &str = "/usr/sbin/bgpd";

#[derive(Debug)]
pub(super) struct OpenBgpd {
    site: Site,
    /// The PoP's address.
    neighbour: String,
    announced: Vec<Announcement>,
    process: Option<Process>,
}

impl OpenBgpd {
    pub(super) fn new(site: Site) -> Self {
        Self { site, neighbour: String::new(), announced: Vec::new(), process: None }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir.join(name)
    }

    fn bgpctl(&self, words: &[&str]) -> Command {
        let mut command = Command::new("bgpctl");
        command.arg("-s").arg(self.file("bgpd.sock")).args(words);
        command
    }

    fn ask(&self, words: &[&str]) -> Result<String> {
        ask(&self.site, Make::OpenBgpd, &mut self.bgpctl(words))
    }

    fn ask_json(&self, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = ["-j"].iter().chain(words).copied().collect();
        ask_json(&self.site, Make::OpenBgpd, &mut self.bgpctl(&words))
    }

    fn add(&self, route: &Announcement) -> Result<()> {
        if route.nth > 0 {
            return Err(cannot(Make::OpenBgpd, "originate more than one path to a prefix"));
        }
        route.is_plain_for(Make::OpenBgpd)?;
        if !route.as_path.is_empty() {
            return Err(cannot(Make::OpenBgpd, "originate a route with a path"));
        }
        let (prefix, med) = (route.prefix.to_string(), route.med.map(|med| med.to_string()));
        let mut words = vec!["network", "add", &prefix];
        for (key, values) in
            [("community", &route.communities), ("large-community", &route.large_communities)]
        {
            for value in values {
                words.extend([key, value]);
            }
        }
        for target in &route.route_targets {
            words.extend(["ext-community", "rt", target]);
        }
        if let Some(med) = &med {
            words.extend(["med", med]);
        }
        self.ask(&words).map(drop)
    }
}

impl Router for OpenBgpd {
    fn make(&self) -> Make {
        Make::OpenBgpd
    }

    fn start(&mut self, peering: &Peering) -> Result<()> {
        may_change_groups()?;
        let file = self.file("bgpd.conf");
        let text = match peering.sample()? {
            Some(sample) => sample,
            None => configuration(peering)?,
        };
        // The control socket is not a setting of the session.
        let text = format!("socket \"{}\"\n{text}", self.file("bgpd.sock").display());
        program::write(&file, &text)?;
        self.neighbour = peering.address(Make::OpenBgpd)?.to_string();
        // It reads no file that others could have read: there may be keys in it.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
            .map_err(Error::io(format!("protecting {}", file.display())))?;
        fs::create_dir_all("/run/openbgpd").map_err(Error::io("creating /run/openbgpd"))?;
        let mut command = Command::new(PROGRAM);
        command.arg("-dv").arg("-f").arg(&file);
        self.process = Some(program::start(&self.site, "bgpd", "openbgpd", command)?);
        block_until(START, || {
            self.check()?;
            Ok(self.ask_json(&["show", "neighbor"]).map_or_else(|error| error.to_string(), |_| String::new()))
        })?;
        self.announced.iter().try_for_each(|route| self.add(route))
    }

    fn session(&self) -> Result<Session> {
        let json = self.ask_json(&["show", "neighbor", &self.neighbour])?;
        let neighbour = &json["neighbors"][0];
        let established = neighbour["state"] == "Established";
        let hold_time = neighbour["session"]["holdtime"].as_u64().filter(|_| established);
        let told = json.to_string() + &self.ask(&["show", "neighbor", &self.neighbour])? + &logs(&self.site);
        Ok(Session { established, hold_time, told })
    }

    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>> {
        Ok(parse_paths(
            &self.ask_json(&["show", "rib", "detail", &prefix.to_string()])?,
            &self.neighbour,
            prefix,
        ))
    }

    fn announce(&mut self, route: &Announcement) -> Result<()> {
        self.announced.push(route.clone());
        if self.process.is_some() { self.add(route) } else { Ok(()) }
    }

    fn withdraw(&mut self, prefix: Prefix) -> Result<()> {
        self.announced.retain(|known| known.prefix != prefix);
        self.ask(&["network", "delete", &prefix.to_string()]).map(drop)
    }

    fn forget(&mut self, prefix: Prefix) {
        self.announced.retain(|known| known.prefix != prefix);
    }

    fn refresh(&mut self, _: Family) -> Result<()> {
        // It asks for all families of the session.
        self.ask(&["neighbor", &self.neighbour, "refresh"]).map(drop)
    }

    fn shut_down(&mut self, reason: &str) -> Result<()> {
        self.ask(&["neighbor", &self.neighbour, "down", reason]).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Three processes: the session engine and the decision engine are children of the first, in its group.
        let Some(process) = self.process.as_ref().filter(|process| process.is_running()) else {
            return Ok(());
        };
        killpg(process.pid(), signal).map_err(Error::io(format!("sending {signal} to OpenBGPD")))
    }

    fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        kill(&mut self.process)
    }

    fn check(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn log(&self) -> String {
        let table = self.ask(&["show", "rib", "detail"]).unwrap_or_else(|error| error.to_string());
        format!("{}--- show rib detail\n{table}\n", logs(&self.site))
    }
}

/// It gives up the groups of its caller, which only root may do (user_namespaces(7), `/proc/PID/setgroups`).
fn may_change_groups() -> Result<()> {
    let allowed = fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
    if allowed.trim() != "deny" {
        return Ok(());
    }
    let what = "the right to change groups, which OpenBGPD insists on,".to_owned();
    Err(Error::Missing { what, remedy: "run the tests as root".to_owned() })
}

fn configuration(peering: &Peering) -> Result<String> {
    for (wanted, what) in [
        (peering.extended_next_hop, "have IPv6 next hops for IPv4 routes"),
        (peering.bfd.is_some(), "speak BFD"),
        (peering.extended_parameters, "extend the parameters of a short OPEN"),
        (peering.extended_messages, "take extended messages here"),
        (peering.multihop.is_some(), "talk over several hops here"),
    ] {
        if wanted {
            return Err(cannot(Make::OpenBgpd, what));
        }
    }
    let neighbour = peering.address(Make::OpenBgpd)?;
    let local = peering.local_end(neighbour);
    let mut text = format!(
        "AS {}\n\
         router-id {}\n\
         listen on {}\n\
         listen on {}\n\
         fib-update no\n\
         connect-retry 1\n\
         neighbor {neighbour} {{\n  \
           remote-as {}\n  \
           local-address {local}\n  \
           holdtime {}\n",
        peering.local_as,
        peering.local,
        peering.local,
        peering.local_ipv6,
        peering.remote_as,
        peering.hold_time
    );
    for family in [Family::Ipv4, Family::Ipv6] {
        let name = if family == Family::Ipv4 { "IPv4" } else { "IPv6" };
        let which = if peering.families.contains(&family) { "unicast" } else { "none" };
        let _ = writeln!(text, "  announce {name} {which}");
    }
    for (on, line) in [
        (peering.passive, "passive"),
        (peering.ttl_security, "ttl-security yes"),
        (peering.two_octet_as, "announce as-4byte no"),
        (peering.add_path, "announce add-path send all"),
        (true, "announce enhanced refresh yes"),
    ] {
        if on {
            let _ = writeln!(text, "  {line}");
        }
    }
    if let Some(password) = &peering.password {
        let _ = writeln!(text, "  tcp md5sig password {password}");
    }
    if let Some(limit) = peering.max_prefixes {
        let _ = writeln!(text, "  max-prefix {limit}");
    }
    if let Some((role, strict)) = peering.role {
        let _ = writeln!(text, "  announce policy {}{}", role.word(), if strict { " enforce" } else { "" });
    }
    Ok(text
        + "}\n\
           allow from any\n\
           allow to any\n\
           match from ebgp community GRACEFUL_SHUTDOWN set { localpref 0 }\n")
}

/// `show rib detail PREFIX`: all paths, those of its own included.
fn parse_paths(json: &Value, neighbour: &str, prefix: Prefix) -> Vec<Path> {
    let mut paths: Vec<&Value> = json["rib"].as_array().into_iter().flatten().collect();
    paths.retain(|path| {
        path["prefix"] == prefix.to_string()
            && path["valid"] == true
            && path["neighbor"]["remote_addr"] == neighbour
    });
    paths.sort_by_key(|path| path["best"] != true);
    paths.into_iter().map(parse_path).collect()
}

fn parse_path(json: &Value) -> Path {
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
        sorted(
            words
                .map(|word| if word == "GRACEFUL_SHUTDOWN" { "65535:0".to_owned() } else { word.to_owned() })
                .collect(),
        )
    };
    let as_path = json["aspath"].as_str().unwrap_or_default();
    Path {
        next_hop: json["exit_nexthop"].as_str().and_then(|text| text.parse().ok()),
        as_path: as_path.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // It does not tell an absent one from 0.
        med: number(&json["metric"]).filter(|med| *med != 0),
        local_pref: number(&json["localpref"]),
        communities: words(&json["communities"]),
        large_communities: words(&json["large_communities"]),
        stale: json["stale"] == true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_from_json_and_one_without_a_next_hop_is_left_out() {
        let json = serde_json::json!({ "rib": [
            { "prefix": "203.0.113.0/24", "aspath": "4200000001 4200000001", "exit_nexthop": "10.0.0.2",
              "neighbor": { "remote_addr": "10.0.0.2" }, "valid": true, "best": true, "metric": 50, "localpref": 0,
              "communities": ["GRACEFUL_SHUTDOWN", "64512:100"] },
            { "prefix": "203.0.113.0/24", "neighbor": { "remote_addr": "10.0.0.2" }, "valid": false },
        ]});
        assert_eq!(
            parse_paths(&json, "10.0.0.2", "203.0.113.0/24".parse().unwrap()),
            [Path {
                next_hop: Some("10.0.0.2".parse().unwrap()),
                as_path: vec![4_200_000_001; 2],
                med: Some(50),
                local_pref: Some(0),
                communities: vec!["64512:100".to_owned(), "65535:0".to_owned()],
                ..Path::default()
            }]
        );
    }
}
