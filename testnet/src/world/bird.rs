//! A region's router: real BIRD 2, its configuration and its control socket.
//!
//! Every session carries IPv4 and IPv6. Which PoP a router sends an anycast prefix to follows from LOCAL_PREF:
//!
//! | origin | healthy | de-preferred (64512:666) | shutting down (RFC 8326) |
//! |---|---|---|---|
//! | own PoP | 200 | 95 | 0 |
//! | other regions, nearest first | 190, 180, … | 85, 75, … | 0 |

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    net::IpAddr,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use nix::sys::signal::Signal;
use proxima_types::{Family, Prefix};
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage},
};

use super::{Host, Options, plan, spec::WorldSpec};
use crate::{
    error::{Error, Result},
    process::Process,
};

/// The name of the session to the region's PoP in BIRD.
pub const POP_SESSION: &str = "pop";
/// A control socket that does not answer in this time is stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// A router of the world.
#[derive(Debug)]
pub struct Router {
    /// The host it runs on. Interfaces: `pop`, `client`, `appK`, and [`wan_interface`] for each WAN link.
    pub host: Host,
    /// Its AS number.
    pub asn: u32,
    config: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Mutex<Option<Process>>,
}

/// One BGP session as BIRD shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `pop`, or `to_REGION` for another router.
    pub name: String,
    /// BIRD's words: `Established`, `Connect`, `Active  Socket: Connection refused`, …
    pub state: String,
    /// Whether it is established.
    pub established: bool,
}

/// The interface of a router towards another region's router.
pub fn wan_interface(region: &str) -> String {
    format!("w-{region}")
}

pub(super) fn check_installed() -> Result<()> {
    match Command::new("bird").arg("--version").output() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::Missing {
            what: "bird (BIRD 2, the routers of a world)".to_owned(),
            remedy: "apt-get install bird2".to_owned(),
        }),
        Err(error) => Err(Error::Io { doing: "running bird --version".to_owned(), source: error }),
    }
}

impl Router {
    pub(super) fn new(host: Host, spec: &WorldSpec, number: usize, options: &Options) -> Result<Self> {
        let dir = &options.work_dir;
        let config = dir.join("etc").join(format!("{}.conf", host.name));
        fs::write(&config, configuration(spec, number))
            .map_err(Error::io(format!("writing {}", config.display())))?;
        Ok(Self {
            asn: spec.regions[number - 1].asn,
            config,
            socket: dir.join("run").join(format!("{}.ctl", host.name)),
            log: dir.join("logs").join(format!("{}.log", host.name)),
            host,
            process: Mutex::new(None),
        })
    }

    /// Starts BIRD unless it runs.
    pub fn start(&self) -> Result<()> {
        let mut process = self.process();
        if process.as_ref().is_some_and(Process::is_running) {
            return Ok(());
        }
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(&self.config).arg("-s").arg(&self.socket);
        *process = Some(Process::start(&self.host.ns, &self.host.name, command, &self.log)?);
        Ok(())
    }

    /// Sends BIRD a signal; the moment just before.
    pub fn signal(&self, signal: Signal) -> Result<Instant> {
        self.process().as_ref().map_or_else(|| Ok(Instant::now()), |process| process.signal(signal))
    }

    /// An error if BIRD has ended on its own.
    pub fn check(&self) -> Result<()> {
        self.process().as_ref().map_or(Ok(()), Process::check)
    }

    /// Asks BIRD over its control socket, as `birdc COMMAND` does; the answer without reply codes.
    ///
    /// # Errors
    /// When BIRD does not answer, or answers with an error (reply codes 8xxx and 9xxx).
    pub fn birdc(&self, command: &str) -> Result<String> {
        let doing = format!("asking BIRD of {} for `{command}`", self.host.name);
        let (failed, answer) = converse(&self.socket, command).map_err(Error::io(doing))?;
        if failed {
            return Err(Error::Bird { router: self.host.name.clone(), command: command.to_owned(), answer });
        }
        Ok(answer)
    }

    /// The BGP sessions; empty while BIRD is not up yet.
    pub fn sessions(&self) -> Result<Vec<Session>> {
        if UnixStream::connect(&self.socket).is_err() {
            let name = "bird".to_owned();
            return Ok(vec![Session { name, state: "not up yet".to_owned(), established: false }]);
        }
        Ok(parse_sessions(&self.birdc("show protocols")?))
    }

    /// Where the router's kernel sends packets for exactly this prefix; `None` when its FIB does not have it.
    pub fn fib_gateway(&self, prefix: Prefix) -> Result<Option<IpAddr>> {
        let doing = format!("reading the FIB of {}", self.host.name);
        self.host.ns.netlink(move |handle| async move {
            let wanted = match prefix.family() {
                Family::Ipv4 => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
                Family::Ipv6 => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
            };
            let mut routes = handle.route().get(wanted).execute();
            let mut gateway = None;
            while let Some(route) = routes.try_next().await.map_err(Error::netlink(doing.clone()))? {
                if is_to(&route, prefix) {
                    gateway = gateway.or(gateway_of(&route));
                }
            }
            Ok(gateway)
        })
    }

    /// The last lines BIRD wrote.
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.log)
    }

    /// The generated configuration.
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_to(route: &RouteMessage, prefix: Prefix) -> bool {
    let table = route.header.table;
    table == RouteHeader::RT_TABLE_MAIN
        && route.header.destination_prefix_length == prefix.length()
        && route.attributes.iter().any(|attribute| match attribute {
            RouteAttribute::Destination(address) => ip(address) == Some(prefix.address()),
            _ => false,
        })
}

fn gateway_of(route: &RouteMessage) -> Option<IpAddr> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        _ => None,
    })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// BIRD's control protocol: lines of a four-digit code, `-` when more follow and a space on the last one; a line
/// that starts with a space goes on with the same code.
pub(crate) fn converse(socket: &std::path::Path, command: &str) -> std::io::Result<(bool, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    read_reply(&mut reader)?;
    writeln!(stream, "{command}")?;
    read_reply(&mut reader)
}

fn read_reply(reader: &mut impl BufRead) -> std::io::Result<(bool, String)> {
    let mut text = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        // An empty line of the answer is a space.
        let line = line.trim_end_matches('\n');
        if let Some(more) = line.strip_prefix(' ') {
            text += more;
            text.push('\n');
            continue;
        }
        let (Some(code), Some(rest)) = (line.get(..4), line.get(5..).or(Some(""))) else {
            return Err(std::io::Error::other(format!("`{line}` is not a reply of BIRD")));
        };
        if !rest.is_empty() {
            text += rest;
            text.push('\n');
        }
        if line.as_bytes().get(4) != Some(&b'-') {
            return Ok((code.starts_with(['8', '9']), text));
        }
    }
}

/// `show protocols`: name, protocol, table, state, since, info.
fn parse_sessions(answer: &str) -> Vec<Session> {
    answer
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            if words.next()? != "BGP" {
                return None;
            }
            let info = words.skip(3).collect::<Vec<_>>().join(" ");
            let established = info == "Established";
            let state = if info.is_empty() { "down".to_owned() } else { info };
            Some(Session { name: name.to_owned(), state, established })
        })
        .collect()
}

/// The configuration of region `number`'s router.
fn configuration(spec: &WorldSpec, number: usize) -> String {
    let region = &spec.regions[number - 1];
    let pop = plan::pop_link(number);
    let mut text = format!(
        "# Router of {name}, AS {asn}.\n\
         log stderr {{ info, remote, warning, error, auth, fatal, bug }};\n\
         router id {id};\n\
         protocol device {{ scan time 60; }}\n\
         protocol direct {{ ipv4; ipv6; }}\n",
        name = region.name,
        asn = region.asn,
        id = plan::router_id(number),
    );
    for family in ["ipv4", "ipv6"] {
        let _ = writeln!(
            text,
            "protocol kernel {{ merge paths off; {family} {{ export where source = RTS_BGP; }}; }}"
        );
    }
    for (family, set) in [(Family::Ipv4, "anycast4"), (Family::Ipv6, "anycast6")] {
        let prefixes: Vec<String> =
            anycast(spec).filter(|p| p.family() == family).map(|p| p.to_string()).collect();
        // A set must not be empty; nobody announces the documentation's last address.
        let none = if family == Family::Ipv4 { "192.0.2.255/32" } else { "2001:db8:ffff::ffff/128" };
        let members = if prefixes.is_empty() { none.to_owned() } else { prefixes.join(", ") };
        let _ = writeln!(text, "define {set} = [ {members} ];");
    }
    text += "function rank(int healthy) {\n  \
               if (65535, 0) ~ bgp_community then bgp_local_pref = 0;\n  \
               else if (64512, 666) ~ bgp_community then bgp_local_pref = healthy - 105;\n  \
               else bgp_local_pref = healthy;\n}\n";
    if spec.daemon.bfd {
        let _ = writeln!(
            text,
            "protocol bfd {{ interface \"pop\" {{ interval {} ms; multiplier {}; }}; }}",
            plan::BFD_INTERVAL.as_millis(),
            plan::BFD_MULTIPLIER
        );
    }
    let to_pop =
        Line { asn: region.asn, local: pop.near.v4.into(), peer: pop.far.v4.into(), peer_asn: plan::POP_ASN };
    let more = More { bfd: spec.daemon.bfd, all_paths: spec.daemon.guard.is_some() };
    text += &session(POP_SESSION, &to_pop, 200, more);
    for (nth, neighbour) in (0_u32..).zip(neighbours(spec, number)) {
        let other = &spec.regions[neighbour - 1];
        let ends = plan::wan_link(number, neighbour);
        let (near, far) = if number < neighbour { (ends.near, ends.far) } else { (ends.far, ends.near) };
        let name = format!("to_{}", other.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
        let to_router =
            Line { asn: region.asn, local: near.v4.into(), peer: far.v4.into(), peer_asn: other.asn };
        text += &session(&name, &to_router, 190 - 10 * nth, More::default());
    }
    text
}

/// Who talks to whom in a session.
struct Line {
    asn: u32,
    local: IpAddr,
    peer: IpAddr,
    peer_asn: u32,
}

/// What not every session has.
#[derive(Clone, Copy, Default)]
struct More {
    /// It is watched by BFD.
    bfd: bool,
    /// Every path is told, not only the best (RFC 7911).
    all_paths: bool,
}

fn session(name: &str, line: &Line, healthy: u32, more: More) -> String {
    let Line { asn, local, peer, peer_asn } = line;
    let bfd = if more.bfd { "bfd yes;" } else { "" };
    let all_paths = if more.all_paths { "add paths tx;" } else { "" };
    let mut text = format!(
        "protocol bgp {name} {{\n  \
           local {local} as {asn};\n  \
           neighbor {peer} as {peer_asn};\n  \
           hold time 9;\n  \
           connect delay time 1;\n  \
           connect retry time 1;\n  \
           error wait time 1, 2;\n  \
           {bfd}\n"
    );
    for (family, set) in [("ipv4", "anycast4"), ("ipv6", "anycast6")] {
        let _ = writeln!(
            text,
            "  {family} {{\n    \
                 {all_paths}\n    \
                 import filter {{ if net ~ {set} then rank({healthy}); accept; }};\n    \
                 export where source ~ [ RTS_BGP, RTS_DEVICE ];\n  }};"
        );
    }
    text + "}\n"
}

fn anycast(spec: &WorldSpec) -> impl Iterator<Item = Prefix> {
    let pinned = spec.pinned.iter().flat_map(|group| &group.prefixes);
    spec.anycast.prefixes.iter().chain(pinned).copied()
}

/// The regions linked with region `number`, the one with the shortest line first.
pub(super) fn neighbours(spec: &WorldSpec, number: usize) -> Vec<usize> {
    let name = &spec.regions[number - 1].name;
    let mut linked: Vec<(Duration, usize)> = spec
        .wan
        .iter()
        .filter_map(|wan| {
            let [a, b] = &wan.between;
            let other = if a == name {
                b
            } else if b == name {
                a
            } else {
                return None;
            };
            let position = spec.regions.iter().position(|region| region.name == *other)?;
            Some((wan.delay, position + 1))
        })
        .collect();
    linked.sort_unstable();
    linked.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_read_up_to_its_last_line_and_errors_are_told_apart() {
        let good = "1007-first line\n second line\n1007-third\n0000 \nmore";
        let (failed, text) = read_reply(&mut good.as_bytes()).unwrap();
        assert_eq!((failed, text.as_str()), (false, "first line\nsecond line\nthird\n"));
        let (failed, text) = read_reply(&mut "9001 syntax error, unexpected X\n".as_bytes()).unwrap();
        assert_eq!((failed, text.as_str()), (true, "syntax error, unexpected X\n"));
        assert!(read_reply(&mut "1007-cut off\n".as_bytes()).is_err());
    }

    #[test]
    fn sessions_are_read_from_show_protocols() {
        let answer = "Name       Proto      Table      State  Since         Info\n\
                      device1    Device     ---        up     20:00:00.000  \n\
                      pop        BGP        ---        up     20:00:01.000  Established   \n\
                      to_eu      BGP        ---        start  20:00:01.000  Active        Socket: Connection refused\n";
        let sessions = parse_sessions(answer);
        assert_eq!(sessions.len(), 2);
        assert!(sessions[0].established && sessions[0].name == "pop");
        assert_eq!(sessions[1].state, "Active Socket: Connection refused");
    }

    #[test]
    fn a_neighbour_is_the_better_the_shorter_its_line() {
        let spec = WorldSpec::three_regions();
        assert_eq!(neighbours(&spec, 1), [2, 3]);
        assert_eq!(neighbours(&spec, 3), [1, 2]);
        let apac = configuration(&spec, 3);
        let us = apac.find("to_us_east").unwrap();
        assert!(apac[us..].contains("rank(190)") && us < apac.find("to_eu").unwrap());
    }
}
