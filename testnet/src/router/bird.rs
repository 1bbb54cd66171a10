//! BIRD 2.
//!
//! The whole configuration is written anew whenever its routes change, and BIRD told to take it (`configure`): it finds
//! out itself what differs. Its timers for connecting are as short as it allows.

use std::{fmt::Write as _, net::IpAddr, path::PathBuf, process::Command};

use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};

use super::{
    Announcement, Make, Neighbour, Path, Peering, Router, START, Session, Site,
    path::sorted,
    peering::cannot,
    program::{self, kill, logs},
};
use crate::{
    error::{Error, Result},
    process::Process,
    wait::block_until,
    world::bird::converse,
};

/// The session's name in configurations made here.
const NAME: &str = "pop";

#[derive(Debug)]
pub(super) struct Bird {
    site: Site,
    /// The session's name in the configuration.
    name: String,
    peering: Option<Peering>,
    announced: Vec<Announcement>,
    ran_before: bool,
    process: Option<Process>,
}

impl Bird {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            name: String::new(),
            peering: None,
            announced: Vec::new(),
            ran_before: false,
            process: None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.site.dir.join(name)
    }

    fn ask(&self, command: &str) -> Result<String> {
        let doing = format!("asking BIRD for `{command}`");
        let (failed, answer) = converse(&self.file("bird.ctl"), command).map_err(Error::io(doing))?;
        if failed {
            let command = command.to_owned();
            return Err(Error::Router { make: Make::Bird.to_string(), command, answer });
        }
        Ok(answer)
    }

    fn write_configuration(&mut self) -> Result<()> {
        let Some(peering) = &self.peering else { return Ok(()) };
        let text = match peering.sample()? {
            Some(sample) => sample,
            None => configuration(peering, &self.announced)?,
        };
        self.name = session_name(&text);
        program::write(&self.file("bird.conf"), &text)
    }

    fn takes_whoever_calls(&self) -> bool {
        self.peering.as_ref().is_some_and(|peering| matches!(peering.neighbour, Neighbour::Interface(_)))
    }

    fn reconfigure(&mut self) -> Result<()> {
        self.write_configuration()?;
        self.ask("configure").map(drop)
    }
}

impl Router for Bird {
    fn make(&self) -> Make {
        Make::Bird
    }

    fn start(&mut self, peering: &Peering) -> Result<()> {
        self.peering = Some(peering.clone());
        self.write_configuration()?;
        let socket = self.file("bird.ctl");
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(self.file("bird.conf")).arg("-s").arg(&socket);
        if self.ran_before {
            // Recover from a restart: hold the routes in the kernel until the peers have sent theirs.
            command.arg("-R");
        }
        self.ran_before = true;
        self.process = Some(program::start(&self.site, "bird", "bird2", command)?);
        block_until(START, || {
            self.check()?;
            Ok(converse(&socket, "show status").map_or("BIRD does not answer".to_owned(), |_| String::new()))
        })
    }

    fn session(&self) -> Result<Session> {
        let told = match self.ask(&format!("show protocols all {}", self.name)) {
            // A dynamic neighbour that is not there has no name.
            Err(Error::Router { answer, .. }) if self.takes_whoever_calls() => answer,
            told => told?,
        };
        let value = |key: &str| told.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
        let established = value("BGP state:") == Some("Established");
        let hold_time = value("Hold timer:").and_then(|timer| timer.rsplit('/').next()?.parse().ok());
        Ok(Session { established, hold_time, told })
    }

    fn rib(&self, prefix: Prefix) -> Result<Vec<Path>> {
        match self.ask(&format!("show route for {prefix} all protocol {}", self.name)) {
            Ok(answer) => Ok(parse_routes(&answer, &self.name, prefix)),
            Err(Error::Router { answer, .. }) if answer.contains("Network not found") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn announce(&mut self, route: &Announcement) -> Result<()> {
        route.is_plain_for(Make::Bird)?;
        self.announced.retain(|known| (known.prefix, known.nth) != (route.prefix, route.nth));
        self.announced.push(route.clone());
        if self.process.is_some() { self.reconfigure() } else { Ok(()) }
    }

    fn withdraw(&mut self, prefix: Prefix) -> Result<()> {
        self.announced.retain(|known| known.prefix != prefix);
        self.reconfigure()
    }

    fn forget(&mut self, prefix: Prefix) {
        self.announced.retain(|known| known.prefix != prefix);
    }

    fn refresh(&mut self, family: Family) -> Result<()> {
        // It reloads all channels of the session.
        let _ = family;
        self.ask(&format!("reload in {}", self.name)).map(drop)
    }

    fn shut_down(&mut self, reason: &str) -> Result<()> {
        self.ask(&format!("disable {} \"{reason}\"", self.name)).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), |process| process.signal(signal).map(drop))
    }

    fn bfd_admin_down(&mut self) -> Result<()> {
        self.ask("disable bfd1").map(drop)
    }

    fn kill(&mut self) -> Result<()> {
        kill(&mut self.process)
    }

    fn check(&self) -> Result<()> {
        self.process.as_ref().map_or(Ok(()), Process::check)
    }

    fn log(&self) -> String {
        logs(&self.site)
    }
}

/// The name of the first BGP session in a configuration. Those of dynamic neighbours are numbered.
fn session_name(text: &str) -> String {
    if let Some((_, after)) = text.split_once("dynamic name \"") {
        return after.split('"').next().unwrap_or_default().to_owned() + "1";
    }
    let after = text.split_once("\nprotocol bgp ").map_or("", |(_, after)| after);
    after.split_whitespace().next().unwrap_or_default().to_owned()
}

fn configuration(peering: &Peering, announced: &[Announcement]) -> Result<String> {
    let mut text = format!(
        "log stderr all;\n\
         router id {};\n\
         protocol device {{ scan time 60; }}\n\
         protocol direct {{ ipv4; ipv6; }}\n",
        peering.local
    );
    if peering.graceful_restart.is_some() {
        // How long it waits for its peers after a restart of its own.
        text += "graceful restart wait 10;\n";
    }
    // A next hop behind another router is found by the routes that the kernel has.
    let learn = if peering.multihop.is_some() { "learn; " } else { "" };
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(text, "protocol kernel {{ {learn}{family} {{ export where source = RTS_BGP; }}; }}");
    }
    for (number, route) in announced.iter().enumerate() {
        text += &static_route(number, route);
    }
    text += "filter from_pop {\n  if (65535, 0) ~ bgp_community then bgp_local_pref = 0;\n  accept;\n}\n\
             filter to_pop {\n  if source != RTS_STATIC then reject;\n  \
             # An MED is sent to another AS only if this filter sets it.\n  \
             if defined(bgp_med) then bgp_med = bgp_med;\n  accept;\n}\n";
    if let Neighbour::Interface(interface) = &peering.neighbour {
        let _ = writeln!(
            text,
            "protocol radv {{ interface \"{interface}\" {{ min ra interval 3; max ra interval 4; default lifetime 0; }}; }}"
        );
    }
    if let Some(bfd) = &peering.bfd {
        let key = peering.bfd_key.as_ref().map_or_else(String::new, |key| {
            format!(" authentication meticulous keyed sha1; password \"{key}\" {{ id 1; }};")
        });
        let timers = format!(
            "min rx interval {0} ms; min tx interval {0} ms; multiplier {1};",
            bfd.interval_ms, bfd.multiplier
        );
        let _ = writeln!(
            text,
            "protocol bfd {{ interface \"*\" {{ {timers}{key} }}; multihop {{ {timers}{key} }}; }}"
        );
    }
    Ok(text + &session(peering)?)
}

fn session(peering: &Peering) -> Result<String> {
    if peering.extended_parameters {
        return Err(cannot(Make::Bird, "extend the parameters of a short OPEN"));
    }
    let neighbour = match &peering.neighbour {
        Neighbour::Address(address) => {
            format!("local {} as {};\n  neighbor {address}", peering.local_end(*address), peering.local_as)
        }
        Neighbour::LinkLocal(address, interface) => {
            format!("local as {};\n  interface \"{interface}\";\n  neighbor {address}", peering.local_as)
        }
        // It takes whoever calls from a link-local address there; that it is there it advertises (see `configuration`).
        Neighbour::Interface(interface) => format!(
            "local as {};\n  interface \"{interface}\";\n  neighbor range fe80::/10",
            peering.local_as
        ),
    };
    // Without four-octet AS numbers it cannot name such a peer; it goes on reading the peer's capability, though, so that
    // AS_TRANS would not do either.
    let whose =
        if peering.two_octet_as { "external".to_owned() } else { format!("as {}", peering.remote_as) };
    let dynamic = matches!(peering.neighbour, Neighbour::Interface(_));
    let named = if dynamic { format!("dynamic name \"{NAME}\";\n  ") } else { String::new() };
    let name = if dynamic { "callers" } else { NAME };
    let mut text = format!(
        "protocol bgp {name} {{\n  {neighbour} {whose};\n  {named}\
           hold time {};\n  \
           debug {{ events, packets }};\n  \
           connect delay time 1;\n  \
           connect retry time 1;\n  \
           error wait time 1, 2;\n",
        peering.hold_time
    );
    for (on, line) in [
        (peering.passive, "passive on;"),
        (peering.ttl_security, "ttl security on;"),
        (peering.two_octet_as, "enable as4 off;"),
        (peering.extended_messages, "enable extended messages on;"),
        (peering.bfd.is_some(), "bfd on;"),
    ] {
        if on {
            let _ = writeln!(text, "  {line}");
        }
    }
    if let Some((_, hops)) = peering.multihop {
        let _ = writeln!(text, "  multihop {hops};");
    }
    if let Some(password) = &peering.password {
        let _ = writeln!(text, "  password \"{password}\";");
    }
    if let Some(seconds) = peering.graceful_restart {
        let _ = writeln!(text, "  graceful restart on;\n  graceful restart time {seconds};");
    }
    if let Some((role, strict)) = peering.role {
        let require = if strict { "require roles on;" } else { "" };
        let _ = writeln!(text, "  local role {}; {require}", role.word());
    }
    for family in &peering.families {
        let next_hop = peering.next_hop(*family);
        let _ = writeln!(text, "  {family} {{\n    import filter from_pop;\n    export filter to_pop;");
        let link_local = !matches!(peering.neighbour, Neighbour::Address(_));
        if peering.extended_next_hop && *family == Family::Ipv4 {
            let _ = writeln!(text, "    extended next hop on;");
        } else if !link_local {
            let _ = writeln!(text, "    next hop address {next_hop};");
        }
        if peering.add_path {
            let _ = writeln!(text, "    add paths tx;");
        }
        if let Some(limit) = peering.max_prefixes {
            let _ = writeln!(text, "    import limit {limit} action disable;");
        }
        text += "  };\n";
    }
    Ok(text + "}\n")
}

fn static_route(number: usize, route: &Announcement) -> String {
    let pair = |word: &String| word.replace(':', ", ");
    let mut attributes = String::new();
    for asn in route.as_path.iter().rev() {
        let _ = write!(attributes, " bgp_path.prepend({asn});");
    }
    if let Some(med) = route.med {
        let _ = write!(attributes, " bgp_med = {med};");
    }
    for (name, kind, words) in [
        ("bgp_community", "", &route.communities),
        ("bgp_large_community", "", &route.large_communities),
        ("bgp_ext_community", "rt, ", &route.route_targets),
    ] {
        for word in words {
            let _ = write!(attributes, " {name}.add(({kind}{}));", pair(word));
        }
    }
    format!(
        "protocol static route{number} {{ {}; route {} blackhole {{{attributes} }}; }}\n",
        route.prefix.family(),
        route.prefix
    )
}

/// `show route … all`: a line per path that holds its protocol in brackets, then its attributes.
fn parse_routes(answer: &str, session: &str, prefix: Prefix) -> Vec<Path> {
    let mut paths: Vec<(bool, Path)> = Vec::new();
    let mut network = String::new();
    for line in answer.lines() {
        if line.contains(&format!(" [{session} ")) {
            if let Some(first) = line.split_whitespace().next().filter(|_| !line.starts_with(' ')) {
                first.clone_into(&mut network);
            }
            if network == prefix.to_string() {
                paths.push((line.contains("] * "), Path::default()));
            } else {
                network.clear();
            }
        } else if let (Some((key, value)), Some((_, path)), false) =
            (line.trim().split_once(": "), paths.last_mut(), network.is_empty())
        {
            take_attribute(path, key, value);
        }
    }
    paths.sort_by_key(|(best, _)| !best);
    paths.into_iter().map(|(_, path)| path).collect()
}

fn take_attribute(path: &mut Path, key: &str, value: &str) {
    match key {
        // `:: fe80::2` where there is a link-local one only.
        "BGP.next_hop" => {
            let mut addresses = value.split_whitespace().filter_map(|word| word.parse::<IpAddr>().ok());
            path.next_hop = addresses.find(|address| !address.is_unspecified());
        }
        "BGP.as_path" => {
            path.as_path = value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        }
        "BGP.med" => path.med = value.parse().ok(),
        "BGP.local_pref" => path.local_pref = value.parse().ok(),
        "BGP.community" => path.communities = sorted(tuples(value)),
        "BGP.large_community" => path.large_communities = sorted(tuples(value)),
        _ => {}
    }
}

/// `(64512,100) (64512, 1, 2)` as `64512:100`, `64512:1:2`.
fn tuples(value: &str) -> Vec<String> {
    let inner = value.split(')').filter_map(|part| part.split_once('(').map(|(_, inner)| inner));
    inner.map(|inner| inner.split(',').map(str::trim).collect::<Vec<_>>().join(":")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_with_their_attributes_the_best_first() {
        let answer = "Table master4:\n\
            203.0.113.0/24       unicast [pop 16:45:29.066] (100) [AS4200000001i]\n\
            \tvia 10.0.0.2 on r0\n\
            \tType: BGP univ\n\
            \tBGP.origin: IGP\n\
            \tBGP.as_path: 4200000001 4200000001\n\
            \tBGP.next_hop: fd00::2 fe80::1\n\
            \tBGP.med: 50\n\
            \tBGP.local_pref: 100\n\
            \tBGP.community: (64512,100) (64512,20)\n\
            \tBGP.large_community: (64512, 1, 2)\n\
            \x20                    unicast [pop 16:45:29.066] * (100) [AS4200000001i]\n\
            \tBGP.next_hop: :: fe80::2\n";
        let paths = parse_routes(answer, "pop", "203.0.113.0/24".parse().unwrap());
        assert_eq!(paths[0].next_hop, Some("fe80::2".parse().unwrap()));
        assert_eq!(
            paths[1],
            Path {
                next_hop: Some("fd00::2".parse().unwrap()),
                as_path: vec![4_200_000_001; 2],
                med: Some(50),
                local_pref: Some(100),
                communities: vec!["64512:100".to_owned(), "64512:20".to_owned()],
                large_communities: vec!["64512:1:2".to_owned()],
                stale: false,
            }
        );
        assert_eq!(parse_routes(answer, "pop", "203.0.113.0/25".parse().unwrap()), []);
    }
}
