//! `proxima certificates` and `proxima renew`.

use proxima_api::{Certificate, Certificates, Renewing, paths};
use proxima_types::ServiceName;

use crate::{
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table},
};

pub(crate) async fn run(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Certificates>(paths::CERTIFICATES).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let mut table = Table::new([
        ("SERVICE", Align::Left),
        ("NAMES", Align::Left),
        ("FROM", Align::Left),
        ("ENDS", Align::Left),
        ("NEXT ORDER", Align::Left),
    ]);
    for certificate in &answer.value.certificates {
        let Certificate { service, file, names, ends, order } = certificate;
        let (from, next) = match order {
            None => (file.clone(), Cell::or_dash(None::<String>)),
            Some(order) => {
                let next = order.next.map_or_else(|| "under way".to_owned(), |next| format!("{next:.0}"));
                (order.issuer.to_string(), next.into())
            }
        };
        table.noted_row(
            [
                service.into(),
                names.join(" ").into(),
                from.into(),
                ends.map_or_else(|| "none yet".to_owned(), |ends| format!("{ends:.0}")).into(),
                next,
            ],
            note(certificate),
        );
    }
    if table.is_empty() {
        return Ok(output.line("no service has a certificate")?);
    }
    Ok(output.table(&table)?)
}

pub(crate) async fn renew(
    service: &ServiceName,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let answer = client.post::<Renewing>(&paths::renew(service), &serde_json::json!({})).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let Renewing { service, issuer } = answer.value;
    let line = format!("{service}: ordered from {issuer}; `proxima events --follow` tells what comes of it");
    Ok(output.line(line)?)
}

/// What has gone wrong.
fn note(certificate: &Certificate) -> String {
    match certificate.order.as_ref().filter(|order| order.failures > 0) {
        None => String::new(),
        Some(order) => {
            let times =
                if order.failures == 1 { "once".to_owned() } else { format!("{} times", order.failures) };
            let error = order.error.as_deref().unwrap_or_default();
            format!("failed {times}: {error}")
        }
    }
}
