//! Clients whose connections another PoP hands back to this one.
//!
//! Their way here is a detour: a new connection would reach the PoP that is nearest now. So their connections end with
//! the next response, in order (`Connection: close`), and the client's next one takes the short way.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;

/// A client is remembered at least this long, and at most twice as long: longer than a connection rests.
const REMEMBERED: Duration = Duration::from_mins(2);
/// Clients remembered at most; of those beyond, connections go on as they are.
const MOST: usize = 65_536;

/// The displaced clients. One writes, the workers read; without any, a look costs one load.
#[derive(Debug, Clone, Default)]
pub struct Displaced(Arc<ArcSwapOption<Generations>>);

#[derive(Debug, Clone)]
struct Generations {
    begun: Instant,
    current: Arc<HashSet<SocketAddr>>,
    previous: Arc<HashSet<SocketAddr>>,
}

impl Displaced {
    /// Takes note of clients. Only one thread may do so: of two at once, one's clients may be lost.
    pub fn note(&self, now: Instant, clients: &[SocketAddr]) {
        let known = self.0.load_full();
        if known.as_ref().is_some_and(|known| clients.iter().all(|client| known.current.contains(client))) {
            return;
        }
        let mut next = match known {
            Some(known) if now < known.begun + REMEMBERED => Generations::clone(&known),
            Some(known) => {
                Generations { begun: now, current: Arc::default(), previous: known.current.clone() }
            }
            None => Generations { begun: now, current: Arc::default(), previous: Arc::default() },
        };
        let room = MOST.saturating_sub(next.current.len());
        Arc::make_mut(&mut next.current).extend(clients.iter().take(room));
        self.0.store(Some(Arc::new(next)));
    }

    /// Whether the client is displaced.
    pub(crate) fn contains(&self, client: &SocketAddr) -> bool {
        let known = self.0.load();
        known.as_ref().is_some_and(|known| known.current.contains(client) || known.previous.contains(client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    #[test]
    fn clients_are_remembered_for_one_generation_after_their_own() {
        let (displaced, start) = (Displaced::default(), Instant::now());
        assert!(!displaced.contains(&client(1)));
        displaced.note(start, &[client(1)]);
        displaced.note(start, &[client(2), client(1)]);
        assert!(displaced.contains(&client(1)) && displaced.contains(&client(2)));
        displaced.note(start + REMEMBERED, &[client(3)]);
        assert!(displaced.contains(&client(1)) && displaced.contains(&client(3)));
        displaced.note(start + REMEMBERED * 2, &[client(4)]);
        assert!(!displaced.contains(&client(1)));
        assert!(displaced.contains(&client(3)) && displaced.contains(&client(4)));
    }

    #[test]
    fn a_flood_of_clients_takes_bounded_memory() {
        let (displaced, now) = (Displaced::default(), Instant::now());
        let flood: Vec<_> =
            (0..100_000u32).map(|n| SocketAddr::from((std::net::Ipv4Addr::from(n), 1))).collect();
        displaced.note(now, &flood);
        displaced.note(now, &[client(9)]);
        assert!(displaced.contains(&flood[0]) && !displaced.contains(&client(9)));
    }
}
