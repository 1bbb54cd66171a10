//! `proxima backends`.

use proxima_api::{Backends, Distance, paths};

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
        let distance = backend.distance.as_ref().filter(|distance| **distance != Distance::Own);
        let note = distance.map(|distance| format!("distance: {distance}")).unwrap_or_default();
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
            note,
        );
    }
    if table.is_empty() {
        return Ok(output.line("no backends are configured")?);
    }
    Ok(output.table(&table)?)
}
