//! A BGP session without I/O: the connection state machine, collisions, adj-RIB-in and adj-RIB-out.
//!
//! Time and bytes are handed in, what to do is handed out; a driver owns the sockets. Shape:
//!
//! ```text
//!  handle(now, Input)   handle_timeout(now)   poll_timeout()   poll_output()   poll_update()
//! ```
//!
//! | module        | holds                                                             | RFC                    |
//! |---------------|-------------------------------------------------------------------|------------------------|
//! | `interface`   | [`Input`], [`Output`] and the words they use                      |                        |
//! | `session`     | [`Session`]: framing, collisions, both RIBs                       | 4271 §6.8, 6286        |
//! | `fsm`         | the six states of a connection, one exhaustive match              | 4271 §8, 6608, 9687    |
//! | `terms`       | our OPEN, the checks on the peer's, [`Terms`]                     | 4271 §6.2, 5492, 6286  |
//! | `backoff`     | growing, jittered waits                                           | 4271 §10               |
//! | `adj_rib_out` | desired against sent, End-of-RIB                                  | 4271 §9.2, 4724, 2918  |
//! | `export`      | from [`Exportable`] routes to UPDATEs                             | 4271 §5.1              |
//! | `allow_list`  | [`AllowList`], the only maker of [`Exportable`]                   | 7908, 8212             |
//! | `adj_rib_in`  | [`ReceivedRoute`]s, for people and as evidence; never exported    | 4271 §3.2, 4486        |

mod adj_rib_in;
mod adj_rib_out;
mod allow_list;
mod backoff;
mod export;
mod fsm;
mod interface;
mod session;
mod settings;
mod shared;
mod status;
mod terms;

pub use adj_rib_in::{AdjRibIn, ReceivedRoute};
pub use adj_rib_out::{AdjRibOut, UpdateBatch, UpdateContent};
pub use allow_list::{AllowList, Desired, Exportable, NotAllowed};
pub use interface::{Cause, ConnectionId, Input, Output, Problem, RoutesReceived, State};
pub use session::Session;
pub use settings::{LOCAL_PREF, OPEN_HOLD_TIME, RETRY_CEILING, SEND_HOLD_TIME, STABLE_AFTER, Settings};
pub use status::{Counters, Status};
pub use terms::Terms;
