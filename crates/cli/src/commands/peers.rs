//! `proxima peers`: all of them, a line each, or one in full.

use proxima_api::{BfdSession, Peer, Peers, SessionState, Stamped, paths};
use proxima_types::PeerName;

use crate::{
    args::PeersArgs,
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, Tone, span, words},
};

pub(crate) async fn run(args: &PeersArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    match &args.name {
        Some(name) => one(name, client, output).await,
        None => all(client, output).await,
    }
}

async fn all(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Peers>(paths::PEERS).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("PEER", Align::Left),
        ("ADDRESS", Align::Left),
        ("AS", Align::Right),
        ("STATE", Align::Left),
        ("FOR", Align::Right),
        ("SENT", Align::Right),
        ("RCVD", Align::Right),
        ("BFD", Align::Left),
    ]);
    for peer in &answer.value.peers {
        let cells = [
            (&peer.name).into(),
            peer.address.map_or_else(|| peer.configured.clone(), |address| address.to_string()).into(),
            peer.remote_as.into(),
            Cell::toned(peer.state),
            span(peer.since_ms).into(),
            peer.advertised.into(),
            peer.received.into(),
            peer.bfd.as_ref().map_or_else(|| Cell::from("-"), |bfd| Cell::toned(bfd.state)),
        ];
        table.noted_row(cells, note(peer));
    }
    if table.is_empty() {
        return Ok(output.line("no peers are configured")?);
    }
    Ok(output.table(&table)?)
}

/// What explains the state best.
fn note(peer: &Peer) -> String {
    match (&peer.held, &peer.last_error) {
        (Some(held), _) => held.to_string(),
        (None, Some(error)) if peer.state != SessionState::Established => error.to_string(),
        (None, _) if peer.flaps > 0 => format!("lost {} {}", peer.flaps, times(peer.flaps)),
        (None, _) => String::new(),
    }
}

async fn one(name: &PeerName, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Peer>(&paths::peer(name)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let peer = answer.value;
    session(&peer, output)?;
    if let Some(bfd) = &peer.bfd {
        output.line("")?;
        facts_of_bfd(bfd, output)?;
    }
    output.line("")?;
    errors(&peer, output)?;
    capabilities(&peer, output)?;
    prefixes(&peer, output)?;
    messages(&peer, output)
}

fn session(peer: &Peer, output: &mut Output) -> Result<(), Failure> {
    let state = output.toned(peer.state.into(), peer.state);
    let name = output.toned(Tone::Heading, &peer.name);
    output.line(format_args!("{name}: {state} for {}, since {:.0}", span(peer.since_ms), peer.since))?;
    if let Some(held) = &peer.held {
        output.fact(0, "held", held)?;
    }
    let kind = if peer.internal { "internal" } else { "external" };
    let id = peer.remote_router_id.map(|id| format!(", router ID {id}")).unwrap_or_default();
    let remote =
        peer.remote.map_or_else(|| format!("{} port {}", peer.configured, peer.port), |end| end.to_string());
    output.fact(0, "peer", format_args!("{remote}, AS {} ({kind}){id}", peer.remote_as))?;
    if peer.remote.is_some() && peer.address.is_none_or(|address| address.to_string() != peer.configured) {
        output.fact(0, "configured", &peer.configured)?;
    }
    if let Some(local) = peer.local {
        output.fact(0, "local", local)?;
    }
    output.fact(0, "families", words(&peer.families))?;
    if let Some(seconds) = peer.hold_time_s {
        let text = match seconds {
            0 => "none: no keepalives".to_owned(),
            seconds => format!("{seconds} s"),
        };
        output.fact(0, "hold time", text)?;
    }
    if !peer.timers.is_empty() {
        let timers: Vec<String> =
            peer.timers.iter().map(|timer| format!("{} {}", timer.name, span(timer.left_ms))).collect();
        output.fact(0, "timers, left", timers.join(", "))?;
    }
    if let Some(roles) = &peer.roles {
        let say = |role: &Option<String>| role.clone().unwrap_or_else(|| "not said".to_owned());
        output.fact(
            0,
            "role",
            format_args!("ours {}, the peer's {}", say(&roles.local), say(&roles.remote)),
        )?;
    }
    let (count, flaps) = (peer.established_count, peer.flaps);
    output.fact(0, "established", format_args!("{count} {}, lost {flaps} {}", times(count), times(flaps)))?;
    Ok(())
}

fn facts_of_bfd(bfd: &BfdSession, output: &mut Output) -> Result<(), Failure> {
    let state = output.toned(bfd.state.into(), bfd.state);
    let kind = if bfd.multihop { "multihop" } else { "single hop" };
    let signed = if bfd.authenticated { ", authenticated" } else { "" };
    output.line(format_args!("BFD: {state} for {}, since {:.0}", span(bfd.since_ms), bfd.since))?;
    output.fact(0, "kind", format_args!("{kind}{signed}"))?;
    output.fact(0, "pace", super::bfd::pace(bfd))?;
    if let Some(diagnostic) = &bfd.diagnostic {
        output.fact(0, "last went down", diagnostic)?;
    }
    if let Some(remote) = bfd.remote_state {
        let why = bfd.remote_diagnostic.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        output.fact(0, "the peer says", format_args!("{remote}{why}"))?;
    }
    output.fact(
        0,
        "discriminators",
        format_args!("ours {:#010x}, the peer's {:#010x}", bfd.local_discriminator, bfd.remote_discriminator),
    )?;
    output.fact(
        0,
        "packets",
        format_args!(
            "{} sent, {} received, {} discarded; lost {} {}",
            bfd.packets_sent,
            bfd.packets_received,
            bfd.packets_discarded,
            bfd.flaps,
            times(bfd.flaps)
        ),
    )?;
    Ok(())
}

fn errors(peer: &Peer, output: &mut Output) -> Result<(), Failure> {
    let told: [(&str, &Option<Stamped>); 3] = [
        ("last sent", &peer.last_sent),
        ("last received", &peer.last_received),
        ("last lost", &peer.last_transport_error),
    ];
    if told.iter().all(|(_, error)| error.is_none()) {
        output.fact(0, "errors", "none")?;
    }
    for (name, error) in told {
        if let Some(error) = error {
            let text = format!("{} ago, {:.0}: {}", span(error.ago_ms), error.at, error.reason);
            output.fact(0, name, text)?;
        }
    }
    Ok(())
}

fn capabilities(peer: &Peer, output: &mut Output) -> Result<(), Failure> {
    if peer.capabilities.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let heading = output.toned(Tone::Heading, "CAPABILITIES");
    output.line(heading)?;
    let names = peer.capabilities.iter().map(|capability| capability.name.chars().count()).max().unwrap_or(0);
    for capability in &peer.capabilities {
        let say = |who: &str, value: &str| {
            if value.is_empty() { who.to_owned() } else { format!("{who} {value}") }
        };
        let text = match (&capability.sent, &capability.received) {
            (Some(sent), Some(received)) if sent == received => say("both", sent),
            (Some(sent), Some(received)) => format!("{}; {}", say("sent", sent), say("received", received)),
            (Some(sent), None) => say("sent only", sent),
            (None, Some(received)) => say("received only", received),
            (None, None) => continue,
        };
        output.fact_within(2, names, &capability.name, text)?;
    }
    Ok(())
}

fn prefixes(peer: &Peer, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new([
        ("PREFIXES", Align::Left),
        ("RECEIVED", Align::Right),
        ("LIMIT", Align::Right),
        ("", Align::Left),
    ]);
    for count in &peer.prefixes {
        table.row([
            count.family.into(),
            count.received.into(),
            Cell::or_dash(count.limit),
            if count.stale { Cell::of(Tone::Doubtful, "stale") } else { "".into() },
        ]);
    }
    titled(&table, output)?;
    let routes = if peer.advertised == 1 { "route" } else { "routes" };
    Ok(output.line(format_args!("{} {routes} advertised", peer.advertised))?)
}

fn messages(peer: &Peer, output: &mut Output) -> Result<(), Failure> {
    let counts = &peer.messages;
    let mut table =
        Table::new([("MESSAGES", Align::Left), ("SENT", Align::Right), ("RECEIVED", Align::Right)]);
    table.row(["all".into(), counts.sent.into(), counts.received.into()]);
    table.row(["UPDATE".into(), peer.updates_sent.into(), peer.updates_received.into()]);
    table.row(["ROUTE-REFRESH".into(), counts.refreshes_sent.into(), counts.refreshes_received.into()]);
    titled(&table, output)?;
    for (count, what) in [
        (counts.treated_as_withdrawn, "routes taken as withdrawn for a fault (RFC 7606)"),
        (counts.martians, "announcements of prefixes that are no destination (RFC 4271 §6.3)"),
        (counts.own_next_hops, "routes with our own address as the next hop (RFC 4271 §6.3)"),
        (
            counts.discarded,
            "announcements left out beyond max-prefixes, or beyond the most paths to one prefix",
        ),
        (counts.loops, "routes with our own AS in their path"),
        (counts.leaks, "routes that should not have come from this peer (RFC 9234)"),
    ] {
        if count > 0 {
            output.line(format_args!("{count} {what}"))?;
        }
    }
    Ok(())
}

fn titled(table: &Table, output: &mut Output) -> Result<(), Failure> {
    if !table.is_empty() {
        output.line("")?;
        output.table(table)?;
    }
    Ok(())
}

fn times(count: u64) -> &'static str {
    if count == 1 { "time" } else { "times" }
}
