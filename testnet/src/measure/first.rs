//! The time to the first token of streams that are asked for at a given rate, over connections that are kept.

use std::{cell::RefCell, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use serde::Serialize;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep_until},
};

use super::connect::Target;
use crate::{
    error::{Error, Result},
    load::{Latencies, arrivals::Arrivals, summary::Quantiles},
};

/// What to ask for.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Streams that are asked for in a second, on average (a Poisson process).
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Tokens of each stream, ten milliseconds apart.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    tokens: u32,
    /// Connections; a stream waits where all have one.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The seed of the arrivals.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How long it took.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// From when a stream was to be asked for to its first token.
    first: Quantiles,
}

pub(super) async fn run(options: Options) -> Result<Figures> {
    if options.rate <= 0.0 {
        return Err(Error::Claim(format!("--rate is {}; more than 0 is needed", options.rate)));
    }
    let connector = options.target.connector()?;
    let mut idle = Vec::new();
    for _ in 0..options.connections {
        idle.push(connector.connect(None).await?);
    }
    let (idle, free) = (RefCell::new(idle), Semaphore::new(options.connections as usize));
    let latencies = RefCell::new(Latencies::default());
    let request =
        format!("GET /tokens?count={}&interval=10 HTTP/1.1\r\nHost: localhost\r\n\r\n", options.tokens);
    let ask = async |due: Instant| {
        sleep_until(due).await;
        let place = free.acquire().await.map_err(|_| Error::Claim("the semaphore is closed".to_owned()))?;
        let connection = idle.borrow_mut().pop();
        let mut connection =
            connection.ok_or_else(|| Error::Claim("no connection for a place".to_owned()))?;
        let (mut head, mut came) = (None, false);
        let exchange = connection.exchange(request.as_bytes(), &mut head, |_| {
            if !came {
                latencies.borrow_mut().record(due.elapsed());
            }
            came = true;
        });
        let reusable = exchange.await.map_err(|error| Error::Claim(format!("a stream broke: {error:?}")))?;
        let status = head.map_or(0, |head| head.status);
        if !reusable || status != 200 {
            return Err(Error::Claim(format!(
                "an answer of status {status}, after which the connection ends"
            )));
        }
        idle.borrow_mut().push(connection);
        drop(place);
        Ok(())
    };
    let begun = Instant::now() + Duration::from_millis(100);
    let over = Duration::from_secs(options.seconds.into());
    let mut under_way: FuturesUnordered<_> = Arrivals::new(options.rate, options.seed)
        .take_while(|due| *due < over)
        .map(|due| ask(begun + due))
        .collect();
    while let Some(asked) = under_way.next().await {
        asked?;
    }
    let first = latencies.borrow().quantiles();
    Ok(Figures { first })
}
