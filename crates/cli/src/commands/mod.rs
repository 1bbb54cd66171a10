//! One module per command.

mod backends;
mod bfd;
mod bgp;
mod certificates;
mod check;
mod drain;
mod events;
mod order;
mod peer;
mod peers;
mod reload;
mod routes;
mod status;
mod upgrade;

use std::process::ExitCode;

use proxima_api::OrderVerb;

use crate::{args::Command, client::Client, failure::Failure, output::Output};

/// Does what was asked.
pub(crate) async fn run(
    command: &Command,
    client: &Client,
    output: &mut Output,
) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(args) => return check::run(args, output),
        Command::Status => status::run(client, output).await?,
        Command::Events(args) => events::run(args, client, output).await?,
        Command::Peers(args) => peers::run(args, client, output).await?,
        Command::Peer(args) => peer::run(args, client, output).await?,
        Command::Bfd => bfd::run(client, output).await?,
        Command::Bgp(command) => return bgp::run(command, output),
        Command::Routes(command) => routes::run(command, client, output).await?,
        Command::Backends => backends::run(client, output).await?,
        Command::Certificates => certificates::run(client, output).await?,
        Command::Renew { service } => certificates::renew(service, client, output).await?,
        Command::Announce(args) => order::order(OrderVerb::Announce, args, client, output).await?,
        Command::Withdraw(args) => order::order(OrderVerb::Withdraw, args, client, output).await?,
        Command::Auto(args) => order::auto(&args.groups, args.reason.as_deref(), client, output).await?,
        Command::Drain(args) if args.groups.is_empty() => drain::drain(args, client, output).await?,
        Command::Drain(args) => order::order(OrderVerb::Drain, args, client, output).await?,
        Command::Undrain { groups } if groups.is_empty() => drain::undrain(client, output).await?,
        Command::Undrain { groups } => order::undrain(groups, client, output).await?,
        Command::Reload(args) => reload::reload(args, client, output).await?,
        Command::Restart(args) => reload::restart(args, client, output).await?,
        Command::Upgrade(args) => upgrade::run(args, client, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}
