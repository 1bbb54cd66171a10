//! `proxima reload` and `proxima restart`.

use proxima_api::{ReloadRequest, Reloaded, RestartRequest, Restarting, paths};

use crate::{
    args::ForceArgs,
    client::Client,
    failure::Failure,
    output::{Output, words},
};

pub(crate) async fn reload(args: &ForceArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.post::<Reloaded>(paths::RELOAD, &ReloadRequest { force: args.force }).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    Ok(output.line(answer.value)?)
}

pub(crate) async fn restart(args: &ForceArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.post::<Restarting>(paths::RESTART, &RestartRequest { force: args.force }).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let Restarting { helped_by, dropped_by } = answer.value;
    let told = |peers: &[_]| if peers.is_empty() { "nobody".to_owned() } else { words(peers) };
    Ok(output.line(format_args!(
        "restarting: routes are kept by {}, dropped by {}",
        told(&helped_by),
        told(&dropped_by)
    ))?)
}
