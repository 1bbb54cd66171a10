//! `proxima backends`.

use std::time::Duration;

use proxima_api::{Backend, Backends, Distance, ServerRole, paths};

use crate::{
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, rtt},
};

pub(crate) async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Backends>(paths::BACKENDS).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("BACKEND", Align::Left),
        ("REGION", Align::Left),
        ("JURISDICTION", Align::Left),
        ("ADDRESS", Align::Left),
        ("TIER", Align::Right),
        ("WEIGHT", Align::Right),
        ("HEALTH", Align::Left),
        ("SINCE", Align::Left),
        ("RTT", Align::Right),
        ("REASON", Align::Left),
    ]);
    for backend in &answer.value.backends {
        table.noted_row(
            [
                (&backend.id).into(),
                (&backend.region).into(),
                (&backend.jurisdiction).into(),
                backend.address.into(),
                backend.tier.into(),
                backend.weight.0.into(),
                Cell::toned(backend.health),
                format!("{:.0}", backend.since).into(),
                Cell::or_dash(backend.rtt_us.map(rtt)),
                Cell::or_dash(backend.reason.as_ref()),
            ],
            note(backend),
        );
    }
    if table.is_empty() {
        return Ok(output.line("no backends are configured")?);
    }
    Ok(output.table(&table)?)
}

/// What not every backend has.
fn note(backend: &Backend) -> String {
    let mut notes = Vec::new();
    if let Some(unchecked) = &backend.unchecked {
        notes.push(unchecked.to_string());
    }
    if backend.shared {
        notes.push("shared by all regions".to_owned());
    }
    match (backend.role, backend.lag_ms) {
        (Some(ServerRole::Replica), Some(lag)) => {
            notes.push(format!("replica, {:?} behind", Duration::from_millis(lag)));
        }
        (Some(role), _) => notes.push(role.to_string()),
        (None, _) => {}
    }
    if let Some(ends) = backend.certificate_ends {
        notes.push(format!("certificate ends {ends:.0}"));
    }
    if let Some(distance) = backend.distance.as_ref().filter(|distance| **distance != Distance::Own) {
        notes.push(format!("distance: {distance}"));
    }
    notes.join("; ")
}
