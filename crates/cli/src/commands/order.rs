//! `proxima announce`, `withdraw`, `auto`, and `drain` and `undrain` of groups.

use proxima_api::{OrderRequest, OrderVerb, Ordered, paths};
use proxima_types::GroupName;

use crate::{args::OrderArgs, client::Client, failure::Failure, output::Output};

pub(crate) async fn order(
    verb: OrderVerb,
    args: &OrderArgs,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let for_ms = args.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let (groups, reason) = (args.groups.clone(), args.reason.clone());
    give(&OrderRequest { verb, groups, reason, for_ms, only_where: None }, client, output).await
}

pub(crate) async fn auto(
    groups: &[GroupName],
    reason: Option<&str>,
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let (groups, reason) = (groups.to_vec(), reason.map(str::to_owned));
    let request = OrderRequest { verb: OrderVerb::Auto, groups, reason, for_ms: None, only_where: None };
    give(&request, client, output).await
}

/// Ends drains, and no other orders: what the others are is printed.
pub(crate) async fn undrain(
    groups: &[GroupName],
    client: &Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let (verb, groups, only_where) = (OrderVerb::Auto, groups.to_vec(), Some(OrderVerb::Drain));
    give(&OrderRequest { verb, groups, reason: None, for_ms: None, only_where }, client, output).await
}

async fn give(request: &OrderRequest, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.post::<Ordered>(paths::ORDERS, request).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    for group in answer.value.groups {
        match group.order {
            Some(order) => output.line(format_args!("{}: {}; {order}", group.name, group.state))?,
            None => output.line(format_args!("{}: {}; left to its health", group.name, group.state))?,
        }
    }
    Ok(())
}
