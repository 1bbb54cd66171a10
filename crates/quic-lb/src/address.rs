//! What Proxima writes as server ID: where the state of a connection is.
//!
//! ```text
//!  0         2      3                    5
//! ┌─────────┬──────┬────────────┬───────┐
//! │ PoP, 16 │ host │ generation │worker │
//! │         │ 8    │ 6          │10     │
//! └─────────┴──────┴────────────┴───────┘
//! ```
//!
//! The generation tells the processes of a host apart that run one after the other, or for a while beside each other.

use crate::{Form, LengthBits, ServerId};

/// How many workers can be told apart.
pub const WORKERS: u16 = 1 << 10;
/// How many generations can be told apart; they are counted around.
pub const GENERATIONS: u8 = 1 << 6;

/// Where the state of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The PoP, by a number that all PoPs agree on.
    pub pop: u16,
    /// The host in its PoP.
    pub host: u8,
    generation: u8,
    worker: u16,
}

/// A number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A worker's.
    #[error("worker {0} can't be told from others in a connection ID; 0 to 1023 can")]
    Worker(u16),
    /// A generation's.
    #[error("generation {0} can't be told from others in a connection ID; 0 to 63 can")]
    Generation(u8),
}

impl Address {
    /// Octets of its server ID.
    pub const LENGTH: u8 = 5;
    /// The form that fills one block: one pass of AES, and a nonce that never runs out.
    pub const ONE_BLOCK: Form = Form { server_id: Self::LENGTH, nonce: 11, bits: LengthBits::Random };

    /// A worker's place.
    pub fn new(pop: u16, host: u8, generation: u8, worker: u16) -> Result<Self, AddressError> {
        if worker >= WORKERS {
            return Err(AddressError::Worker(worker));
        }
        if generation >= GENERATIONS {
            return Err(AddressError::Generation(generation));
        }
        Ok(Self { pop, host, generation, worker })
    }

    /// Of the host's process, below [`GENERATIONS`].
    pub fn generation(&self) -> u8 {
        self.generation
    }

    /// In its process, below [`WORKERS`].
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// Whether both are in the same process.
    pub fn is_of_process(&self, other: &Self) -> bool {
        (self.pop, self.host, self.generation) == (other.pop, other.host, other.generation)
    }

    /// As octets.
    pub fn server_id(&self) -> ServerId {
        let [p0, p1] = self.pop.to_be_bytes();
        let [w0, w1] = ((u16::from(self.generation) << 10) | self.worker).to_be_bytes();
        ServerId::new(&[p0, p1, self.host, w0, w1]).expect("five octets of fifteen")
    }

    /// From octets; `None` if they are of another length. Any five octets are an address.
    pub fn from_server_id(server_id: &[u8]) -> Option<Self> {
        let &[p0, p1, host, w0, w1] = server_id else { return None };
        let both = u16::from_be_bytes([w0, w1]);
        let (generation, worker) = ((both >> 10) as u8, both & (WORKERS - 1));
        Some(Self { pop: u16::from_be_bytes([p0, p1]), host, generation, worker })
    }
}
