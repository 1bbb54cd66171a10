//! `proxima peers`.

use proxima_api::{Peer, Peers, paths};
use proxima_types::PeerName;

use crate::{
    args::PeersArgs,
    client::Client,
    failure::Failure,
    output::{Align, Cell, Output, Table, words},
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
        ("SINCE", Align::Left),
        ("ADVERTISED", Align::Right),
        ("RECEIVED", Align::Right),
        ("LAST ERROR", Align::Left),
    ]);
    for peer in &answer.value.peers {
        table.row([
            (&peer.name).into(),
            peer.address.into(),
            peer.remote_as.into(),
            Cell::toned(peer.state),
            format!("{:.0}", peer.since).into(),
            peer.advertised.into(),
            peer.received.into(),
            Cell::or_dash(peer.last_error.as_ref()),
        ]);
    }
    if table.is_empty() {
        return Ok(output.line("no peers are configured")?);
    }
    Ok(output.table(&table)?)
}

async fn one(name: &PeerName, client: &Client, output: &mut Output) -> Result<(), Failure> {
    let answer = client.get::<Peer>(&format!("{}/{name}", paths::PEERS)).await?;
    if output.json() {
        return Ok(output.raw(&answer.json)?);
    }
    let peer = answer.value;
    let state = output.toned(peer.state.into(), peer.state);
    let dash = || "-".to_owned();
    let facts = [
        ("peer", peer.name.to_string()),
        ("address", std::net::SocketAddr::new(peer.address, peer.port).to_string()),
        ("AS", peer.remote_as.to_string()),
        ("state", format!("{state} since {:.0}", peer.since)),
        ("last error", peer.last_error.map_or_else(dash, |reason| reason.to_string())),
        ("router ID", peer.remote_router_id.map_or_else(dash, |id| id.to_string())),
        ("hold time", peer.hold_time_s.map_or_else(dash, |seconds| format!("{seconds} s"))),
        ("families", words(&peer.families)),
        ("routes", format!("{} advertised, {} received", peer.advertised, peer.received)),
        ("updates", format!("{} sent, {} received", peer.updates_sent, peer.updates_received)),
        ("established", format!("{} times", peer.established_count)),
    ];
    for (name, value) in facts {
        output.line(format_args!("{name:<12} {value}"))?;
    }
    Ok(())
}
