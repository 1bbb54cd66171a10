//! The routing table: what all peers have announced, the best path to each prefix, and longest match (RFC 4271 §3.2, §9).
//!
//! Pure, and never a way out: nothing here can become an announcement.
//!
//! ```text
//!  Update ──apply()──▶ prefix ─▶ paths of all peers ─▶ attributes and next hop, one copy for all that share them
//!                        │
//!                        ├── best(), explain()                 selection (RFC 4271 §9.1.2), when asked
//!                        ├── lookup(), covering(), within()    longest match, less and more specific prefixes
//!                        ├── received(), table()               pages in order of prefix
//!                        └── watch() ─▶ poll_change()          when paths to a few prefixes change
//! ```
//!
//! There is no table per peer: what a peer has announced (its Adj-RIB-In) is the table filtered by peer. To mark a
//! peer's routes stale, to sweep or to drop them takes effect at once, by a number; what they took up is given back in
//! slices, [`Rib::collect`], so that nobody waits for a million routes to go.

mod interner;
mod key;
mod paths;
mod peers;
mod places;
mod query;
mod rib;
mod route;
mod rules;
mod select;
mod slab;
mod source;
mod table;
mod watch;

pub use rib::{MAX_PATHS_PER_PREFIX, Memory, Rib};
pub use route::{Page, Route, Shared, Summary, Unusable};
pub use rules::{BestPathRules, Step, Verdict};
pub use source::{Applied, Counts, PathSource, PeerId, Stale, UnknownPeer};
pub use watch::{Change, Watch};
