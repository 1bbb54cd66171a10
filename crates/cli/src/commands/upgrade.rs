//! `proxima upgrade`.

use std::time::Duration;

use proxima_api::{UpgradeRequest, Upgraded, paths};

use crate::{
    args::ForceArgs,
    client::Client,
    failure::Failure,
    output::{Output, words},
};

pub(crate) async fn run(args: &ForceArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let request = UpgradeRequest { force: args.force };
    let answer = client.post::<Upgraded>(paths::UPGRADE, &request).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let Upgraded { pid, version, from_pid, from_version, peers, still_us, drain_ms } = answer.value;
    let sessions = if peers.is_empty() { "no BGP session".to_owned() } else { words(&peers) };
    Ok(output.line(format_args!(
        "process {pid} (version {version}) has taken over from {from_pid} (version {from_version}), with {sessions}, which stood still for {:.1?}; \
         connections of clients have {:?} to end",
        Duration::from_micros(still_us),
        Duration::from_millis(drain_ms)
    ))?)
}
