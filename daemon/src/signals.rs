//! The signals the daemon listens to.

use std::io;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT, by name: stop in order; the second one: at once.
    Stop(&'static str),
    /// SIGHUP.
    Reload,
    /// SIGUSR2: hand over to the program as it is on disk now.
    Upgrade,
}

/// Receives signals. To be made within a runtime.
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hang_up: Stream,
    user_2: Stream,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Those that have come already.
    pub(crate) fn pending(&mut self) -> Vec<Signal> {
        std::iter::from_fn(|| self.next().now_or_never()).collect()
    }

    /// The next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hang_up.recv() => Signal::Reload,
            _ = self.user_2.recv() => Signal::Upgrade,
        }
    }
}
