//! Many streams of tokens at once: how late each token is.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{
    connect::{Connector, Target},
    now,
    source::Times,
};
use crate::{
    error::{Error, Result},
    load::{Latencies, http::Connection, summary::Quantiles},
};

/// What to read.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Streams at once.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Milliseconds between two tokens of a stream.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    interval: u64,
    /// Seconds of measurement, from when all streams run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// How late tokens were.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// From when a token was sent to when it was read.
    late: Quantiles,
    /// By how much longer than between their sending it was between the reading of two tokens.
    stretched: Quantiles,
    /// Streams that broke off.
    broken: usize,
}

/// Streams that are begun in a second: their handshakes are not what is measured.
const RAMP: u32 = 1000;
const RAMP_LIMIT: Duration = Duration::from_secs(30);
/// From when all streams run to where the measurement begins: what their handshakes have held up is over then.
const SETTLE: Duration = Duration::from_secs(1);

/// What all streams share.
#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    broken: AtomicUsize,
    /// All streams run, and have for a while: what is sent from here on counts.
    counts: AtomicBool,
    late: RefCell<Latencies>,
    stretched: RefCell<Latencies>,
}

pub(super) async fn run(options: Options) -> Result<Figures> {
    let connector = options.target.connector()?;
    let shared = Shared::default();
    let request = format!(
        "GET /tokens?count=1000000&interval={} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        options.interval
    );
    let begun = Instant::now();
    let streams = (0..options.streams).map(|number| {
        let at = begun + Duration::from_secs(1) * number / RAMP;
        let (connector, shared, request) = (&connector, &shared, request.as_bytes());
        async move {
            sleep_until(at).await;
            // It ends when this program has measured, or breaks.
            let _ = read(connector, request, shared).await;
            shared.broken.fetch_add(1, Ordering::Relaxed);
        }
    });
    let over = async {
        let limit = begun + Duration::from_secs(1) * options.streams / RAMP + RAMP_LIMIT;
        while shared.running.load(Ordering::Relaxed) < options.streams as usize {
            if Instant::now() > limit || shared.broken.load(Ordering::Relaxed) > 0 {
                let running = shared.running.load(Ordering::Relaxed);
                let missing = format!("{} streams: {running} have begun", options.streams);
                return Err(Error::Late { within: RAMP_LIMIT, missing });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(SETTLE).await;
        shared.counts.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(options.seconds.into())).await;
        Ok(())
    };
    tokio::select! {
        over = over => over?,
        _ = join_all(streams) => {}
    }
    let figures = Figures {
        late: shared.late.borrow().quantiles(),
        stretched: shared.stretched.borrow().quantiles(),
        broken: shared.broken.load(Ordering::Relaxed),
    };
    Ok(figures)
}

async fn read(connector: &Connector, request: &[u8], shared: &Shared) -> Result<()> {
    let mut connection: Connection<_> = connector.connect(None).await?;
    let (mut times, mut before) = (Times::default(), None);
    let mut head = None;
    let exchange = connection.exchange(request, &mut head, |piece| {
        let read = now();
        if before.is_none() {
            shared.running.fetch_add(1, Ordering::Relaxed);
        }
        times.push(piece, |sent| {
            let previous = before.replace((sent, read));
            if !shared.counts.load(Ordering::Relaxed) {
                return;
            }
            shared.late.borrow_mut().record(read.saturating_sub(sent));
            if let Some((sent_before, read_before)) = previous {
                let stretched =
                    read.saturating_sub(read_before).saturating_sub(sent.saturating_sub(sent_before));
                shared.stretched.borrow_mut().record(stretched);
            }
        });
    });
    exchange.await.map_err(|error| Error::Claim(format!("a stream broke: {error:?}")))?;
    Ok(())
}
