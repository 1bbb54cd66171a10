//! Connections at rest: each has asked for something and been answered, and is answered once more at the end.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
};

use super::connect::{Connector, Stream, Target};
use crate::{
    error::{Error, Result},
    load::http::Connection,
};
use futures_util::{StreamExt, TryStreamExt, stream};

/// What to hold.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Connections.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
}

/// An address has some 28 000 ports for connections to one place; several have more.
const ADDRESSES: u32 = 4;
/// Handshakes at once.
const AT_ONCE: usize = 32;

/// Says how many there are when all are at rest, and holds them until the standard input ends.
pub(super) async fn run(options: Options) -> Result<()> {
    let connector = options.target.connector()?;
    let opened = stream::iter(0..options.connections).map(|number| open(&connector, number));
    let mut resting: Vec<_> = opened.buffer_unordered(AT_ONCE).try_collect().await?;
    writeln!(io::stdout(), "{}", resting.len()).map_err(Error::io("saying that all are at rest"))?;
    // Nothing has to be done meanwhile: this may stand still.
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(Error::io("waiting for the end"))?;
    // One that was closed meanwhile was none at rest.
    for (number, connection) in resting.iter_mut().enumerate() {
        ask(connection, number).await?;
    }
    Ok(())
}

async fn open(connector: &Connector, number: u32) -> Result<Connection<Box<dyn Stream>>> {
    let [.., last] = (1 + number % ADDRESSES).to_be_bytes();
    let from = SocketAddr::from((Ipv4Addr::new(127, 1, 0, last), 0));
    let mut connection = connector.connect(Some(from)).await?;
    ask(&mut connection, number as usize).await?;
    Ok(connection)
}

async fn ask(connection: &mut Connection<Box<dyn Stream>>, number: usize) -> Result<()> {
    let mut head = None;
    let exchange = connection.exchange(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &mut head, |_| {}).await;
    match (exchange, head.map(|head| head.status)) {
        (Ok(true), Some(200)) => Ok(()),
        (exchange, status) => {
            Err(Error::Claim(format!("connection {number} was answered {status:?}: {exchange:?}")))
        }
    }
}
