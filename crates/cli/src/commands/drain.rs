//! `proxima drain` and `proxima undrain`.

use proxima_api::{DrainRequest, DrainStatus, paths};

use crate::{args::OrderArgs, client::Client, failure::Failure, output::Output};

pub(crate) async fn drain(args: &OrderArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let for_ms = args.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let request = DrainRequest { reason: args.reason.clone(), for_ms };
    let answer = client.post::<DrainStatus>(paths::DRAIN, &request).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let drained = answer.value.drained;
    let reason = drained.as_ref().and_then(|drained| drained.reason.as_deref());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    let until = drained.as_ref().and_then(|drained| drained.until);
    let reason = until.map(|until| format!(" until {until:.0}")).unwrap_or_default() + &reason;
    if answer.value.changed {
        return Ok(output.line(format_args!("drained{reason}"))?);
    }
    let since = drained.map(|drained| format!(" since {:.0}", drained.since)).unwrap_or_default();
    Ok(output.line(format_args!("already drained{since}{reason}"))?)
}

pub(crate) async fn undrain(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.post::<DrainStatus>(paths::UNDRAIN, &serde_json::json!({})).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let line = if answer.value.changed {
        "undrained: groups are announced as health allows"
    } else {
        "was not drained"
    };
    Ok(output.line(line)?)
}
