//! Who says that a backend goes away.

use std::{num::NonZeroU16, path::PathBuf, time::Duration};

/// How it is learnt that a backend goes away at some time, as spot capacity does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Where it is said.
    pub source: NoticeSource,
    /// How long before that time the backend is drained.
    pub lead: Duration,
    /// From one look to the next.
    pub interval: Duration,
}

/// Where a notice is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoticeSource {
    /// A file of this directory, named like the backend without its pool.
    Directory(PathBuf),
    /// The answer to a GET at the backend's address.
    Http {
        /// The request target. Visible ASCII, beginning with `/`.
        path: String,
        /// The port asked; `None`: the backend's own.
        port: Option<NonZeroU16>,
    },
}
