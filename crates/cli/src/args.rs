//! What may be asked on the command line.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use proxima_api::{OrderRequest, RouteFilter};
use proxima_types::{GroupName, PeerName, Prefix, PrefixError, ServiceName};

use crate::failure::Failure;

/// Options of all commands stand behind a command's own, before `--help`.
const COMMON: usize = 900;
/// Commands that need no daemon.
const ALONE: [&str; 2] = ["check", "bgp"];

/// Steers a running proximad and checks its configuration.
#[derive(Debug, Parser)]
#[command(
    name = "proxima",
    version,
    after_help = "Exit codes: 0 done, 1 failed or something malformed was found, 2 bad usage or a bad configuration."
)]
pub(crate) struct Cli {
    /// Print the admin interface's JSON instead of text
    #[arg(long, global = true, display_order = COMMON)]
    pub(crate) json: bool,

    /// The daemon's admin socket
    #[arg(
        long,
        global = true,
        display_order = COMMON + 1,
        env = "PROXIMA_SOCKET",
        default_value = "/run/proximad/admin.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// What was asked for. Ends the program when that makes no sense, or is help.
    pub(crate) fn read() -> Self {
        Self::from_arg_matches(&Self::whole_command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// With the help of commands that need no daemon silent about one.
    fn whole_command() -> clap::Command {
        let command = Self::command();
        let options = command.get_arguments().filter_map(|option| match option.get_id().as_str() {
            "json" => Some(option.clone().help("Print JSON instead of text")),
            "socket" => Some(option.clone().hide(true)),
            _ => None,
        });
        let options: Vec<_> = options.collect();
        ALONE
            .into_iter()
            .fold(command, |whole, name| whole.mut_subcommand(name, |alone| alone.args(options.clone())))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file and show every error at once
    Check(CheckArgs),
    /// Show the daemon, its announcement groups and its services
    Status,
    /// Show what happened
    Events(EventsArgs),
    /// Show the BGP peers, or one of them in full
    Peers(PeersArgs),
    /// Command one BGP peer's session
    Peer(PeerArgs),
    /// Show routes sent to the peers or received from them
    #[command(subcommand)]
    Routes(RoutesCommand),
    /// Show the BFD sessions
    Bfd,
    /// Take BGP messages and dumps apart; needs no daemon
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// Show the backends and the verdicts on them
    Backends,
    /// Show the services' certificates, when they end and when they are renewed
    Certificates,
    /// Order a service's certificate now, though none may be due
    Renew {
        /// The service
        #[arg(value_name = "SERVICE")]
        service: ServiceName,
    },
    /// Have groups announced whatever their health
    Announce(OrderArgs),
    /// Have groups withdrawn at once, whatever their health
    Withdraw(OrderArgs),
    /// Leave groups to their health again
    Auto(AutoArgs),
    /// Take this PoP, or groups, out of anycast: GRACEFUL_SHUTDOWN, then withdrawn; what still arrives is served
    Drain(OrderArgs),
    /// Put this PoP, or groups, back into anycast, as health allows; orders other than drains stay
    Undrain {
        /// Only these announcement groups
        #[arg(value_name = "GROUP")]
        groups: Vec<GroupName>,
    },
    /// Read the configuration again and apply what changed
    Reload(ForceArgs),
    /// Begin anew at once, without a word to peers: those with graceful restart keep the routes meanwhile
    Restart(ForceArgs),
    /// Hand over to the program as it is on disk now: no peer, probe or client notices
    Upgrade(ForceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Stay and show what happens, until Ctrl-C
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) since: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArgs {
    /// Show this peer in full
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<PeerName>,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The peer; a member of a range is RANGE/ADDRESS
    #[arg(value_name = "NAME")]
    pub(crate) name: PeerName,

    #[command(subcommand)]
    pub(crate) command: PeerCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeerCommand {
    /// End the session (Cease 6/4) and begin it anew
    Reset,
    /// Ask the peer for its routes again (ROUTE-REFRESH)
    Refresh,
    /// Take the session down until `up`; its routes are announced as about to go first
    Shutdown {
        /// Why, for the peer's operator (RFC 9003)
        #[arg(value_name = "REASON", default_value = "")]
        reason: String,
    },
    /// Let the session come up, after a shutdown or at a limit
    Up,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Routes the peers were sent and that stand
    Advertised(RouteArgs),
    /// Routes the peers sent and that stand, shown as they come; with --json one document, a route a line
    Received(RouteArgs),
    /// The received routes to an address: the longest match, its best path, and why the others lost
    Lookup {
        /// The address
        #[arg(value_name = "ADDRESS")]
        address: IpAddr,
    },
    /// How many prefixes and paths were received, and how many prefixes have a best path
    Summary,
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Only routes of this peer, or only this prefix and those within it
    #[arg(value_name = "PEER|PREFIX")]
    first: Option<Narrowing>,

    /// Only this prefix and those within it
    #[arg(value_name = "PREFIX")]
    second: Option<Prefix>,
}

/// What narrows a list of routes.
#[derive(Debug, Clone)]
enum Narrowing {
    Peer(PeerName),
    Prefix(Prefix),
}

impl FromStr for Narrowing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A member of a range has a `/` too, but no number behind it.
        let peer = match text.parse::<Prefix>() {
            Ok(prefix) => return Ok(Self::Prefix(prefix)),
            Err(PrefixError::HostBits { address, length, meant }) => {
                return Err(PrefixError::HostBits { address, length, meant }.to_string());
            }
            Err(_) => text.parse::<PeerName>(),
        };
        peer.map(Self::Peer)
            .map_err(|_| format!("`{text}` is neither a peer's name nor a prefix such as 203.0.113.0/24"))
    }
}

impl RouteArgs {
    /// The peer and the prefix asked for.
    ///
    /// # Errors
    /// When there are two prefixes.
    pub(crate) fn filter(&self) -> Result<RouteFilter, Failure> {
        let (peer, prefix) = match &self.first {
            None => (None, None),
            Some(Narrowing::Peer(peer)) => (Some(peer.clone()), self.second),
            Some(Narrowing::Prefix(prefix)) if self.second.is_none() => (None, Some(*prefix)),
            Some(Narrowing::Prefix(_)) => {
                return Err(Failure::Usage(
                    "two prefixes are one too many: write PEER PREFIX, or one of them".to_owned(),
                ));
            }
        };
        Ok(RouteFilter { peer, prefix })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpCommand {
    /// Say what BGP messages are, what they say, what is wrong with them, and what RFC 7606 makes of it
    Decode(DecodeArgs),
    /// Show an MRT file (RFC 6396): table dumps, and messages as collectors record them
    Dump(DumpArgs),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct DecodeArgs {
    /// One or many messages: hexadecimal digits with or without spaces, colons and line ends; or a file, or - for standard
    /// input, with such digits or with the octets themselves
    #[arg(value_name = "HEX|FILE|-", required = true)]
    pub(crate) input: Vec<String>,

    /// The session is within one AS
    #[arg(long)]
    pub(crate) ibgp: bool,

    /// AS numbers have two octets: one side does not know RFC 6793
    #[arg(long)]
    pub(crate) two_octet_as: bool,

    /// Prefixes have path identifiers: add-path was negotiated (RFC 7911)
    #[arg(long)]
    pub(crate) add_path: bool,

    /// Messages have at most 4096 octets: RFC 8654 was not negotiated
    #[arg(long)]
    pub(crate) no_extended_messages: bool,

    /// IPv4 routes have no IPv6 next hops: RFC 8950 was not negotiated
    #[arg(long)]
    pub(crate) no_extended_next_hop: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DumpArgs {
    /// The MRT file, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ForceArgs {
    /// Do it although it would be refused for its consequences
    #[arg(long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OrderArgs {
    /// Only these announcement groups; all when none is named
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<GroupName>,

    /// Why, for those who read the status and the events
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    /// For so long, as in 30s, 15m, 2h or 1d; then health decides again. Without it: until the next order
    #[arg(long = "for", value_name = "DURATION", value_parser = span)]
    pub(crate) time: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct AutoArgs {
    /// Only these announcement groups; all when none is named
    #[arg(value_name = "GROUP")]
    pub(crate) groups: Vec<GroupName>,

    /// Why, for those who read the status and the events
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

/// A whole number and its unit.
fn span(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 24 * 3_600_000)];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| ms);
    let ms = number.parse::<u64>().ok().zip(unit).and_then(|(number, ms)| number.checked_mul(*ms));
    let within = OrderRequest::SHORTEST_MS..=OrderRequest::LONGEST_MS;
    match ms.filter(|ms| within.contains(ms)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("write 1s to 30d, as in 30s, 15m, 2h or 1d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::whole_command().debug_assert();
    }

    #[test]
    fn routes_are_narrowed_by_a_peer_a_prefix_or_both() {
        let filter = |args: &[&str]| {
            let cli = Cli::try_parse_from([&["proxima", "routes", "received"], args].concat()).unwrap();
            let Command::Routes(RoutesCommand::Received(args)) = cli.command else { panic!("{cli:?}") };
            args.filter().map(|RouteFilter { peer, prefix }| {
                (peer.map(|peer| peer.to_string()), prefix.map(|prefix| prefix.to_string()))
            })
        };
        let some = |text: &str| Some(text.to_owned());
        for (args, expected) in [
            (&[][..], (None, None)),
            (&["tor1"], (some("tor1"), None)),
            (&["racks/10.1.0.7"], (some("racks/10.1.0.7"), None)),
            (&["racks/2001:db8::7"], (some("racks/2001:db8::7"), None)),
            (&["10.0.0.0/8"], (None, some("10.0.0.0/8"))),
            (&["tor1", "2001:db8::/32"], (some("tor1"), some("2001:db8::/32"))),
        ] {
            assert_eq!(filter(args).unwrap(), expected, "{args:?}");
        }
        assert!(matches!(filter(&["10.0.0.0/8", "10.0.0.0/9"]), Err(Failure::Usage(_))));
    }

    #[test]
    fn a_time_has_a_unit_and_lasts_from_a_second_to_thirty_days() {
        for (text, seconds) in
            [("1s", 1), ("1500ms", 1), ("15m", 900), ("2h", 7200), ("1d", 86_400), ("30d", 2_592_000)]
        {
            assert_eq!(span(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in ["", "5", "m", "0s", "999ms", "31d", "-1s", "1.5h", "1 h", "1w", "99999999999999999999d"]
        {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
