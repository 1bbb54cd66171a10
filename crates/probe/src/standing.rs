//! The standing connection: idle, and watched for its end.

use proxima_health::Loss;
use tokio::{net::TcpStream, task::JoinHandle};

use crate::{kind, path::Path, wire::Wire};

/// An idle connection to a backend.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) link: Link,
    /// How many more probes it may carry.
    pub(crate) uses_left: u32,
}

/// A connection and what is known of its state.
#[derive(Debug)]
pub(crate) enum Link {
    /// Bytes: HTTP/1.1, a database's protocol, or nothing at all.
    Wire(Wire),
    /// HTTP/2.
    Http2(Box<Driven<kind::http2::Session>>),
    /// QUIC, with or without HTTP/3.
    Quic(Box<kind::quic::Session>),
    /// A login to PostgreSQL.
    Postgres(Box<kind::postgres::Session>),
}

impl Standing {
    /// Probes change to a new connection after about so many, so that the round-trip time and the certificate are looked at
    /// anew.
    pub(crate) const USES: u32 = 10;
    /// How many more or fewer it is for one backend than for another.
    const SPREAD: u32 = 3;

    /// How many probes more a connection to a backend carries than its first: backends whose probes began together don't
    /// all renew their connections together. Same `seed`, same number.
    pub(crate) fn uses(seed: u64) -> u32 {
        let spread = u64::from(2 * Self::SPREAD + 1);
        // The seeds of neighbours differ in all their bits but the lowest.
        Self::USES - Self::SPREAD + ((seed >> 32) % spread) as u32
    }

    /// A connection that the app keeps open for more probes.
    pub(crate) fn kept_alive(link: Link, path: &Path) -> Self {
        Self { link, uses_left: path.uses }
    }

    /// The same after one more probe.
    pub(crate) fn again(link: Link, uses_left: u32) -> Self {
        Self { link, uses_left: uses_left.saturating_sub(1) }
    }

    /// A connection that carries no probes.
    pub(crate) fn silent(wire: Wire) -> Self {
        Self { link: Link::Wire(wire), uses_left: 0 }
    }

    /// Whether a probe may use it.
    pub(crate) fn is_usable(&self) -> bool {
        self.uses_left > 0
    }

    /// Waits for its end. An app that talks without being asked (a greeting, a 408) may, but such a connection carries
    /// no probe any more. Cancel-safe.
    pub(crate) async fn lost(&mut self) -> Loss {
        loop {
            let loss = match &mut self.link {
                Link::Wire(wire) => wire.stirred().await,
                Link::Http2(driven) => Some(driven.driver.ended().await),
                Link::Quic(session) => Some(session.ended().await),
                Link::Postgres(session) => Some(session.ended().await),
            };
            match loss {
                Some(loss) => return loss,
                None => self.uses_left = 0,
            }
        }
    }
}

impl From<TcpStream> for Wire {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

/// A session, and the task that moves its bytes.
#[derive(Debug)]
pub(crate) struct Driven<S> {
    pub(crate) session: S,
    pub(crate) driver: Driver,
}

/// A task that ends with its connection, and is ended when nobody needs that any more.
#[derive(Debug)]
pub(crate) struct Driver(JoinHandle<Loss>);

impl Driver {
    /// Runs `driver`, which ends with its connection and says how.
    pub(crate) fn start(driver: impl Future<Output = Loss> + Send + 'static) -> Self {
        Self(tokio::spawn(driver))
    }

    /// Waits for the end of the connection. Cancel-safe; not to be called again after it returned.
    pub(crate) async fn ended(&mut self) -> Loss {
        (&mut self.0).await.unwrap_or(Loss::Closed)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_renew_their_connections_at_paces_of_their_own() {
        let mut counts = std::collections::BTreeMap::<u32, usize>::new();
        for n in 1..=10_000u64 {
            let seed = 7u64.wrapping_add(n.wrapping_mul(0xd134_2543_de82_ef95));
            *counts.entry(Standing::uses(seed)).or_default() += 1;
        }
        assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [7, 8, 9, 10, 11, 12, 13]);
        assert!(counts.values().all(|count| (1_300..1_560).contains(count)), "{counts:?}");
    }
}
