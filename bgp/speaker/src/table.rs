//! Routes of the table with the names of their peers, and what BFD says: words of the handle.

use proxima_bgp_rib::Route;
use proxima_types::{PeerName, Prefix};

/// A route and who announced it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRoute {
    /// The peer; None when it was taken out just now.
    pub peer: Option<PeerName>,
    /// The route.
    pub route: Route,
}

/// A part of the routes, in order of prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoutePage {
    /// The routes; all those to one prefix stand in one page.
    pub routes: Vec<PeerRoute>,
    /// Where to go on: `after` of the next call; None at the end of the table. A page may be short, or empty, and still
    /// not the last.
    pub next: Option<Prefix>,
}

/// How a BFD session stands (RFC 5880 §6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BfdState {
    /// Up.
    Up,
    /// It failed, or never was up.
    Down {
        /// What BFD says of it.
        diagnostic: String,
        /// The peer's BFD does not share fate with its control plane (the C bit, RFC 5880 §4.1): then its forwarding is gone,
        /// and with it even routes that graceful restart would keep (RFC 5882 §4.3).
        independent: bool,
    },
    /// An operator at either end took it down: no failure (RFC 5882 §3.2).
    AdminDown,
}
