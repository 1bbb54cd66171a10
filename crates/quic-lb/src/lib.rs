//! QUIC connection IDs that say who owns the connection, in the form of draft-ietf-quic-load-balancers ("QUIC-LB").
//!
//! A client of QUIC may change its address at any time, and the network may change the PoP, host or socket that its packets
//! arrive at. Only the connection ID stays. So it carries the place of the connection's state, for those who hold the key:
//!
//! ```text
//!  octet 0            1 … 15             4 … 18                 together at most 20 octets (RFC 9000 §17.2)
//! ┌────────┬────────┬──────────────────┬──────────────────────┐
//! │ config │ length │ server ID        │ nonce                │
//! │ 3 bits │ 5 bits │                  │                      │
//! └────────┴────────┴──────────────────┴──────────────────────┘
//!     │         └ of what follows, or random     └ never twice
//!     └ which configuration; 7: none, route by addresses
//! ```
//!
//! Server ID and nonce are in the clear, one block of AES-128-ECB when they make up 16 octets, or else four passes of a
//! Feistel network over AES-128: two IDs of a connection then look unrelated to anyone without the key.
//!
//! - [`Config`]: one way to write them; [`Rotation`]: all that are in use, by the three bits;
//! - [`Destination`]: where in a packet the ID is;
//! - [`Address`]: what Proxima writes as server ID; [`Issuer`]: the IDs of one address, one after the other.

mod address;
mod cipher;
mod config;
mod issuer;
mod octets;
mod packet;
mod rotation;

pub use crate::{
    address::{Address, AddressError, GENERATIONS, WORKERS},
    config::{Config, ConfigError, ConfigId, DecodeError, EncodeError, Form, LengthBits},
    issuer::Issuer,
    octets::{ConnectionId, Octets, ServerId},
    packet::Destination,
    rotation::Rotation,
};
