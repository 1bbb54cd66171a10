//! How long an answer may take.

use std::time::Duration;

use crate::paths;

/// How long the daemon may take to answer what is asked for at this path before it says that it can't. Who asks waits a little
/// longer, so that the daemon's word is heard.
pub fn patience(path: &str) -> Duration {
    match path {
        // First verdicts of new backends, peers that take leave, workers that take it over.
        paths::RELOAD => Duration::from_secs(30),
        // Another process has to come up.
        paths::UPGRADE => Duration::from_secs(25),
        _ => Duration::from_secs(5),
    }
}
