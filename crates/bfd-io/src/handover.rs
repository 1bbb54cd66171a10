//! Sessions and sockets on their way to another process.

use std::os::fd::OwnedFd;

use proxima_bfd::Snapshot;
use serde::{Deserialize, Serialize};

use crate::settings::SessionConfig;

/// All that another process on this host needs to go on with BFD, in the same network namespace.
#[derive(Debug, Default)]
pub struct HandedOver {
    /// The sessions.
    pub sessions: Vec<HandedSession>,
    /// The sockets, in any order: what each is for is told by what it is bound to. Closed on exec; whoever receives them
    /// over a Unix socket does so with `MSG_CMSG_CLOEXEC`.
    pub sockets: Vec<OwnedFd>,
}

/// A session.
///
/// Its key is part of what it is written as: for the eyes of the other process only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandedSession {
    /// Its name, its path and its settings.
    pub config: SessionConfig,
    /// Where it stands.
    pub session: Snapshot,
    /// Packets the kernel did not take.
    pub send_errors: u64,
}
