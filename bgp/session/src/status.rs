//! What can be told of a session at any moment.

use std::{net::IpAddr, sync::Arc, time::Instant};

use proxima_bgp_wire::Notification;

use crate::{
    Terms,
    interface::{Cause, ConnectionId, State},
};

/// Counts since the session was made; they survive reconnects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Messages received, of every type.
    pub messages_received: u64,
    /// Messages sent, of every type.
    pub messages_sent: u64,
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent, End-of-RIB included.
    pub updates_sent: u64,
    /// How often an established session was lost.
    pub flaps: u64,
}

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its state: of two connections in a collision, the one further on.
    pub state: State,
    /// Since when; absent before the first change.
    pub since: Option<Instant>,
    /// What led to the state.
    pub cause: Cause,
    /// The connection that has got furthest.
    pub connection: Option<ConnectionId>,
    /// The local address of that connection.
    pub local_address: Option<IpAddr>,
    /// What was agreed on, from OpenConfirm on.
    pub terms: Option<Arc<Terms>>,
    /// The last NOTIFICATION we sent, with its detail.
    pub last_sent: Option<Cause>,
    /// The last NOTIFICATION of the peer.
    pub last_received: Option<Notification>,
    /// The last failure to connect or loss of a connection.
    pub last_transport_error: Option<String>,
    /// When the operating system last took bytes for the peer.
    pub last_written: Option<Instant>,
    /// Prefixes in the adj-RIB-in.
    pub received: usize,
    /// Prefixes the peer holds from us.
    pub advertised: usize,
    /// Counts.
    pub counters: Counters,
}
