//! BGP messages, capabilities and path attributes: bytes to types and back.
//!
//! Pure: no sockets, no clock, no state of a session. What a session has agreed on comes in as [`Negotiated`];
//! what is wrong with a peer's bytes goes out as a [`DecodeError`] that knows its exact NOTIFICATION.
//!
//! ```text
//!  bytes ──frame()──▶ one message ──Message::decode()──▶ Open          capability, open      RFC 4271 §4.2, 5492, 9072
//!            │              │                            Update        update::{decode,…}    RFC 4271 §4.3, 4760, 7606
//!            ▼              ▼                            Notification  notification          RFC 4271 §4.5, 4486, 9003
//!       HeaderError    DecodeError                       Keepalive     header                RFC 4271 §4.4
//!                           │                            RouteRefresh  route_refresh         RFC 2918, 7313
//!                           └──to_notification()──▶ code, subcode, data
//!
//!  Open, Notification, …  ──Message::encode()──▶ bytes
//!  attributes + next hop + prefixes ──update::announce()──▶ as few UPDATEs as hold them
//!  prefixes ──update::withdraw()──▶ likewise          family ──update::end_of_rib()──▶ End-of-RIB
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `header` | marker, length and type of every message; framing of a byte stream |
//! | `message` | [`Message`]: the one place that knows all five kinds |
//! | `open`, `capability` | [`Open`] and what is offered in it |
//! | `negotiated` | [`Negotiated`]: what two OPENs agree on, as far as bytes depend on it |
//! | `update` | [`Update`], attributes, NLRI, the dispositions of RFC 7606, and the encoder |
//! | `notification` | [`Notification`], its codes by name, shutdown messages, hard resets |
//! | `error` | [`DecodeError`], [`EncodeError`] |
//! | [`explain`] | a message told to people: values, flags, problems and the rule behind each |

#![forbid(unsafe_code)]

mod capability;
mod error;
pub mod explain;
mod header;
mod message;
mod negotiated;
mod notification;
mod open;
mod reader;
mod route_refresh;
mod standing;
pub mod update;

pub use capability::{
    AddPath, AddPathMode, Capability, ExtendedNextHop, GracefulRestart, GracefulRestartFamily, Role,
};
pub use error::{DecodeError, EncodeError};
pub use header::{EXTENDED_MAX_LEN, HEADER_LEN, HeaderError, KEEPALIVE, MAX_LEN, MessageType, frame};
pub use message::Message;
pub use negotiated::{AfiSafi, Families, Negotiated, PeerKind};
pub use notification::{ErrorCode, Notification};
pub use open::{Open, OpenError, RoleMismatch};
pub use route_refresh::{RefreshKind, RouteRefresh, RouteRefreshError};
pub use standing::Loops;
pub use update::{
    Aggregator, AsPath, AttributeProblem, Attributes, Disposition, Fault, NextHop, Nlri, Origin, Rare,
    RareAttributes, RawAttribute, Reach, Segment, SegmentKind, Segments, Update, UpdateError,
};
