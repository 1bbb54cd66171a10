//! From one process to the next, of the same program or of another version of it, and nobody notices.
//!
//! ```text
//!  predecessor                                             successor
//!  `proxima upgrade`, SIGUSR2 ─▶ starts the program ──────▶ reads the file
//!    Offer: what is listened on ──────────────────────────▶ everything else that can fail: certificates, VIPs, sockets, workers
//!  goes on as ever                 ◀──────────── Prepared ┘
//!  sessions, BFD and decisions stand still
//!    State: BGP, BFD, health, groups, orders ─────────────▶ takes them in, and does nothing yet
//!                                  ◀──────────── Accepted ┘
//!  tells the service manager whose process it is now
//!    Commit ──────────────────────────────────────────────▶ speaks, probes, announces, accepts
//!  closes what is no longer its own, lets its connections end
//!    Released: the packet filter of hand-overs is free ───▶ takes it
//! ```
//!
//! Until the commit everything is the predecessor's: whatever goes wrong, it goes on as if nothing had been, and says what it
//! was. After it everything is the successor's, and what the predecessor still has are its clients' connections. There is no
//! moment in which both decide, or none holds the routes: the state that goes over is as of one turn of the control task, and
//! instants in it are those of the clock that all processes of the host share.
//!
//! The successor has the socket as its standard input, the same arguments, and reads the same file, which may have changed: what a
//! reload would apply, it applies. It is a grandchild whose parent ends at once, so that it is the service manager's child, or
//! init's, before it is named as the main process: a manager does not wait for the end of one that is not its own.

mod channel;
mod hand_over;
mod judge;
mod predecessor;
mod state;
mod successor;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};
use proxima_api::Upgraded;
use proxima_bfd_io::HandedSession;
use proxima_bgp_speaker::{Configured, Down, Snapshot, octets};
use proxima_proxy::InheritanceMeta;
use proxima_types::{PeerName, Prefix};
use serde::{Deserialize, Serialize};

use self::successor::{Ready, Successor, Taken};
pub(crate) use self::{
    hand_over::{HandedOn, Outcome, UNDER_WAY, Upgrading, answer, signal},
    judge::{Newcomers, judge},
    predecessor::{Estate, Inherited, Predecessor, PredecessorError, detach},
    state::ControlState,
};
use crate::admin::{CommandRefusal, Reply};

/// Set for a process that is a successor, whose standard input is the socket then: to the predecessor's [`FORMAT`].
pub(crate) const VARIABLE: &str = "PROXIMA_UPGRADE";

/// Set for the parent of a successor.
pub(crate) const DETACH: &str = "PROXIMA_UPGRADE_DETACH";

/// What both have to mean the same by. To be counted up when a message changes so that one version can't read another's.
const FORMAT: u32 = 2;

/// How long a successor may take to have everything that it needs, from its start on.
const START: Duration = Duration::from_secs(15);
/// How long each other message may take.
const TAKE_OVER: Duration = Duration::from_secs(1);
/// How long all that is done while sessions stand still may take together: peers hear nothing meanwhile, and keepalives went out a
/// third of the hold time before at most. What is called off then may take a few moments more.
const STILL: Duration = Duration::from_millis(1500);
/// The shortest hold time that there is (RFC 4271 §4.2).
const SHORTEST_HOLD_TIME: Duration = Duration::from_secs(3);
const _: () = assert!(
    STILL.as_millis() + 2 * successor::LAST_MOMENTS.as_millis() < SHORTEST_HOLD_TIME.as_millis() * 2 / 3
);

/// Who asked, if someone waits for the answer.
pub(crate) type Asked = Option<Reply<Result<Upgraded, CommandRefusal>>>;

/// What a predecessor says.
#[derive(Debug, Serialize, Deserialize)]
enum ToSuccessor {
    Offer(Offer),
    State(Box<State>),
    Commit,
    Released,
}

/// What a successor says.
#[derive(Debug, Serialize, Deserialize)]
enum ToPredecessor {
    Begun { pid: u32 },
    Prepared(Prepared),
    Accepted,
    Failed(String),
}

/// What is listened on, and local. Descriptors: the admin socket's, that of metrics, the data plane's.
#[derive(Debug, Serialize, Deserialize)]
struct Offer {
    pid: u32,
    metrics: Option<SocketAddr>,
    data_plane: InheritanceMeta,
    vips: Vec<Prefix>,
}

/// Everything that can fail is had.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub(crate) version: String,
    /// It goes on with the admin socket's file, which is not to be removed.
    pub(crate) adopts_admin_socket: bool,
}

/// What is known, and held. Descriptors: the sessions' connections, BGP's listeners, BFD's sockets.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The text of the configuration in force.
    config: String,
    /// Whether a file that a reload would refuse is meant.
    force: bool,
    bgp: BgpState,
    bfd: Vec<HandedSession>,
    control: ControlState,
}

/// What peers must not notice.
#[derive(Debug, Serialize, Deserialize)]
struct BgpState {
    sessions: Vec<BgpSession>,
    down: Vec<Down>,
    listeners: usize,
    /// When the first of these processes was started.
    #[serde(default, with = "proxima_types::moment::option")]
    started: Option<Instant>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BgpSession {
    peer: PeerName,
    #[serde(with = "octets")]
    unwritten: Vec<u8>,
    session: Snapshot,
    configured: Configured,
}

/// When CLOCK_MONOTONIC was zero: the same moment for all processes of this host, however each counts its instants.
fn epoch() -> Instant {
    let since = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    let now = Instant::now();
    now.checked_sub(since).unwrap_or(now)
}
