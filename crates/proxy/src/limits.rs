//! What clients are held to, and how many connections each of their addresses has.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use proxima_types::Prefix;

/// Part of a [`Snapshot`](crate::Snapshot). The default holds clients to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientLimits {
    /// How many connections one address may have. `None`: any number.
    pub connections_per_ip: Option<ConnectionsPerIp>,
    /// How slow they may be.
    pub body_rate: BodyRate,
}

/// How many connections one address may have at once, of all services and workers together. Those that were there before
/// there was a limit do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsPerIp {
    /// So many. Those beyond are refused before anything is read from them.
    pub most: NonZeroU32,
    /// IPv6 addresses with so many bits in common are one: whoever has one has its whole network. At most 128.
    pub ipv6_prefix: u8,
    /// Addresses that may have any number, of balancers in front for instance.
    pub exempt: Vec<Prefix>,
}

/// How fast bodies have to move while nothing but the client is waited for. Time that the backend takes is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BodyRate {
    /// Octets a second of a request's body; 0: any. A pause may take `grace`, and no credit is given beyond that.
    pub request: u32,
    /// Octets a second that a client takes of what there is of its response; 0: any. What the system takes to send counts, so
    /// that a client is found to be slow only when its buffers are full.
    pub response: u32,
    /// How long a client may be slower.
    pub grace: Duration,
    /// Whether request bodies of unknown length are held to it too, until their response begins: such bodies may be streams,
    /// which come when there is something to say.
    pub streams: bool,
}

/// One more connection, and its address has as many as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl ConnectionsPerIp {
    /// What `address` is counted as; `None` where it may have any number.
    fn key(&self, address: IpAddr) -> Option<IpAddr> {
        let address = address.to_canonical();
        if self.exempt.iter().any(|prefix| prefix.contains(address)) {
            return None;
        }
        let bits = if address.is_ipv4() { 32 } else { self.ipv6_prefix };
        Some(Prefix::truncating(address, bits).address())
    }
}

/// Enough that workers seldom meet at one.
const SHARDS: usize = 64;

/// Counts connections by address, for all workers.
///
/// The kernel gives the connections of one address to any worker, so that counts of each worker's own would make the limit a
/// matter of luck. One of these locks is taken for a look-up when a connection comes, and when it goes; never for a request,
/// and not at all without a limit. An address without connections takes no room: there are never more entries than open
/// connections, whose number is bounded by file descriptors. The hash is keyed, so that nobody can choose addresses that
/// meet in one shard.
#[derive(Debug)]
pub(crate) struct Census {
    hash: RandomState,
    shards: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    census: Arc<Census>,
    key: IpAddr,
}

impl Census {
    pub(crate) fn new() -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { hash: RandomState::new(), shards })
    }

    /// Counts one more connection of `address`; `None` where it may have any number.
    ///
    /// # Errors
    /// When it has as many as `limit` allows.
    pub(crate) fn count(
        self: &Arc<Self>,
        limit: &ConnectionsPerIp,
        address: IpAddr,
    ) -> Result<Option<Counted>, TooMany> {
        let Some(key) = limit.key(address) else { return Ok(None) };
        let mut shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        match shard.entry(key) {
            Entry::Occupied(mut entry) if *entry.get() < limit.most.get() => *entry.get_mut() += 1,
            Entry::Occupied(_) => return Err(TooMany),
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        Ok(Some(Counted { census: self.clone(), key }))
    }

    /// Whether [`Census::count`] would fail.
    pub(crate) fn is_full(&self, limit: &ConnectionsPerIp, address: IpAddr) -> bool {
        let Some(key) = limit.key(address) else { return false };
        let shard = self.shard(&key).lock().unwrap_or_else(PoisonError::into_inner);
        shard.get(&key).is_some_and(|count| *count >= limit.most.get())
    }

    fn shard(&self, key: &IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.shards[self.hash.hash_one(key) as usize % SHARDS]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut shard = self.census.shard(&self.key).lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = shard.entry(self.key) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(most: u32, exempt: &[&str]) -> ConnectionsPerIp {
        let exempt = exempt.iter().map(|prefix| prefix.parse().unwrap()).collect();
        ConnectionsPerIp { most: NonZeroU32::new(most).unwrap(), ipv6_prefix: 64, exempt }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn entries(census: &Census) -> usize {
        census.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_an_ipv4_address_as_itself_in_either_form() {
        let (census, limit) = (Census::new(), limit(1, &[]));
        let _first = census.count(&limit, address("2001:db8:0:1::1")).unwrap();
        assert!(census.is_full(&limit, address("2001:db8:0:1:ffff::2")));
        assert!(!census.is_full(&limit, address("2001:db8:0:2::1")));
        let _second = census.count(&limit, address("192.0.2.1")).unwrap();
        assert_eq!(census.count(&limit, address("::ffff:192.0.2.1")).unwrap_err(), TooMany);
        assert!(!census.is_full(&limit, address("192.0.2.2")));
    }

    #[test]
    fn exempt_prefixes_are_not_counted() {
        let (census, limit) = (Census::new(), limit(1, &["10.0.0.0/8", "2001:db8::/32"]));
        for text in ["10.1.2.3", "10.1.2.3", "2001:db8::1", "2001:db8::1"] {
            assert!(census.count(&limit, address(text)).unwrap().is_none(), "{text}");
        }
        assert_eq!(entries(&census), 0);
    }

    #[test]
    fn workers_share_the_count() {
        let (census, limit) = (Census::new(), limit(100, &[]));
        let taken: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100)
                            .filter_map(|_| census.count(&limit, address("192.0.2.1")).ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(taken.len(), 100);
        drop(taken);
        assert_eq!(entries(&census), 0);
    }

    proptest! {
        #[test]
        fn no_address_has_more_than_the_limit_and_those_without_connections_take_no_room(
            most in 1..4u32,
            steps in proptest::collection::vec((any::<bool>(), 0..6u8, any::<prop::sample::Index>()), 1..200),
        ) {
            let (census, limit) = (Census::new(), limit(most, &[]));
            let mut open: Vec<(u8, Option<Counted>)> = Vec::new();
            for (comes, host, index) in steps {
                if comes {
                    let before = open.iter().filter(|(other, _)| *other == host).count();
                    let full = census.is_full(&limit, address(&format!("192.0.2.{host}")));
                    let counted = census.count(&limit, address(&format!("192.0.2.{host}")));
                    prop_assert_eq!(counted.is_err(), before == most as usize);
                    prop_assert_eq!(counted.is_err(), full);
                    open.extend(counted.ok().map(|counted| (host, counted)));
                } else if !open.is_empty() {
                    drop(open.swap_remove(index.index(open.len())));
                }
                let hosts: std::collections::HashSet<_> = open.iter().map(|(host, _)| host).collect();
                prop_assert_eq!(entries(&census), hosts.len());
            }
        }
    }
}
