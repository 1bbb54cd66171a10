//! BGP over TCP: drives one [`proxima_bgp_session::Session`] per peer.
//!
//! | task or thread       | owns                                                     | ends                            |
//! |----------------------|----------------------------------------------------------|---------------------------------|
//! | `peer`, one each     | the session, its attempt to connect, its connections     | [`SpeakerHandle::stop`], removal |
//! | `listener`, one each | a listening socket                                       | [`SpeakerHandle::stop`]         |
//! | `discovery`, one per unnumbered peer | a raw ICMPv6 socket                      | with its peer                   |
//! | `linger`, short      | a connection that is being closed after a NOTIFICATION   | the peer closes, or a deadline  |
//! | thread `rib`         | the routing table: all routes of all peers               | with the last handle            |
//! | `bmp`, one per station | a connection to it (RFC 7854)                          | [`SpeakerHandle::stop`]         |
//! | `mrt`                | the time of the next dump (RFC 6396)                     | [`SpeakerHandle::stop`]         |
//!
//! ```text
//!  set_desired ──watch──▶ peer ◀──▶ socket          every select! arm of `peer` is cancel-safe: readiness, not
//!  reset, stop ──mpsc───▶  │  ◀── accepted          reads; channels; a deadline that is asked for anew
//!                          ├──▶ SpeakerEvent, PeerStatus
//!                          └──▶ rib ──▶ received, best, lookup, explain, watch
//! ```
//!
//! Queues, all bounded:
//! - desired state is a watch: the latest wins, nothing queues up;
//! - commands (16 per peer): the caller waits;
//! - accepted connections (4 per peer): more are closed at once;
//! - closed connections that still deliver their last words (16 per peer): more get what can be written at once;
//! - routes to the RIB (32 reads of sockets): a peer without a place is not read, so TCP holds it up; its KEEPALIVEs, timers
//!   and withdrawals do not wait (`peer::routes`);
//! - records to a BMP station (4096): beyond that it begins anew with what there is by then;
//! - events ([`EVENT_QUEUE`]): more are dropped, but for changes of state, which are merged per peer;
//! - bytes to a peer: UPDATEs are made only while less than `peer::WATERMARK` octets wait, so a KEEPALIVE waits
//!   behind a few messages at most.
//!
//! From [`SpeakerHandle::set_desired`] to the bytes in the socket there is one task switch and no timer.
//!
//! Peers come, change and go one by one (`roster`); what a change means for a session is one table, at [`Effect`].

#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the cores")]

mod bmp;
mod carried;
mod config;
mod connection;
mod detach;
mod discovery;
mod error;
mod event;
mod gtsm;
mod handle;
mod listener;
mod mrt;
mod peer;
mod rib;
mod roster;
mod socket;
mod start;
mod status;
mod table;
mod watchers;

pub use config::{
    BGP_PORT, BmpConfig, Configured, Distance, Effect, FORGET_AFTER, MAX_DYNAMIC, MrtConfig, Password,
    PasswordError, PeerConfig, Remote, SpeakerConfig,
};
pub use detach::{Detached, DetachedPeer, Down, HandOver};
pub use error::{CommandError, DumpError, GuardError, HandOverError, PeerError, StartError};
pub use event::{EVENT_QUEUE, SpeakerEvent, SpeakerEvents};
pub use handle::SpeakerHandle;
pub use proxima_bgp_rib::{
    BestPathRules, Change, PeerId, Route, Shared, Stale, Step, Summary, Unusable, Verdict, Watch,
};
pub use proxima_bgp_session::{
    AllowList, Announced, Bfd, Cause, Counters, GracefulRestart, Held, Leave, LimitAction, MaxPrefixes,
    NotAllowed, PerFamily, Problem, Snapshot, Stamped, State, Status, Timers, UpdateContent, octets,
};
pub use start::Speaker;
pub use status::PeerStatus;
pub use table::{BfdState, PeerRoute, RoutePage};
