//! Clients that mean no harm: what they wait for an answer, and that each gets one.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{
    error::{Error, Result},
    load::{Latencies, arrivals::Arrivals, summary::Quantiles},
    measure::connect::Connector,
};

pub(super) type Fared = Quantiles;

/// Requests a second (a Poisson process).
const RATE: f64 = 200.0;
/// One of so many opens a connection of its own: new clients come all the time.
const FRESH: usize = 10;
/// When a client gives up.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET /work HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Asks for so many seconds. A latency counts from when the request was due.
///
/// # Errors
/// With the first request that was not answered with 200.
pub(super) async fn ask(connector: Connector, seconds: u32) -> Result<Fared> {
    let latencies = RefCell::new(Latencies::default());
    let idle = RefCell::new(Vec::new());
    let one = async |number: usize, due: Instant, doing: &Cell<&str>| {
        sleep_until(due).await;
        let kept = if number.is_multiple_of(FRESH) { None } else { idle.borrow_mut().pop() };
        let mut connection = if let Some(connection) = kept {
            connection
        } else {
            doing.set("connecting");
            connector.connect(None).await?
        };
        doing.set("waiting for an answer");
        let mut head = None;
        let exchange = connection.exchange(REQUEST, &mut head, |_| {}).await;
        let status = head.map_or(0, |head| head.status);
        match exchange {
            Ok(reusable) if status == 200 => {
                latencies.borrow_mut().record(due.elapsed());
                if reusable {
                    idle.borrow_mut().push(connection);
                }
                Ok(())
            }
            exchange => Err(Error::Claim(format!("a client was answered {status}: {exchange:?}"))),
        }
    };
    let begun = Instant::now() + Duration::from_millis(50);
    let over = Duration::from_secs(seconds.into());
    let mut under_way: FuturesUnordered<_> = Arrivals::new(RATE, 1)
        .take_while(|due| *due < over)
        .enumerate()
        .map(|(number, due)| {
            let due = begun + due;
            let one = &one;
            async move {
                let doing = Cell::new("being late itself");
                let asked = timeout_at(due + PATIENCE, one(number, due, &doing)).await;
                asked.unwrap_or_else(|_| {
                    let doing = doing.get();
                    Err(Error::Claim(format!("request {number} got no answer within {PATIENCE:?}, {doing}")))
                })
            }
        })
        .collect();
    while let Some(outcome) = under_way.next().await {
        outcome?;
    }
    drop(under_way);
    Ok(latencies.into_inner().quantiles())
}
