//! `[access-log]`.

use std::path::PathBuf;

/// `[access-log]`: a line of JSON for each request, and each relayed connection.
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLog {
    /// Where the lines go.
    pub to: AccessLogTarget,
    /// Whether queries are logged too, which may hold secrets. Default false.
    pub query: bool,
    /// The share, above 0 to 1, of the requests and connections that ended well; all others are logged. Default 1.
    pub sample: f64,
}

/// `to` of [`AccessLog`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// `stdout`, which is the journal under systemd.
    Stdout,
    /// The absolute path of a file.
    File(PathBuf),
}
