//! Paths as those outside see them.

use std::{fmt, sync::Arc, time::Instant};

use proxima_bgp_wire::{Attributes, NextHop};
use proxima_types::Prefix;

use crate::{PeerId, Stale};

/// What paths share: one copy in the table, however many paths have it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shared {
    /// The path attributes, as received; with ONLY_TO_CUSTOMER where RFC 9234 §5 has the receiver add it.
    pub attributes: Attributes,
    /// Where the path leads.
    pub next_hop: NextHop,
}

/// A path to a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination.
    pub prefix: Prefix,
    /// Who announced it.
    pub peer: PeerId,
    /// Which of the peer's paths to the prefix (RFC 7911); 0 without add-path.
    pub path_id: u32,
    /// Attributes and next hop.
    pub shared: Arc<Shared>,
    /// When it came with these attributes, to within a sixteenth of a second.
    pub received_at: Instant,
    /// It was not announced again yet since that.
    pub stale: Option<Stale>,
    /// Why it can't be used, if so.
    pub unusable: Option<Unusable>,
}

/// Why a path is kept to be seen but never used (RFC 4271 §9.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unusable {
    /// Our own AS is in its AS_PATH. PoPs that share an AS hear of each other this way.
    AsLoop,
    /// It began here, or has been reflected here, before (ORIGINATOR_ID or CLUSTER_LIST, RFC 4456 §8).
    ReflectionLoop,
    /// Its ONLY_TO_CUSTOMER says that it should not have come this way (RFC 9234 §5).
    Leak,
    /// It is of an external peer, and no policy lets its routes in (RFC 8212 §2).
    NoPolicy,
    /// Its next hop can't be reached, or is ourselves.
    NextHop,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::AsLoop => "our own AS is in its path",
            Self::ReflectionLoop => "it bears our own identifier as originator or cluster",
            Self::Leak => "it is a route leak by its ONLY_TO_CUSTOMER",
            Self::NoPolicy => "no policy lets routes of this peer in",
            Self::NextHop => "its next hop is unusable",
        })
    }
}

/// How much there is in a part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Prefixes with a path, usable or not.
    pub prefixes: usize,
    /// Of them, those with a best path.
    pub selected: usize,
    /// All paths.
    pub paths: usize,
    /// Where to go on, as in [`Page::next`].
    pub next: Option<Prefix>,
}

/// A part of the paths, in order of prefix.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The paths; all those to one prefix stand in one page.
    pub routes: Vec<Route>,
    /// Where to go on: `after` of the next call. `None` at the end of the table. A page may be short, or empty,
    /// and still not the last.
    pub next: Option<Prefix>,
}
