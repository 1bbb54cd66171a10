//! A BGP session without I/O: the connection state machine, collisions, graceful restart, and the adj-RIB-out.
//!
//! Time and bytes are handed in, what to do is handed out; a driver owns the sockets. Shape:
//!
//! ```text
//!  handle(now, Input)   handle_timeout(now)   poll_timeout()   poll_output()   poll_update()
//! ```
//!
//! | module        | holds                                                             | RFC                    |
//! |---------------|-------------------------------------------------------------------|------------------------|
//! | `interface`   | [`Input`] and the words it uses                                   |                        |
//! | `output`, `problem` | [`Output`], [`RibChange`], [`Cause`], [`Problem`]           |                        |
//! | `settings`    | [`Settings`]: what the operator decides                           |                        |
//! | `session`     | [`Session`]: orders, collisions, framing, hand-over               | 4271 §6.8, 6286, 8326, 9003, 9384 |
//! | `fsm`         | the six states of a connection, one exhaustive match              | 4271 §8, 6608, 9687    |
//! | `terms`       | our OPEN, the checks on the peer's, [`Terms`]                     | 4271 §6.2, 5492, 6286  |
//! | `roles`       | who may be what to whom, route leaks                              | 9234                   |
//! | `graceful_restart` | what is offered, stale routes and their end                  | 4724, 8538             |
//! | `refresh`     | asking for the peer's routes again                                | 2918, 7313             |
//! | `inbound`     | checks on received routes                                         | 4271 §6.3, 4456, 9234  |
//! | `limits`      | how many prefixes a peer may send                                 | 4486                   |
//! | `backoff`     | growing, jittered waits                                           | 4271 §10               |
//! | `adj_rib_out` | desired against sent, refreshes answered, End-of-RIB              | 4271 §9.2, 4724, 7313  |
//! | `export`      | from [`Exportable`] routes to UPDATEs                             | 4271 §5.1, 9234        |
//! | `allow_list`  | [`AllowList`], the only maker of [`Exportable`]                   | 7908, 8212             |
//! | `status`      | [`Status`]: everything there is to tell                           |                        |
//! | `written`     | a hand-over's [`Snapshot`] in few octets                          |                        |
//!
//! The peer's routes are not kept here: [`RibChange`]s go to a RIB, and nothing comes back from it but counts.

mod adj_rib_out;
mod allow_list;
mod backoff;
mod export;
mod fsm;
mod graceful_restart;
mod inbound;
mod interface;
mod limits;
mod output;
mod problem;
mod refresh;
mod roles;
mod session;
mod settings;
mod shared;
mod status;
mod terms;
mod written;

pub use adj_rib_out::{AdjRibOut, UpdateBatch, UpdateContent};
pub use allow_list::{AllowList, Desired, Exportable, NotAllowed};
pub use export::Announced;
pub use graceful_restart::PeerRestart;
pub use interface::{ConnectionId, Input, Leave, Local, State};
pub use output::{Cause, Marks, Mended, Output, PeerUp, ReceivedUpdate, RibChange};
pub use problem::Problem;
pub use session::{ResumeError, Session, Snapshot};
pub use settings::{
    BFD_HOLD_OFF, Change, GracefulRestart, LOCAL_PREF, LimitAction, MAX_RESTART_TIME, MaxPrefixes,
    OPEN_HOLD_TIME, PROBLEM_INTERVAL, REFRESH_TIME, RETRY_CEILING, SEND_HOLD_TIME, STABLE_AFTER, Settings,
};
pub use status::{Bfd, Counters, Held, PerFamily, Stamped, Status, Timers};
pub use terms::Terms;
pub use written::octets;
