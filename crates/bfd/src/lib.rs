//! Bidirectional Forwarding Detection without I/O: asynchronous mode, single hop and multihop.
//!
//! Time, seeds and discriminators are handed in, datagrams and changes of state are handed out; a driver owns the sockets.
//!
//! ```text
//!  handle(now, packet)   command(now, Command)   handle_timeout(now)   poll_timeout()   poll_output()
//! ```
//!
//! | module       | holds                                                                  | RFC                    |
//! |--------------|------------------------------------------------------------------------|------------------------|
//! | `sessions`   | [`Sessions`]: all of a host, found by discriminator or by path         | 5880 §6.3, 5881, 5883  |
//! | `session`    | [`Session`]: timers, poll sequences, what is sent when                 | 5880 §6.5, §6.8        |
//! | `handover`   | [`Snapshot`]: a session that goes on in another process                | 5880 §6.7.4            |
//! | `machine`    | the state machine, one exhaustive match                                | 5880 §6.2, §6.8.6      |
//! | `timing`     | intervals advertised and in force, jitter                              | 5880 §6.8.2–§6.8.4, §6.8.7 |
//! | `packet`     | [`Packet`]: bytes ↔ types                                              | 5880 §4.1              |
//! | `auth`       | [`Authentication`]: keyed and meticulous keyed SHA1                    | 5880 §4.4, §6.7.4      |
//! | `discard`    | [`Discard`]: why a packet was not taken                                | 5880 §6.8.6, 5881 §5   |
//! | `path`       | [`Path`] and [`Arrival`]: whom a session watches, how a datagram came  | 5881 §3, 5883 §3       |
//! | `deadlines`  | a heap of one deadline per session                                     |                        |
//! | `interface`  | [`Output`], [`Change`], [`Command`], [`Settings`], [`Status`]          |                        |
//!
//! Not built, because it is optional and nothing here needs it: echo (the required echo interval is 0, so that no
//! neighbour sends any), demand mode of our own (a neighbour's is honoured), passive role, point-to-multipoint.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test begins at some instant"))]

mod auth;
mod deadlines;
mod discard;
mod interface;
mod machine;
mod packet;
mod path;
mod session;
mod sessions;
mod timing;

pub use auth::{AuthSection, Authentication, AuthenticationKind, Key, KeyError, MAX_KEY};
pub use discard::{Discard, Discards};
pub use interface::{
    Cause, Change, Command, Counters, Down, LEAST_INTERVAL, MOST_INTERVAL, Meaning, Output, Settings,
    SettingsError, Status,
};
pub use machine::{Diagnostic, State, Step};
pub use packet::{Datagram, Discriminator, Interval, MAX_PACKET, Packet, Received};
pub use path::{Arrival, Hops, MULTIHOP_PORT, Path, SINGLE_HOP_PORT, SOURCE_PORTS};
pub use session::{Session, Snapshot};
pub use sessions::{AddError, Sessions};
pub use timing::SLOW;
