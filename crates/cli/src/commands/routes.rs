//! `proxima routes`: what peers were sent, what they sent, and where an address leads.

use std::net::IpAddr;

use proxima_api::{
    AdvertisedRoute, AdvertisedRoutes, ReceivedQuery, ReceivedRoute, ReceivedRoutes, RouteFilter,
    RouteLookup, RoutesSummary, paths,
};

use crate::{
    args::{RouteArgs, RoutesCommand},
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, Tone, Widths, words},
};

pub(crate) async fn run(
    command: &RoutesCommand,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        RoutesCommand::Advertised(args) => advertised(args, client, output).await,
        RoutesCommand::Received(args) => received(args, client, output).await,
        RoutesCommand::Lookup { address } => lookup(*address, client, output).await,
        RoutesCommand::Summary => summary(client, output).await,
    }
}

async fn advertised(args: &RouteArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<AdvertisedRoutes>(&filtered(paths::ADVERTISED, &args.filter()?)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("PREFIX", Align::Left),
        ("GROUP", Align::Left),
        ("NEXT HOP", Align::Left),
        ("ORIGIN", Align::Left),
        ("MED", Align::Right),
        ("AS PATH", Align::Left),
        ("COMMUNITIES", Align::Left),
    ]);
    for route in &answer.value.routes {
        let link_local = route.next_hop_link_local.map(|address| format!(" ({address})")).unwrap_or_default();
        table.row([
            (&route.peer).into(),
            route.prefix.into(),
            Cell::or_dash(route.group.as_ref()),
            format!("{}{link_local}", route.next_hop).into(),
            route.origin.into(),
            Cell::or_dash(route.med),
            (&route.as_path).into(),
            sent_with(route).into(),
        ]);
    }
    if table.is_empty() {
        return Ok(output.line("no such routes are advertised")?);
    }
    Ok(output.table(&table)?)
}

/// Communities, and what else few routes have.
fn sent_with(route: &AdvertisedRoute) -> String {
    let mut list: Vec<String> = route.communities.iter().map(ToString::to_string).collect();
    list.extend(route.large_communities.iter().cloned());
    list.extend(route.local_pref.map(|local_pref| format!("(LOCAL_PREF {local_pref})")));
    list.extend(route.only_to_customer.map(|asn| format!("(only to customer: AS {asn})")));
    words(list)
}

/// Page after page, so that a million routes need neither the daemon's memory nor ours.
async fn received(args: &RouteArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let RouteFilter { peer, prefix } = args.filter()?;
    let mut query = ReceivedQuery { peer, prefix, after: None, limit: Some(ReceivedQuery::MOST) };
    let (mut widths, mut shown) = (Widths::default(), 0usize);
    if output.json() {
        output.text("{\"routes\":[")?;
    }
    loop {
        let page = client.get::<ReceivedRoutes>(&paged(&query)).await?.value;
        if output.json() {
            for (index, route) in page.routes.iter().enumerate() {
                let separator = if shown + index == 0 { "\n" } else { ",\n" };
                let route = serde_json::to_string(route).expect("routes have string keys only");
                output.text(format_args!("{separator}{route}"))?;
            }
        } else if !page.routes.is_empty() {
            output.page(&received_table(&page.routes), &mut widths)?;
        }
        shown += page.routes.len();
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    match (output.json(), shown) {
        (true, _) => Ok(output.line("\n]}")?),
        (false, 0) => Ok(output.line("no such routes are received")?),
        (false, _) => Ok(()),
    }
}

fn received_table(routes: &[ReceivedRoute]) -> Table {
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("PREFIX", Align::Left),
        ("NEXT HOP", Align::Left),
        ("ORIGIN", Align::Left),
        ("MED", Align::Right),
        ("AS PATH", Align::Left),
        ("COMMUNITIES", Align::Left),
    ]);
    for route in routes {
        let path = route.path_id.map(|id| format!(" path {id}")).unwrap_or_default();
        table.row([
            (&route.peer).into(),
            format!("{}{path}", route.prefix).into(),
            route.next_hop.into(),
            route.origin.into(),
            Cell::or_dash(route.med),
            (&route.as_path).into(),
            remarks(route).into(),
        ]);
    }
    table
}

/// Communities, and what keeps a route from being used as it is.
fn remarks(route: &ReceivedRoute) -> String {
    let mut remarks: Vec<String> = route.communities.iter().map(ToString::to_string).collect();
    remarks.extend(route.large_communities.iter().cloned());
    if route.stale {
        remarks.push("(stale)".to_owned());
    }
    remarks.extend(route.unusable.as_ref().map(|why| format!("(unusable: {why})")));
    words(remarks)
}

async fn lookup(address: IpAddr, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<RouteLookup>(&format!("{}?address={address}", paths::LOOKUP)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let Some(prefix) = answer.value.prefix else {
        return Ok(output.line(format_args!("no received route leads to {address}"))?);
    };
    let count = answer.value.paths.len();
    let heading = output.toned(Tone::Heading, prefix);
    output
        .line(format_args!("{address} is in {heading}, {count} path{}", if count == 1 { "" } else { "s" }))?;
    for path in &answer.value.paths {
        output.line("")?;
        let route = &path.route;
        let verdict = match (&path.reason, path.best) {
            (_, true) => output.toned(Tone::Good, "best"),
            (Some(reason), false) => output.toned(Tone::Doubtful, format_args!("not best: {reason}")),
            (None, false) => output.toned(Tone::Doubtful, "not best"),
        };
        let id = route.path_id.map(|id| format!(" path {id}")).unwrap_or_default();
        output.line(format_args!("{}{id}: {verdict}", route.peer))?;
        facts(route, output)?;
    }
    Ok(())
}

async fn summary(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<RoutesSummary>(paths::SUMMARY).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let RoutesSummary { prefixes, selected, paths } = answer.value;
    let (es, s) = (if prefixes == 1 { "" } else { "es" }, if paths == 1 { "" } else { "s" });
    Ok(output.line(format_args!("{prefixes} prefix{es}, {selected} with a best path; {paths} path{s}"))?)
}

fn facts(route: &ReceivedRoute, output: &mut Output) -> Result<(), Failure> {
    output.fact(2, "next hop", route.next_hop)?;
    output.fact(2, "AS path", format_args!("{} ({})", route.as_path, route.origin))?;
    if let Some(local_pref) = route.local_pref {
        output.fact(2, "LOCAL_PREF", local_pref)?;
    }
    if let Some(med) = route.med {
        output.fact(2, "MED", med)?;
    }
    for (name, list) in [
        ("communities", route.communities.iter().map(ToString::to_string).collect()),
        ("large", route.large_communities.clone()),
        ("extended", route.extended_communities.clone()),
    ] {
        if !list.is_empty() {
            output.fact(2, name, words(list))?;
        }
    }
    if let Some(id) = route.originator_id {
        output.fact(2, "originator", id)?;
    }
    if let Some(asn) = route.only_to_customer {
        output.fact(2, "only to customer", format_args!("AS {asn}"))?;
    }
    if let Some(since) = route.since {
        let stale = if route.stale { ", stale" } else { "" };
        output.fact(2, "since", format_args!("{since:.0}{stale}"))?;
    }
    Ok(())
}

/// Neither names nor prefixes nor addresses hold a character that a query would have to escape.
fn filtered(path: &str, filter: &RouteFilter) -> String {
    let peer = filter.peer.as_ref().map(|peer| format!("peer={peer}"));
    let prefix = filter.prefix.map(|prefix| format!("prefix={prefix}"));
    asking(path, peer.into_iter().chain(prefix))
}

fn paged(query: &ReceivedQuery) -> String {
    let peer = query.peer.as_ref().map(|peer| format!("peer={peer}"));
    let prefix = query.prefix.map(|prefix| format!("prefix={prefix}"));
    let after = query.after.map(|after| format!("after={after}"));
    let limit = query.limit.map(|limit| format!("limit={limit}"));
    asking(paths::RECEIVED, peer.into_iter().chain(prefix).chain(after).chain(limit))
}

fn asking(path: &str, parameters: impl Iterator<Item = String>) -> String {
    let query: Vec<String> = parameters.collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}
