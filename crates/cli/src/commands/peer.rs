//! `proxima peer`: commands to one session.

use proxima_api::{PeerCommanded, ShutdownRequest, paths};

use crate::{
    args::{PeerArgs, PeerCommand},
    client::Client,
    failure::Failure,
    output::Output,
};

pub(crate) async fn run(args: &PeerArgs, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let path = |verb: &str| format!("{}/{verb}", paths::peer(&args.name));
    let nothing = serde_json::json!({});
    let (answer, done) = match &args.command {
        PeerCommand::Reset => {
            (client.post::<PeerCommanded>(&path("reset"), &nothing).await?, "session reset")
        }
        PeerCommand::Refresh => {
            (client.post(&path("refresh"), &nothing).await?, "asked for its routes again")
        }
        PeerCommand::Up => (client.post(&path("up"), &nothing).await?, "may come up"),
        PeerCommand::Shutdown { reason } => {
            let request = ShutdownRequest { reason: reason.clone() };
            (client.post(&path("shutdown"), &request).await?, "shut down, until `up`")
        }
    };
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let PeerCommanded { peer, state } = answer.value;
    let state = state.map(|state| format!("; it was {state}")).unwrap_or_default();
    Ok(output.line(format_args!("{peer}: {done}{state}"))?)
}
