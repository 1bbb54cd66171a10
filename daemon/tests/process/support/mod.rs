//! A PoP in one process's reach: the daemon, and everything around it played by the test.

mod app;
mod bgp;
mod client;
mod daemon;
mod pop;
mod port;
mod record;
mod router;

use std::time::Duration;

pub(crate) use self::{
    app::App,
    bgp::{KEEPALIVE, announcement, message, open, update},
    client::{Client, exchange, get},
    daemon::Daemon,
    pop::Pop,
    port::Port,
    router::{Manner, Router},
};

/// When a wait is given up. No test takes this long unless it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
