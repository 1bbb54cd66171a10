//! `proxima routes`: what peers were sent, and what they sent.

use proxima_api::{AdvertisedRoutes, ReceivedRoutes, paths};

use crate::{
    args::{RouteArgs, RoutesCommand},
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, words},
};

pub(crate) async fn run(
    command: &RoutesCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        RoutesCommand::Advertised(args) => advertised(args, client, output).await,
        RoutesCommand::Received(args) => received(args, client, output).await,
    }
}

async fn advertised(args: &RouteArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<AdvertisedRoutes>(&filtered(paths::ADVERTISED, args)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("PREFIX", Align::Left),
        ("GROUP", Align::Left),
        ("NEXT HOP", Align::Left),
        ("MED", Align::Right),
        ("AS PATH", Align::Left),
        ("COMMUNITIES", Align::Left),
    ]);
    for route in &answer.value.routes {
        table.row([
            (&route.peer).into(),
            route.prefix.into(),
            Cell::or_dash(route.group.as_ref()),
            route.next_hop.into(),
            Cell::or_dash(route.med),
            (&route.as_path).into(),
            words(&route.communities).into(),
        ]);
    }
    print(&table, "advertised", output)
}

async fn received(args: &RouteArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<ReceivedRoutes>(&filtered(paths::RECEIVED, args)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("PREFIX", Align::Left),
        ("NEXT HOP", Align::Left),
        ("ORIGIN", Align::Left),
        ("MED", Align::Right),
        ("AS PATH", Align::Left),
        ("COMMUNITIES", Align::Left),
    ]);
    for route in &answer.value.routes {
        table.row([
            (&route.peer).into(),
            route.prefix.into(),
            route.next_hop.into(),
            route.origin.into(),
            Cell::or_dash(route.med),
            (&route.as_path).into(),
            words(&route.communities).into(),
        ]);
    }
    print(&table, "received", output)
}

fn print(table: &Table, verb: &str, output: &mut Output) -> Result<(), Failure> {
    if table.is_empty() {
        return Ok(output.line(format_args!("no such routes are {verb}"))?);
    }
    Ok(output.table(table)?)
}

/// Names and prefixes hold no character that a query would have to escape.
fn filtered(path: &str, args: &RouteArgs) -> String {
    let peer = args.peer.as_ref().map(|peer| format!("peer={peer}"));
    let prefix = args.prefix.map(|prefix| format!("prefix={prefix}"));
    let query: Vec<String> = peer.into_iter().chain(prefix).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}
