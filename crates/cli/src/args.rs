//! What may be asked on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use proxima_types::{PeerName, Prefix};

/// Steers a running proximad and checks its configuration.
#[derive(Debug, Parser)]
#[command(
    name = "proxima",
    version,
    after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or a bad configuration."
)]
pub(crate) struct Cli {
    /// The daemon's admin socket
    #[arg(
        long,
        global = true,
        env = "PROXIMA_SOCKET",
        default_value = "/run/proximad/admin.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: PathBuf,

    /// Print the admin interface's JSON instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
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
    /// Show routes sent to the peers or received from them
    #[command(subcommand)]
    Routes(RoutesCommand),
    /// Show the backends and the verdicts on them
    Backends,
    /// Take this PoP out of anycast; what still arrives is served
    Drain(DrainArgs),
    /// Put this PoP back into anycast, as health allows
    Undrain,
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

#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Routes the peers were sent and that stand
    Advertised(RouteArgs),
    /// Routes the peers sent and that stand
    Received(RouteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Only routes of this peer
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<PeerName>,

    /// Only this prefix and those within it
    #[arg(long, value_name = "PREFIX")]
    pub(crate) prefix: Option<Prefix>,
}

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Why, for those who read the status and the events
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
