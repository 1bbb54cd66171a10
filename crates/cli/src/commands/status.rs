//! `proxima status`.

use proxima_api::{Group, GroupReason, Phase, Status, paths};

use crate::{
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, Tone, span, words},
};

pub(crate) async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Status>(paths::STATUS).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let status = answer.value;
    heading(&status, output)?;
    groups(&status, output)?;
    services(&status, output)?;
    let (peers, backends) = (status.peers, status.backends);
    output.line(format_args!(
        "\npeers: {} of {} established; backends: {} up, {} down, {} unknown",
        peers.established, peers.total, backends.up, backends.down, backends.unknown
    ))?;
    if backends.unchecked > 0 {
        let word = output.toned(Tone::Bad, format_args!("{} can't be checked", backends.unchecked));
        output.line(format_args!("{word}: `proxima backends` says why"))?;
    }
    Ok(())
}

fn heading(status: &Status, output: &mut Output) -> Result<(), Failure> {
    let pop = output.toned(Tone::Heading, &status.pop);
    output.line(format_args!(
        "{pop} in {} ({}): {} {}, AS {}, router ID {}, {} workers, proximad {}, pid {}",
        status.region,
        status.jurisdiction,
        status.phase,
        uptime(status),
        status.local_as,
        status.router_id,
        status.workers,
        status.version,
        status.pid
    ))?;
    if let Some(drained) = &status.drained {
        let word = output.toned(Tone::Doubtful, "drained");
        let by = drained.by.map(|by| format!(" by {by}")).unwrap_or_default();
        let until = drained.until.map(|until| format!(", until {until:.0}")).unwrap_or_default();
        let reason = drained.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        output.line(format_args!("{word} since {:.0}{by}{until}{reason}", drained.since))?;
    }
    for alarm in &status.alarms {
        let word = output.toned(Tone::Bad, "alarm");
        output
            .line(format_args!("{word} since {:.0}: group {}: {}", alarm.since, alarm.group, alarm.kind))?;
    }
    Ok(())
}

/// A stop has begun a moment ago, however long the daemon is up.
fn uptime(status: &Status) -> String {
    let up = span(status.uptime_ms);
    match status.phase {
        Phase::Starting | Phase::Running => format!("for {up}"),
        Phase::Stopping => format!("after {up}"),
    }
}

fn groups(status: &Status, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new([
        ("GROUP", Align::Left),
        ("STATE", Align::Left),
        ("SINCE", Align::Left),
        ("SCORE", Align::Right),
        ("PREFIXES", Align::Left),
        ("REASON", Align::Left),
    ]);
    for group in &status.groups {
        table.row([
            (&group.name).into(),
            Cell::toned(group.state),
            format!("{:.0}", group.since).into(),
            Cell::or_dash(group.score),
            words(&group.prefixes).into(),
            reason(group).into(),
        ]);
    }
    titled(&table, output)
}

/// Why, and what goes on behind it: a hold that is not told by the reason, and what health asks for under an order.
fn reason(group: &Group) -> String {
    let ordered = group.order.is_some() && group.by_health != group.state;
    let health = if ordered { format!("; health: {}", group.by_health) } else { String::new() };
    let hold = match (&group.hold, &group.reason) {
        (None, _) | (Some(_), GroupReason::Held { .. }) => String::new(),
        (Some(hold), _) => format!("; held by {hold}"),
    };
    format!("{}{health}{hold}", group.reason)
}

fn services(status: &Status, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new([
        ("SERVICE", Align::Left),
        ("PROTOCOL", Align::Left),
        ("CONNECTIONS", Align::Right),
        ("EXCHANGES", Align::Right),
        ("LISTENS ON", Align::Left),
    ]);
    for service in &status.services {
        table.row([
            (&service.name).into(),
            service.protocol.into(),
            service.connections.into(),
            service.exchanges.into(),
            words(service.listeners.iter().filter(|listener| listener.open).map(|it| it.address)).into(),
        ]);
    }
    titled(&table, output)?;
    Ok(())
}

fn titled(table: &Table, output: &mut Output) -> Result<(), Failure> {
    if !table.is_empty() {
        output.line("")?;
        output.table(table)?;
    }
    Ok(())
}
