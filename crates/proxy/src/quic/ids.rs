//! The connection IDs of this process, and whose a datagram is.

use std::{fmt, iter, mem, sync::Arc, time::Duration};

use aws_lc_rs::{error::Unspecified, hmac, rand};
use proxima_quic_lb::{
    Address, AddressError, Config, ConfigError, ConfigId, Destination, Form, GENERATIONS, Issuer, Rotation,
    WORKERS,
};
use quinn::{ConnectionId, ConnectionIdGenerator, crypto::HmacKey};
use quinn_proto::InvalidCid;
use serde::{Deserialize, Serialize};

/// Why there are no connection IDs.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionIdsError {
    /// There is no such configuration.
    #[error("the configurations of connection IDs are 0 to 6, not {0}")]
    ConfigId(u8),
    /// The lengths do not go together.
    #[error(transparent)]
    Form(#[from] ConfigError),
    /// The configuration has server IDs of another length than an address.
    #[error("server IDs have {found} octets, {needed} are needed: PoP, host, process and worker", needed = Address::LENGTH)]
    ServerId {
        /// As configured.
        found: u8,
    },
    /// More workers than IDs can tell apart.
    #[error(transparent)]
    Workers(#[from] AddressError),
    /// The system gave no random octets.
    #[error("the system gives no random octets")]
    Random,
    /// Those of the process before could not be read.
    #[error(
        "`[quic-lb]` is not what the running proximad has, and its connections of HTTP/3 would be lost; keep it as it is, or restart \
         instead of upgrading"
    )]
    Foreign,
}

impl From<Unspecified> for ConnectionIdsError {
    fn from(_: Unspecified) -> Self {
        Self::Random
    }
}

/// Issues and reads the connection IDs of one process.
///
/// The generation tells this process from those before it on the same host. It is drawn, and the packets of processes before count as
/// lost: nobody goes on with their connections. Unless this one succeeds another that drains beside it: then it is the next
/// one after that, and the key is the same ([`Lineage`]).
#[derive(Debug)]
pub struct ConnectionIds {
    rotation: Rotation,
    /// Of worker 0.
    own: Address,
    reset_key: Arc<hmac::Key>,
    secret: Secret,
    /// Of the processes that this one has succeeded.
    predecessors: Vec<u8>,
}

/// Who knows the key.
#[derive(Clone, Copy)]
enum Secret {
    /// All hosts.
    Shared,
    /// This process, and those that succeed it.
    Private([u8; 16]),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared => "Shared",
            Self::Private(_) => "Private(…)",
        })
    }
}

/// What a process needs to go on reading the connection IDs of those that it succeeds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// The predecessor's, and then those of its own predecessors.
    generations: Vec<u8>,
    /// Where nobody else knows it.
    private_key: Option<[u8; 16]>,
    /// The same for IDs of the same key and host only.
    mark: [u8; 16],
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lineage").field("generations", &self.generations).finish_non_exhaustive()
    }
}

/// What all hosts agree on, and which of them this one is.
#[derive(Clone)]
pub struct SharedIds {
    /// The configuration that the first three bits of each ID name, 0 to 6.
    pub config_id: u8,
    /// Octets of the nonce, 4 to 14.
    pub nonce_length: u8,
    /// The key.
    pub key: [u8; 16],
    /// The PoP.
    pub pop: u16,
    /// The host in its PoP.
    pub host: u8,
}

impl fmt::Debug for SharedIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config_id, nonce_length, pop, host, key: _ } = self;
        write!(f, "SharedIds({config_id}, {nonce_length}, {pop}, {host}, …)")
    }
}

/// Whose a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The worker's that has it; also what nobody can tell, which its endpoint decides.
    Here,
    /// Another worker's of this process.
    Worker(u16),
    /// Another process's of this host, by its generation.
    Process(u8),
    /// Another host's or PoP's.
    Elsewhere,
}

impl ConnectionIds {
    /// IDs that no one but this process can read: their key is drawn, and known to nobody.
    pub fn private() -> Result<Self, ConnectionIdsError> {
        let mut key = [0; 16];
        rand::fill(&mut key)?;
        Self::with_private(key)
    }

    fn with_private(key: [u8; 16]) -> Result<Self, ConnectionIdsError> {
        let config = ConfigId::new(0).map(|id| Config::encrypted(id, Address::ONE_BLOCK, &key));
        let config = config.and_then(Result::ok).expect("0 is an ID, and the form is valid");
        let ids = Self::new(Rotation::new(config), 0, 0, key)?;
        Ok(Self { secret: Secret::Private(key), ..ids })
    }

    /// IDs that all who have the key can read. The secret of stateless resets follows from it, for this host: after a restart,
    /// peers of the process before learn at once that it is gone.
    pub fn shared(ids: &SharedIds) -> Result<Self, ConnectionIdsError> {
        let &SharedIds { config_id, nonce_length: nonce, key, pop, host } = ids;
        let id = ConfigId::new(config_id).ok_or(ConnectionIdsError::ConfigId(config_id))?;
        let form = Form { nonce, ..Address::ONE_BLOCK };
        let config = Config::encrypted(id, form, &key)?;
        let [p0, p1] = pop.to_be_bytes();
        let of_host = [&b"stateless reset"[..], &[p0, p1, host]].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &of_host);
        let reset = *tag.as_ref().first_chunk().expect("SHA-256 has 32 octets");
        Self::new(Rotation::new(config), pop, host, reset)
    }

    /// IDs as `rotation` says, of a host of a PoP. `reset` is the secret that tells peers which resets are true ones (RFC 9000
    /// §10.3.2): with one that outlives the process, those that it leaves behind learn that at once.
    pub fn new(rotation: Rotation, pop: u16, host: u8, reset: [u8; 16]) -> Result<Self, ConnectionIdsError> {
        let Form { server_id: found, .. } = rotation.active().form();
        if found != Address::LENGTH {
            return Err(ConnectionIdsError::ServerId { found });
        }
        let mut generation = [0];
        rand::fill(&mut generation)?;
        let own = Address::new(pop, host, generation[0] % GENERATIONS, 0)?;
        let reset_key = Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset));
        Ok(Self { rotation, own, reset_key, secret: Secret::Shared, predecessors: Vec::new() })
    }

    /// For a successor, which is to be told of these of the processes before this one.
    pub(crate) fn lineage(&self, predecessors: impl IntoIterator<Item = u8>) -> Lineage {
        let private_key = match self.secret {
            Secret::Private(key) => Some(key),
            Secret::Shared => None,
        };
        let generations = iter::once(self.own.generation()).chain(predecessors).collect();
        Lineage { generations, private_key, mark: self.mark() }
    }

    /// The IDs of a process that succeeds those of `lineage`. `configured` are as [`ConnectionIds::shared`] has them, where they are.
    ///
    /// # Errors
    /// When these could not be read by those, or the other way round.
    pub(crate) fn succeeding(
        configured: Option<&Self>,
        lineage: &Lineage,
    ) -> Result<Self, ConnectionIdsError> {
        let ids = match (configured, lineage.private_key) {
            (None, Some(key)) => Self::with_private(key)?,
            (Some(ids), None) => Self {
                rotation: ids.rotation.clone(),
                reset_key: Arc::clone(&ids.reset_key),
                predecessors: Vec::new(),
                ..*ids
            },
            (None, None) | (Some(_), Some(_)) => return Err(ConnectionIdsError::Foreign),
        };
        if ids.mark() != lineage.mark {
            return Err(ConnectionIdsError::Foreign);
        }
        let own = Address::new(ids.own.pop, ids.own.host, following(&lineage.generations), 0)?;
        Ok(Self { own, predecessors: lineage.generations.clone(), ..ids })
    }

    /// This process's generation.
    pub(crate) fn generation(&self) -> u8 {
        self.own.generation()
    }

    /// The generation of a process that succeeds this one.
    pub(super) fn successor(&self) -> u8 {
        let own = self.own.generation();
        following(&iter::once(own).chain(self.predecessors.iter().copied()).collect::<Vec<_>>())
    }

    fn mark(&self) -> [u8; 16] {
        let ([p0, p1], config) = (self.own.pop.to_be_bytes(), self.rotation.active());
        let of = [p0, p1, self.own.host, config.id().index() as u8, config.form().nonce];
        let tag = hmac::sign(&self.reset_key, &[&b"lineage"[..], &of].concat());
        *tag.as_ref().first_chunk().expect("SHA-256 has 32 octets")
    }

    /// How many workers can have connections.
    pub(super) fn check_workers(workers: usize) -> Result<u16, ConnectionIdsError> {
        let workers = u16::try_from(workers).unwrap_or(u16::MAX);
        if workers > WORKERS { Err(AddressError::Worker(workers).into()) } else { Ok(workers) }
    }

    fn address(&self, worker: u16) -> Address {
        Address::new(self.own.pop, self.own.host, self.own.generation(), worker)
            .expect("the number of workers was checked")
    }

    pub(super) fn reset_key(&self) -> Arc<dyn HmacKey> {
        self.reset_key.clone()
    }

    pub(super) fn issuer(self: &Arc<Self>, worker: u16) -> WorkerIds {
        let mut start = [0; 16];
        // Without randomness the nonces of two processes could be the same, which shows nothing but that.
        let _ = rand::fill(&mut start);
        let config = self.rotation.active().clone();
        let server_id = self.address(worker).server_id();
        let issuer =
            Issuer::new(config, server_id, u128::from_be_bytes(start)).expect("the length was checked");
        WorkerIds { ids: Arc::clone(self), issuer, has_told: false }
    }

    /// Whose `datagram` is, which has come to the worker `at`, one of `workers`.
    pub(super) fn owner(&self, datagram: &[u8], at: u16, workers: u16) -> Owner {
        let Some(destination) = Destination::of(datagram, self.rotation.active().length()) else {
            return Owner::Here;
        };
        let (Destination::Long(id) | Destination::Short(id)) = destination;
        let Some(address) = self.address_in(id) else { return Owner::Here };
        if address.is_of_process(&self.own) {
            let worker = address.worker();
            return if worker == at || worker >= workers { Owner::Here } else { Owner::Worker(worker) };
        }
        match destination {
            _ if self.is_of_host(address) => Owner::Process(address.generation()),
            // Perhaps it is no ID of ours, but one that the client made up.
            Destination::Long(_) => Owner::Here,
            Destination::Short(_) => Owner::Elsewhere,
        }
    }

    fn address_in(&self, id: &[u8]) -> Option<Address> {
        Address::from_server_id(&self.rotation.decode(id).ok()?)
    }

    fn is_of_host(&self, address: Address) -> bool {
        (address.pop, address.host) == (self.own.pop, self.own.host)
    }
}

/// The generation after the first of `generations` that is none of them.
fn following(generations: &[u8]) -> u8 {
    let first = generations.first().copied().unwrap_or_default();
    let next = (1..GENERATIONS).map(|step| first.wrapping_add(step) % GENERATIONS);
    // There are far fewer processes than generations; were it not so, the packets of the oldest would count as lost.
    next.into_iter().find(|next| !generations.contains(next)).unwrap_or(first)
}

/// The IDs of one worker's connections.
pub(super) struct WorkerIds {
    ids: Arc<ConnectionIds>,
    issuer: Issuer,
    /// That its nonces are used up.
    has_told: bool,
}

impl ConnectionIdGenerator for WorkerIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut random = [0; 20];
        // It fails only where the handshake's keys could not be drawn either.
        let _ = rand::fill(&mut random);
        let id = self.issuer.issue(random);
        if self.issuer.is_spent() && !mem::replace(&mut self.has_told, true) {
            tracing::warn!(
                "all nonces of a worker's connection IDs are used up: clients of its new connections that change their address lose \
                 them; restart with a longer `nonce-length` in `[quic-lb]`"
            );
        }
        ConnectionId::new(&id)
    }

    /// Only IDs of this host are worth a stateless reset: those of others may belong to a connection that lives.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match self.ids.address_in(id) {
            Some(address) if self.ids.is_of_host(address) => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        self.issuer.length()
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use proxima_quic_lb::LengthBits;

    use super::*;

    const KEY: [u8; 16] = [7; 16];

    fn ids(pop: u16, host: u8) -> Arc<ConnectionIds> {
        let config = Config::encrypted(ConfigId::new(2).unwrap(), Address::ONE_BLOCK, &KEY).unwrap();
        Arc::new(ConnectionIds::new(Rotation::new(config), pop, host, KEY).unwrap())
    }

    fn short(id: &[u8]) -> Vec<u8> {
        [&[0x40], id, &[0; 30]].concat()
    }

    fn long(id: &[u8]) -> Vec<u8> {
        [&[0xe0, 0, 0, 0, 1, id.len() as u8], id, &[0; 30]].concat()
    }

    #[test]
    fn a_datagram_is_of_the_worker_that_issued_its_connection_id() {
        let ids = ids(1, 1);
        for worker in 0..4 {
            let id = ids.issuer(worker).generate_cid();
            for datagram in [short(&id), long(&id)] {
                for at in 0..4 {
                    let expected = if at == worker { Owner::Here } else { Owner::Worker(worker) };
                    assert_eq!(ids.owner(&datagram, at, 4), expected);
                }
                assert_eq!(ids.owner(&datagram, 0, worker), Owner::Here, "there is no such worker");
            }
        }
    }

    #[test]
    fn what_belongs_to_another_host_is_told_from_what_a_client_made_up() {
        let (own, other) = (ids(1, 1), ids(1, 2));
        let id = other.issuer(0).generate_cid();
        assert_eq!(own.owner(&short(&id), 0, 4), Owner::Elsewhere);
        assert_eq!(own.owner(&long(&id), 0, 4), Owner::Here);
        assert!(own.issuer(0).validate(&id).is_err(), "no reset for what may live elsewhere");
        assert!(other.issuer(3).validate(&id).is_ok());
        for nothing in [&[][..], &[0x40], &[0xc0, 0, 0]] {
            assert_eq!(own.owner(nothing, 0, 4), Owner::Here);
        }
    }

    /// As another process on the same host that succeeds that of `ids`.
    fn successor(ids: &ConnectionIds, configured: Option<&ConnectionIds>) -> Arc<ConnectionIds> {
        let lineage = serde_json::to_vec(&ids.lineage(ids.predecessors.iter().copied())).unwrap();
        let lineage = serde_json::from_slice(&lineage).unwrap();
        ConnectionIds::succeeding(configured, &lineage).map(Arc::new).unwrap()
    }

    #[test]
    fn processes_that_succeed_each_other_read_and_tell_apart_their_ids() {
        let private = ConnectionIds::private().map(Arc::new).unwrap();
        let shared = ids(7, 7);
        for (first, configured) in [(private, None), (shared, Some(ids(7, 7)))] {
            let mut processes = vec![first];
            for _ in 0..8 {
                let last = processes.last().unwrap();
                let next = successor(last, configured.as_deref());
                assert_eq!(last.successor(), next.own.generation());
                processes.push(next);
            }
            for (number, process) in processes.iter().enumerate() {
                let id = process.issuer(3).generate_cid();
                for (other, reader) in processes.iter().enumerate() {
                    let generation = process.own.generation();
                    let expected =
                        if other == number { Owner::Worker(3) } else { Owner::Process(generation) };
                    assert_eq!(reader.owner(&short(&id), 1, 4), expected, "{number} {other}");
                    assert_eq!(reader.owner(&long(&id), 1, 4), expected);
                    assert!(reader.issuer(0).validate(&id).is_ok());
                }
            }
            let generations: std::collections::HashSet<_> =
                processes.iter().map(|process| process.own.generation()).collect();
            assert_eq!(generations.len(), processes.len());
            let mut tags = processes.iter().map(|process| {
                let mut tag = [0; 32];
                process.reset_key().sign(b"an ID", &mut tag);
                tag
            });
            let first = tags.next().unwrap();
            assert!(tags.all(|tag| tag == first), "whichever resets, the client believes it");
        }
    }

    #[test]
    fn ids_that_a_successor_could_not_read_are_refused() {
        let (private, shared) = (ConnectionIds::private().unwrap(), ids(7, 7));
        let nonce = SharedIds { config_id: 2, nonce_length: 12, key: KEY, pop: 7, host: 7 };
        let nonce = ConnectionIds::shared(&nonce).unwrap();
        let config = Config::encrypted(ConfigId::new(2).unwrap(), Address::ONE_BLOCK, &[8; 16]).unwrap();
        let key = ConnectionIds::new(Rotation::new(config), 7, 7, [8; 16]).unwrap();
        for configured in [None, Some(&*ids(7, 8)), Some(&*ids(8, 7)), Some(&nonce), Some(&key)] {
            let refused = ConnectionIds::succeeding(configured, &shared.lineage([]));
            assert!(matches!(refused, Err(ConnectionIdsError::Foreign)), "{configured:?}");
        }
        let refused = ConnectionIds::succeeding(Some(&shared), &private.lineage([]));
        assert!(matches!(refused, Err(ConnectionIdsError::Foreign)));
        let shown = format!("{:?} {private:?}", private.lineage([]));
        let Secret::Private(octets) = private.secret else { panic!("it is private") };
        assert!(!shown.contains(&format!("{}, {}", octets[0], octets[1])), "{shown}");
    }

    #[test]
    fn ids_of_a_process_with_another_key_are_not_answered() {
        let id = ConnectionIds::private().map(Arc::new).unwrap().issuer(0).generate_cid();
        assert!(ids(9, 9).issuer(0).validate(&id).is_err());
    }

    #[test]
    fn who_has_the_key_reads_which_pop_host_and_worker_an_id_is_of() {
        let shared = SharedIds { config_id: 5, nonce_length: 7, key: KEY, pop: 300, host: 9 };
        let ids = ConnectionIds::shared(&shared).map(Arc::new).unwrap();
        let id = ids.issuer(3).generate_cid();
        assert_eq!((id.len(), id[0] >> 5), (13, 5));
        let form = Form { nonce: 7, ..Address::ONE_BLOCK };
        let reader = Config::encrypted(ConfigId::new(5).unwrap(), form, &KEY).unwrap();
        let address = Address::from_server_id(&reader.decode(&id).unwrap()).unwrap();
        assert_eq!((address.pop, address.host, address.worker()), (300, 9, 3));
        // Another host knows it for another's, and so does another PoP.
        for other in [SharedIds { host: 8, ..shared.clone() }, SharedIds { pop: 301, ..shared.clone() }] {
            let other = ConnectionIds::shared(&other).map(Arc::new).unwrap();
            assert_eq!(other.owner(&short(&id), 0, 4), Owner::Elsewhere);
        }
        assert_eq!(format!("{shared:?}"), "SharedIds(5, 7, 300, 9, …)", "the key does not show");
    }

    #[test]
    fn resets_of_a_process_before_are_known_for_what_they_are_and_those_of_other_hosts_are_not() {
        let shared = SharedIds { config_id: 0, nonce_length: 11, key: KEY, pop: 1, host: 1 };
        let signed = |shared: &SharedIds| {
            let mut tag = [0; 32];
            ConnectionIds::shared(shared).unwrap().reset_key().sign(b"an ID", &mut tag);
            tag
        };
        assert_eq!(signed(&shared), signed(&shared));
        for other in [
            SharedIds { host: 2, ..shared.clone() },
            SharedIds { pop: 2, ..shared.clone() },
            SharedIds { key: [8; 16], ..shared.clone() },
        ] {
            assert_ne!(signed(&other), signed(&shared));
        }
    }

    #[test]
    fn what_can_be_no_configuration_is_refused() {
        let shared = SharedIds { config_id: 7, nonce_length: 11, key: KEY, pop: 1, host: 1 };
        assert!(matches!(ConnectionIds::shared(&shared), Err(ConnectionIdsError::ConfigId(7))));
        for nonce_length in [3, 15] {
            let error = ConnectionIds::shared(&SharedIds { config_id: 0, nonce_length, ..shared.clone() });
            assert!(matches!(error, Err(ConnectionIdsError::Form(_))), "{nonce_length}");
        }
    }

    #[test]
    fn connection_ids_need_room_for_an_address_and_for_every_worker() {
        let form = Form { server_id: 4, nonce: 12, bits: LengthBits::Random };
        let config = Config::encrypted(ConfigId::new(0).unwrap(), form, &KEY).unwrap();
        let error = ConnectionIds::new(Rotation::new(config), 0, 0, KEY).unwrap_err();
        assert!(error.to_string().starts_with("server IDs have 4 octets, 5 are needed"), "{error}");
        assert!(ConnectionIds::check_workers(1024).is_ok());
        assert!(ConnectionIds::check_workers(1025).is_err());
    }
}
