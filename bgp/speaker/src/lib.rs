//! BGP over TCP: drives one [`proxima_bgp_session::Session`] per peer.
//!
//! | task                 | owns                                                     | ends                            |
//! |----------------------|----------------------------------------------------------|---------------------------------|
//! | `peer`, one each     | the session, its attempt to connect, its connections     | [`SpeakerHandle::stop`]         |
//! | `listener`, one each | a listening socket                                       | [`SpeakerHandle::stop`]         |
//! | `linger`, short      | a connection that is being closed after a NOTIFICATION   | the peer closes, or a deadline  |
//!
//! ```text
//!  set_desired ──watch──▶ peer ◀──▶ socket          every select! arm of `peer` is cancel-safe: readiness, not
//!  reset, stop ──mpsc───▶  │  ◀── accepted          reads; channels; a deadline that is asked for anew
//!                          └──▶ SpeakerEvent, PeerStatus
//! ```
//!
//! Queues, all bounded:
//! - desired state is a watch: the latest wins, nothing queues up;
//! - commands (16 per peer): the caller waits;
//! - accepted connections (4 per peer): more are closed at once;
//! - closed connections that still deliver their last words (16 per peer): more get what can be written at once;
//! - events ([`EVENT_QUEUE`]): more are dropped and counted, a slow reader never delays a session;
//! - bytes to a peer: UPDATEs are made only while less than `peer::WATERMARK` octets wait, so a KEEPALIVE waits
//!   behind a few messages at most.
//!
//! From [`SpeakerHandle::set_desired`] to the bytes in the socket there is one task switch and no timer.

#![allow(clippy::disallowed_methods, reason = "a driver: reads the clock and hands it to the cores")]

mod config;
mod connect;
mod connection;
mod error;
mod event;
mod handle;
mod listener;
mod peer;
mod start;
mod status;

pub use config::{
    BGP_PORT, BmpConfig, Distance, GracefulRestart, MAX_DYNAMIC, MaxPrefixes, MrtConfig, Password,
    PasswordError, PeerConfig, Remote, SpeakerConfig,
};
pub use error::{CommandError, StartError};
pub use event::{EVENT_QUEUE, SpeakerEvent};
pub use handle::SpeakerHandle;
pub use proxima_bgp_session::{
    AllowList, Cause, Counters, NotAllowed, Problem, ReceivedRoute, RoutesReceived, State, Status,
    UpdateContent,
};
pub use start::Speaker;
pub use status::PeerStatus;
